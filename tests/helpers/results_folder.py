"""Writes small made-up results folders for the tests of reports."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from reports.merging import read_folders
from reports.tables import make_tables, write_tables

# Numerics of a record that code of an earlier version made, and how a report says so.
EARLIER = {"training": 0, "scoring": 1, "preparation": 1, "method": 1}
EARLIER_REASON = "numerics of training: version 0, now version 1"

CASES = [f"CASE{number}" for number in range(6)]
METRICS = {
    ("dice", ""): 0.85, ("jaccard", ""): 0.75, ("asd", "voxel"): 2.0, ("asd", "mm"): 1.25, ("hd95", "voxel"): 8.0,
    ("hd95", "mm"): 5.0, ("assd", "voxel"): 2.2, ("assd", "mm"): 1.4,
}  # fmt: skip
LATER = {("hd95_max", "voxel"): 9.0, ("hd95_max", "mm"): 5.6, ("nsd", ""): 0.8, ("volume_error", "percent"): -3.0}


def cell(method: str, labelled: int = 8, seed: int = 1, **changes) -> dict:
    """A planned cell; its trial id is made of what the tests vary."""
    planned = {
        "method": method, "display": method.upper(), "year": 2021, "source": "Someone, 2021", "fidelity": "faithful",
        "settings": {}, "unpublished": [], "variant": "", "labelled": labelled, "unlabelled": 20, "draw": "first",
        "seed": seed, "role": "method", "method_file": "methods/vnet.py",
    } | changes  # fmt: skip
    return {"trial": f"{method}-{labelled}-{seed}-{planned['draw']}"} | planned


def plan(cells: list[dict], **changes) -> dict:
    """A plan of these cells; `changes` are merged into its blocks."""
    planned = {
        "format": 2, "experiment": "made_up", "title": "Made up", "reference": "B",
        "data": {"name": "LA", "source": "la", "spacing": 1.25, "native_spacing": [0.625, 0.625, 0.625],
                 "fingerprint": "f00", "split": "train.list / test.list", "split_hash": "5911a5", "train": 28,
                 "test": len(CASES), "classes": 1},
        "training": {"iterations": 600, "batch_size": 4, "patch": [64, 64, 48], "width": 8, "learning_rate": 0.01,
                     "augmentation": "uamt_exact", "precision": "bf16"},
        "evaluation": {"stride": [9, 9, 2], "postprocessing": "none", "empty": "worst"},
        "cells": cells,
    }  # fmt: skip
    for key, value in changes.items():
        planned[key] = planned[key] | value if key in planned and isinstance(value, dict) else value
    return planned


def values(planned: dict, seed: int) -> pd.DataFrame:
    """A made-up cases.csv: random, the same for the same seed; the largest component scores a little better."""
    rng, later = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    rows = []
    for postprocessing in ("none", "largest_component"):
        for number in range(1, planned["data"]["classes"] + 1):
            for case in CASES:
                key = {"checkpoint": "last", "postprocessing": postprocessing, "class": number, "case": case}
                for (metric, unit), typical in METRICS.items():
                    bonus = 0.01 if postprocessing == "largest_component" else 0.0
                    value = typical * rng.uniform(0.9, 1.1) + bonus
                    rows.append(key | {"metric": metric, "unit": unit, "value": value})
                for (metric, unit), typical in LATER.items():
                    rows.append(key | {"metric": metric, "unit": unit, "value": typical * later.uniform(0.9, 1.1)})
                for metric, count in (("predicted", 900), ("reference", 1000)):
                    rows.append(key | {"metric": metric, "unit": "voxel", "value": count})
    return pd.DataFrame(rows)


def write_plan(folder: Path, planned: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(planned))
    return folder


def write_record(
    folder: Path,
    planned: dict,
    planned_cell: dict,
    table: pd.DataFrame | None = None,
    provenance: dict | None = None,
    **changes,
) -> Path:
    """A record of this cell: done with `table`, or with made-up values; `changes` replace keys of trial.yaml."""
    record = folder / "records" / planned_cell["trial"]
    record.mkdir(parents=True)
    stored = {key: planned[key] for key in ("data", "training", "evaluation")} | {
        "format": 2, "trial": planned_cell["trial"], "state": "done", "reason": None, "cell": planned_cell,
        "numerics": EARLIER | {"training": 1},
    } | changes  # fmt: skip
    if stored["state"] == "done":
        table = values(planned, sum(planned_cell["trial"].encode())) if table is None else table
        table.to_csv(record / "cases.csv", index=False)
    (record / "provenance.json").write_text(json.dumps(provenance or {"seconds_training": 12.5}))
    (record / "trial.yaml").write_text(yaml.safe_dump(stored))
    return record


def write_folder(folder: Path, planned: dict, tables: dict[str, pd.DataFrame] | None = None) -> Path:
    """Every cell of the plan done; `tables` gives some trials their values."""
    write_plan(folder, planned)
    for planned_cell in planned["cells"]:
        write_record(folder, planned, planned_cell, (tables or {}).get(planned_cell["trial"]))
    return folder


def cells_of(*methods: str, seeds=(1, 2, 3), **changes) -> list[dict]:
    return [cell(method, seed=seed, **changes) for method in methods for seed in seeds]


def scored(planned: dict, seed: int = 0, **metrics) -> pd.DataFrame:
    """Made-up values but for some metrics: one value for all cases, or one each, under both postprocessings."""
    table = values(planned, seed)
    for metric, value in metrics.items():
        by_case = (
            dict(zip(CASES, value, strict=True)) if isinstance(value, (list, tuple)) else dict.fromkeys(CASES, value)
        )
        chosen = table["metric"] == metric
        table.loc[chosen, "value"] = table.loc[chosen, "case"].map(by_case).astype(float)
    return table


def write_heartbeat(folder: Path, planned_cell: dict, text: str = "", **beat) -> None:
    """A sign of life of now, with changes, or the file's text as given."""
    running = folder / "running" / planned_cell["trial"]
    running.mkdir(parents=True)
    (running / "heartbeat.json").write_text(text or json.dumps({"time": time.time()} | beat))


def make_stale(folder: Path, trial: str) -> None:
    """Change the record of a trial into one that an earlier version of the training code made."""
    path = folder / "records" / trial / "trial.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"numerics": EARLIER}))


def write_tables_of(*folders: Path) -> Path:
    """What `write_report` writes of tables, without its figures and page: DIR/report/tables of the first folder."""
    place = folders[0] / "report" / "tables"
    write_tables(make_tables(read_folders(folders)), place)
    return place
