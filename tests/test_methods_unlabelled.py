"""Every method that claims to use unlabelled images sends a gradient of its loss into them."""

import dataclasses

import pytest
import torch
from helpers.tiny_methods import build, make_batch

from methods.shared import registry


@pytest.mark.parametrize("name", [n for n in registry.names() if not n.startswith("vnet")])
def test_unlabelled_images_send_a_gradient_into_what_predicts(name):
    """At three quarters of the schedule: a library once shipped a mean teacher whose consistency loss was always 0."""
    fields = registry.get(name).Settings.model_fields
    settings = {"threshold": 0.5} if "threshold" in fields else {}  # no new network is surer
    method = build(name, iterations=100, **settings)
    method.strong_view = lambda images: images  # the real one lets no gradient through
    batch = make_batch(method)
    images = (5 * batch.unlabelled_images).requires_grad_()  # so bright that UA-MT's teacher is sure somewhere
    batch = dataclasses.replace(batch, unlabelled_images=images)
    phase = "segment" if "segment" in method.phases else method.phases[0]
    for module in method.modules():  # batch statistics alone would couple the patches
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()
    method.training_step(batch, 75, phase)["total"].backward()
    assert images.grad.abs().sum() > 0
