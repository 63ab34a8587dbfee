"""What the `data` commands do, but for `data info`: get the public cases, check them, prepare them."""

from pathlib import Path

from rich.console import Console

from data import fetch
from data.acdc import acdc_volumes, prepare_acdc
from data.example import write_example
from data.la_raw import Crop, prepare_la, raw_cases
from data.progress import bar, follow

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


def _say_wrong(wrong: dict[str, str], console: Console) -> None:
    for case, reason in list(wrong.items())[:MOST_NAMED]:
        console.print(f"{case}: {reason}", soft_wrap=True)
    if len(wrong) > MOST_NAMED:
        console.print(f"… and {len(wrong) - MOST_NAMED} more")
