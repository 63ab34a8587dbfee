"""Sigmoid and softmax heads against torch's own functions and numbers worked out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, Categorical, kl_divergence

from methods.shared.probabilities import Sigmoid, Softmax


def logits(channels, size=(4, 5), seed=0):
    return 2 * torch.randn(3, channels, *size, generator=torch.Generator().manual_seed(seed))


def by_last(tensor):
    return tensor.movedim(1, -1)


@pytest.mark.parametrize("size", [(4, 5), (4, 5, 3)])
def test_softmax_maps_are_those_of_torch(size):
    head, values, other = Softmax(2), logits(3, size), logits(3, size, seed=1)
    p, q = Categorical(logits=by_last(values)), Categorical(logits=by_last(other))
    probabilities = head.probabilities(values)
    torch.testing.assert_close(by_last(probabilities), p.probs)
    torch.testing.assert_close(head.entropy(probabilities)[:, 0], p.entropy(), atol=1e-4, rtol=1e-4)
    divergence = head.divergence(probabilities, head.probabilities(other))[:, 0]
    torch.testing.assert_close(divergence, kl_divergence(p, q), atol=1e-3, rtol=1e-3)
    labels = torch.randint(0, 3, (3, *size), generator=torch.Generator().manual_seed(2))
    found = head.cross_entropy(values, head.targets(labels))
    torch.testing.assert_close(found[:, 0], F.cross_entropy(values, labels, reduction="none"))
    torch.testing.assert_close(head.hard(values).argmax(1), values.argmax(1))
    torch.testing.assert_close(head.confidence(probabilities)[:, 0], p.probs.amax(-1))


def test_sigmoid_maps_are_those_of_torch():
    head, values, other = Sigmoid(2), logits(2), logits(2, seed=1)
    p, q = Bernoulli(logits=values), Bernoulli(logits=other)
    probabilities = head.probabilities(values)
    torch.testing.assert_close(head.entropy(probabilities), p.entropy(), atol=1e-4, rtol=1e-4)
    divergence = head.divergence(probabilities, head.probabilities(other))
    torch.testing.assert_close(divergence, kl_divergence(p, q), atol=1e-3, rtol=1e-3)
    assert head.hard(values).equal((values > 0).float())


@pytest.mark.parametrize(("head", "channels"), [(Sigmoid(3), 3), (Softmax(3), 4)])
def test_what_every_head_holds_to(head, channels):
    values = logits(channels)
    probabilities = head.probabilities(values)
    assert head.channels == channels and head.predict(values).shape[1] == 3
    torch.testing.assert_close(head.predict(values), head.foreground(probabilities))
    assert head.entropy(probabilities).max() <= head.max_entropy + 1e-5
    assert head.entropy(probabilities).shape[1] == head.maps
    labels = torch.tensor([0, 1, 2, 3]).view(1, 2, 2)
    targets = head.targets(labels)
    foreground = head.foreground(targets)
    assert foreground.sum() == 3 and targets.equal(head.with_background(foreground))
    sharp = head.sharpen(probabilities, 0.1)
    assert sharp.shape == probabilities.shape
    assert head.entropy(sharp).mean() < head.entropy(probabilities).mean()
    torch.testing.assert_close(head.sharpen(probabilities, 1.0), probabilities)
    assert head.harden(probabilities).equal(head.hard(values))


@pytest.mark.parametrize(("head", "channels"), [(Sigmoid(2), 2), (Softmax(2), 3)])
def test_disagreement_and_agreement_of_two_predictions(head, channels):
    values, other = logits(channels), logits(channels, seed=1)
    differ = head.disagreement(head.hard(values), head.hard(other))
    p, q = head.probabilities(values), head.probabilities(other)
    agreement = head.agreement(p, q)
    if channels == 2:
        assert differ.equal(((values > 0) != (other > 0)).float())
        expected = torch.stack([p, 1 - p]), torch.stack([q, 1 - q])
        torch.testing.assert_close(agreement, (expected[0] * expected[1]).sum(0))
    else:
        assert differ[:, 0].equal((values.argmax(1) != other.argmax(1)).float())
        torch.testing.assert_close(agreement[:, 0], torch.einsum("bkxy,bkxy->bxy", p, q))
    assert 0 < differ.mean() < 1 and differ.shape[1] == agreement.shape[1] == head.maps


def test_one_sigmoid_channel_is_the_softmax_of_background_and_class():
    values = logits(1)
    both = torch.cat([torch.zeros_like(values), values], 1)
    labels = torch.randint(0, 2, (3, 4, 5), generator=torch.Generator().manual_seed(2))
    one, two = Sigmoid(1), Softmax(1)
    torch.testing.assert_close(one.predict(values), two.predict(both))
    torch.testing.assert_close(
        one.cross_entropy(values, one.targets(labels)), two.cross_entropy(both, two.targets(labels))
    )
    torch.testing.assert_close(
        one.sharpen(one.probabilities(values), 0.1), two.sharpen(two.probabilities(both), 0.1)[:, 1:]
    )


def test_the_supervised_softmax_loss_by_hand():
    head, values = Softmax(1), torch.tensor([[0.0, 1.0], [2.0, -1.0]]).view(1, 2, 1, 2)
    labels = torch.tensor([1, 0]).view(1, 1, 2)
    p = [math.exp(2) / (1 + math.exp(2)), math.exp(-1) / (math.exp(1) + math.exp(-1))]  # of the class, by voxel
    cross_entropy = -(math.log(p[0]) + math.log(1 - p[1])) / 2
    of_class = 1 - 2 * p[0] / (p[0] ** 2 + p[1] ** 2 + 1)
    of_background = 1 - 2 * (1 - p[1]) / ((1 - p[0]) ** 2 + (1 - p[1]) ** 2 + 1)
    expected = 0.5 * (cross_entropy + (of_class + of_background) / 2)
    assert head.segmentation_loss(values, labels).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("head", "values", "labels", "sure"), [
    (Sigmoid(2), [[0.2, 0.4], [0.9, 0.6], [0.1, 0.7]], [0, 1, 2], [0.6, 0.9, 0.7]),
    (Softmax(2), [[0.5, 0.2, 0.3], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]], [0, 1, 2], [0.5, 0.6, 0.4]),
])  # fmt: skip
def test_the_most_likely_label(head, values, labels, sure):
    probabilities = torch.tensor(values).T[None]  # three voxels
    found, label = head.most_likely(probabilities)
    assert label.tolist() == [labels]
    torch.testing.assert_close(found, torch.tensor([sure]))
    one_hot = head.targets(torch.tensor([[0, 1, 2, 2]]))
    assert head.most_likely(one_hot)[1].tolist() == [[0, 1, 2, 2]]


def test_squared_distances_of_one_class_are_those_of_two_channels():
    p, q = torch.tensor([[[0.2, 0.9]]]), torch.tensor([[[0.5, 0.8]]])
    both = Softmax(1).squared_distance(torch.cat([1 - p, p], 1), torch.cat([1 - q, q], 1))
    torch.testing.assert_close(both, Sigmoid(1).squared_distance(p, q))
    torch.testing.assert_close(both, torch.tensor([[[0.18, 0.02]]]))
