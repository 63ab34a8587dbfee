"""FixMatch: what is mixed, which voxels count, and its loss written again in numpy."""

import numpy as np
import pytest
import torch
from helpers.tiny_methods import build, make_batch
from helpers.watched import (
    confidence,
    dice,
    dice_of_channels,
    hot,
    sigmoid,
    slopes,
    softmax,
    some_places,
    supervised,
    watch,
)

from methods import fixmatch
from methods.shared.registry import MethodError, get

SIZE = (32, 16, 16)


def half_boxes(images, probability=0.5):
    """A box over the first half of the first image, none in the others."""
    assert probability == 0.5
    boxes = torch.zeros(len(images), 1, *images.shape[2:])
    boxes[0, :, : images.shape[2] // 2] = 1
    return boxes


def prepared(name, monkeypatch, size=SIZE, **settings):
    """A method with sure and unsure voxels, whose strong view adds 1, and whose boxes are known."""
    monkeypatch.setattr(fixmatch, "random_boxes", half_boxes)
    method = build(name, **settings).train()
    method.strong_view = lambda images: images + 1
    with torch.no_grad():
        method.network.segmentation[0].weight.mul_(8)
    return method, make_batch(method, size=size)


def mixed(values):
    """Half of the first patch is that of the second."""
    values = values.copy()
    values[0, :, : SIZE[0] // 2] = values[1, :, : SIZE[0] // 2]
    return values


@pytest.mark.parametrize("step", [0, 3000, 5999])
def test_its_loss_and_slopes_at_any_step(step, monkeypatch):
    method, batch = prepared("fixmatch", monkeypatch, threshold=0.7)
    passes = watch(method.network)
    losses = method.training_step(batch, step, "train")
    losses["total"].backward()

    weak, strong = passes
    assert torch.equal(weak.images, batch.images)
    views = batch.unlabelled_images.numpy() + 1
    np.testing.assert_allclose(strong.images.numpy(), mixed(views), atol=1e-6)
    z, y = weak.values(), (batch.labels[:, None] == 1).double().numpy()
    targets, sure = mixed((z[2:] > 0) * 1.0), mixed(confidence(z[2:])) >= 0.7
    assert 0.05 < sure.mean() < 0.95

    def total(z_weak, z_strong):
        return 0.5 * (supervised(z_weak[:2], y) + dice(sigmoid(z_strong), targets, sure))

    assert losses["trusted"].item() == pytest.approx(sure.mean(), abs=1e-4)
    assert losses["total"].item() == pytest.approx(total(z, strong.values()), rel=1e-4)
    places = some_places((2, 1, *SIZE))
    of_strong = slopes(lambda values: total(z, values), strong.values(), places)
    of_labelled = slopes(lambda values: total(values, strong.values()), z, places)
    assert [strong.gradient()[p] for p in places] == pytest.approx(of_strong, rel=1e-2, abs=1e-9)
    assert [weak.gradient()[p] for p in places] == pytest.approx(of_labelled, rel=1e-2, abs=1e-9)
    assert not weak.gradient()[2:].any()  # pseudo-labels have no gradient


def test_nothing_is_learned_from_unsure_voxels(monkeypatch):
    method, batch = prepared("fixmatch", monkeypatch, threshold=1.0)
    losses = method.training_step(batch, 0, "train")
    assert losses["trusted"].item() < 0.5 and losses["consistency"].isfinite()
    with torch.no_grad():
        method.network.segmentation[0].weight.zero_()
    assert method.training_step(batch, 0, "train")["consistency"].item() == 0


def test_a_softmax_on_slices_has_the_released_pseudo_labels_and_the_mean_dice_of_all_channels(monkeypatch):
    method, batch = prepared(
        "fixmatch", monkeypatch, threshold=0.5, classes=2, dimensions=2, head="softmax", size=(32, 16)
    )
    passes = watch(method.network)
    losses = method.training_step(batch, 0, "train")
    weak, strong = passes

    p = softmax(weak.values()[2:])
    labels, sure = p.argmax(1), p.max(1)
    labels[0, :16], sure[0, :16] = labels[1, :16], sure[1, :16]  # the box of the first patch
    assert set(np.unique(labels)) == {0, 1, 2} and 0.05 < (sure >= 0.5).mean() < 0.95
    expected = dice_of_channels(softmax(strong.values()), hot(labels, 3), sure >= 0.5)
    assert losses["consistency"].item() == pytest.approx(expected, rel=1e-4)
    assert losses["trusted"].item() == pytest.approx((sure >= 0.5).mean(), abs=1e-4)


@pytest.mark.parametrize("name", ["fixmatch", "unimatch", "cross_match", "ad_mt"])
def test_methods_that_mix_need_two_unlabelled_patches(name):
    method = get(name)
    assert method.patches(method.Settings(), 4) == (2, 2)
    with pytest.raises(MethodError, match=f"batch_size 2: {method.info.title} mixes .* must be 4 or more"):
        method.patches(method.Settings(), 2)
