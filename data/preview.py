"""One picture of a data set: cases cut through the middle of their target."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from data.cache import Dataset
from data.case import Case

MOST, COLUMNS = 12, 4  # cases shown
SIDE = 2.4  # inches


def write_preview(dataset: Dataset, file: Path) -> None:
    """Up to 12 cases, spread over the list: the slice with most of the label (else the middle one), each structure
    outlined and tinted."""
    ids = [*dataset.train_ids, *dataset.test_ids]
    shown = [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, min(MOST, len(ids))).astype(int))]
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * SIDE, rows * (SIDE + 0.2)), layout="constrained", facecolor="white")
    for place, case_id in enumerate(shown):
        axis = figure.add_subplot(rows, COLUMNS, place + 1)
        _draw(axis, dataset.native(case_id))
        side = "test" if case_id in dataset.test_ids else "training"
        axis.set_title(f"{case_id} ({side})", fontsize=7)
    names = list(dataset.source.class_names)
    key = [Patch(color=f"C{value}", label=name) for value, name in enumerate(names, start=1)]
    figure.legend(handles=key, loc="outside lower center", ncols=len(names), fontsize=7, frameon=False)
    figure.savefig(file, dpi=130)


def _draw(axis, case: Case) -> None:
    label = np.zeros(case.image.shape, np.uint8) if case.label is None else np.asarray(case.label)
    areas = (label > 0).sum((0, 1))
    depth = int(areas.argmax()) if areas.any() else case.image.shape[2] // 2
    low, high = np.percentile(case.image[..., depth], (1, 99))
    aspect = case.spacing[1] / case.spacing[0]
    axis.imshow(case.image[..., depth].T, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect)
    for value in range(int(label[..., depth].max()), 0, -1):
        # Outlines of neighbours fall together, their tints do not. On top is the first structure, mostly the inner one.
        mask = (label[..., depth] == value).T
        axis.contour(mask, [0.5], colors=[f"C{value}"], linewidths=1)
        axis.contourf(mask, [0.5, 1], colors=[f"C{value}"], alpha=0.25)
    axis.set_axis_off()
