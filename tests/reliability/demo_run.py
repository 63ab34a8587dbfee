"""The shortened demo that `make chaos` runs again and again, and what must hold of its results."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from helpers import clusters

from benchmark.records.arrays import read_masks
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import DONE, planned_states

SHORT = (
    "training.iterations=40", "execution.checkpoint_iterations=5", "execution.tensorboard=false", "data.test=2",
)  # fmt: skip
CODE = ("benchmark", "data", "methods", "reports", "configs")
QUICK = ("methods=[vnet_sdm, ua_mt, mean_teacher]", "reference=null")  # to try the script itself
overrides: list[str] = list(SHORT)


def start(folder: Path, *options: str) -> subprocess.Popen:
    """The shortened demo into `folder`, in a process group of its own."""
    code = folder.parent / "code"
    words = [word for override in overrides for word in ("--set", override)]
    with log_of(folder).open("a") as log:
        return subprocess.Popen(
            [sys.executable, code / "run_benchmark.py", "run", code / "configs/demo.yaml", "--results", folder,
             *words, *options],
            cwd=folder.parent, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def log_of(folder: Path) -> Path:
    return folder.with_suffix(".log")


# What must hold in the end.


def incomplete(folder: Path) -> list[str]:
    """What a results folder lacks, or has too much of."""
    results = ResultsFolder(folder)
    states = {cell.trial: state for cell, state in planned_states(results)}  # a plan has no trial twice
    there = [path.name for path in sorted((folder / "records").iterdir())]
    found = [f"{trial}: lost" for trial in states if trial not in there]
    found += [f"{trial}: planned by nobody" for trial in there if trial not in states]
    for trial, state in states.items():
        if trial in there and state.state != DONE:  # a record or its cases may be half
            found.append(f"{trial}: {state.state}: {state.reason}")
    left = [path.name for path in (folder / "running").iterdir() if path.is_dir()]
    found += [f"running/{name} is left" for name in left]
    if not (folder / "report" / "index.html").exists():
        found.append("no report")
    return found


def compared(undisturbed: Path, folder: Path) -> list[str]:
    found = incomplete(folder)
    done = {trial for trial, state in clusters.states(folder).items() if state == "done"}
    if done == clusters.states(folder).keys():
        found += clusters.differences(undisturbed, folder)
    for trial in done:
        for path in (undisturbed / "records" / trial / "predictions").iterdir():
            other = folder / "records" / trial / "predictions" / path.name
            if not other.exists() or (read_masks(path) != read_masks(other)).any():
                found.append(f"{trial}: prediction of {path.stem}")
    return [f"{folder.name}: {line}" for line in found]


def resumed(folder: Path) -> int:
    facts = [json.loads(path.read_text()) for path in folder.glob("records/*/provenance.json")]
    return sum(fact["resumed_at_step"] > 0 for fact in facts)


def in_training(folder: Path) -> int:
    """How many trials have a checkpoint and are not near their end."""
    steps = []
    for path in folder.glob("running/*/heartbeat.json"):
        with suppress(OSError, ValueError):
            beat = json.loads(path.read_text())
            steps.append(beat["step"] if beat["stage"] == "training" else 0)
    return sum(8 <= step <= 30 for step in steps)


def say(line: str) -> None:
    print(line, flush=True)
