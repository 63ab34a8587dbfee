"""Metrics of a case: equal to medpy's, and sensible where medpy raises."""

import itertools
import math

import numpy as np
import pytest
from medpy.metric import binary
from scipy import ndimage

from benchmark.trial.metrics import case_metrics, largest_components, overlap, surface_distances

ISOTROPIC = (1.0, 1.0, 1.0)
DISTANCES = ("asd", "hd95", "assd", "hd95_max")


def blobs(seed, shape=(15, 12, 9)):
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) > 0.05


def box(low, high, shape=(10, 10, 10)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def voxel(*index, shape=(10, 10, 10)):
    return box(index, [i + 1 for i in index], shape)


def assert_as_medpy(prediction, reference, spacing):
    ours = surface_distances(prediction, reference, spacing, "worst")
    for name in ("asd", "hd95"):
        theirs = getattr(binary, name)(prediction, reference, voxelspacing=spacing)
        assert ours[name] == pytest.approx(theirs, abs=1e-6, rel=0)
    ours = overlap(prediction, reference)
    assert ours[("dice", "")] == pytest.approx(binary.dc(prediction, reference), abs=1e-6, rel=0)
    assert ours[("jaccard", "")] == pytest.approx(binary.jc(prediction, reference), abs=1e-6, rel=0)


@pytest.mark.parametrize("spacing", [ISOTROPIC, (0.625, 0.625, 0.625), (0.7, 1.9, 3.1)])
@pytest.mark.parametrize("seed", range(5))
def test_random_blobs_score_as_with_medpy(seed, spacing):
    prediction, reference = blobs(seed), blobs(100 + seed)
    assert prediction[0].any() and prediction[:, :, -1].any(), "these blobs should touch the border"
    assert_as_medpy(prediction, reference, spacing)


def test_assd_is_that_of_medpy():
    for spacing in (ISOTROPIC, (0.7, 1.9, 3.1)):
        ours = surface_distances(blobs(0), blobs(100), spacing, "worst")["assd"]
        assert ours == pytest.approx(binary.assd(blobs(0), blobs(100), voxelspacing=spacing), abs=1e-6, rel=0)


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        (box((0, 0, 0), (10, 10, 10)), box((2, 3, 4), (7, 7, 9))),  # all of the volume: its surface is the border
        (box((0, 0, 0), (4, 5, 6)), box((6, 5, 4), (10, 10, 10))),  # in opposite corners
        (voxel(0, 0, 0), voxel(9, 9, 9)),
        (voxel(4, 5, 6), box((1, 1, 1), (9, 9, 9))),
        (box((1, 1, 1), (9, 9, 9)) & ~box((3, 3, 3), (7, 7, 7)), box((1, 1, 1), (9, 9, 9))),  # a cavity has a surface
        (box((2, 2, 5), (8, 8, 6)), box((2, 2, 0), (8, 8, 1))),  # sheets one voxel thick
    ],
    ids=["everything", "corners", "single voxels", "voxel in box", "cavity", "sheets"],
)
@pytest.mark.parametrize("spacing", [ISOTROPIC, (0.5, 1.5, 2.5)])
def test_special_shapes_score_as_with_medpy(prediction, reference, spacing):
    assert_as_medpy(prediction, reference, spacing)
    assert_as_medpy(reference, prediction, spacing)


@pytest.mark.parametrize("mask", [blobs(3), voxel(0, 9, 4), box((0, 0, 0), (10, 10, 10))])
def test_a_perfect_prediction(mask):
    assert surface_distances(mask, mask, (0.7, 1.9, 3.1), "worst") == dict.fromkeys(DISTANCES, 0)
    assert overlap(mask, mask) == {("dice", ""): 1, ("jaccard", ""): 1}


def test_asd_is_directed_from_the_prediction_to_the_reference():
    # It hardly sees what is missing, but all of what is too much: why assd stands beside it.
    body = box((4, 4, 2), (20, 20, 18), (24, 24, 30))
    finger = box((10, 10, 18), (14, 14, 26), (24, 24, 30))
    missed = surface_distances(body, body | finger, ISOTROPIC, "worst")
    spurious = surface_distances(body | finger, body, ISOTROPIC, "worst")
    assert missed["asd"] < 0.02 and spurious["asd"] > 0.2
    assert missed["assd"] == pytest.approx(spurious["assd"]) and missed["asd"] < missed["assd"] < spurious["asd"]
    assert missed["hd95"] == spurious["hd95"]


@pytest.mark.parametrize("spacing", [ISOTROPIC, (0.5, 1.0, 2.0)])
def test_one_empty_mask_is_at_the_image_diagonal_or_left_out(spacing):
    nothing, something = np.zeros((6, 8, 10), bool), voxel(1, 2, 3, shape=(6, 8, 10))
    diagonal = math.sqrt(sum((n * s) ** 2 for n, s in zip((6, 8, 10), spacing, strict=True)))
    for prediction, reference in ((nothing, something), (something, nothing)):
        worst = surface_distances(prediction, reference, spacing, "worst")
        assert worst == pytest.approx(dict.fromkeys(DISTANCES, diagonal))
        assert all(np.isnan(d) for d in surface_distances(prediction, reference, spacing, "exclude").values())
        assert overlap(prediction, reference) == {("dice", ""): 0, ("jaccard", ""): 0}


@pytest.mark.parametrize("empty", ["worst", "exclude"])
def test_where_both_are_empty_nothing_is_defined(empty):
    nothing = np.zeros((4, 5, 6), bool)
    assert all(np.isnan(d) for d in surface_distances(nothing, nothing, ISOTROPIC, empty).values())
    assert all(np.isnan(d) for d in overlap(nothing, nothing).values())


def test_rows_of_a_case_with_several_classes():
    spacing = (0.5, 1.0, 2.0)
    prediction, reference = np.zeros((2, 15, 12, 9), np.uint8)
    for value, seed in ((1, 0), (2, 1)):
        prediction[blobs(seed)], reference[blobs(10 + seed)] = value, value
    reference[0, 0, 0] = 3  # a class that the prediction misses
    rows = case_metrics(prediction, reference, 3, spacing, "worst", 2.0)
    found = {(row["class"], row["metric"], row["unit"]): row["value"] for row in rows}
    names = [("predicted", "voxel"), ("reference", "voxel"), ("dice", ""), ("jaccard", "")]
    names += [("nsd", ""), ("volume_error", "percent")]
    names += [(name, unit) for unit in ("voxel", "mm") for name in DISTANCES]
    assert len(rows) == len(found) and set(found) == {(c, *name) for c in (1, 2, 3) for name in names}
    for value in (1, 2):
        p, r = prediction == value, reference == value
        expected = {("dice", ""): binary.dc(p, r), ("jaccard", ""): binary.jc(p, r)}
        expected |= {("predicted", "voxel"): p.sum(), ("reference", "voxel"): r.sum()}
        for unit, size in (("voxel", ISOTROPIC), ("mm", spacing)):
            expected |= {(m, unit): getattr(binary, m)(p, r, voxelspacing=size) for m in ("asd", "hd95")}
        assert {name: found[(value, *name)] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert found[(3, "dice", "")] == 0 and found[(3, "predicted", "voxel")] == 0
    assert found[(3, "hd95", "voxel")] == pytest.approx(np.linalg.norm([15, 12, 9]))
    assert found[(3, "hd95", "mm")] == pytest.approx(np.linalg.norm([7.5, 12, 18]))


def flood_filled(mask):
    """The components of a mask, as sets of voxels that touch by a face, an edge or a corner."""
    left = set(map(tuple, np.argwhere(mask)))
    while left:
        component, front = set(), [left.pop()]
        while front:
            centre = front.pop()
            component.add(centre)
            for step in itertools.product((-1, 0, 1), repeat=3):
                neighbour = tuple(c + s for c, s in zip(centre, step, strict=True))
                if neighbour in left:
                    left.remove(neighbour)
                    front.append(neighbour)
        yield component


@pytest.mark.parametrize("seed", range(4))
def test_the_largest_components_is_that_of_a_flood_fill(seed):
    mask = np.random.default_rng(seed).random((9, 8, 7)) < 0.06  # sparse: many components
    components = sorted(flood_filled(mask), key=len)
    assert len(components) > 3
    kept = set(map(tuple, np.argwhere(largest_components(mask.astype(np.uint8), 1))))
    assert kept in components and len(kept) == len(components[-1])


def test_voxels_that_touch_by_a_corner_are_one_component():
    labels = (voxel(1, 1, 1) | voxel(2, 2, 2) | voxel(3, 3, 3) | box((6, 6, 6), (7, 7, 8))).astype(np.uint8)
    assert np.array_equal(np.argwhere(largest_components(labels, 1)), [(1, 1, 1), (2, 2, 2), (3, 3, 3)])


def test_each_class_keeps_its_own_component():
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    labels[4:6, 1:4, 1:4] = 2  # touches class 1, and is the larger piece of its own
    labels[8, 8, 8], labels[8, 1, 8] = 1, 2
    kept = largest_components(labels, 2)
    assert kept.dtype == np.uint8
    assert np.array_equal(kept == 1, (labels == 1) & ~voxel(8, 8, 8))
    assert np.array_equal(kept == 2, (labels == 2) & ~voxel(8, 1, 8))


def test_of_nothing_the_largest_components_is_nothing():
    assert not largest_components(np.zeros((4, 5, 6), np.uint8), 2).any()
