"""SS-Net: its adversarial step, its memory, and its losses written again in numpy, with all pairs of voxels."""

import math

import numpy as np
import pytest
import torch
from helpers.tiny_methods import build, make_batch, no_dropout
from helpers.watched import sigmoid, slopes, softmax, some_places, watch

from methods.shared.networks.layers import frozen_statistics

SIZE = (16, 16, 16)


def array(tensor):
    return tensor.detach().double().numpy()


def linear(layer, x):
    return x @ array(layer.weight).T + array(layer.bias)


def normed(x, weight, bias, mean=None, variance=None):
    mean, variance = (x.mean(0), x.var(0)) if mean is None else (mean, variance)
    return (x - mean) / np.sqrt(variance + 1e-5) * array(weight) + array(bias)


def perceptron(layers, x, running=False):
    first, norm, _, last = layers
    kept = (array(norm.running_mean), array(norm.running_var)) if running else (None, None)
    return linear(last, np.maximum(normed(linear(first, x), norm.weight, norm.bias, *kept), 0))


def scores(selector, x):
    hidden = normed(linear(selector.first, x), selector.weight, selector.bias)
    return sigmoid(linear(selector.last, np.where(hidden > 0, hidden, 0.2 * hidden)))[:, 0]


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def class_loss(method, queries, memory, c=0):
    """The release's: every voxel against every entry, with weights whose means are 1."""
    if len(queries) < 2 or len(memory) < 2:
        return 0
    distances = 1 - unit(queries) @ unit(memory).T
    of_queries, of_memory = scores(method.selectors[c], queries), scores(method.memory_selectors[c], unit(memory))
    weights = np.outer(of_queries / of_queries.mean(), of_memory / of_memory.mean())
    return (weights * distances).mean()


def prepared(**settings):
    """A method that calls half of all voxels foreground."""
    method = no_dropout(build("ss_net", **settings)).train()
    batch, head = make_batch(method, size=SIZE), method.network.segmentation[0]
    with torch.no_grad(), frozen_statistics(method.network):
        head.weight.mul_(8)
        head.bias.sub_(method.network(batch.images).logits.median())
    return method, batch


@pytest.mark.parametrize(("step", "ramp"), [(0, math.exp(-5)), (3000, math.exp(-1.25)), (6000, 1.0)])
@pytest.mark.parametrize("order", ["lowest", "highest"])
def test_its_losses_and_slopes(step, ramp, order):
    method, batch = prepared(memory=order)
    passes = watch(method.network)
    with torch.no_grad():
        features = method.network(batch.images, features=True).features[-1]
    passes.clear()
    projected = perceptron(method.projection, array(features[:2].movedim(1, -1).flatten(0, -2)), running=True)
    losses = method.training_step(batch, step, "train")
    losses["total"].backward()
    clean, target, probe, moved = passes

    voxels = array(features.movedim(1, -1).flatten(1, -2))
    labels, z = (batch.labels == 1).numpy().reshape(2, -1), clean.values()
    hard = (z > 0).reshape(4, -1)
    correct = (labels & hard[:2]).ravel()
    assert 32 < correct.sum() < labels.sum()
    candidates = projected[correct]
    rank = np.argsort(scores(method.selectors[0], candidates))
    memory = candidates[rank[:32] if order == "lowest" else rank[-32:]]
    stored = array(method.memory[0])
    assert np.sort(stored.sum(1)) == pytest.approx(np.sort(memory.sum(1)), rel=1e-3, abs=1e-4)

    of_labelled, of_unlabelled = (
        perceptron(method.prediction, perceptron(method.projection, part.reshape(-1, part.shape[-1])))
        for part in (voxels[:2], voxels[2:])
    )
    contrast = class_loss(method, of_labelled[labels.ravel()], memory)
    contrast = (contrast + class_loss(method, of_unlabelled[hard[2:].ravel()], memory)) / 2
    assert losses["contrast"].item() == pytest.approx(contrast, rel=1e-3)

    q = sigmoid(target.values())

    def smoothness(values):
        """The release's Dice of both softmax channels together, with a plain denominator."""
        p, t = np.concatenate([sigmoid(values), sigmoid(-values)]), np.concatenate([q, 1 - q])
        return 1 - (2 * (p * t).sum() + 1e-8) / (p.sum() + t.sum() + 1e-8)

    def supervised(values):
        p, y = sigmoid(values[:2]).ravel(), labels.ravel()
        return 1 - (2 * (p * y).sum() + 1e-8) / (p.sum() + y.sum() + 1e-8)

    assert losses["smoothness"].item() == pytest.approx(smoothness(moved.values()), rel=1e-4)
    total = supervised(z) + ramp * (smoothness(moved.values()) + 0.1 * contrast)
    assert losses["total"].item() == pytest.approx(total, rel=1e-4)
    places = some_places((4, 1, *SIZE))
    found = [ramp * slope for slope in slopes(smoothness, moved.values(), places)]
    assert [moved.gradient()[p] for p in places] == pytest.approx(found, rel=1e-2, abs=1e-9)
    assert [clean.gradient()[p] for p in places] == pytest.approx(slopes(supervised, z, places), rel=1e-2, abs=1e-9)


def test_a_softmax_on_slices_has_the_released_smoothness_and_a_memory_for_each_class():
    method = no_dropout(build("ss_net", classes=2, dimensions=2, head="softmax")).train()
    batch = make_batch(method, size=(48, 32))
    with torch.no_grad(), frozen_statistics(method.network):
        method.network.segmentation[0].weight.mul_(8)
        features = method.network(batch.images, features=True).features[-1]
    voxels = array(features.movedim(1, -1).flatten(1, -2))
    projected = perceptron(method.projection, voxels[:2].reshape(-1, voxels.shape[-1]), running=True)
    passes = watch(method.network)
    losses = method.training_step(batch, 0, "train")
    clean, target, probe, moved = passes

    p, q = softmax(moved.values()), softmax(target.values())
    released = 1 - (2 * (p * q).sum() + 1e-8) / (p.sum() + q.sum() + 1e-8)
    assert losses["smoothness"].item() == pytest.approx(released, rel=1e-3)

    labels, hard = batch.labels.numpy().ravel(), clean.values().argmax(1)
    of_labelled, of_unlabelled = (
        perceptron(method.prediction, perceptron(method.projection, part.reshape(-1, part.shape[-1])))
        for part in (voxels[:2], voxels[2:])
    )
    contrast = 0
    for c in (0, 1):
        candidates = projected[(labels == c + 1) & (hard[:2].ravel() == c + 1)]
        assert len(candidates) > 1
        memory = candidates[np.argsort(scores(method.selectors[c], candidates))[:32]]
        assert method.filled[c].sum() == len(memory)
        contrast += class_loss(method, of_labelled[labels == c + 1], memory, c)
        contrast += class_loss(method, of_unlabelled[hard[2:].ravel() == c + 1], memory, c)
    assert losses["contrast"].item() == pytest.approx(contrast / 3, rel=1e-3)


def test_the_step_has_its_length_and_goes_where_the_release_goes():
    method, batch = prepared()
    method.eval()  # so that the direction can be computed again
    images, passes = batch.images, watch(method.network)
    method._smoothness(images)
    target, probe, moved = passes
    steps = [(x.images.detach() - images).flatten(1) for x in (probe, moved)]
    for step in steps:
        torch.testing.assert_close(step.norm(dim=1), torch.full((4,), 10.0))
    given = probe.images.detach().requires_grad_()
    p, q = method.network(given).logits.sigmoid(), target.logits.sigmoid()
    p, q = torch.stack([p, 1 - p]), torch.stack([q, 1 - q])
    (1 - (2 * (p * q).sum() + 1e-8) / (p.sum() + q.sum() + 1e-8)).backward()
    torch.testing.assert_close(
        torch.cosine_similarity(given.grad.flatten(1), steps[1]), torch.ones(4), atol=1e-3, rtol=0
    )


def test_batch_norm_learns_nothing_from_moved_images_and_parameters_get_no_gradient():
    method, batch = prepared()
    method._smoothness(batch.images)
    counted = [m.num_batches_tracked.item() for m in method.network.modules() if hasattr(m, "num_batches_tracked")]
    assert set(counted) == {1} and all(p.grad is None for p in method.parameters())


def test_the_memory_stays_where_nothing_is_right():
    method, batch = prepared()
    method.training_step(batch, 0, "train")
    memory, filled = method.memory.clone(), method.filled.clone()
    assert filled.all()
    with torch.no_grad():
        method.network.segmentation[0].bias.fill_(-100)
    losses = method.training_step(batch, 0, "train")
    assert torch.equal(method.memory, memory) and torch.equal(method.filled, filled)
    assert losses["contrast"].isfinite()


def test_the_released_rate_falls_after_each_sixth():
    method = build("ss_net", iterations=600, learning_rate="release")
    assert [method.learning_rate_factor(step) for step in (0, 99, 100, 599)] == pytest.approx([1, 1, 0.1, 1e-5])
