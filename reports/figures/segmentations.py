"""The test cases of an experiment and what its records predict, as axial slices and surfaces to be looked at."""

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import Normalize
from scipy import ndimage
from skimage.measure import find_contours

from reports.figures.page import Page
from reports.figures.style import DASHES, PREDICTED, TRUE
from reports.figures.surfaces import Mesh, Truth, picture, surface, viewed
from reports.published import spacing_of
from reports.results import Results
from reports.volumes import largest_component, read_masks, read_picture

SLICE_MARGIN, SURFACE_MARGIN = 8.0, 4.0  # mm around the truth
PIXELS = 190  # across a slice and a surface: what 200 a printed inch show of panels of less than an inch
GREYS = 0b11111000  # five bits of the image are what print shows, and compress well
COLOURS_OF_ERROR = "RdBu_r"


@dataclass(frozen=True)
class Case:
    """A test case: image (H,W,D), truths (C,H,W,D) with something in them, mm a voxel."""

    image: np.ndarray
    truths: np.ndarray
    spacing: np.ndarray

    @cached_property
    def level(self) -> int:
        """The axial slice (of the third axis) with the largest true area."""
        return int(self.truths.any(axis=0).sum(axis=(0, 1)).argmax())

    @cached_property
    def structures(self) -> list[Truth | None]:
        """To measure surfaces against; None for a structure that the case has not."""
        return [Truth(mask, self.spacing) if mask.any() else None for mask in self.truths]

    @cached_property
    def meshes(self) -> list[Mesh]:
        """The true surfaces."""
        return [surface(mask, self.spacing) for mask in self.truths if mask.any()]

    @cached_property
    def plane(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre and size of the truth in the axial plane, in mm."""
        return _centre_and_size(np.argwhere(self.truths.any(axis=(0, 3))) * self.spacing[:2])

    @cached_property
    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre and size of the true surface as seen, in mm."""
        return _centre_and_size(np.concatenate([viewed(mesh.vertices)[:, :2] for mesh in self.meshes]))


def _centre_and_size(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2, high - low


@dataclass(frozen=True)
class Surface:
    """A predicted structure's mesh, and each vertex's distance to the truth in mm (+ outside, NaN without one)."""

    mesh: Mesh
    error: np.ndarray


class Segmentations:
    """cases: the test cases that have a picture with something in it, by name.

    plane, seen: width and height in mm of every slice and of every surface's picture, the same for all cases.
    """

    def __init__(self, experiment: Results):
        plan = experiment.plan
        self._records = experiment.records
        self._largest = plan["evaluation"]["postprocessing"] == "largest_component"
        self.classes = plan["data"]["classes"]
        self.structures = list(plan["data"].get("class_names") or map(str, range(1, self.classes + 1)))
        self.cases: dict[str, Case] = {}
        for name, path in experiment.pictures.items():
            image, label = read_picture(path) or (None, np.zeros(0))
            truths = label == np.arange(1, self.classes + 1).reshape(-1, 1, 1, 1)
            if truths.any():
                self.cases[name] = Case(image, truths, np.array(spacing_of(plan["data"], name), float))
        if self.cases:
            self.plane = np.max([case.plane[1] for case in self.cases.values()], axis=0) + 2 * SLICE_MARGIN
            self.seen = np.max([case.seen[1] for case in self.cases.values()], axis=0) + 2 * SURFACE_MARGIN
        self.surfaces = lru_cache(maxsize=None)(self._surfaces)

    @cached_property
    def short_names(self) -> dict[str, str]:
        """{case: as much of its beginning as tells it from the others}, four letters at least."""
        longest = max(map(len, self.cases))
        length = next(n for n in range(4, longest + 4) if len({name[:n] for name in self.cases}) == len(self.cases))
        return {name: name if len(name) <= length + 2 else f"{name[:length]}…" for name in self.cases}

    def has(self, trial: str, case: str) -> bool:
        """Whether a record holds a readable prediction that fits the case."""
        return read_masks(self._file(trial, case), self.cases[case].truths.shape) is not None

    def masks(self, trial: str, case: str) -> np.ndarray:
        """Predicted masks (C,H,W,D), postprocessed as the scores are."""
        masks = read_masks(self._file(trial, case), self.cases[case].truths.shape)
        return np.stack([largest_component(mask) for mask in masks]) if self._largest else masks

    def _file(self, trial: str, case: str) -> Path:
        return self._records[trial] / "predictions" / f"{case}.npz"

    def _surfaces(self, trial: str, case: str) -> list[Surface]:
        """The predicted surfaces of the structures that are not empty."""
        surfaces = []
        for mask, truth in zip(self.masks(trial, case), self.cases[case].structures, strict=True):
            if mask.any():
                mesh = surface(mask, self.cases[case].spacing)
                error = np.full(len(mesh.vertices), np.nan) if truth is None else truth.distance(mesh.vertices)
                surfaces.append(Surface(mesh, error))
        return surfaces

    def slice_image(self, case: str) -> np.ndarray:
        """The axial slice with the largest true area, `plane` large around the truth: (rows, columns) uint8."""
        shown = self.cases[case]
        image = shown.image[:, :, shown.level].astype(np.float32)
        pixel = self.plane[0] / PIXELS  # mm
        image = ndimage.gaussian_filter(image, np.maximum(0.5 * (pixel / shown.spacing[:2] - 1), 0))
        columns, rows = PIXELS, round(self.plane[1] / pixel)
        x, y = (pixel * (np.arange(n) - (n - 1) / 2) + centre for n, centre in
                zip((columns, rows), shown.plane[0], strict=True))  # fmt: skip
        grid = np.meshgrid(x / shown.spacing[0], y / shown.spacing[1])
        return np.rint(ndimage.map_coordinates(image, grid, order=1)).astype(np.uint8) & GREYS

    def contours(self, case: str, mask: np.ndarray) -> list[np.ndarray]:
        """Contours (N,2) of a mask in that slice: fractions of its width from the left and its height from the top."""
        shown = self.cases[case]
        corner = shown.plane[0] - self.plane / 2
        lines = [line - 1 for line in find_contours(np.pad(mask[:, :, shown.level], 1), 0.5)]
        return [(line * shown.spacing[:2] - corner) / self.plane for line in lines]

    def surface_image(self, case: str, surfaces: list[Surface], limit: float) -> np.ndarray:
        """Surfaces coloured by their error from -limit to limit mm, before the true one in flat grey."""
        shown = self.cases[case]
        (x, y), (width, height) = shown.seen[0], self.seen
        frame = (x - width / 2, x + width / 2, y - height / 2, y + height / 2)
        meshes = [(surface.mesh, error_colours(surface.error, limit)) for surface in surfaces]
        return picture(meshes, shown.meshes, frame, PIXELS)

    def true_surface_image(self, case: str) -> np.ndarray:
        """The true surface in the colour of no error."""
        still = [Surface(mesh, np.zeros(len(mesh.vertices))) for mesh in self.cases[case].meshes]
        return self.surface_image(case, still, 1.0)


def error_colours(error: np.ndarray, limit: float) -> np.ndarray:
    """Colours (V,3): blue inside of the truth, red outside, nearly white on it, grey where there is no truth."""
    colours = matplotlib.colormaps[COLOURS_OF_ERROR](Normalize(-limit, limit)(error))[:, :3]
    return np.where(np.isfinite(error)[:, None], colours, 0.6)


def error_limit(surfaces: list[list[Surface]]) -> float:
    """A round number of mm that nine tenths of an ordinary surface stay within: some may be far off altogether."""
    errors = [np.abs(surface.error) for group in surfaces for surface in group if np.isfinite(surface.error).all()]
    wanted = np.median([np.quantile(error, 0.9) for error in errors]) if errors else 0
    return next((nice for nice in (1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 100) if nice >= wanted), 200)


def draw_slice(page: Page, segmentations: Segmentations, trial: str, case: str, place: tuple) -> None:
    """An axial slice with the true contour and over it the predicted one; place: left, top, width, height in inches."""
    page.image(segmentations.slice_image(case), *place)
    for masks, colour in ((segmentations.cases[case].truths, TRUE), (segmentations.masks(trial, case), PREDICTED)):
        for mask, dash in zip(masks, itertools.cycle(DASHES), strict=False):  # one a structure
            page.lines(segmentations.contours(case, mask), colour, dash, *place)


def surface_words(limit: float, classes: int) -> str:
    """What a caption says of surfaces."""
    return (
        "Surfaces, all seen from one direction and at one scale: colour is the distance from the predicted to the true "
        f"surface{' of the same structure' if classes > 1 else ''} in mm, red outside of it, blue inside, cut off at "
        f"{limit:g} mm; flat grey behind: the true surface. What a prediction has far from the truth may lie "
        "outside of the picture."
    )
