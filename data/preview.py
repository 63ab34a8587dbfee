"""A picture of a data set: three planes of several cases, with their labels."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text

from data.cache import Dataset
from data.case import Case

MAX_CASES, COLUMNS = 12, 2  # cases, and how many stand side by side
PANEL = 1.6  # inches, width and height
PLANES = {"LR": "sagittal", "PA": "coronal", "SI": "axial"}  # by the axis that a plane is perpendicular to


def write_preview(dataset: Dataset, file: Path) -> None:
    """Draw up to 12 cases, spread evenly over the list of cases.

    Each case has three panels, one for each plane. A panel is the slice with the largest labelled area, or the middle
    slice of a case without a label. Structures are outlined and tinted. Of several channels the first is shown.

    Args:
        dataset: a prepared data set.
        file: the picture. Its ending decides the format.

    Raises:
        OSError, ValueError: the file cannot be written, or matplotlib does not know the format.
    """
    ids = [*dataset.train_ids, *dataset.test_ids]
    shown = [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, min(MAX_CASES, len(ids))).astype(int))]
    rows = -(-len(shown) // COLUMNS)
    size = 3 * COLUMNS * PANEL, rows * (PANEL + 0.4)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    panels = figure.subplots(rows, 3 * COLUMNS, squeeze=False).reshape(rows * COLUMNS, 3)
    for axes, case_id in zip(panels, shown, strict=False):
        case = dataset.native(case_id)
        for axis, panel in zip((2, 1, 0), axes, strict=True):
            _draw(panel, case, axis)
            panel.set_xlabel(_plane(dataset.source.reading.orientation, axis), fontsize=6, labelpad=2)
        side = "test" if case_id in dataset.test_ids else "training" if case.label is not None else "unlabelled"
        axes[1].set_title(f"{case_id} ({side})", fontsize=7)
    for panel in panels[len(shown) :].flat:
        panel.set_visible(False)
    names = list(dataset.source.class_names)
    colours = [Patch(color=f"C{value}", label=name) for value, name in enumerate(names, start=1)]
    figure.legend(handles=colours, loc="outside lower center", ncols=len(names), fontsize=7, frameon=False)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a case's or structure's name may hold dollar signs
    figure.savefig(file, dpi=130)


def _plane(orientation: str, axis: int) -> str:
    """The name of the plane perpendicular to an axis; of axes as stored, their numbers."""
    if orientation == "stored":
        across = [number + 1 for number in range(3) if number != axis]
        return f"axes {across[0]}, {across[1]}"
    return next(name for letters, name in PLANES.items() if orientation[axis] in letters)


def _draw(panel: Axes, case: Case, axis: int) -> None:
    """One slice across an axis of the array. The last axis of the slice goes down, and up if it is that of slices."""
    label = np.zeros(case.shape, np.uint8) if case.label is None else np.asarray(case.label)
    across = [number for number in range(3) if number != axis]
    areas = (label > 0).sum(tuple(across))
    depth = int(areas.argmax()) if areas.any() else case.shape[axis] // 2
    image, shown = case.shown.take(depth, axis).T, label.take(depth, axis).T
    low, high = np.percentile(image, (1, 99))
    aspect = case.spacing[across[1]] / case.spacing[across[0]]
    panel.imshow(
        image,
        cmap="gray",
        vmin=low,
        vmax=max(high, low + 1e-6),
        aspect=aspect,
        origin="upper" if axis == 2 else "lower",
    )
    for value in range(int(shown.max()), 0, -1):
        # Outlines of neighbouring structures coincide, their tints do not. The first structure is drawn on top: mostly
        # it is the inner one.
        mask = shown == value
        panel.contour(mask, [0.5], colors=[f"C{value}"], linewidths=1)
        panel.contourf(mask, [0.5, 1], colors=[f"C{value}"], alpha=0.25)
    panel.set(xticks=[], yticks=[])
    panel.set_frame_on(False)
