"""Settings that the data suggest: voxel size, normalisation, patch and stride, by the rules of nnU-Net's planner.

Source: Isensee et al., Nature Methods 2021; nnU-Net v2, `experiment_planners/default_experiment_planner.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.records.protocol import LARGEST_PATCH, SMALLEST_PATCH, Training
from data.cache import Dataset
from data.folder import FolderSettings
from data.progress import follow
from data.resample import grid_shape
from data.sources import DataSettings, open_source
from data.voxel_size import differ

ANISOTROPIC = 3  # times that an axis has larger voxels, and fewer of them, than the others
MULTIPLE = 16  # of a patch's sides: the V-Net halves four times
FEWEST = SMALLEST_PATCH // 2  # voxels along an axis: a patch may be twice as long as the largest case
START = 256  # voxels along each side of the first patch, if voxels are cubes
SAMPLED_CASES, SAMPLED_VOXELS = 20, 100_000  # whose intensities are looked at; of each case
AIR = -500  # Hounsfield units: scans with values below are taken for CT
MEDIAN = "median voxel size"
CLIPPED = (0.5, 99.5)  # percentiles of the labelled voxels, the window of CT

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Suggestion:
    """One key of an experiment file: its block, its value as YAML, and why."""

    block: str
    key: str
    value: str
    reason: str


def suggest(dataset: Dataset, settings: DataSettings) -> list[Suggestion]:
    """What an experiment file could say for these cases.

    Args:
        dataset: the cases on their own grids.
        settings: by which they were read.
    """
    cases = [dataset.native(case_id) for case_id in dataset.train_ids]
    sizes, shapes = [case.spacing for case in cases], [case.shape for case in cases]
    tests = [dataset.native(case_id).spacing for case_id in dataset.test_ids]
    spacing, reason = target_spacing(sizes, shapes)
    if reason == MEDIAN and not differ([*sizes, *tests]):
        found = [Suggestion("data", "spacing", "null", "all cases have voxels of one size: no resampling")]
    else:
        found = [Suggestion("data", "spacing", _listed(spacing), reason)]
    if isinstance(settings, FolderSettings):
        found.append(Suggestion("data", "normalise", *_normalisation(dataset, settings)))
    resampled = [grid_shape(shape, mm, spacing) for shape, mm in zip(shapes, sizes, strict=True)]
    median = tuple(round(side) for side in np.median(resampled, axis=0))
    patch, reason = patch_size(median, spacing)
    stride = [side // 2 for side in patch]
    found.append(Suggestion("training", "patch", _listed(patch), reason))
    found.append(
        Suggestion(
            "evaluation", "stride", _listed(stride), "half the patch, as in nnU-Net; smaller strides take longer"
        )
    )
    return found


def target_spacing(spacings: Sequence[Triple], shapes: Sequence[tuple[int, ...]]) -> tuple[Triple, str]:
    """The voxel size to train at: the median of each axis.

    One axis may have voxels three times larger than the others, and three times fewer. It gets the 10th percentile of
    its sizes, but no smaller voxels than the other axes have.

    Args:
        spacings: mm of a voxel of each case, along each axis.
        shapes: voxels of each case.

    Returns:
        mm along each axis, and the reason.

    Example:
        >>> target_spacing([(1, 1, 5), (1, 1, 8), (1, 1, 10)], [(200, 200, 20)] * 3)
        ((1.0, 1.0, 5.6), 'median voxel size; 10th percentile along axis 3, which is anisotropic')
    """
    sizes, median = np.array(spacings, float), np.median(spacings, axis=0)
    target, reason = median.copy(), MEDIAN
    worst = int(median.argmax())
    others = [axis for axis in range(3) if axis != worst]
    voxels = np.median(shapes, axis=0)
    if median[worst] > ANISOTROPIC * median[others].max() and voxels[worst] * ANISOTROPIC < voxels[others].min():
        target[worst] = max(np.percentile(sizes[:, worst], 10), median[others].max())
        reason += f"; 10th percentile along axis {worst + 1}, which is anisotropic"
    for axis, voxels_after in enumerate(voxels * median / target):
        if voxels_after < FEWEST:
            target[axis] = math.floor(1000 * target[axis] * voxels_after / FEWEST) / 1000
            reason += f"; smaller along axis {axis + 1}, to have the {FEWEST} voxels that a patch needs"
    return tuple(round(float(mm), 4) for mm in target), reason


def patch_size(median: tuple[int, ...], spacing: Triple) -> tuple[tuple[int, ...], str]:
    """A patch for cases of this size: multiples of 16, and no more voxels than the published patch has.

    As nnU-Net does: it begins with a cube in mm and cuts it to the median case. Then the side that covers most of the
    case shrinks until the patch is small enough.

    Args:
        median: voxels of the median case, at `spacing`.
        spacing: mm of a voxel along each axis.

    Returns:
        Voxels along each axis, and the reason.

    Example:
        >>> patch_size((48, 48, 32), (1.1, 1.1, 2.3))[0], patch_size((512, 512, 100), (0.8, 0.8, 2.5))[0]
        ((48, 48, 32), (176, 176, 32))
    """
    published = Training().patch
    most = math.prod(published)
    sides = START * np.prod(spacing) ** (1 / 3) / np.array(spacing)
    patch = [_multiple(min(side, n)) for side, n in zip(sides, median, strict=True)]
    case = f"the median case, {' x '.join(map(str, median))} voxels"
    reason = f"about as large as {case}" if math.prod(patch) <= most else (
        f"no more voxels than the published {' x '.join(map(str, published))}, in the proportions of {case}"
    )  # fmt: skip
    while math.prod(patch) > most:
        covers = [side / n if side > MULTIPLE else 0 for side, n in zip(patch, median, strict=True)]
        patch[int(np.argmax(covers))] -= MULTIPLE
    return tuple(patch), f"{reason}; multiples of {MULTIPLE} for the V-Net"


def _multiple(voxels: float) -> int:
    return min(max(math.floor(voxels / MULTIPLE + 0.5), 1) * MULTIPLE, LARGEST_PATCH)


def _normalisation(dataset: Dataset, settings: FolderSettings) -> tuple[str, str]:
    """`data.normalise` with its reason, from intensities as the files have them. Several channels make a list."""
    source = open_source(settings.model_copy(update={"normalise": "none"}))
    ids = dataset.with_label or dataset.train_ids
    chosen = [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, min(SAMPLED_CASES, len(ids))).astype(int))]
    lowest, highest, foreground = [], [], []
    for case_id in follow(chosen, "reading intensities"):
        case = source.read(case_id)
        image = case.image.reshape(*case.shape, source.channels)
        lowest.append(image.min((0, 1, 2)))
        highest.append(image.max((0, 1, 2)))
        if case.label is not None:
            voxels = image[case.label > 0]
            foreground.append(voxels[:: max(1, len(voxels) // SAMPLED_VOXELS)])
    inside = np.concatenate(foreground) if foreground else np.zeros((0, source.channels))
    found = [
        _of_channel(name, lows, highs, voxels, len(chosen))
        for name, lows, highs, voxels in zip(
            source.channel_names, np.transpose(lowest), np.transpose(highest), inside.T, strict=True
        )
    ]
    if len({value for value, _ in found}) == 1:
        return found[0]
    numbers = source.reading.channel_numbers
    reasons = "; ".join(f"channel {number:04d}: {why}" for number, (_, why) in zip(numbers, found, strict=True))
    return f"[{', '.join(value for value, _ in found)}]", reasons


def _of_channel(name: str, lowest: np.ndarray, highest: np.ndarray, inside: np.ndarray, cases: int) -> tuple[str, str]:
    """The normalisation of a channel, with its reason.

    Args:
        name: in dataset.json; "" if it has none.
        lowest, highest: intensity of each sampled case.
        inside: intensities of labelled voxels.
        cases: how many were sampled.
    """
    values = f"intensities from {min(lowest):.4g} to {max(highest):.4g}"
    named = name.casefold()
    looks_like_ct = np.median(lowest) < AIR
    if not (named == "ct" or (looks_like_ct and not named)):
        why = f"dataset.json says {name}" if named else f"{values} are no Hounsfield units"
        return "zscore", f"z-score of each scan, as for MR: {why}"
    why = "dataset.json says CT" if named else f"{values} look like Hounsfield units (CT)"
    low, high = np.percentile(inside, CLIPPED) if len(inside) else (0, 0)
    if math.floor(low) >= math.ceil(high):
        return "zscore", f"{why}, but no labelled voxels give a window"
    window = [math.floor(low), math.ceil(high)]
    return _listed(window), f"{why}: percentiles {CLIPPED[0]} and {CLIPPED[1]} of labelled voxels in {cases} cases"


def _listed(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:g}' for value in values)}]"
