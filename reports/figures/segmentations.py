"""The test cases of an experiment and their predictions, drawn as axial slices and as surfaces."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from benchmark.records.arrays import read_masks, read_picture
from data.masks import largest_component
from reports.figures.style import DASHES, SMALL, WIDTH, drawable, new_figure
from reports.figures.surfaces import Mesh, Truth, draw_meshes, surface, viewed
from reports.published import spacing_of
from reports.results import Results

SLICE_MARGIN, SURFACE_MARGIN = 8.0, 4.0  # mm around the truth
TRUE, PREDICTED = "#E69F00", "#56B4E9"  # contours on grey images
ERROR_COLOURS = matplotlib.colormaps["RdBu_r"].with_extremes(bad="0.6")  # grey where there is no truth
KEY = 0.55  # inches at the foot of a page of pictures


@dataclass(frozen=True)
class PicturedCase:
    """A test case.

    Attributes:
        image: (H, W, D).
        truths: (C, H, W, D), at least one of them not empty.
        spacing: mm per voxel along H, W and D.
    """

    image: np.ndarray
    truths: np.ndarray
    spacing: np.ndarray

    @cached_property
    def level(self) -> int:
        """The axial slice (along D) with the largest true area."""
        return int(self.truths.any(axis=0).sum(axis=(0, 1)).argmax())

    @cached_property
    def structures(self) -> list[Truth | None]:
        """The true surface of each structure, or None if the case lacks it."""
        return [Truth(mask, self.spacing) if mask.any() else None for mask in self.truths]

    @cached_property
    def meshes(self) -> list[Mesh]:
        """The true surfaces as they are drawn."""
        return [surface(mask, self.spacing) for mask in self.truths if mask.any()]

    @cached_property
    def truth_in_slice(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre and size of the truth in the axial plane, in mm."""
        return _centre_and_size(np.argwhere(self.truths.any(axis=(0, 3))) * self.spacing[:2])

    @cached_property
    def truth_as_seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre and size of the true surface as seen, in mm."""
        return _centre_and_size(np.concatenate([viewed(mesh.vertices)[:, :2] for mesh in self.meshes]))


def _centre_and_size(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2, high - low


@dataclass(frozen=True)
class Surface:
    """A predicted structure's mesh. `error` is each vertex's distance to the truth in mm, see `Truth.distance`.

    It is NaN where the case lacks the structure.
    """

    mesh: Mesh
    error: np.ndarray


class Segmentations:
    """The test cases of an experiment that have a picture, and the predictions of them.

    Attributes:
        cases: cases by name, without those that hold no structure.
        aspect: height over width of every picture.
        slice_width: mm that each slice shows.
        surface_width: mm that each picture of a surface shows.
    """

    def __init__(self, experiment: Results):
        plan = experiment.plan
        self._records = experiment.records
        self._largest = plan.evaluation.postprocessing == "largest_component"
        self.classes = plan.data.classes
        self.structures = list(map(drawable, plan.data.class_names or map(str, range(1, self.classes + 1))))
        self.cases: dict[str, PicturedCase] = {}
        for name, path in experiment.pictures.items():
            image, label = read_picture(path) or (None, np.zeros(0))
            truths = label == np.arange(1, self.classes + 1).reshape(-1, 1, 1, 1)
            if truths.any():
                self.cases[name] = PicturedCase(image, truths, np.array(spacing_of(plan.data, name), float))
        if self.cases:
            slices = np.max([case.truth_in_slice[1] for case in self.cases.values()], axis=0) + 2 * SLICE_MARGIN
            seen = np.max([case.truth_as_seen[1] for case in self.cases.values()], axis=0) + 2 * SURFACE_MARGIN
            self.slice_width, self.surface_width = slices[0], seen[0]
            self.aspect = max(slices[1] / slices[0], seen[1] / seen[0])
        self.surfaces = lru_cache(maxsize=None)(self._surfaces)

    @cached_property
    def short_names(self) -> dict[str, str]:
        """The beginning of each case's name, at least four letters and as many as tell the cases apart."""
        longest = max(map(len, self.cases))
        length = next(n for n in range(4, longest + 4) if len({name[:n] for name in self.cases}) == len(self.cases))
        return {name: drawable(name if len(name) <= length + 2 else f"{name[:length]}…") for name in self.cases}

    def has(self, trial: str, case: str) -> bool:
        """Whether a record holds a readable prediction that fits the case."""
        return read_masks(self._file(trial, case), self.cases[case].truths.shape) is not None

    def masks(self, trial: str, case: str) -> np.ndarray:
        """Predicted masks (C, H, W, D), postprocessed like those that are scored."""
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

    def draw_slice(self, axes: Axes, trial: str, case: str) -> None:
        """Draw the axial slice with the largest true area, the true contours and over them the predicted ones."""
        shown = self.cases[case]
        image = shown.image[:, :, shown.level]
        (left, top), (right, bottom) = -shown.spacing[:2] / 2, (np.array(image.shape) - 0.5) * shown.spacing[:2]
        x, y = (mm * np.arange(-1, voxels + 1) for mm, voxels in zip(shown.spacing, image.shape, strict=False))
        axes.imshow(image.T, cmap="gray", vmin=0, vmax=255, extent=(left, right, bottom, top),
                    interpolation="hanning")  # fmt: skip
        for masks, colour in ((shown.truths, TRUE), (self.masks(trial, case), PREDICTED)):
            for mask, dash in zip(masks[..., shown.level], itertools.cycle(DASHES), strict=False):
                if mask.any():
                    axes.contour(x, y, np.pad(mask, 1).T, [0.5], colors=colour, linestyles=[dash], linewidths=0.8)
        axes.set_facecolor("black")
        self._frame(axes, shown.truth_in_slice[0], self.slice_width, downwards=True)

    def draw_surfaces(self, axes: Axes, case: str, surfaces: list[Surface], limit: float) -> None:
        """Draw surfaces coloured by their error, up to `limit` mm, in front of the silhouette of the true one."""
        shown = self.cases[case]
        errors = [surface.error[surface.mesh.faces].mean(axis=1) for surface in surfaces]
        colours = [ERROR_COLOURS(Normalize(-limit, limit)(error))[:, :3] for error in errors]
        draw_meshes(axes, [surface.mesh for surface in surfaces], colours, shown.meshes)
        self._frame(axes, shown.truth_as_seen[0], self.surface_width)

    def draw_true_surfaces(self, axes: Axes, case: str) -> None:
        """Draw the true surfaces in the colour of no error."""
        exact = [Surface(mesh, np.zeros(len(mesh.vertices))) for mesh in self.cases[case].meshes]
        self.draw_surfaces(axes, case, exact, 1.0)

    def _frame(self, axes: Axes, centre: np.ndarray, width: float, downwards: bool = False) -> None:
        height = self.aspect * width
        axes.set_xlim(centre[0] - width / 2, centre[0] + width / 2)
        axes.set_ylim(centre[1] - height / 2, centre[1] + height / 2)
        axes.set_aspect("equal")
        if downwards:
            axes.invert_yaxis()


def picture_grid(rows: int, columns: int, height: float) -> tuple[Figure, np.ndarray]:
    """A page of pictures without ticks and frames, and its axes (rows, columns). `height` is inches without the key."""
    figure = new_figure(height + KEY, WIDTH, layout="compressed")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure, panels


def add_scale_bar(axes: Axes) -> None:
    """Add a bar of 20 mm."""
    bar = AnchoredSizeBar(axes.transData, 20, "20 mm", "lower right", color="white", label_top=True, size_vertical=1,
                          pad=0.2, borderpad=0.2, fontproperties={"size": SMALL})  # fmt: skip
    bar.patch.set(facecolor="#404040", edgecolor="none", alpha=0.7)
    axes.add_artist(bar)


def add_contour_key(figure: Figure, structures: list[str], place: str) -> None:
    """Add the key of the contours on a grey ground; several structures are told apart by their dashes."""
    lines = [
        Line2D([], [], color=TRUE, label="true contour"),
        Line2D([], [], color=PREDICTED, label="predicted contour"),
    ]
    if len(structures) > 1:
        lines += [Line2D([], [], color="white", linestyle=dash, label=name)
                  for name, dash in zip(structures, itertools.cycle(DASHES), strict=False)]  # fmt: skip
    figure.legend(handles=lines, loc=place, ncols=len(lines), facecolor="#404040", framealpha=1,
                  labelcolor="white", frameon=True, edgecolor="none")  # fmt: skip


def add_error_key(figure: Figure, limit: float) -> None:
    """Add the colours of surface errors from -limit to limit mm."""
    scale = ScalarMappable(Normalize(-limit, limit), ERROR_COLOURS)
    bar = figure.colorbar(scale, ax=figure.axes, location="bottom", extend="both", shrink=0.4, aspect=35, pad=0.01,
                          anchor=(1, 1), ticks=[-limit, 0, limit])  # fmt: skip
    bar.set_label("surface error [mm]: − inside, + outside the truth", labelpad=1)
    bar.outline.set_linewidth(0.4)


def error_limit(surfaces: Iterable[list[Surface]]) -> float:
    """A round number of mm that nine tenths of an ordinary surface stay within. Some may be far off altogether."""
    errors = [np.abs(surface.error) for group in surfaces for surface in group if np.isfinite(surface.error).all()]
    wanted = np.median([np.quantile(error, 0.9) for error in errors]) if errors else 0
    return next((nice for nice in (1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 100) if nice >= wanted), 200)


def surface_words(limit: float, classes: int) -> str:
    """What a caption says of surfaces."""
    return (
        "All surfaces are seen from one direction and at one scale. Colour is the distance from the predicted to the "
        f"true surface{' of the same structure' if classes > 1 else ''} in mm, red outside it, blue inside, cut off at "
        f"{limit:g} mm. Flat grey behind is the true surface. Parts of a prediction far from the truth may lie outside "
        "the picture."
    )
