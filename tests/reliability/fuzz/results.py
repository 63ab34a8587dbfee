"""Results folders: every file of them removed, cut, swapped, retyped, or changed where it stands."""

import io
import json
import random
import shutil
from contextlib import closing, suppress
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import yaml
from helpers import tiny
from reliability.fuzz.inputs import Input
from reliability.fuzz.mutations import hostile, mutated, mutated_bytes, mutated_text

from benchmark.planning.plan import make_plan, write_plan
from benchmark.trial import external_masks
from benchmark.trial import run as trial_module
from data.cache import prepare
from data.scans import Geometry, write_labels

CONFIG = "experiment.yaml"
DONE_FOLDERS = ("records", "running", "cases", "tensorboard", "report", "traces")  # damage there concerns single cells
EXPERIMENT = {"methods": ["dtml", "vnet"], "baseline": None, "seeds": [7, 8], "data": {"test": 2}}


def make_examples(folder: Path) -> None:
    """Three finished trials, one that was stopped at its second step, and masks of another tool."""
    planned = tiny.experiment(**EXPERIMENT, execution={"checkpoint_minutes": 0})
    results = tiny.new_results(folder / "results")
    plan = make_plan(planned, results)
    *finished, stopped = [found.trial for found in plan.trials]
    for trial in finished:
        tiny.run(trial, results, planned)
    with (
        mock.patch.object(trial_module, "REPORT_SECONDS", 0.0),
        closing(trial_module.run_trial(stopped, results, planned.execution)) as steps,
    ):
        while next(steps).step < 2:
            pass
    write_plan(plan)
    dataset = prepare(planned.data)
    for case in dataset.test_ids:
        native = dataset.native(case)
        grid = Geometry(native.image.shape, native.spacing, (0.0,) * 3, tuple(np.eye(3).ravel()), "stored")
        (folder / "masks").mkdir(exist_ok=True)
        write_labels(folder / "masks" / f"{case}.nii.gz", native.label, grid, [1])
    external_masks.score_masks(folder / "masks", "Other tool", 2, 0, 0, dataset, results)
    write_plan(make_plan(planned, results))  # with the masks' row
    tiny.write_experiment(folder, **EXPERIMENT).rename(folder / CONFIG)


def make_input(chance: random.Random, examples: Path, folder: Path) -> Input:
    shutil.copytree(examples / "results", folder / "results")
    shutil.copytree(examples / "masks", folder / "masks")
    shutil.copy(examples / CONFIG, folder)
    mutations, places = [], []
    for _ in range(chance.choice((1, 1, 1, 2))):
        place = _chosen(chance, folder / "results")
        mutations.append(f"{place.relative_to(folder / 'results')}: {_damage(chance, place)}")
        places.append(place.relative_to(folder / "results").parts[0])
    record = next(path.name for path in sorted((examples / "results" / "records").iterdir()) if path.name[0] != "e")
    report = [["report", "results"]] if chance.random() < 0.5 else []  # which takes longest
    further = chance.choice((
        ["run", CONFIG, "--results", "results", "--dry-run"],
        ["run", CONFIG, "--results", "results"],
        ["run", CONFIG, "--results", "results", "--rerun", "stale", "--retry-failed"],
        ["evaluate", "results"],
        ["evaluate", "results", "--set", "evaluation.empty=exclude"],
        ["evaluate", "results", "--check-metrics", record],
        ["predict", f"results/records/{record}", "masks", "--to", "to"],
        ["add-masks", "masks", "--name=Other tool", "--labelled=2", "--results=results"],
        ["report", "results", "results/../results"],
    ))  # fmt: skip
    one_cell = all(place in DONE_FOLDERS for place in places)
    return Input(
        "; ".join(mutations), [["status", "results"], *report, further, ["status", "results"]],
        ["results", record, *(mutation.partition(":")[0].rpartition("/")[2] for mutation in mutations)],
        ("status results", "report results") if one_cell and "report" not in places else (),
        draws=chance.random() < 0.02,
    )  # fmt: skip


def _chosen(chance: random.Random, results: Path) -> Path:
    """A file or a folder of the results folder; those that people edit or that decide most come more often."""
    often = [
        "plan.json",
        "experiment.yaml",
        "trial.yaml",
        "cases.csv",
        "heartbeat.json",
        "checkpoint",
        "provenance.json",
    ]
    paths = [path for path in sorted(results.rglob("*")) if path.name != ".lock"]
    if chance.random() < 0.6:
        kind = chance.choice(often)
        paths = [path for path in paths if path.name.startswith(kind)] or paths
    return chance.choice(paths)


CHANGES = (
    "remove", "empty", "bytes", "bytes", "cut", "text", "folder", "file", "dangling link", "loop", "swap", "line feeds",
)  # fmt: skip


def _damage(chance: random.Random, path: Path) -> str:
    by_content = {".json": _json, ".yaml": _yaml, ".csv": _csv, ".npz": _npz, ".pt": _tensors}.get(path.suffix)
    if by_content and path.is_file() and chance.random() < 0.6:
        with suppress(Exception):  # the first of two damages has left nothing that can be parsed
            return by_content(chance, path)
    change = chance.choice(CHANGES)
    content = path.read_bytes() if path.is_file() else b""
    if change == "swap":
        others = sorted(other for other in path.parent.iterdir() if other != path)
        if others:
            other, aside = chance.choice(others), path.with_name("aside")
            path.rename(aside), other.rename(path), aside.rename(other)
            return f"swapped with {other.name}"
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if change == "folder":
        path.mkdir()
        (path / "within").write_text("words")
    elif change in ("dangling link", "loop"):
        path.symlink_to(path.name if change == "loop" else "nowhere")
    elif change != "remove":
        path.write_bytes({
            "empty": b"", "bytes": mutated_bytes(chance, content)[0], "cut": content[: len(content) // 2],
            "text": b"words\n", "line feeds": content.replace(b"\n", b"\r\n"), "file": b"\xff\xfe",
        }.get(change, b""))  # fmt: skip
    return change


def _json(chance: random.Random, path: Path) -> str:
    if chance.random() < 0.2:
        content, mutation = mutated_text(chance, path.read_text())
        path.write_bytes(content)
        return mutation
    tree, mutation = mutated(chance, json.loads(path.read_text()))
    path.write_text(json.dumps(tree, default=str))
    return mutation


def _yaml(chance: random.Random, path: Path) -> str:
    if chance.random() < 0.2:
        content, mutation = mutated_text(chance, path.read_text())
        path.write_bytes(content)
        return mutation
    tree, mutation = mutated(chance, yaml.safe_load(path.read_text()))
    path.write_bytes(yaml.safe_dump(tree, sort_keys=False).encode("utf-8", "replace"))
    return mutation


def _csv(chance: random.Random, path: Path) -> str:
    if chance.random() < 0.3:
        content, mutation = mutated_text(chance, path.read_text())
        path.write_bytes(content)
        return mutation
    rows = [line.split(",") for line in path.read_text().splitlines()]
    row = chance.randrange(len(rows))
    column = chance.randrange(len(rows[row]))
    rows[row][column] = str(hostile(chance))
    path.write_bytes("\n".join(map(",".join, rows)).encode("utf-8", "replace"))
    return f"row {row}, column {column}: {rows[row][column]!r}"


def _npz(chance: random.Random, path: Path) -> str:
    with np.load(path) as stored:
        arrays = dict(stored)
    name = chance.choice(list(arrays))
    change = chance.choice(list(ARRAY_CHANGES))
    arrays[name] = ARRAY_CHANGES[change](arrays[name])
    if arrays[name] is None:
        del arrays[name]
    np.savez_compressed(path, **arrays)
    return f"{name}: {change}"


ARRAY_CHANGES = {
    "gone": lambda array: None,
    "flat": lambda array: array.ravel(),
    "a scalar": lambda array: np.array(3),
    "no elements": lambda array: array[:0] if array.ndim else np.zeros(0),
    "objects": lambda array: np.array([{"a": 1}, None], dtype=object),
    "text": lambda array: array.astype(str),
    "floats": lambda array: array.astype(float) * 1e300 if array.dtype.kind in "iufb" else np.full(4, np.nan),
    "huge numbers": lambda array: np.full(array.shape, 2**60),
    "negative numbers": lambda array: np.full(array.shape, -1),
    "numbers beyond all structures": lambda array: np.full(array.shape, 200, np.uint8),
    "one more axis": lambda array: array[..., None],
    "other order": lambda array: array.T,
    "halved": lambda array: array[: len(array) // 2] if array.ndim else array,
    "claims 2^45 voxels": lambda array: np.array([1, 2**15, 2**15, 2**15]),
    "256 MB of zeros": lambda array: np.zeros((1, 1024, 1024, 256), np.uint8),
}


def _tensors(chance: random.Random, path: Path) -> str:
    """Weights or a checkpoint with other contents; they can be loaded."""
    content = torch.load(path, weights_only=True)
    change = chance.choice(
        ("a list", "a number", "empty", "key gone", "key gone", "NaN", "shapes", "types", "names", "hostile")
    )
    where = content.get("method", content) if isinstance(content, dict) else content
    key = chance.choice(list(where))
    if change in ("a list", "a number", "empty"):
        content = {"a list": [1, 2], "a number": 3, "empty": {}}[change]
    elif change == "key gone":
        of = chance.choice((content, where))
        del of[key := chance.choice(list(of))]
    elif change == "hostile":
        content[key := chance.choice(list(content))] = hostile(chance)
    elif change == "names":
        where[f"x{key}"] = where.pop(key)
    else:
        tensor = where[key]
        where[key] = {
            "NaN": lambda: torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor,
            "shapes": lambda: tensor[None],
            "types": lambda: tensor.to(torch.complex64),
        }[change]()
    buffer = io.BytesIO()
    try:
        torch.save(content, buffer)
    except Exception:  # a value that is none of torch's
        return "unchanged"
    path.write_bytes(buffer.getvalue())
    return f"{change} {key}"
