"""Overlap, volume and surface metrics of a case. Those that medpy has are equal to `medpy.metric.binary`.

All surface metrics follow from one nearest-neighbour query in each direction between the two sets of surface voxels.
medpy computes two distance transforms of the whole volume for each metric.
"""

import math

import numpy as np
from scipy.spatial import cKDTree

from data.masks import bounding_box, largest_component

Row = dict[str, int | float | str]
SLACK = 1e-6  # part of a tolerance: voxel sizes are often single-precision numbers


def case_metrics(
    prediction: np.ndarray,
    reference: np.ndarray,
    classes: int,
    spacing: tuple[float, ...],
    empty: str,
    nsd_tolerance: float,
) -> list[Row]:
    """All metrics of one case, class by class.

    dice, jaccard and nsd are fractions; volume_error is signed and in per cent. asd is directed from prediction to
    reference, as in the papers; assd, hd95 and hd95_max are symmetric. Distances are in voxels and in mm. "predicted"
    and "reference" count the voxels of the two masks.

    If exactly one of the two masks is empty, dice, jaccard and nsd are 0 and `empty` decides the distances. If both are
    empty, all scores are undefined and NaN.

    Args:
        prediction: label map (H, W, D), 0 for background and 1..C.
        reference: the true label map, of the same shape.
        classes: the number C of foreground classes.
        spacing: mm of a voxel along each axis.
        empty: distances if one mask is empty: "worst" for the diagonal of the image, "exclude" for NaN.
        nsd_tolerance: of nsd, in mm.

    Returns:
        Rows with "class", "metric", "unit" ("voxel", "mm", "percent" or "" for none) and "value".

    Source:
        Definitions of `medpy.metric.binary`, which the UA-MT release uses (`test_util.py`). nsd, hd95_max and
        volume_error: see `surface_distances` and `volume_error`.

    Example:
        >>> reference = np.zeros((8, 8, 8), np.uint8)
        >>> reference[2:6, 2:6, 2:6] = 1
        >>> prediction = np.roll(reference, 1, axis=0)
        >>> rows = case_metrics(prediction, reference, 1, (2.0, 2.0, 2.0), empty="worst", nsd_tolerance=1.0)
        >>> for row in rows:
        ...     if row["metric"] in ("dice", "hd95", "nsd"):
        ...         print(row["metric"], row["unit"], round(row["value"], 2))
        dice  0.75
        nsd  0.64
        hd95 voxel 1.0
        hd95 mm 2.0
    """
    rows: list[Row] = []
    cubes = len(set(spacing)) == 1  # then distances in mm are those in voxels times one number
    for value in range(1, classes + 1):
        p, r = prediction == value, reference == value
        predicted, true = int(np.count_nonzero(p)), int(np.count_nonzero(r))
        scores = {("predicted", "voxel"): float(predicted), ("reference", "voxel"): float(true)} | overlap(p, r)
        scores["volume_error", "percent"] = volume_error(predicted, true)
        voxels = surface_distances(p, r, (1.0,) * p.ndim, empty, nsd_tolerance / spacing[0] if cubes else None)
        mm = None if cubes else surface_distances(p, r, spacing, empty, nsd_tolerance)
        scores["nsd", ""] = (mm or voxels).pop("nsd")
        for unit, distances in (("voxel", voxels), ("mm", mm or {name: d * spacing[0] for name, d in voxels.items()})):
            scores |= {(name, unit): d for name, d in distances.items()}
        rows += [{"class": value, "metric": m, "unit": u, "value": v} for (m, u), v in scores.items()]
    return rows


def overlap(prediction: np.ndarray, reference: np.ndarray) -> dict[tuple[str, str], float]:
    """Dice and Jaccard of two masks.

    Args:
        prediction: boolean, of any shape.
        reference: boolean, of the same shape.

    Returns:
        Both as fractions, by (metric, unit). They are NaN if both masks are empty.

    Example:
        >>> scores = overlap(np.array([True, True, False]), np.array([True, False, False]))
        >>> float(scores["jaccard", ""])
        0.5
    """
    common = np.count_nonzero(prediction & reference)
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    if total == 0:
        return {("dice", ""): np.nan, ("jaccard", ""): np.nan}
    return {("dice", ""): 2 * common / total, ("jaccard", ""): common / (total - common)}


def volume_error(predicted: int, reference: int) -> float:
    """By how much a predicted volume is too large, in per cent of the true one; negative where it is too small.

    Args:
        predicted: voxels of the prediction.
        reference: voxels of the reference.

    Returns:
        100 (predicted - reference) / reference; -100 for an empty prediction. NaN for an empty reference.

    Source:
        Relative volume difference of Heimann et al. (2009), IEEE Transactions on Medical Imaging 28, with its sign.

    Example:
        >>> volume_error(predicted=150, reference=200)
        -25.0
    """
    return 100 * (predicted - reference) / reference if reference else math.nan


def surface_distances(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: tuple[float, ...],
    empty: str,
    nsd_tolerance: float | None = None,
) -> dict[str, float]:
    """Average and 95th-percentile distances between the surfaces of two masks, and how much of them is close.

    Args:
        prediction: boolean, of any number of dimensions.
        reference: boolean, of the same shape.
        spacing: the size of a voxel along each axis, in any unit.
        empty: distances if exactly one mask is empty: "worst" for the diagonal of the image, "exclude" for NaN.
        nsd_tolerance: distance up to which surfaces count as equal, in the unit of `spacing`. None: no nsd.

    Returns:
        In the unit of `spacing`: "asd", the mean distance from the prediction's surface to the reference's; "assd", the
        mean of the distances in both directions; "hd95", their 95th percentile, of both directions together as medpy
        has it; "hd95_max", the larger of the two directions' 95th percentiles. A far blob of few voxels raises hd95_max
        where it is more than 5 % of one surface, and hd95 only where it is more than 5 % of both together.
        With a tolerance "nsd", normalised surface Dice: the share of the surface voxels of both masks that lie within
        the tolerance of the other surface. It is 0 if exactly one mask is empty. All are NaN if both masks are empty.

    Source:
        asd, assd, hd95: `medpy.metric.binary`. hd95_max: `compute_robust_hausdorff` of DeepMind's surface-distance and
        MONAI's `compute_hausdorff_distance`. nsd: Nikolov et al. (2021), Journal of Medical Internet Research 23,
        e26151. Each surface voxel counts as 1, as in MONAI; surface-distance weights them by their area.

    Example:
        >>> reference = np.zeros((9, 1, 1), bool)
        >>> reference[2:5] = True
        >>> surface_distances(np.roll(reference, 1), reference, spacing=(0.5, 1.0, 1.0), empty="worst")["hd95"]
        0.5
    """
    has_prediction, has_reference = prediction.any(), reference.any()
    if not (has_prediction and has_reference):
        nothing = not (has_prediction or has_reference)
        undefined = empty == "exclude" or nothing
        distance = np.nan if undefined else float(np.linalg.norm(np.multiply(prediction.shape, spacing)))
        scores = dict.fromkeys(("asd", "hd95", "assd", "hd95_max"), distance)
        return scores if nsd_tolerance is None else scores | {"nsd": np.nan if nothing else 0.0}
    surface_p, surface_r = (surface_points(mask) * np.asarray(spacing) for mask in (prediction, reference))
    to_reference = _tree(surface_r).query(surface_p)[0]
    to_prediction = _tree(surface_p).query(surface_r)[0]
    both_directions = np.concatenate([to_reference, to_prediction])
    scores = {
        "asd": float(to_reference.mean()),
        "hd95": float(np.percentile(both_directions, 95)),
        "assd": float(both_directions.mean()),
        "hd95_max": float(max(np.percentile(to_reference, 95), np.percentile(to_prediction, 95))),
    }
    if nsd_tolerance is not None:
        close = np.count_nonzero(both_directions <= nsd_tolerance * (1 + SLACK))
        scores["nsd"] = float(close / len(both_directions))
    return scores


def _tree(points: np.ndarray) -> cKDTree:
    """A tree split at midpoints: for points of a surface it is as good as one split at medians, and built faster."""
    return cKDTree(points, leafsize=32, balanced_tree=False)


def surface_points(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask with a background voxel among their face neighbours. Beyond the array is background.

    Args:
        mask: boolean, of any number of dimensions, with at least one true voxel.

    Returns:
        Indices (N, ndim), in memory order.

    Example:
        >>> surface_points(np.ones((3, 3), bool)).tolist()
        [[0, 0], [0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1], [2, 2]]
    """
    box = bounding_box(mask)
    inside = mask[box]
    padded = np.pad(inside, 1)
    core = (slice(1, -1),) * mask.ndim
    interior = inside.copy()
    for axis in range(mask.ndim):
        for neighbour in (slice(None, -2), slice(2, None)):
            interior &= padded[(*core[:axis], neighbour, *core[axis + 1 :])]
    surface = np.flatnonzero(inside & ~interior)  # np.argwhere is ten times slower in three dimensions
    return np.stack(np.unravel_index(surface, inside.shape), 1) + [axis.start for axis in box]


def largest_components(labels: np.ndarray, classes: int) -> np.ndarray:
    """Keep the largest 26-connected component of each class and remove all others.

    Args:
        labels: label map (H, W, D), 0 for background and 1..C.
        classes: the number C of foreground classes.

    Returns:
        A new label map.

    Example:
        >>> largest_components(np.array([1, 0, 1, 1, 0, 2]).reshape(6, 1, 1), classes=2).ravel().tolist()
        [0, 0, 1, 1, 0, 2]
    """
    kept = np.zeros_like(labels)
    for value in range(1, classes + 1):
        kept[largest_component(labels == value)] = value
    return kept
