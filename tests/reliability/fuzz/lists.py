"""Lists of cases, dataset.json, and the names of files in a folder of scans."""

import json
import os
import random
import unicodedata
from pathlib import Path

import yaml
from helpers import la_folder, scan_folder, tiny
from reliability.fuzz.inputs import Input
from reliability.fuzz.mutations import WORDS, hostile, mutated, mutated_text

CONFIG = "experiment.yaml"
NAMES = (
    ".hidden.nii.gz", "A.nii", "a.nii.gz", "A.nii (1).gz", "A.nii.gz.part", "A.hdr", "A.mgz", ".nii.gz", "A .nii.gz",
    "\u00e9.nii.gz", "e\u0301.nii.gz", "A\nB.nii.gz", "-A.nii.gz", "A_0000.nii.gz", "A_0001.nii.gz", "_0000.nii.gz",
    f"{'x' * 240}.nii.gz", "😀.nii.gz", "..nii.gz", "...nii.gz", "A\x1b[31m.nii.gz", "=1+1.nii.gz", "A,B.nii.gz",
    "A.NII.GZ", "CON.nii.gz", "\udcff.nii.gz", "<b>.nii.gz", "$x$.nii.gz", "%s.nii.gz", "{x}.nii.gz", "A.B.nii.gz",
)  # fmt: skip
DATASETS = (
    {"labels": {"background": 0, "organ": 1}}, {"labels": {"0": "background", "1": "organ"}, "name": "Mine"},
    {"name": "Mine", "labels": {"organ": 1, "tumour": 2}, "channel_names": {"0": "MR"}, "numTraining": 3},
    {"labels": {"organ": [1, 2]}}, {"labels": {"organ": 1, "ignore": 2}},
)  # fmt: skip


def make_examples(folder: Path) -> None:
    """Nothing: a few small scans are as quickly made as copied."""


def make_input(chance: random.Random, examples: Path, folder: Path) -> Input:
    change = chance.choice((_list, _list, _dataset, _dataset, _names, _patients))
    return change(chance, folder)


def _input(folder: Path, mutation: str, data: dict, names: list[str], budget: int = 1) -> Input:
    values = tiny.merged(labelled=[budget], training={"patch": [16, 16, 16]}) | {"data": data}
    (folder / CONFIG).write_text(yaml.safe_dump(values))
    commands = [["data", "info", CONFIG, "--picture", "picture.png"]]
    return Input(mutation, commands, ["data.", "case", *names])


def _list(chance: random.Random, folder: Path) -> Input:
    """A list file of a left-atrium folder, or of a folder of scans."""
    if chance.random() < 0.5:
        root, source = la_folder.write_la_folder(folder / "scans"), "la"
    else:
        root, source = scan_folder.write_folder(folder / "scans"), "folder"
        (root / "train.list").write_text("A\nB\nC\n"), (root / "test.list").write_text("D\n")
    path = root / chance.choice(("train.list", "test.list"))
    lines = path.read_text().splitlines()
    if chance.random() < 0.5:
        odd = ("../A", "/etc", "A/", "A.nii.gz", "A,B", '"A"', " A ", "a", "A\0", "x" * 5000, "# A", *WORDS)
        lines.insert(chance.randrange(len(lines) + 1), chance.choice(odd))
        content, mutation = (
            "\n".join(lines).encode("utf-8", "replace"),
            f"lines {lines}",
        )
    else:
        content, mutation = mutated_text(chance, path.read_text())
    path.write_bytes(content)
    split = {"train": "train.list", "test": "test.list"}
    if chance.random() < 0.1:
        split[chance.choice(("train", "test"))] = str(
            chance.choice(("", ".", "..", "/dev/null", "a\0b", "x" * 300, *WORDS))
        )
        mutation += f", split {split}"
    return _input(
        folder, f"{path.name}: {mutation}", {"source": source, "root": str(root), "split": split}, [path.name]
    )


def _dataset(chance: random.Random, folder: Path) -> Input:
    """dataset.json, as a tree or as text."""
    root = scan_folder.write_folder(folder / "scans")
    path, tree = root / "dataset.json", chance.choice(DATASETS)
    if chance.random() < 0.7:
        tree, mutation = mutated(chance, tree)
        path.write_text(json.dumps(tree, default=str))
    else:
        content, mutation = mutated_text(chance, json.dumps(tree, indent=1))
        path.write_bytes(content)
    return _input(folder, f"dataset.json: {mutation}", {"source": "folder", "root": str(root)}, [path.name])


def _names(chance: random.Random, folder: Path) -> Input:
    """Files of any name beside the scans, or in their place; and things that are no files."""
    root = scan_folder.write_folder(folder / "scans")
    name, changes = root.name, []
    for _ in range(chance.choice((1, 1, 2, 3))):
        place = root / chance.choice(("imagesTr", "labelsTr", "imagesTs", "labelsTs"))
        name = chance.choice(NAMES)
        target = place / name
        change = chance.choice(("rename", "rename", "copy", "folder", "dangling link", "link", "loop", "into a folder"))
        present = [path for path in sorted(place.iterdir()) if path.is_file()]
        if os.path.lexists(target) or not present:
            continue
        if change == "folder":
            target.mkdir()
        elif change in ("dangling link", "loop"):
            target.symlink_to("nowhere" if change == "dangling link" else target.name)
        elif change == "link":
            target.symlink_to(present[0])
        elif change == "copy":
            target.write_bytes(present[0].read_bytes())
        elif change == "into a folder":
            (place / "sub").mkdir(exist_ok=True)
            chance.choice(present).rename(place / "sub" / name)
        else:
            chance.choice(present).rename(target)
        changes.append(f"{change} {place.name}/{name!r}")
    if chance.random() < 0.3:  # an image and its label under one name
        stem = unicodedata.normalize(chance.choice(("NFC", "NFD")), chance.choice(NAMES))
        for kind in ("images", "labels"):
            if not os.path.lexists(target := root / f"{kind}Tr" / stem):
                scan_folder.write(
                    target.with_name("new.nii.gz"), scan_folder.scan(8) if kind == "images" else scan_folder.blob()
                )
                target.with_name("new.nii.gz").rename(target)
        changes.append(f"image and label {stem!r}")
    names = ["scans", "imagesTr", "labelsTr", "A", "B", "C", "D"]
    return _input(folder, ", ".join(changes), {"source": "folder", "root": str(root)}, names)


def _patients(chance: random.Random, folder: Path) -> Input:
    """What the data block says of patients, splits and cases that are there."""
    root = scan_folder.write_folder(folder / "scans", train=5)
    data = {"source": "folder", "root": str(root)}
    expressions = (
        "(",
        "(.)",
        ".",
        "",
        "(?P<x>.)(.)",
        "(a+)+$",
        "(.*)*",
        "\\",
        "(?<=x)",
        "[A-C]|(D)",
        "(?i)a",
        "x" * 5000,
        "(A)?",
    )
    for key, values in {
        "patients": (*expressions, hostile(chance)),
        "split": ("given", {"test": 0.5}, {"test": 1e-9, "seed": 1}, {"folds": 3, "fold": 2}, {"folds": 99, "fold": 98},
                  {"folds": 10**9, "fold": 3}, {"test": 0.99, "seed": 2**64}, hostile(chance)),
        "validation": ([], ["A"], ["A", "B", "C", "D", "E"], ["a"], ["F"], [hostile(chance)]),
        "channel": (None, 0, 9999, 10**6, hostile(chance)),
    }.items():  # fmt: skip
        if chance.random() < 0.5:
            data[key] = chance.choice(values)
    names = [CONFIG, "scans", "A", "F"]
    return _input(folder, f"{ {k: v for k, v in data.items() if k != 'root'} }", data, names)
