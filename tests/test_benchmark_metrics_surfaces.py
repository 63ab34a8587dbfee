"""Directed 95HD, normalised surface Dice and volume error, recomputed from scipy's distance transforms."""

import numpy as np
import pytest
from scipy import ndimage

from benchmark.trial.metrics import case_metrics, surface_distances, volume_error

SPACINGS = [(1.0, 1.0, 1.0), (0.625, 0.625, 0.625), (0.7, 1.9, 3.1)]
TOLERANCES = [0.5, 1.0, 2.0, 6.0]


def box(low, high, shape=(14, 12, 10)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def blobs(seed, shape=(15, 12, 9)):
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) > 0.05


def surface(mask):
    return mask & ~ndimage.binary_erosion(mask)


def directed(first, second, spacing):
    """Distances from every surface voxel of `first` to the surface of `second`, by a transform of the volume."""
    return ndimage.distance_transform_edt(~surface(second), sampling=spacing)[surface(first)]


def expected(prediction, reference, spacing, tolerance):
    there, back = directed(prediction, reference, spacing), directed(reference, prediction, spacing)
    close = (there <= tolerance + 1e-5).sum() + (back <= tolerance + 1e-5).sum()
    return {
        "hd95_max": max(np.percentile(there, 95), np.percentile(back, 95)),
        "nsd": close / (len(there) + len(back)),
    }


def assert_as_recomputed(prediction, reference, spacing):
    for tolerance in TOLERANCES:
        found = surface_distances(prediction, reference, spacing, "worst", tolerance)
        wanted = expected(prediction, reference, spacing, tolerance)
        assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(5))
def test_random_blobs(seed, spacing):
    assert_as_recomputed(blobs(seed), blobs(100 + seed), spacing)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        (box((0, 0, 0), (14, 12, 10)), box((2, 3, 4), (7, 7, 9))),
        (box((0, 0, 0), (1, 1, 1)), box((13, 11, 9), (14, 12, 10))),
        (box((1, 1, 1), (9, 9, 9)) & ~box((3, 3, 3), (7, 7, 7)), box((1, 1, 1), (9, 9, 9))),
        (box((2, 2, 5), (8, 8, 6)), box((2, 2, 0), (8, 8, 1))),
    ],
    ids=["everything", "single voxels", "cavity", "sheets"],
)
def test_special_shapes(prediction, reference, spacing):
    assert_as_recomputed(prediction, reference, spacing)
    assert_as_recomputed(reference, prediction, spacing)


def test_a_far_blob_counts_in_the_directed_percentile_before_the_pooled_one():
    shape = (40, 30, 30)
    truth = box((2, 2, 2), (22, 22, 22), shape)
    blob = box((36, 26, 22), (39, 29, 30), shape)
    found = surface_distances(truth | blob, truth, (1.0, 1.0, 1.0), "worst", 1.0)
    share = surface(blob).sum() / surface(truth | blob).sum()
    assert 0.025 < share < 0.05 and found["hd95"] == found["hd95_max"] == 0, "the blob is below 5 % of its surface"
    more = truth | blob | box((36, 26, 2), (39, 29, 10), shape)
    found = surface_distances(more, truth, (1.0, 1.0, 1.0), "worst", 1.0)
    share = surface(more & ~truth).sum() / surface(more).sum()
    assert 0.05 < share < 0.1 and found["hd95"] == 0 and found["hd95_max"] > 10
    swapped = surface_distances(truth, more, (1.0, 1.0, 1.0), "worst", 1.0)
    assert swapped["hd95_max"] == found["hd95_max"], "the larger of two directions has no direction"


@pytest.mark.parametrize("size", [0.1, 0.3, float(np.float32(0.3))])
def test_a_distance_of_the_tolerance_itself_is_within(size):
    tolerance = round(3 * size, 6)
    truth = box((2, 2, 2), (8, 8, 3))
    rows = case_metrics(
        np.roll(truth, 3, axis=2).astype(np.uint8), truth.astype(np.uint8), 1, (size,) * 3, "worst", tolerance
    )
    assert {row["value"] for row in rows if row["metric"] == "nsd"} == {1.0}


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.0, 2.0, 3.0)])
def test_the_tolerance_is_in_mm_whatever_the_voxels(spacing):
    prediction, truth = blobs(1), blobs(101)
    for tolerance in TOLERANCES:
        rows = case_metrics(
            prediction.astype(np.uint8), truth.astype(np.uint8), 1, spacing, "worst", nsd_tolerance=tolerance
        )
        found = {(row["metric"], row["unit"]): row["value"] for row in rows}
        assert found["nsd", ""] == pytest.approx(expected(prediction, truth, spacing, tolerance)["nsd"])
        assert found["hd95_max", "mm"] == pytest.approx(expected(prediction, truth, spacing, tolerance)["hd95_max"])
        in_voxels = expected(prediction, truth, (1.0, 1.0, 1.0), tolerance)
        assert found["hd95_max", "voxel"] == pytest.approx(in_voxels["hd95_max"])


def test_volume_errors_are_those_of_simpleitk():
    SimpleITK = pytest.importorskip("SimpleITK")
    for seed in range(4):
        prediction, truth = blobs(seed), blobs(100 + seed)
        images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (prediction, truth)]
        filter_ = SimpleITK.LabelOverlapMeasuresImageFilter()
        filter_.Execute(*images)
        predicted, true = int(prediction.sum()), int(truth.sum())
        # theirs is 2 (first - second) / (first + second)
        similarity = filter_.GetVolumeSimilarity()
        theirs = 100 * ((2 + similarity) / (2 - similarity) - 1)
        assert volume_error(predicted, true) == pytest.approx(theirs) == pytest.approx(100 * (predicted / true - 1))


@pytest.mark.parametrize("empty", ["worst", "exclude"])
def test_masks_without_a_voxel(empty):
    nothing, something = np.zeros((6, 8, 10), np.uint8), box((1, 2, 3), (4, 4, 4), (6, 8, 10)).astype(np.uint8)

    def scores(prediction, truth):
        rows = case_metrics(prediction, truth, 1, (1.0, 1.0, 2.0), empty, 2.0)
        return {(row["metric"], row["unit"]): row["value"] for row in rows}

    missed, invented, absent = scores(nothing, something), scores(something, nothing), scores(nothing, nothing)
    assert missed["nsd", ""] == invented["nsd", ""] == 0
    assert missed["volume_error", "percent"] == -100
    assert np.isnan(invented["volume_error", "percent"])
    diagonal = np.linalg.norm([6, 8, 20]) if empty == "worst" else np.nan
    for found in (missed, invented):
        assert found["hd95_max", "mm"] == pytest.approx(diagonal, nan_ok=True)
    assert {name for name, value in absent.items() if value == value} == {
        ("predicted", "voxel"),
        ("reference", "voxel"),
    }
