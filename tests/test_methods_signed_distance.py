"""Signed distance maps against distances measured voxel by voxel, and the way back to a mask."""

import itertools
import os

import numpy as np
import pytest
import torch
from scipy import ndimage

from methods.shared.signed_distance import (
    SignedDistanceMaps,
    active_fraction,
    distance_loss,
    distance_to_mask,
    signed_distance_map,
)


def naive_boundary(mask):
    """Foreground voxels with a background voxel among their six neighbours inside the patch."""
    boundary = np.zeros(mask.shape, bool)
    for voxel in np.argwhere(mask):
        for axis, step in itertools.product(range(3), (-1, 1)):
            neighbour = voxel.copy()
            neighbour[axis] += step
            if (neighbour >= 0).all() and (neighbour < mask.shape).all() and not mask[tuple(neighbour)]:
                boundary[tuple(voxel)] = True
    return boundary


def naive_map(mask):
    """The spec's map, with each distance the smallest over all voxels of the other kind."""
    inside, outside = np.zeros(mask.shape), np.zeros(mask.shape)
    foreground, background = np.argwhere(mask), np.argwhere(~mask)
    for voxel in foreground:
        inside[tuple(voxel)] = np.sqrt(((background - voxel) ** 2).sum(1)).min()
    for voxel in background:
        outside[tuple(voxel)] = np.sqrt(((foreground - voxel) ** 2).sum(1)).min()
    result = outside / outside.max() - inside / inside.max()
    result[naive_boundary(mask)] = 0
    return result


def test_maps_are_those_of_the_feature_transform_to_the_last_bit():
    rng = np.random.default_rng(0)
    for _ in range(200):
        mask = rng.random(rng.integers(1, 14, 3)) < rng.choice([0.02, 0.2, 0.5, 0.9, 0.98])
        if mask.any() and not mask.all():
            inside, outside = ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)
            expected = outside / outside.max() - inside / inside.max()
            expected[inside == 1] = 0
            assert np.array_equal(signed_distance_map(mask), expected.astype(np.float32))


@pytest.mark.parametrize("shape", [(300, 4, 3), (3, 2, 300)])
def test_distances_of_long_patches_do_not_overflow(shape):
    mask = np.zeros(shape, bool)
    mask[0, 0, 0] = True
    distance = signed_distance_map(mask)
    far = np.sqrt(sum((n - 1) ** 2 for n in shape))
    assert distance[-1, -1, -1] == 1 and distance[0, 0, 1] == np.float32(1 / far)


def ball(size=(24, 28, 20), centre=(0.4, 0.5, 0.5), radius=8):
    grid = np.stack(np.meshgrid(*(np.arange(n) - c * n for n, c in zip(size, centre, strict=True)), indexing="ij"))
    return np.sqrt((grid**2).sum(0)) < radius


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("seed", range(4))
def test_small_masks_have_the_distances_measured_by_hand(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((6, 5, 7)) < (0.15, 0.4, 0.7, 0.9)[seed]
    mask[2:5, 1:4, 2:6] = True  # so that there is an inside in the first ones too
    np.testing.assert_allclose(signed_distance_map(mask), naive_map(mask), atol=1e-6)


def test_a_target_that_leaves_the_patch_has_no_boundary_there():
    mask = np.zeros((5, 5, 5), bool)
    mask[:3] = True
    distance = signed_distance_map(mask)
    np.testing.assert_allclose(distance[:, 2, 2], [-1, -2 / 3, 0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_signs_range_and_type(dtype):
    mask = ball()
    distance = signed_distance_map(mask.astype(dtype))
    boundary = naive_boundary(mask)
    assert distance.dtype == np.float32 and distance.shape == mask.shape
    assert (distance[mask & ~boundary] < 0).all() and (distance[~mask] > 0).all() and not distance[boundary].any()
    assert distance.min() == -1 and distance.max() == 1


def test_a_single_voxel_is_all_boundary():
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 2, 1] = True
    distance = signed_distance_map(mask)
    assert distance[1, 2, 1] == 0 and (distance[~mask] > 0).all() and np.isfinite(distance).all()


def test_empty_and_full_patches_map_back_to_themselves():
    shape = (4, 5, 6)
    empty, full = signed_distance_map(np.zeros(shape, bool)), signed_distance_map(np.ones(shape, bool))
    assert (empty == 1).all() and (full == -1).all() and empty.dtype == full.dtype == np.float32
    assert (distance_to_mask(torch.from_numpy(empty)) == 0).all() and (
        distance_to_mask(torch.from_numpy(full)) == 1
    ).all()


def test_the_input_is_left_as_it_is():
    mask = ball().astype(np.uint8)
    before = mask.copy()
    signed_distance_map(mask)
    assert np.array_equal(mask, before)


def test_the_way_back_loses_the_boundary_under_the_strict_rule_and_nothing_below_zero_or_at_it():
    mask = ball()
    distance = torch.from_numpy(signed_distance_map(mask))
    probability = distance_to_mask(distance).numpy()
    assert (probability[naive_boundary(mask)] == 0.5).all()
    assert np.array_equal(probability > 0.5, mask & ~naive_boundary(mask))
    assert 0.7 < dice(probability > 0.5, mask) < 0.95
    assert dice((distance <= 0).numpy(), mask) == 1


def test_a_shift_of_half_the_first_outside_step_gives_the_boundary_back():
    mask = ball()
    distance = torch.from_numpy(signed_distance_map(mask))
    first = distance[distance > 0].min().item()
    assert np.array_equal((distance_to_mask(distance, first / 2) > 0.5).numpy(), mask)


def test_the_inverse_transform_is_the_released_one():
    z = torch.tensor([-1.0, -0.003, -0.001, 0.0, 0.0005, 0.002, 1.0])
    expected = np.exp(-np.logaddexp(0, 1500 * z.double().numpy()))  # 1 / (1 + exp(1500 z)), without overflow
    np.testing.assert_allclose(distance_to_mask(z).numpy(), expected, rtol=1e-4, atol=1e-30)
    expected = np.exp(-np.logaddexp(0, 1500 * (z.double().numpy() - 0.0075)))
    np.testing.assert_allclose(distance_to_mask(z, 0.0075).numpy(), expected, rtol=1e-3, atol=1e-30)


def test_distance_losses_are_the_formulas():
    generator = torch.Generator().manual_seed(0)
    z, g = torch.randn(2, 1, 3, 4, 5, generator=generator), torch.randn(2, 1, 3, 4, 5, generator=generator)
    differences = (z - g).flatten().tolist()
    assert distance_loss(z, g, "l2").item() == pytest.approx(sum(d * d for d in differences) / 120, rel=1e-5)
    assert distance_loss(z, g, "l1").item() == pytest.approx(sum(abs(d) for d in differences) / 120, rel=1e-5)


def test_the_active_fraction_counts_voxels_that_still_learn():
    z = torch.tensor([0.0, 0.0046, -0.0046, 0.0047, -0.5, 1.0, 0.001, -0.9]).requires_grad_()
    fraction = active_fraction(z)
    assert fraction.item() == 4 / 8 and not fraction.requires_grad


@pytest.mark.parametrize("classes", [1, 2])
def test_the_view_has_a_map_for_each_labelled_patch_and_class(classes):
    labels = np.random.default_rng(0).integers(0, classes + 1, (3, 6, 5, 4)).astype(np.uint8)
    arrays = {"labels": labels, "labelled_images": None, "unlabelled_images": None}
    maps = SignedDistanceMaps(classes)(arrays, np.random.default_rng(0))
    assert maps.shape == (3, classes, 6, 5, 4) and maps.dtype == np.float32
    for patch, c in itertools.product(range(3), range(classes)):
        np.testing.assert_allclose(maps[patch, c], naive_map(labels[patch] == c + 1), atol=1e-6)


def test_a_class_that_a_patch_lacks_is_far_everywhere():
    labels = np.zeros((1, 4, 4, 4), np.uint8)
    labels[0, 1:3] = 1
    maps = SignedDistanceMaps(2)({"labels": labels}, np.random.default_rng(0))
    assert (maps[0, 1] == 1).all() and maps[0, 0].min() < 0.1


def test_real_patches_lose_about_five_dice_points():
    root = os.environ.get("SEMISEG_LA")
    if not root:
        pytest.skip("SEMISEG_LA is not set to a folder of the LA data set")
    from data.sources import LASettings, open_source

    source = open_source(LASettings(source="la", root=root, split={"train": "train.list", "test": "test.list"}))
    rng = np.random.default_rng(0)
    strict, lenient = [], []
    for case_id in source.train_ids[:6]:
        label = source.read(case_id).label == 1
        start = [int(rng.integers(n - p + 1)) for n, p in zip(label.shape, (112, 112, 80), strict=True)]
        mask = label[tuple(slice(s, s + p) for s, p in zip(start, (112, 112, 80), strict=True))]
        distance = torch.from_numpy(signed_distance_map(mask))
        strict.append(dice((distance_to_mask(distance) > 0.5).numpy(), mask))
        lenient.append(dice((distance <= 0).numpy(), mask))
    assert np.mean(strict) == pytest.approx(0.95, abs=0.02)
    assert lenient == [1] * 6
