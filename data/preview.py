"""A picture of a data set: one slice of several cases, with their labels."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text

from data.cache import Dataset
from data.case import Case

MAX_CASES, COLUMNS = 12, 4
PANEL = 2.4  # inches, width and height


def write_preview(dataset: Dataset, file: Path) -> None:
    """Draw up to 12 cases, spread evenly over the list of cases.

    Each panel is the slice with the largest labelled area, or the middle slice of a case without a label. Structures
    are outlined and tinted. Of several channels the first is shown.

    Args:
        dataset: a prepared data set.
        file: the picture. Its ending decides the format.

    Raises:
        OSError, ValueError: the file cannot be written, or matplotlib does not know the format.
    """
    ids = [*dataset.train_ids, *dataset.test_ids]
    shown = [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, min(MAX_CASES, len(ids))).astype(int))]
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * PANEL, rows * (PANEL + 0.2)), layout="constrained", facecolor="white")
    for number, case_id in enumerate(shown, start=1):
        axis = figure.add_subplot(rows, COLUMNS, number)
        _draw(axis, dataset.native(case_id))
        side = "test" if case_id in dataset.test_ids else "training"
        axis.set_title(f"{case_id} ({side})", fontsize=7)
    names = list(dataset.source.class_names)
    colours = [Patch(color=f"C{value}", label=name) for value, name in enumerate(names, start=1)]
    figure.legend(handles=colours, loc="outside lower center", ncols=len(names), fontsize=7, frameon=False)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a case's or structure's name may hold dollar signs
    figure.savefig(file, dpi=130)


def _draw(axis, case: Case) -> None:
    image = case.shown
    label = np.zeros(case.shape, np.uint8) if case.label is None else np.asarray(case.label)
    areas = (label > 0).sum((0, 1))
    depth = int(areas.argmax()) if areas.any() else case.shape[2] // 2
    low, high = np.percentile(image[..., depth], (1, 99))
    aspect = case.spacing[1] / case.spacing[0]
    axis.imshow(image[..., depth].T, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect)
    for value in range(int(label[..., depth].max()), 0, -1):
        # Outlines of neighbouring structures coincide, their tints do not. The first structure is drawn on top: mostly
        # it is the inner one.
        mask = (label[..., depth] == value).T
        axis.contour(mask, [0.5], colors=[f"C{value}"], linewidths=1)
        axis.contourf(mask, [0.5, 1], colors=[f"C{value}"], alpha=0.25)
    axis.set_axis_off()
