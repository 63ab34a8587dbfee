"""The steps of preparations: each takes a scan and gives a scan."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from data.case import DataError
from data.geometry import by
from data.resample import grid_shape, resample, resample_label


@dataclass(frozen=True)
class Scan:
    """An image with its label on the way through the steps.

    Args:
        image: (H, W, D), float32.
        label: (H, W, D), integers 0..C.
        spacing: mm of a voxel along each axis.
    """

    image: np.ndarray
    label: np.ndarray
    spacing: tuple[float, float, float]


class Step(BaseModel):
    """One step. Exactly one key is set; it is the step's name.

    Example:
        >>> scan = Scan(np.linspace(-500, 500, 8).reshape(2, 2, 2), np.ones((2, 2, 2), int), (1.0, 1.0, 1.0))
        >>> image = Step(window=[-125, 275])(scan).image
        >>> float(image.min()), float(image.max())
        (0.0, 1.0)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    voxel: Literal["in_plane", "unit"] | None = Field(
        None, description="what counts as the voxel size. in_plane: along the third axis that of the second; unit: 1 mm"
    )
    resample: "Resample | None" = None
    window: Annotated[tuple[float, float], AfterValidator(lambda w: _window(w))] | None = Field(
        None, description="clip to [low, high] and scale that to 0..1"
    )
    percentile: float | None = Field(None, gt=0, lt=100, description="clip above this percentile")
    scale: Literal["min_max"] | None = Field(None, description="to 0..1, from the least to the largest value")
    crop: "Crop | None" = None
    normalise: Literal["zscore", "zscore_above_0"] | None = Field(
        None, description="mean 0 and deviation 1, of all voxels or of those above 0"
    )

    def model_post_init(self, context: Any) -> None:
        if len(self.model_fields_set) != 1:
            raise ValueError("each step has one key: give several steps for several keys")

    def __call__(self, scan: Scan) -> Scan:
        [name] = self.model_fields_set
        return _STEPS[name](scan, getattr(self, name))


class Resample(BaseModel):
    """To cubic voxels of `spacing` mm, by splines of this order. Labels are resampled class by class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spacing: float = Field(gt=0)
    order: int = Field(1, ge=0, le=5)


class Crop(BaseModel):
    """To the box of the label, or of voxels that are not 0, with a margin of voxels along each axis.

    A margin of null takes the whole axis. Sides shorter than `least` grow as far as the scan goes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    around: Literal["label", "nonzero"]
    margin: tuple[int | None, int | None, int | None] = (0, 0, 0)
    least: int = Field(0, ge=0)


def _window(window: tuple[float, float]) -> tuple[float, float]:
    if not window[0] < window[1]:
        raise ValueError("the window's low must be below its high")
    return window


def _voxel(scan: Scan, size: str) -> Scan:
    return replace(scan, spacing=(1.0, 1.0, 1.0) if size == "unit" else (*scan.spacing[:2], scan.spacing[1]))


def _resample(scan: Scan, to: Resample) -> Scan:
    spacing = (to.spacing,) * 3
    shape = grid_shape(scan.image.shape, scan.spacing, spacing)
    label = resample_label(scan.label, shape, int(scan.label.max()))
    return Scan(resample(scan.image, shape, to.order), label, spacing)


def _clip_to_window(scan: Scan, window: tuple[float, float]) -> Scan:
    low, high = window
    image = (scan.image.clip(low, high) - low) / (high - low)
    if scan.image.min() >= low or scan.image.max() <= low:  # a CT has air around the body
        raise DataError(
            f"values are {scan.image.min():g} to {scan.image.max():g}, and the window is {low:g} to {high:g}: they are "
            "no Hounsfield units, or were scaled before"
        )
    return replace(scan, image=image)


def _percentile(scan: Scan, percentile: float) -> Scan:
    return replace(scan, image=scan.image.clip(max=np.percentile(scan.image, percentile)))


def _scale(scan: Scan, way: str) -> Scan:
    low, high = scan.image.min(), scan.image.max()
    return replace(scan, image=(scan.image - low) / (high - low))


def _crop(scan: Scan, crop: Crop) -> Scan:
    inside = scan.label > 0 if crop.around == "label" else scan.image != 0
    if not inside.any():
        raise DataError("the label is empty" if crop.around == "label" else "all voxels are 0")
    box = []
    for axis, (margin, size) in enumerate(zip(crop.margin, inside.shape, strict=True)):
        if margin is None:
            box.append(slice(None))
            continue
        occupied = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
        wider = max(crop.least - (occupied[-1] - occupied[0] + 1 + 2 * margin), 0)
        first, last = occupied[0] - margin - wider // 2, occupied[-1] + 1 + margin + (wider + 1) // 2
        box.append(slice(max(first, 0), min(last, size)))
    return replace(scan, image=scan.image[tuple(box)], label=scan.label[tuple(box)])


def _normalise(scan: Scan, way: str) -> Scan:
    values = scan.image if way == "zscore" else scan.image[scan.image > 0]
    if not values.size or values.min() == values.max():
        raise DataError(f"the image is constant, {by(scan.image.shape)} voxels")
    mean, deviation = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    return replace(scan, image=((scan.image - mean) / deviation).astype(np.float32))


_STEPS: dict[str, Callable[[Scan, Any], Scan]] = {
    "voxel": _voxel, "resample": _resample, "window": _clip_to_window, "percentile": _percentile, "scale": _scale,
    "crop": _crop, "normalise": _normalise,
}  # fmt: skip

Step.model_rebuild()
