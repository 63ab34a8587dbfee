"""Phantoms: synthetic cases that look like the left-atrium data, for demonstrations and tests without a download.

The target is a blob with veins, in noise and a bias field. Other structures have the same brightness: two chambers in
front of it, separated by a wall that vanishes at some points; a vessel behind it; and the veins beyond the end of the
label. Intensity alone does therefore not separate the target, but position and shape do. A second channel shows the
same structures in another contrast: blood is dark and muscle bright.

Positions and radii are in units of half the nominal volume, which spans about -1..1 along each axis.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy import fft, ndimage

from data.case import READ_CASE, Case
from data.masks import largest_component
from data.randomness import generator
from data.reading import Reading
from data.settings import CommonSettings

SPACING = 1.25  # mm
CHANNELS = ["bright blood", "black blood"]
BLACK_BLOOD = ([0.1, 0.4, 0.9], [0.1, 1.0, 0.2])  # of lung, muscle and blood: brightness in the first, in the second

Side = Annotated[int, Field(ge=16, le=512)]
MOST_CASES = 10_000


class PhantomSettings(CommonSettings):
    """How many synthetic cases, how large, and from which seed."""

    source: Literal["phantom"]
    name: str = Field("Phantom", min_length=1, description="what tables call the data")
    train: int = Field(20, ge=1, le=MOST_CASES, description="training cases")
    test: int = Field(6, ge=1, le=MOST_CASES, description="test cases")
    size: tuple[Side, Side, Side] = Field(
        (64, 64, 40), description="voxels of the smallest case; others are up to an eighth larger along x and y"
    )
    seed: int = Field(0, ge=0)
    channels: Literal[1, 2] = Field(1, description="2: a second channel shows blood dark and muscle bright")


class PhantomSource:
    """Synthetic cases. Each depends on (seed, size, id) alone, so their number does not change the single cases."""

    classes = 1
    class_names = {"atrium": 1}
    recipe = ""
    preparation = None
    patient_of = staticmethod(str)
    problems: list[str] = []
    notes: list[str] = []

    def __init__(self, settings: PhantomSettings):
        self._settings = settings
        self.name = settings.name
        self.channels: int = settings.channels
        self.channel_names = CHANNELS[: self.channels]
        self.reading = Reading(orientation="stored", channel=[0, 1] if self.channels > 1 else None)
        self.train_ids = [f"train-{i:03d}" for i in range(settings.train)]
        self.test_ids = [f"test-{i:03d}" for i in range(settings.test)]

    def content_key(self, case_id: str) -> str:
        """The sha256 of what the case is computed from: the settings and this file."""
        channels = f" {self.channels} channels" if self.channels > 1 else ""
        text = f"{case_id} {self._settings.size} {self._settings.seed}{channels}".encode()
        return hashlib.sha256(text + Path(__file__).read_bytes()).hexdigest()

    def read(self, case_id: str) -> Case:
        """The case, computed."""
        sys.audit(READ_CASE, case_id)
        rng = generator(self._settings.seed, f"phantom {case_id}")
        tissue, label = _phantom(rng, self._settings.size)
        image = _scan(tissue, rng)
        if self.channels > 1:
            # Numbers of their own: the first channel is that of a phantom with one.
            others = generator(self._settings.seed, f"phantom {case_id} second channel")
            image = np.stack([image, _scan(np.interp(tissue, *BLACK_BLOOD), others)], axis=-1)
        return Case(case_id, image, label, (SPACING,) * 3)

    def label_files(self, case_id: str) -> list[Path]:
        """None: labels are computed."""
        return []

    def geometry(self, case_id: str) -> None:
        """None: a phantom has no position in space."""


def _phantom(rng: np.random.Generator, size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The brightness of each voxel's tissue, and the label."""
    shape = (size[0] + int(rng.integers(size[0] // 8 + 1)), size[1] + int(rng.integers(size[1] // 8 + 1)), size[2])
    grid = np.stack(
        np.meshgrid(*((np.arange(n) - (n - 1) / 2) / (s / 2) for n, s in zip(shape, size, strict=True)), indexing="ij")
    )
    grid -= rng.uniform(-0.12, 0.12, (3, 1, 1, 1))  # the heart is not exactly in the centre

    body, veins = _atrium(grid, rng)
    wobble = 0.05 * _smooth(rng, shape, 5)
    label = largest_component(np.maximum(body, veins[0]) + wobble > 0, connectivity=1)
    atrium = np.maximum(body, veins[1]) + wobble  # with the veins as far as they are visible

    # The wall between the target and the chambers. Where it is thinner than a voxel, it is not visible.
    wall = 0.03 + 0.05 * _smooth(rng, shape, 4)
    image = _surroundings(grid, rng)
    for field in _neighbours(grid, rng):
        image = np.where((field + wobble > 0) & (atrium < -wall), rng.uniform(0.9, 1.1), image)
    image = np.where(atrium > 0, 1 + 0.06 * _smooth(rng, shape, 4), image)
    scar = (np.abs(atrium) < 0.05) & (_smooth(rng, shape, 5) > 1)  # late enhancement of the wall, at some points
    return np.where(scar, image + 0.3, image), label.astype(np.uint8)


def _scan(tissue: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A scan of this tissue: blurred, in a bias field and noise, z-scored."""
    shape = tissue.shape
    image = ndimage.gaussian_filter(tissue, rng.uniform(0.5, 0.8)) * np.exp(0.15 * _smooth(rng, shape, 3))
    sigma = rng.uniform(0.08, 0.16)
    image = np.hypot(image + sigma * rng.standard_normal(shape), sigma * rng.standard_normal(shape))  # Rician noise
    image = (image - image.mean()) / image.std()
    # Rounded, so that processors which differ in the last bits make the same case and the same fingerprint.
    return image.round(3).astype(np.float32)


def _atrium(grid: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Fields that are positive inside: the target's body; and its veins as far as labelled, and as far as visible."""
    radii = np.array([0.62, 0.42, 0.58]) * rng.uniform(0.85, 1.15, 3)
    body = _ellipsoid(grid, (0, 0.1, 0), radii)
    for _ in range(2):  # lobes
        centre = np.array([0, 0.1, 0]) + radii * rng.uniform(-0.6, 0.6, 3)
        body = np.maximum(body, _ellipsoid(grid, centre, radii * rng.uniform(0.6, 0.85, 3)))
    labelled = np.full(grid.shape[1:], -np.inf)
    visible = labelled
    for side, height in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        if rng.random() < 0.1:  # a few hearts have three veins
            continue
        root = np.array([0, 0.1, 0]) + radii * (0.6 * side, 0.2, 0.5 * height)
        direction = np.array([side, rng.uniform(-0.2, 0.5), height * rng.uniform(-0.1, 0.5)])
        radius = rng.uniform(0.09, 0.14)
        length = rng.uniform(0.3, 0.45)
        labelled = np.maximum(labelled, _tube(grid, root, root + length * direction, radius))
        visible = np.maximum(visible, _tube(grid, root, root + (length + rng.uniform(0.15, 0.5)) * direction, radius))
    return body, (labelled, visible)


def _neighbours(grid: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Structures as bright as the target: two chambers and a vessel's root in front of it, and a vessel behind it."""
    jitter = rng.uniform(-0.1, 0.1, (5, 3))
    return [
        _ellipsoid(grid, (-0.6, -0.45, -0.1) + jitter[0], (0.48, 0.5, 0.75)),
        _ellipsoid(grid, (0.5, -0.65, -0.4) + jitter[1], (0.66, 0.48, 0.7)),
        _tube(grid, (0.05, -0.55, 0.1) + jitter[2], (0.2, -0.6, 1.3), rng.uniform(0.2, 0.28)),
        _tube(grid, (0.4, 0.7, -1.3) + jitter[3], (0.35, 0.75, 1.3) + jitter[4], rng.uniform(0.14, 0.2)),
    ]


def _surroundings(grid: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Muscle around the heart, dark lung beside and behind it, and a grey spine."""
    shape = grid.shape[1:]
    heart = _ellipsoid(grid, (0, -0.4, 0), (1.15, 0.95, 1.4)) + 0.12 * _smooth(rng, shape, 6)
    image = np.where(heart > 0, 0.4, 0.08) + 0.06 * _smooth(rng, shape, 10)
    spine = _tube(grid, (-0.1, 0.95, -1.3), (-0.1, 0.95, 1.3), 0.3)
    return np.where(spine > 0, 0.35, image)


def _ellipsoid(grid: np.ndarray, centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    """The approximate distance to the surface of an ellipsoid, positive inside."""
    scaled = (grid - _column(centre)) / _column(radii)
    return min(radii) * (1 - np.sqrt(np.einsum("i...,i...", scaled, scaled)))


def _tube(grid: np.ndarray, start: Sequence[float], end: Sequence[float], radius: float) -> np.ndarray:
    """The distance to the surface of a tube with round ends, positive inside."""
    direction = _column(end) - _column(start)
    offset = grid - _column(start)
    along = np.clip(np.einsum("i...,i...", offset, direction) / (direction**2).sum(), 0, 1)
    offset -= along * direction
    return radius - np.sqrt(np.einsum("i...,i...", offset, offset))


def _column(vector: Sequence[float]) -> np.ndarray:
    return np.reshape(vector, (3, 1, 1, 1))


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], waves: int) -> np.ndarray:
    """Smooth noise of deviation about 0.7: the `waves` lowest cosines along each axis, with random amplitudes."""
    amplitudes = rng.standard_normal((waves,) * 3)
    return 0.7 * np.sqrt(np.prod(shape) / waves**3) * fft.idctn(amplitudes, s=shape, norm="ortho")
