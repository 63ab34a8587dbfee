"""Grids are aligned by extent, in both directions."""

import numpy as np
import pytest

from data.resample import grid_shape, resample, resample_label


def centres(n):
    """The voxel centres of n voxels that span 0..1."""
    return (np.arange(n) + 0.5) / n


def ramp(shape):
    x, y, z = np.meshgrid(*map(centres, shape), indexing="ij")
    return (3 * x - 2 * y + z).astype(np.float32)


@pytest.mark.parametrize(
    ("old", "new"),
    [((20, 16, 12), (10, 8, 6)), ((10, 8, 6), (20, 16, 12)), ((21, 16, 9), (11, 23, 5)), ((7, 6, 5), (7, 6, 5))],
)
def test_a_ramp_stays_the_ramp_at_the_voxel_centres(old, new):
    result = resample(ramp(old), new)
    assert result.shape == new and result.dtype == np.float32
    # Beyond the centres of the old grid's outermost voxels the volume is constant, as documented.
    clamped = [np.clip(centres(n), 0.5 / o, 1 - 0.5 / o) for n, o in zip(new, old, strict=True)]
    x, y, z = np.meshgrid(*clamped, indexing="ij")
    np.testing.assert_allclose(result, 3 * x - 2 * y + z, atol=1e-5)


def test_halving_averages_and_does_not_shift():
    volume = np.random.default_rng(0).random((8, 6, 4), dtype=np.float32)
    means = volume.reshape(4, 2, 3, 2, 2, 2).mean((1, 3, 5))
    np.testing.assert_allclose(resample(volume, (4, 3, 2)), means, atol=1e-6)


@pytest.mark.parametrize("factor", [3, 4, 5, 8])
def test_a_much_coarser_grid_misses_nothing(factor):
    volume = np.zeros((factor * 12, 4, 4), np.float32)
    volume[::factor] = 1  # planes that interpolation alone would see or miss as a whole, by where they lie
    result = resample(volume, (12, 4, 4))
    np.testing.assert_allclose(result, 1 / factor, rtol=1e-5)
    steps = np.random.default_rng(0).random((4, 12, 3), dtype=np.float32)
    np.testing.assert_allclose(resample(steps.repeat(factor, axis=1), steps.shape), steps, rtol=1e-5)


def test_voxels_on_a_border_count_by_their_share():
    volume = np.arange(7, dtype=np.float32).reshape(1, 7, 1)  # 0 1 2|3 4 5|6 halves of 3.5
    half = resample(volume, (1, 2, 1)).ravel()
    np.testing.assert_allclose(half, [(0 + 1 + 2 + 3 / 2) / 3.5, (3 / 2 + 4 + 5 + 6) / 3.5], rtol=1e-6)


def test_a_label_survives_there_and_back():
    grid = np.indices((48, 40, 32)) - np.reshape((25, 19, 15), (3, 1, 1, 1))
    label = ((grid**2).sum(0) < 14**2).astype(np.uint8)
    back = resample(resample(label.astype(np.float32), (24, 20, 16)), label.shape) > 0.5
    assert 2 * (back & (label > 0)).sum() / (back.sum() + label.sum()) > 0.97
    np.testing.assert_allclose(np.argwhere(back).mean(0), (25, 19, 15), atol=0.1)


def test_labels_are_resampled_class_by_class():
    label = np.zeros((16, 8, 8), np.uint8)
    label[4:10] = 1
    label[10:] = 3
    half = resample_label(label, (8, 4, 4), classes=3)
    assert half.dtype == np.uint8
    assert half[:, 0, 0].tolist() == [0, 0, 1, 1, 1, 3, 3, 3]  # interpolated numbers would give a 2


def test_a_tie_is_background():
    label = np.array([0, 1, 1, 1], np.uint8).reshape(4, 1, 1)
    assert resample_label(label, (2, 1, 1), classes=1).ravel().tolist() == [0, 1]


def test_grid_shape_rounds():
    assert grid_shape((183, 140, 88), (0.625,) * 3, (1.25,) * 3) == (round(91.5), 70, 44)
    assert grid_shape((64, 64, 40), (1.25,) * 3, (0.625,) * 3) == (128, 128, 80)
    assert grid_shape((2, 2, 2), (1.0, 1.0, 1.0), (10, 10, 10)) == (1, 1, 1)
    assert grid_shape((10, 10, 10), (1.0, 2.0, 3.0), (2.0, 2.0, 1.0)) == (5, 10, 30)
