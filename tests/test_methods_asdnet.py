"""ASDNet: its pseudo-labels, its discriminator and its weights of patches."""

import pytest
import torch
from helpers.tiny_methods import build, make_batch

from methods.shared.networks.discriminators import ConfidenceNetwork
from methods.shared.networks.network import NetworkOutput

STEPS = 100


def test_pseudo_labels_start_at_a_sixth_and_stop_without_trusted_voxels():
    method = build("asdnet", iterations=STEPS, threshold=0.999999)
    early, late = (method.train().training_step(make_batch(method), step, "segment") for step in (15, 99))
    assert late["pseudo"].item() == 0 and late["trusted_fraction"].item() == 0  # no voxel is that sure
    method = build("asdnet", iterations=STEPS, threshold=1e-6)
    for step, started in ((15, False), (16, True)):
        losses = method.train().training_step(make_batch(method), step, "segment")
        assert losses["pseudo"].item() > 0
        rest = losses["supervised"] + 0.05 * losses["adversarial"]
        assert (losses["total"] - rest).item() == pytest.approx(
            0.5 * method.schedule.ramp_up(step) * losses["pseudo"].item() if started else 0, abs=1e-5
        )
    assert early["total"].isfinite()


def test_discriminator_never_sees_a_gradient_path_into_the_segmenter():
    method = build("asdnet", iterations=STEPS)
    method.train().training_step(make_batch(method), 50, "discriminate")["total"].backward()
    assert all(p.grad is None for p in method.network.parameters())
    assert any(p.grad is not None for p in method.discriminator.parameters())


def test_attention_weights_hard_patches_more():
    def supervised(**settings):
        method = build("asdnet", iterations=STEPS, **settings)
        batch = make_batch(method)
        easy, hard = torch.where(batch.labels[:1, None] == 1, 4.0, -4.0), torch.full_like(batch.images[:1], -4.0)
        method.network.forward = lambda images: NetworkOutput(logits=torch.cat([easy, hard, hard, hard]))
        return method.training_step(batch, 0, "segment")["supervised"]

    assert supervised(sample_attention=1.0) < supervised()  # the easy first patch hardly counts any more


def test_confidence_network_keeps_the_size_and_takes_any():
    network = ConfidenceNetwork(3, 2, 2, width=2)
    assert network(torch.rand(2, 2, 17, 24, 9)).shape == (2, 2, 17, 24, 9)
