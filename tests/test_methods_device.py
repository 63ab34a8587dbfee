"""A training step never waits for a device: it runs on one whose values nobody can see.

On the meta device tensors have a shape and no content, so a comparison in an `if`, `.item()` or a copy to the host
raises, and so does a tensor that a method made on another device than its batch's.
"""

import pytest
import torch

from methods.shared import registry
from methods.shared.method import Batch
from methods.shared.networks.backbone import Backbone
from methods.shared.schedules import Schedule

STEPS = 400
PATCH = (32, 32, 32)
# BCP and its kin keep the largest component of its pseudo-labels, which is found on the host, as in their releases.
ON_THE_HOST = {"bcp", "bcp_no_mixing", "sdcl"}


def step_on_meta(name: str, step: int) -> None:
    method = registry.get(name)(registry.settings_of(name, {}), Backbone(width=2), Schedule(STEPS)).to("meta").train()
    labelled, unlabelled = method.patches(method.settings, 4)
    images = torch.empty(4, 1, *PATCH, device="meta")
    labels = torch.empty(labelled, *PATCH, dtype=torch.uint8, device="meta")
    extra_arrays = {view: torch.empty(labelled, 1, *PATCH, device="meta") for view in method.extra_arrays()}
    optimizers = method.configure_optimizers(lambda parameters: torch.optim.SGD(list(parameters), lr=0.1, momentum=0.9))
    for phase in method.phases:
        losses = method.training_step(
            Batch(images[:labelled], labels, images[4 - unlabelled :], extra_arrays), step, phase
        )
        losses["total"].backward()
        optimizers[phase].step()
    method.after_step(step)


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, STEPS // 2])
@pytest.mark.parametrize("name", registry.names())
def test_a_step_does_not_look_at_values(name, step):
    if name in ON_THE_HOST and step:
        with pytest.raises(NotImplementedError, match="meta"):
            step_on_meta(name, step)
    else:
        step_on_meta(name, step)


def test_prediction_does_not_look_at_values():
    for name in registry.names():
        method = (
            registry.get(name)(registry.settings_of(name, {}), Backbone(width=2), Schedule(STEPS)).to("meta").eval()
        )
        with torch.no_grad():
            assert method.predict(torch.empty(2, 1, *PATCH, device="meta")).shape == (2, 1, *PATCH)
