"""What the `data` commands do, but for `data info`: get the public cases, check them, prepare them."""

import json
import os
from pathlib import Path

import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data import fetch
from data.case import shorten_list
from data.example import write_example
from data.la import FILE
from data.la_raw import Crop, prepare_la, raw_cases
from data.progress import bar, follow
from data.recipes.prepare import prepare_recipe
from data.recipes.recipe import PREPARED, Recipe, read_recipe, recipe_names

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
    recipe = read_recipe("la")
    there = {case.case for case in cases}
    if missing := [name for name in recipe.cases if name not in there]:
        console.print(
            f"{len(missing)} of the {len(recipe.cases)} published cases are not there: {shorten_list(missing)}. An "
            "experiment without them needs lists of its own in data.split",
            style="yellow", soft_wrap=True,
        )  # fmt: skip
    for case in cases:
        if case.label_lost:
            console.print(f"{case.case}: {case.label_lost:.2%} of its label lies outside the crop", soft_wrap=True)
        for difference in case.grid:
            console.print(f"{case.case}: {difference}", soft_wrap=True)
    console.print(f"{len(cases)} cases in {to}; export SEMISEG_LA={to.absolute()}", soft_wrap=True)


def prepare(name: str, folder: Path, to: Path | None, skip_missing: bool, console: Console) -> None:
    """Make the cases of a recipe, which is one of the project's or a file."""
    recipe = read_recipe(name)
    to = to or Path(recipe.id)

    def warn(line: str) -> None:
        console.print(line, style="yellow", soft_wrap=True)

    prepared = prepare_recipe(recipe, folder, to, skip_missing, warn)
    cases = set(follow(prepared, "preparing cases", total=len(recipe.cases)))
    if left_out := [case for case in recipe.cases if case not in cases]:
        warn(f"{len(left_out)} cases left out, because they are not in {folder}: {shorten_list(left_out)}")
    console.print(f"{len(cases)} of {len(recipe.cases)} cases of {recipe.title} in {to}", soft_wrap=True)
    console.print(f"an experiment with `recipe: {name}` and `data: {{root: {to}}}` reads them", soft_wrap=True)


def recipes(console: Console) -> None:
    """List the recipes, and what of them is on this machine."""
    table = Table("name", "data and protocol", "labelled", "cases here", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in recipe_names():
        recipe = read_recipe(name)
        table.add_row(name, recipe.title, ", ".join(map(str, recipe.labelled)), _cases_here(recipe))
    console.print(table)
    console.print("`data recipes NAME` shows one: where the data are had, how they are prepared, what is uncertain")


def show_recipe(recipe: Recipe, console: Console) -> None:
    """Print all that a recipe says, but for the names of its cases."""
    console.print(f"{recipe.id}: {recipe.title}", style="bold")
    sides = [f"{len(getattr(recipe.lists, side))} {side}" for side in ("train", "validation", "test")]
    said = {
        "used by": recipe.used_by, "source": recipe.source, "licence": recipe.licence, "citation": recipe.citation,
        "to download": recipe.obtain, "cases": f"{', '.join(sides)}, hash {recipe.hash}",
        "labelled": ", ".join(map(str, recipe.labelled)), "here": _cases_here(recipe),
        "steps": "; ".join(json.dumps(step.model_dump(exclude_unset=True)) for step in recipe.steps),
        "checkpoint": recipe.selection, "leaks": recipe.leaks, "uncertain": " ".join(recipe.uncertain),
        "experiment": yaml.safe_dump(recipe.experiment, sort_keys=False, width=70).strip(),
    }  # fmt: skip
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for key, text in said.items():
        if text.strip():
            table.add_row(key, Text(text.strip()))
    console.print(table)


def _cases_here(recipe: Recipe) -> str:
    """How many cases lie where experiments look for them."""
    root = os.path.expandvars(recipe.experiment["data"]["root"])
    folder = Path(os.path.expanduser(root))
    found = [path.name for path in folder.glob("imagesTr/*.nii.gz")] if (folder / PREPARED).is_file() else []
    if recipe.experiment["data"]["source"] == "la":
        found = [path.parent.name for path in folder.glob(f"**/{FILE}")]
    here = len({name.removesuffix(".nii.gz") for name in found} & set(recipe.cases))
    return f"{here} of {len(recipe.cases)} in {folder}" if here else f"none in {folder}"


def example(folder: Path, console: Console) -> None:
    """Write the example folder."""
    write_example(folder)
    console.print(f"wrote {folder}; `source: folder` with `root: {folder.absolute()}` reads it", soft_wrap=True)


def _say_wrong(wrong: dict[str, str], console: Console) -> None:
    for case, reason in list(wrong.items())[:MOST_NAMED]:
        console.print(f"{case}: {reason}", soft_wrap=True)
    if len(wrong) > MOST_NAMED:
        console.print(f"… and {len(wrong) - MOST_NAMED} more")
