"""Ray clusters of several nodes on this machine, and whether two results folders hold the same results."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml

ENTRY = Path(__file__).parents[2] / "run_benchmark.py"


@contextmanager
def cluster(nodes: int, cpus: int, gpus: int = 0) -> Iterator:
    """A head without CPUs and `nodes` nodes that declare `cpus` and `gpus` each, every one a raylet of its own.

    Clients need a token, as docs/cluster.md advises.
    """
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a token of the tests, not a secret"}
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(nodes):
            made.add_node(num_cpus=cpus, num_gpus=gpus)
        made.wait_for_nodes()
        yield made
    finally:
        made.shutdown()
        del os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]


def add_node(made, **environment: str) -> None:
    """One more node, of one CPU, whose workers see these variables."""
    made.add_node(num_cpus=1, env_vars=environment)


def start(config: Path, folder: Path, *options: str, **more) -> subprocess.Popen:
    """`run` in a process group of its own, far from the checkout."""
    return subprocess.Popen(
        [sys.executable, ENTRY, "run", config, "--results", folder, *options],
        cwd=config.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **more,
    )  # fmt: skip


def states(folder: Path) -> dict[str, str]:
    """The state of each record."""
    return {path.parent.name: yaml.safe_load(path.read_text())["state"] for path in folder.glob("records/*/trial.yaml")}


def differences(first: Path, second: Path) -> list[str]:
    """What differs between two results folders' records: trials, tensors, history (its timings aside) and cases."""
    found = [f"{trial}: only in one" for trial in states(first).keys() ^ states(second).keys()]
    for trial in sorted(states(first).keys() & states(second).keys()):
        a, b = first / "records" / trial, second / "records" / trial
        if (a / "cases.csv").read_bytes() != (b / "cases.csv").read_bytes():
            found.append(f"{trial}: cases")
        if _history(a) != _history(b):
            found.append(f"{trial}: history")
        weights, others = (torch.load(path / "weights.pt", weights_only=True) for path in (a, b))
        if weights.keys() != others.keys() or not all(torch.equal(weights[name], others[name]) for name in weights):
            found.append(f"{trial}: tensors")
    return found


def _history(record: Path) -> list[dict]:
    with (record / "history.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
