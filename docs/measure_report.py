"""How long a report takes: `python docs/measure_report.py [RECORDS]` makes up records of 20 cases somewhere else."""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.records import numerics  # noqa: E402
from benchmark.records.models import FORMAT  # noqa: E402
from reports.report import write_report  # noqa: E402

METHOD_FILE = "methods/shared/method.py"  # any file that does not change while this runs
SEEDS, BUDGETS, TEST = 5, (4, 8, 16, 32, 64), 20
METRICS = [
    *((m, "") for m in ("dice", "jaccard", "nsd")), ("volume_error", "percent"),
    *((m, u) for m in ("asd", "hd95", "assd", "hd95_max") for u in ("voxel", "mm")),
]  # fmt: skip
HISTORY = 50  # lines
TYPICAL = {"dice": 0.85, "jaccard": 0.75, "nsd": 0.8, "volume_error": 3.0, "asd": 2.0, "hd95": 8.0, "assd": 2.0,
           "hd95_max": 9.0}  # fmt: skip
BLOCKS = {
    "data": {"name": "LA", "source": "la", "spacing": None, "native_spacing": [0.625] * 3, "fingerprint": "f00",
             "split": "official", "split_hash": "5911a5", "train": 80, "test": TEST, "classes": 1},
    "training": {"iterations": 6000, "batch_size": 4, "patch": [112, 112, 80], "width": 16, "learning_rate": 0.01,
                 "momentum": 0.9, "weight_decay": 0.0001, "augmentation": "uamt_exact", "precision": "fp32",
                 "threads": 2, "deterministic": False},
    "evaluation": {"stride": [18, 18, 4], "postprocessing": "largest_component", "empty": "worst"},
}  # fmt: skip


def write_folder(folder: Path, records: int) -> None:
    """A plan of about `records` cells, the supervised floors and ceiling among them, and a record of each."""
    rows = [("floor", "supervised", budget) for budget in BUDGETS] + [("ceiling", "supervised", 80)]
    while len(rows) * SEEDS < records:
        number, budget = divmod(len(rows) - len(BUDGETS) - 1, len(BUDGETS))
        rows.append(("method", f"method_{number}", BUDGETS[budget]))
    cells = [_cell(role, method, labelled, seed) for role, method, labelled in rows for seed in range(SEEDS)]
    reference = next((cell["display"] for cell in cells if cell["role"] == "method"), None)
    plan = {
        "format": FORMAT,
        "experiment": "made_up",
        "title": "Made up",
        "reference": reference,
        **BLOCKS,
        "cells": cells,
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    versions = numerics.current("method", METHOD_FILE).model_dump()
    ids = [f"CASE{number:016d}" for number in range(80)]
    rng, noise = np.random.default_rng(0), np.random.default_rng(1)
    for cell in cells:
        record = folder / "records" / cell["trial"]
        record.mkdir(parents=True)
        _values(rng, ids[:TEST]).to_csv(record / "cases.csv", index=False)
        _history(noise).to_csv(record / "history.csv", index=False)
        facts = {"seconds_training": 3600.0 * rng.uniform(1, 2), "iterations_per_second": 1.5,
                 "trials_sharing_the_machine": 1, "inference_seconds_per_case": 1.2, "peak_memory_bytes": 2**32,
                 "device": "made up"}  # fmt: skip
        (record / "provenance.json").write_text(json.dumps(facts))
        stored = {"format": FORMAT, "trial": cell["trial"], "state": "done", "reason": None, "cell": cell,
                  "labelled": ids, "unlabelled": ids, "test": ids[:TEST], **BLOCKS, "numerics": versions}  # fmt: skip
        (record / "trial.yaml").write_text(yaml.safe_dump(stored, sort_keys=False))


def _cell(role: str, method: str, labelled: int, seed: int) -> dict:
    return {
        "trial": f"{method}-{labelled}-s{seed}-0123456789", "method": method, "variant": "", "display": method.title(),
        "year": 2021, "source": "nobody", "fidelity": "faithful", "settings": {}, "unpublished": [],
        "labelled": labelled, "unlabelled": 80 - labelled if role == "method" else 0, "draw": "first", "seed": seed,
        "role": role, "method_file": METHOD_FILE,
    }  # fmt: skip


def _values(rng: np.random.Generator, ids: list[str]) -> pd.DataFrame:
    rows = []
    for postprocessing in ("none", "largest_component"):
        for case in ids:
            key = {"checkpoint": "last", "postprocessing": postprocessing, "class": 1, "case": case}
            rows += [key | {"metric": metric, "unit": unit, "value": TYPICAL[metric] * rng.uniform(0.8, 1.1)}
                     for metric, unit in METRICS]  # fmt: skip
            rows += [key | {"metric": metric, "unit": "voxel", "value": 1000} for metric in ("predicted", "reference")]
    return pd.DataFrame(rows)


def _history(rng: np.random.Generator) -> pd.DataFrame:
    steps = np.linspace(0, BLOCKS["training"]["iterations"], HISTORY)
    supervised, consistency = np.exp(-steps / 2000) + rng.uniform(0, 0.1, (2, HISTORY))
    losses = {"supervised": supervised, "consistency": consistency, "total": supervised + consistency}
    return pd.DataFrame({"step": steps, "seconds": 0.6 * steps, "learning_rate_factor": 1 - steps / 6000} | losses)


def main() -> None:
    records = int(sys.argv[1]) if sys.argv[1:] else 1000
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), records)
        begin, used = time.perf_counter(), time.process_time()
        write_report([Path(folder)], Path(folder) / "report")
        passed, used = time.perf_counter() - begin, time.process_time() - used
        count = len(list(Path(folder).glob("records/*")))
        print(f"report over {count} records: {passed:.1f} s, of which {used:.1f} s on the processor")


if __name__ == "__main__":
    main()
