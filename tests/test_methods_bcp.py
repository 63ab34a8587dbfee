"""BCP: what it pastes where, the loss of each region, and its two stages."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_methods import build, make_batch

from methods.bcp import largest_components

SIZE = (32, 24, 18)


def step_on_constants(step, seed):
    """A step on images of which each has one value: (losses, batch, what the student saw and gave, the teacher gave).

    The values, in the order labelled a, b and unlabelled c, d, are 1, 2, 3, 4.
    """
    method, seen = build("bcp", iterations=100).train(), []
    batch = make_batch(method, size=SIZE)
    values = torch.arange(1.0, 5.0).view(4, 1, 1, 1, 1).expand(4, 1, *SIZE)
    batch = dataclasses.replace(batch, labelled_images=values[:2], unlabelled_images=values[2:])
    method.student.register_forward_hook(lambda network, inputs, output: seen.append((inputs[0], output.logits)))
    method.teacher.register_forward_hook(lambda network, inputs, output: seen.append(output.logits))
    torch.manual_seed(seed)
    losses = method.training_step(batch, step, "train")
    [(mixes, logits)] = [entry for entry in seen if isinstance(entry, tuple)]  # two patches for its batch norm
    return losses, batch, mixes, logits, [entry for entry in seen if not isinstance(entry, tuple)]


@pytest.mark.parametrize(("step", "outside", "inside"), [(0, (1, 2), (2, 1)), (50, (1, 4), (3, 2))])
def test_it_pastes_a_cuboid_of_two_thirds_at_a_random_place_in_both_directions(step, outside, inside):
    corners = set()
    for seed in range(5):
        mixes = step_on_constants(step, seed)[2]
        cuboid = mixes[0, 0] == inside[0]
        where = cuboid.nonzero()
        corner, sides = where[0], where[-1] - where[0] + 1
        assert sides.tolist() == [21, 16, 12] and len(where) == 21 * 16 * 12
        for mix, out, within in zip(mixes, outside, inside, strict=True):
            assert torch.equal(mix[0], torch.where(cuboid, float(within), float(out)))
        corners.add(tuple(corner.tolist()))
    assert len(corners) > 2


def region_loss(logits, targets, region):
    """Half cross-entropy, half Dice, of the voxels of the region alone."""
    z, y = logits[region], targets[region].float()
    p = z.sigmoid()
    dice = 1 - (2 * (p * y).sum() + 1e-5) / ((p + y).sum() + 1e-5)
    return 0.5 * (F.binary_cross_entropy_with_logits(z, y) + dice)


def test_each_region_has_the_loss_of_what_was_pasted_there():
    losses, batch, mixes, (inwards, outwards), [teacher] = step_on_constants(50, seed=0)
    outer = mixes[0] == 1
    pseudo = largest_components(teacher >= 0)
    (first, second), (pseudo_first, pseudo_second) = batch.labels[:, None], pseudo
    labelled = region_loss(inwards, first, outer) + region_loss(outwards, second, ~outer)
    unlabelled = region_loss(inwards, pseudo_first, ~outer) + region_loss(outwards, pseudo_second, outer)
    assert losses["labelled"].item() == pytest.approx(labelled.item(), rel=1e-4)
    assert losses["unlabelled"].item() == pytest.approx(unlabelled.item(), rel=1e-4)
    assert losses["total"].item() == pytest.approx((labelled + 0.5 * unlabelled).item(), rel=1e-4)


def test_it_learns_at_the_protocols_rates_unless_told_otherwise():
    method = build("bcp", iterations=170)
    assert [method.learning_rate_factor(step) for step in (0, 70, 71, 169)] == pytest.approx([1, 1, 0.1, 0.01])


def test_two_stages_learning_rate_and_teacher():
    method = build("bcp", iterations=170, learning_rate="release")
    assert method.pretraining_steps == 20
    assert [method.learning_rate_factor(step) for step in (0, 19, 20, 44)] == [1, 1, 1, 1]
    assert method.learning_rate_factor(45) == pytest.approx(0.1) and method.learning_rate_factor(169) == pytest.approx(
        1e-5
    )
    with torch.no_grad():
        for p in method.student.parameters():
            p.add_(1)
    method.after_step(19)
    assert all(torch.equal(a, b) for a, b in zip(method.teacher.parameters(), method.student.parameters(), strict=True))
    with torch.no_grad():
        next(method.student.parameters()).add_(1)
    before = next(method.teacher.parameters()).clone()
    method.after_step(20)
    assert torch.allclose(next(method.teacher.parameters()), before + 0.01, atol=1e-6)


def test_pseudo_labels_are_largest_components():
    masks = torch.zeros(1, 2, 5, 5, 5, dtype=torch.bool)
    masks[0, 0, 0, 0, 0] = masks[0, 0, 1, 1, 1] = masks[0, 0, 4, 4, 4] = True
    kept = largest_components(masks)
    assert kept[0, 0].nonzero().tolist() == [[0, 0, 0], [1, 1, 1]] and kept[0, 1].sum() == 0
