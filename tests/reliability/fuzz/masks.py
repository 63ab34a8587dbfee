"""Masks of other tools for `add-masks`, and scans for `predict`."""

import random
import shutil
from pathlib import Path

import numpy as np
from helpers import tiny
from reliability.fuzz.inputs import Input
from reliability.fuzz.mutations import WORDS
from reliability.fuzz.scan_files import SUFFIXES, damage, write_volume

from data.cache import prepare


def make_examples(folder: Path) -> None:
    """A results folder with one record of two test cases, and right masks of them."""
    planned = tiny.experiment(methods=["vnet"], baseline=None, data={"test": 2})
    tiny.finish(planned, folder / "results")
    dataset = prepare(planned.data)
    for case in dataset.test_ids:
        np.savez(folder / f"{case}.npz", image=dataset.native(case).image, label=dataset.native(case).label)


def make_input(chance: random.Random, examples: Path, folder: Path) -> Input:
    shutil.copytree(examples / "results", folder / "results")
    return _scans(chance, examples, folder) if chance.random() < 0.3 else _masks(chance, examples, folder)


def _write(examples: Path, folder: Path, array: str, suffix: str) -> list[Path]:
    """The image or the label of every test case in a format."""
    paths = []
    for path in sorted(examples.glob("*.npz")):
        stored = np.load(path)
        paths.append(folder / f"{path.stem}{suffix}")
        write_volume(paths[-1], stored[array], stored["label"])
    return paths


def _masks(chance: random.Random, examples: Path, folder: Path) -> Input:
    path = chance.choice(_write(examples, folder / "masks", "label", chance.choice(SUFFIXES)))
    mutation = f"{path.name}: {damage(chance, path, is_label=True)}" if chance.random() < 0.8 else "options"
    odd = chance.random() < 0.4 or mutation == "options"
    name = chance.choice(WORDS).replace("\0", "") if odd else "Other tool"
    labelled = chance.choice((0, 1, 3, 9, -1, 2**63)) if odd else 2
    command = [
        "add-masks", chance.choice(("masks", "masks", "masks", "nowhere", "results/plan.json")) if odd else "masks",
        f"--name={name}", f"--labelled={labelled}", "--results=results",
        f"--seed={chance.choice((0, -1, 2**63)) if odd else 0}", f"--unlabelled={chance.choice((0, 2)) if odd else 0}",
    ]  # fmt: skip
    return Input(
        f"{mutation}; {command}", [command, ["status", "results"]],
        [path.name, path.stem, "--name", "--labelled", "--unlabelled", "--seed", "nowhere", "plan.json"], ("status",),
    )  # fmt: skip


def _scans(chance: random.Random, examples: Path, folder: Path) -> Input:
    path = chance.choice(_write(examples, folder / "scans", "image", chance.choice(SUFFIXES)))
    mutation = f"{path.name}: {damage(chance, path, is_label=False)}"
    [record] = (examples / "results" / "records").iterdir()
    command = ["predict", f"results/records/{record.name}", chance.choice(("scans", f"scans/{path.name}")), "--to=to"]
    return Input(mutation, [command], [path.name, "scans"])
