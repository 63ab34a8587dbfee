"""What `data info` prints: every case, what is wrong with the data, and the settings that they suggest."""

import textwrap
from pathlib import Path

import numpy as np
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark.planning.suggestions import suggest
from data.cache import Dataset, prepare
from data.case import Case, DataError, DataProblems, shorten_list
from data.errors import visible
from data.preview import write_preview
from data.progress import follow
from data.sources import DataSettings

WIDTH = 80  # characters of a line
STRUCTURES = 4  # whose volumes stand in one table
UNLABELLED = "unlabelled"


def show_data(settings: DataSettings, picture: Path, console: Console) -> bool:
    """List every case and draw some. Suggest settings. Where cases cannot be used, list what is wrong with them.

    Args:
        settings: the data block of an experiment.
        picture: where the picture goes.
        console: where the text goes.

    Returns:
        False if nothing can be trained on these data.
    """
    try:
        dataset = prepare(settings, for_training=False)
    except DataProblems as error:
        for problem in error.problems:
            console.print(visible(problem), soft_wrap=True)  # a file's name may hold control characters
        console.print(f"{len(error.problems)} problems", soft_wrap=True)
        return False
    _print_cases(dataset, console)
    for note in dataset.source.notes:
        console.print(visible(note), soft_wrap=True)
    if not dataset.with_label:
        console.print("no training case has a label: nothing can be trained", soft_wrap=True)
        return False
    try:
        write_preview(dataset, picture)
    except (OSError, ValueError) as error:  # no such folder, or a format that matplotlib does not write
        raise DataError(f"--picture {picture} cannot be written: {error}") from error
    console.print(f"picture: {picture}", soft_wrap=True)
    _print_suggestions(dataset, settings, console)
    return True


def _print_cases(dataset: Dataset, console: Console) -> None:
    """A table of all cases. Of many structures, further tables have the volumes. A voxel size of all is said below."""
    names = list(dataset.source.class_names)
    ids = [*dataset.train_ids, *dataset.validation_cases, *dataset.test_ids]
    unlabelled = [case_id for case_id in dataset.train_ids if case_id not in dataset.with_label]
    kinds = dict.fromkeys(dataset.train_ids, "training") | dict.fromkeys(unlabelled, UNLABELLED)
    kinds |= dict.fromkeys(dataset.validation_cases, "validation") | dict.fromkeys(dataset.test_ids, "test")
    shapes, spacings, volumes = [], [], []
    for case_id in follow(ids, "measuring cases"):
        case = dataset.native(case_id)
        shapes.append(case.shape)
        spacings.append("x".join(f"{mm:g}" for mm in case.spacing))
        volumes.append(_volumes(case, len(names)))
    columns = {"case": ids, "set": list(kinds.values()), "voxels": ["x".join(map(str, shape)) for shape in shapes]}
    of_all = f", all of {spacings[0]} mm"
    if len(set(spacings)) > 1:
        columns["mm a voxel"], of_all = spacings, ""
    columns["share"] = [line[0] for line in volumes]
    for start in range(0, len(names), STRUCTURES):
        for number, name in enumerate(names[start : start + STRUCTURES], start + 1):
            columns[f"{name} [ml]"] = [line[number] for line in volumes]
        _print_table(columns, [kind == UNLABELLED for kind in kinds.values()], console)
        columns = {"case": ids}
    low, high = np.min(shapes, axis=0), np.max(shapes, axis=0)
    ranges = " x ".join(str(a) if a == b else f"{a}..{b}" for a, b in zip(low, high, strict=True))
    console.print(
        f"{dataset.name}: {len(dataset.train_ids)} training cases, {len(dataset.with_label)} of them with a label, "
        f"and {len(dataset.test_ids)} test cases, {ranges} voxels{of_all}{_channels(dataset)}"
    )
    if unlabelled:
        console.print(f"{UNLABELLED}: {shorten_list(unlabelled, most=10)}")


def _channels(dataset: Dataset) -> str:
    if dataset.channels == 1:
        return ""
    names = zip(dataset.source.reading.channel_numbers, dataset.source.channel_names, strict=True)
    return f", {dataset.channels} channels ({', '.join(name or f'{number:04d}' for number, name in names)})"


def _volumes(case: Case, classes: int) -> list[str]:
    """The labelled share of the voxels, and the ml of each structure; dashes without a label."""
    if case.label is None:
        return ["–"] * (classes + 1)
    counts = np.bincount(np.ravel(case.label), minlength=classes + 1)
    millilitres = counts[1:] * np.prod(case.spacing) / 1000
    return [f"{counts[1:].sum() / counts.sum():.1%}", *(f"{volume:.1f}" for volume in millilitres)]


def _print_table(columns: dict[str, list[str]], marked: list[bool], console: Console) -> None:
    """Only names of cases and headings take several lines, so that a table fits into 80 characters."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, values in columns.items():
        figures = name not in ("case", "set", "voxels", "mm a voxel")
        widest = max(map(len, values))
        table.add_column(
            name, justify="right" if figures else "left", overflow="fold", min_width=None if name == "case" else widest
        )
    for line, mark in zip(zip(*columns.values(), strict=True), marked, strict=True):
        table.add_row(*line, style="yellow" if mark else None)
    Console(file=console.file, width=max(console.width, WIDTH), markup=False).print(table)


def _print_suggestions(dataset: Dataset, settings: DataSettings, console: Console) -> None:
    """The lines of an experiment file, the reasons as comments. What the data block says already comes first."""
    suggestions = suggest(dataset, settings)
    stated = settings.model_dump(mode="json", exclude_unset=True)
    for found in suggestions:
        stated.pop(found.key, None)
    lines = yaml.safe_dump({"data": stated}, sort_keys=False, allow_unicode=True, width=10**6).splitlines()
    block = "data"
    for found in suggestions:
        if found.block != block:
            block = found.block
            lines.append(f"{block}:")
        lines += textwrap.wrap(found.reason, WIDTH, initial_indent="  # ", subsequent_indent="  # ")
        lines.append(f"  {found.key}: {found.value}")
    console.print("\nsuggested lines of an experiment file, by nnU-Net's rules:\n")
    console.print("\n".join(lines), soft_wrap=True)
