"""What the `data` commands do: get the public cases, check them, look at those of an experiment."""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmark.planning.experiment import Experiment
from data import fetch
from data.acdc import acdc_volumes, prepare_acdc
from data.cache import Dataset, prepare
from data.case import DataError, DataProblems
from data.errors import visible
from data.example import write_example
from data.la_raw import Crop, prepare_la, raw_cases
from data.preview import write_preview
from data.progress import bar, follow

WIDE = 500  # characters that a table may take
MOST_NAMED = 10  # of the cases that something is wrong with


def fetch_la(root: Path, origin: str | None, console: Console) -> bool:
    """Bring the 100 left-atrium cases to `root`; False if some could not be fetched."""
    count = len(fetch.la_checksums())
    with bar(console) as progress:
        task = progress.add_task("left-atrium cases", total=count)
        failed = fetch.fetch_la(
            root, origin or fetch.REPOSITORY, on_file=lambda case, reason: progress.advance(task, reason is None)
        )
    if failed:
        _say_wrong(failed, console)
        console.print(
            f"{len(failed)} of {count} cases could not be fetched; run the command again to fetch only these",
            soft_wrap=True,
        )
        return False
    console.print(f"all cases are in {root} as distributed; export SEMISEG_LA={root.absolute()}", soft_wrap=True)
    return True


def verify_la(root: Path, console: Console) -> bool:
    """Hold a folder to the distribution's checksums; False if something differs or is missing."""
    wrong = fetch.verify_la(root)
    _say_wrong(wrong, console)
    count = len(fetch.la_checksums())
    console.print(f"{count - len(wrong)} of {count} cases in {root} are as distributed", soft_wrap=True)
    return not wrong


def prepare_la_raw(folder: Path, to: Path, seed: int, crop: Crop, console: Console) -> None:
    """Make a left-atrium folder from raw scans, and say what the crop has cost."""
    cases = list(follow(prepare_la(folder, to, seed, crop), "preparing scans", total=len(raw_cases(folder))))
    for case in cases:
        if case.label_lost:
            console.print(f"{case.case}: {case.label_lost:.2%} of its label lies outside the crop", soft_wrap=True)
        for difference in case.grid:
            console.print(f"{case.case}: {difference}", soft_wrap=True)
    console.print(f"{len(cases)} cases in {to}; export SEMISEG_LA={to.absolute()}", soft_wrap=True)


def prepare_acdc_folder(folder: Path, to: Path, console: Console) -> None:
    """Make a folder of scans from the ACDC volumes that papers share."""
    volumes = list(follow(prepare_acdc(folder, to), "preparing volumes", total=len(acdc_volumes(folder))))
    console.print(f"{len(volumes)} volumes in {to}; `source: folder` with `root: {to}` reads them", soft_wrap=True)


def example(folder: Path, console: Console) -> None:
    """Write the example folder."""
    write_example(folder)
    console.print(f"wrote {folder}; `source: folder` with `root: {folder.absolute()}` reads it", soft_wrap=True)


def info(experiment: Experiment, picture: Path, console: Console) -> bool:
    """Every case of an experiment's data: size, voxels, the volume of each structure; and one picture. Where cases
    cannot be used, what is wrong with each of them instead; then False."""
    try:
        dataset = prepare(experiment.data)
    except DataProblems as error:
        for problem in error.problems:
            console.print(visible(problem), soft_wrap=True)  # a file's name may hold control characters
        console.print(f"{len(error.problems)} problems", soft_wrap=True)
        return False
    columns = ("case", "set", "voxels", "mm a voxel", *(f"{name} [ml]" for name in dataset.source.class_names), "share")
    table = Table(*columns)
    shapes = []
    for side, ids in (("training", dataset.train_ids), ("test", dataset.test_ids)):
        for case_id in follow(ids, f"measuring {side} cases"):
            shapes.append(_add_case(table, dataset, case_id, side))
    Console(file=console.file, width=WIDE, markup=False).print(table)  # whole ids, in a narrow window, too
    low, high = np.min(shapes, axis=0), np.max(shapes, axis=0)
    sizes = " x ".join(str(a) if a == b else f"{a}..{b}" for a, b in zip(low, high, strict=True))
    console.print(
        f"{dataset.name}: {len(dataset.train_ids)} training cases, {len(dataset.with_label)} of them with a label, and "
        f"{len(dataset.test_ids)} test cases, {sizes} voxels{_channels(dataset)}"
    )
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
    return True


def _channels(dataset: Dataset) -> str:
    names = dataset.source.channel_names
    return f", {dataset.channels} channels ({', '.join(names)})" if dataset.channels > 1 else ""


def _add_case(table: Table, dataset: Dataset, case_id: str, side: str) -> tuple[int, ...]:
    case = dataset.native(case_id)
    cells = ["no label"] * dataset.classes + [""]
    if case.label is not None:
        counts = np.bincount(np.ravel(case.label), minlength=dataset.classes + 1)
        millilitres = counts * np.prod(case.spacing) / 1000
        cells = [f"{volume:.1f}" for volume in millilitres[1:]] + [f"{counts[1:].sum() / counts.sum():.1%}"]
    size, spacing = "x".join(map(str, case.shape)), "x".join(f"{mm:g}" for mm in case.spacing)
    table.add_row(case_id, side, size, spacing, *cells)
    return case.shape


def _say_wrong(wrong: dict[str, str], console: Console) -> None:
    for case, reason in list(wrong.items())[:MOST_NAMED]:
        console.print(f"{case}: {reason}", soft_wrap=True)
    if len(wrong) > MOST_NAMED:
        console.print(f"… and {len(wrong) - MOST_NAMED} more")
