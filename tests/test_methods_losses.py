"""Losses against the formulas written out, voxel by voxel where that matters."""

import itertools
import math

import pytest
import torch
from helpers.tiny_methods import naive_cross_entropy, naive_dice, naive_dice_of_classes

from methods.shared.losses import MAX_ENTROPY, binary_entropy, dice_loss, one_hot
from methods.shared.probabilities import Sigmoid


@pytest.fixture(params=[1, 2], ids=["C=1", "C=2"])
def classes(request):
    return request.param


@pytest.fixture
def logits(classes):
    return 2 * torch.randn(3, classes, 4, 5, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels(classes):
    return torch.randint(0, classes + 1, (3, 4, 5, 6), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def test_one_hot_has_a_channel_for_each_foreground_class(labels, classes):
    coded = one_hot(labels, classes)
    assert coded.shape == (3, classes, 4, 5, 6) and coded.dtype == torch.float32
    for b, x, y, z in itertools.product(range(3), range(4), range(5), range(6)):
        assert coded[b, :, x, y, z].tolist() == [float(labels[b, x, y, z] == c + 1) for c in range(classes)]


def test_dice_is_the_formula_summed_by_hand(logits, labels, classes):
    expected = []
    for c in range(classes):
        overlap = squares = 0.0
        for b, x, y, z in itertools.product(range(3), range(4), range(5), range(6)):
            p = 1 / (1 + math.exp(-logits[b, c, x, y, z].item()))
            truth = float(labels[b, x, y, z] == c + 1)
            overlap += p * truth
            squares += p * p + truth * truth
        expected.append(1 - (2 * overlap + 1e-5) / (squares + 1e-5))
    loss = dice_loss(logits.sigmoid(), one_hot(labels, classes))
    assert loss.item() == pytest.approx(sum(expected) / classes, rel=1e-5)


def test_dice_is_of_the_batch_and_not_a_mean_over_its_patches():
    p = torch.tensor([0.9, 0.2]).view(2, 1, 1, 1, 1).expand(2, 1, 2, 2, 2)
    y = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1, 1).expand(2, 1, 2, 2, 2)
    assert dice_loss(p, y).item() == pytest.approx(naive_dice(p, y).item(), rel=1e-6)
    a_patch_at_a_time = (naive_dice(p[:1], y[:1]) + naive_dice(p[1:], y[1:])).item() / 2
    assert abs(dice_loss(p, y).item() - a_patch_at_a_time) > 0.3


def test_dice_of_classes_is_averaged_after_the_division():
    # The second class is rare: pooling both into one fraction would hardly notice that it is missed.
    y = torch.zeros(1, 2, 4, 4, 4)
    y[:, 0, :3] = 1
    y[:, 1, 3, 0, 0] = 1
    p = y.clone()
    p[:, 1] = 0
    assert dice_loss(p, y).item() == pytest.approx(0.5, abs=1e-4)


def test_dice_of_an_empty_class_that_is_predicted_empty_is_no_loss():
    empty = torch.zeros(2, 1, 3, 3, 3)
    assert dice_loss(empty, empty).item() == 0


def test_the_supervised_loss_is_half_the_sum_of_cross_entropy_and_dice(logits, labels):
    logits64 = logits.double()
    p = 1 / (1 + torch.exp(-logits64))
    expected = 0.5 * (naive_cross_entropy(logits64, labels) + naive_dice_of_classes(p, labels))
    assert Sigmoid(logits.shape[1]).segmentation_loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_one_sigmoid_channel_is_the_two_channel_softmax_loss_of_the_releases():
    s = torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 2, (2, 4, 4, 4), generator=torch.Generator().manual_seed(1))
    two = torch.cat([torch.zeros_like(s), s], 1)
    softmax = torch.exp(two) / torch.exp(two).sum(1, keepdim=True)
    chosen = softmax.gather(1, y.unsqueeze(1))
    expected = 0.5 * (-torch.log(chosen).mean() + naive_dice(softmax[:, 1], (y == 1).float()))
    assert Sigmoid(s.shape[1]).segmentation_loss(s, y).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_supervised_loss_stands_extreme_logits():
    logits = torch.tensor([1e4, -1e4]).view(1, 1, 1, 1, 2).requires_grad_()
    loss = Sigmoid(logits.shape[1]).segmentation_loss(logits, torch.tensor([0, 1]).view(1, 1, 1, 2))
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_entropy_is_in_nats_and_largest_at_one_half():
    p = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    expected = [-(q * math.log(q + 1e-6) + (1 - q) * math.log(1 - q + 1e-6)) for q in (0.0, 0.1, 0.5, 0.9, 1.0)]
    assert binary_entropy(p).tolist() == pytest.approx(expected, abs=2e-6)
    assert pytest.approx(math.log(2)) == MAX_ENTROPY
    assert binary_entropy(torch.tensor(0.5)).item() == pytest.approx(MAX_ENTROPY, abs=1e-5)
    assert binary_entropy(torch.linspace(0, 1, 101)).argmax() == 50
