"""BCP without mixing: whole patches instead of regions, with the same weights."""

import numpy as np
import pytest
from helpers.second_writing import FixedNetwork, as_numpy, random_logits, sigmoid, slopes
from helpers.tiny_methods import build, make_batch

from methods.bcp import largest_components

SIZE = (16, 16, 16)


def loss_of_patches(z, y):
    """Half cross-entropy, half Dice of each patch, their mean."""
    p = sigmoid(z)
    entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    dice = [(2 * (a * b).sum() + 1e-5) / ((a + b).sum() + 1e-5) for a, b in zip(p, y, strict=True)]
    return 0.5 * (entropy + 1 - np.mean(dice))


@pytest.mark.parametrize("weight", [0.5, 0.2])
def test_labelled_and_unlabelled_patches_are_trained_whole(weight):
    method = build("bcp_no_mixing", iterations=100, unlabelled_weight=weight).train()
    method.student = FixedNetwork(random_logits(4, 1, *SIZE, seed=1))
    method.teacher = FixedNetwork(random_logits(2, 1, *SIZE, seed=2))
    batch = make_batch(method, size=SIZE)
    losses = method.training_step(batch, 50, "train")
    assert method.student.seen[0].equal(batch.images)
    pseudo = largest_components(method.teacher.logits[0] > 0)
    labels, pseudo = as_numpy(batch.labels, pseudo[:, 0])

    def loss(z):
        return 2 * loss_of_patches(z[:2, 0], labels) + 2 * weight * loss_of_patches(z[2:, 0], pseudo)

    assert losses["total"].item() == pytest.approx(loss(*as_numpy(method.student.logits[0])), rel=1e-5)
    exact, expected = slopes(losses["total"], [method.student.logits[0]], loss)
    assert exact == pytest.approx(expected, rel=1e-3)


def test_the_first_stage_is_supervised():
    method = build("bcp_no_mixing", iterations=170).train()
    assert method.pretraining_steps == 20
    method.student = FixedNetwork(random_logits(2, 1, *SIZE, seed=1))
    method.teacher = FixedNetwork(random_logits(2, 1, *SIZE, seed=2))
    batch = make_batch(method, size=SIZE)
    losses = method.training_step(batch, 19, "train")
    assert method.student.seen[0] is batch.labelled_images and not method.teacher.seen
    z, labels = as_numpy(method.student.logits[0], batch.labels)
    assert losses["total"].item() == pytest.approx(loss_of_patches(z[:, 0], labels), rel=1e-5)


def test_it_takes_batches_that_cannot_be_paired():
    method = build("bcp_no_mixing")
    assert method.patches(method.settings, 6) == (3, 3)
