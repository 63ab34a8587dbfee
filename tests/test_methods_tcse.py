"""TCSE: its transformations and their inverse, and what its consistency compares."""

import pytest
import torch
from helpers.tiny_methods import build, make_batch

from methods.shared.networks.network import NetworkOutput
from methods.tcse import draw_symmetries, turn, turn_back, zoom

STEPS = 100


@pytest.mark.parametrize("symmetry", [(turns, mirror) for turns in range(4) for mirror in (False, True)])
def test_turning_back_undoes_turning(symmetry):
    volumes = torch.randn(2, 3, 6, 6, 5, generator=torch.Generator().manual_seed(1))
    turned = turn(volumes, [symmetry, (0, False)])
    assert torch.equal(turn_back(turned, [symmetry, (0, False)]), volumes)
    assert torch.equal(turned[0], volumes[0]) == (symmetry == (0, False))


def test_draws_all_eight_symmetries_of_a_square_and_the_four_of_a_rectangle():
    torch.manual_seed(0)
    assert len(set(draw_symmetries(torch.empty(500, 1, 4, 4, 2)))) == 8
    assert set(draw_symmetries(torch.empty(500, 1, 4, 6, 2))) == {(0, False), (0, True), (2, False), (2, True)}


def test_zooming_magnifies_in_the_plane_and_back():
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (32, 32, 6)), indexing="ij")
    volumes = torch.exp(-8 * (x**2 + y**2))[None, None] * (1 + z)
    volumes = torch.cat([volumes, volumes])
    larger = zoom(volumes, torch.tensor([1.1, 1.0]))
    assert torch.allclose(larger[1], volumes[1], atol=1e-5)
    assert larger[0, 0, ..., 0].max() < 1e-6 and torch.allclose(larger[0].sum(), 1.21 * volumes[0].sum(), rtol=0.01)
    back = zoom(larger, 1 / torch.tensor([1.1, 1.0]))
    assert (back - volumes)[:, :, 3:-3, 3:-3].abs().max() < 0.03  # interpolated twice


def test_scaling_compares_only_what_both_branches_see():
    method = build("tcse", iterations=STEPS, scaling=0.1)
    method.student.forward = lambda images: NetworkOutput(logits=torch.zeros_like(images))
    losses = method.train().training_step(make_batch(method), 99, "train")
    assert losses["consistency"].item() == pytest.approx(0, abs=1e-10)  # 0.5 everywhere but for zeros from outside
    method = build("tcse", iterations=STEPS, scaling=0.1)
    losses = method.train().training_step(make_batch(method), 99, "train")
    losses["consistency"].backward()
    assert losses["consistency"].item() > 0


@pytest.mark.parametrize(("branch", "both"), [("pi", True), ("ema", False)])
def test_consistency_alone_has_a_gradient(branch, both):
    method = build("tcse", iterations=STEPS, second_branch=branch)
    losses = method.train().training_step(make_batch(method), 99, "train")
    losses["consistency"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.student.parameters())
    if not both:
        assert all(p.grad is None for p in method.teacher.parameters())
