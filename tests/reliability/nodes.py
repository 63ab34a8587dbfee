"""Nodes that go, that are bad, and that come late: the demo on local clusters ends with the same records."""

import time
from pathlib import Path

from helpers import clusters
from reliability.demo_run import compared, in_training, log_of, resumed, say, start

# A node on which no method can be imported, as one of which a file is damaged: each of its trials fails at once.
DAMAGED = """
import sys


class Damaged:
    def find_spec(self, name, path=None, target=None):
        if name == "methods.vnet":
            raise ImportError("methods/vnet.py is damaged on this node")


sys.meta_path.insert(0, Damaged())
"""
INCOMPLETE = "raise ImportError('libtorch is missing on this node')"


def lose_a_node(undisturbed: Path, folder: Path) -> tuple[str, list[str]]:
    """The same run on three nodes, one of which dies once a few trials are done and all nodes are past a checkpoint."""
    begin = time.monotonic()
    with clusters.cluster(nodes=3, cpus=1) as cluster:
        driver = start(folder, "--address", cluster.address)
        while driver.poll() is None and (len(clusters.states(folder)) < 3 or in_training(folder) < 3):
            time.sleep(0.2)
        say(f"{time.strftime('%H:%M:%S')} a node is removed; {len(clusters.states(folder))} records")
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
        status = driver.wait()
    problems = compared(undisturbed, folder)
    if not resumed(folder):
        problems.append(f"{folder.name}: no trial went on from a checkpoint")
    if status:
        problems.append(f"{folder.name}: ended with {status}: {log_of(folder).read_text().splitlines()[-1]}")
    line = (
        f"node lost: {len(clusters.states(folder))} records in {time.monotonic() - begin:.0f} s on 3 nodes, then 2; "
        f"{resumed(folder)} trials went on from a checkpoint"
    )
    return line, problems


def bad_and_late_nodes(undisturbed: Path, folder: Path) -> tuple[str, list[str]]:
    """The same run on a good node and one that fails all it gets; later a node without torch joins, and a good one."""
    begin = time.monotonic()
    for name, text in (("sitecustomize", DAMAGED), ("torch", INCOMPLETE)):
        (folder.parent / name).mkdir()
        (folder.parent / name / f"{name}.py").write_text(text)
    with clusters.cluster(nodes=1, cpus=1) as cluster:
        clusters.add_node(cluster, PYTHONPATH=str(folder.parent / "sitecustomize"))
        driver = start(folder, "--address", cluster.address)
        while driver.poll() is None and len(clusters.states(folder)) < 2:
            time.sleep(0.2)
        say(f"{time.strftime('%H:%M:%S')} two nodes join; {len(clusters.states(folder))} records")
        clusters.add_node(cluster, PYTHONPATH=str(folder.parent / "torch"))
        clusters.add_node(cluster)
        status = driver.wait()
    problems, log = compared(undisturbed, folder), log_of(folder).read_text()
    told = [line for line in log.splitlines() if "gets no more trials" in line]
    problems += [
        f"{folder.name}: {node} was not left" for node in ("failed there at once", "libtorch") if node not in log
    ]
    if status:
        problems.append(f"{folder.name}: ended with {status}: {log.splitlines()[-1]}")
    line = (
        f"bad and late nodes: {len(clusters.states(folder))} records in {time.monotonic() - begin:.0f} s on a good "
        "node, one that fails all trials, and later one without torch and a good one; "
        f"{len(told)} nodes were used no more"
    )
    return line, problems
