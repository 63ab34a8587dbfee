"""`make chaos`: a run whose processes are killed again and again ends with the records of one that nobody touched.

The demo, shortened, runs three times: undisturbed; with SIGKILL for one of its processes at random moments, and at
moments when a record is being put together and moved, started again whenever it is gone; and on a cluster of three
nodes of which one is taken away. All 17 methods are in it. Ends with 1 if anything differs, is lost, half or left over.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers import clusters  # noqa: E402

from benchmark.records.arrays import read_masks  # noqa: E402
from benchmark.records.results_folder import ResultsFolder  # noqa: E402
from benchmark.records.states import DONE, planned_states  # noqa: E402

SHORT = (
    "training.iterations=40", "execution.checkpoint_iterations=5", "execution.tensorboard=false", "data.test=2",
)  # fmt: skip
CODE = ("benchmark", "data", "methods", "reports", "configs")
VICTIMS = {"worker": 5, "data worker": 2, "raylet": 3, "driver": 3}  # how often, one against the other
AIMED_EVERY = 3  # of so many kills one is aimed at a moment of PUBLISHING
SECONDS = (0.5, 15)  # between two kills
PATIENCE = 90  # seconds to wait for the moment that is aimed at
END_SECONDS = 120  # in which a run whose raylet is gone must end, and orphans with it


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="an empty or new folder for results and logs; default: a scratch one")
    options = parser.parse_args()
    scratch = options.keep or Path(tempfile.mkdtemp(prefix="semiseg-chaos-"))
    for name in CODE:  # of this moment: an edit meanwhile would make other trials
        shutil.copytree(ROOT / name, scratch / "code" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run_benchmark.py", scratch / "code")
    undisturbed = scratch / "undisturbed"
    say(f"results and logs: {scratch}")
    begin = time.monotonic()
    if start(undisturbed).wait():
        say(f"the undisturbed run failed:\n{log_of(undisturbed).read_text()}")
        return 1
    lines = [f"undisturbed: {len(clusters.states(undisturbed))} records in {time.monotonic() - begin:.0f} s"]
    problems = incomplete(undisturbed)
    chance, left, number = random.Random(options.seed), options.kills, 0
    while left > 0:  # a run that ends before all the kills are done is followed by another one
        number += 1
        chaos = Chaos(scratch / f"killed-{number}", chance, left, options.kills)
        chaos.to_the_end()
        left -= len(chaos.killed)
        lines.append(chaos.summary())
        problems += chaos.problems + compared(undisturbed, chaos.folder)
    line, found = lose_a_node(undisturbed, scratch / "node-lost")
    lines.append(line)
    problems += found
    say("\n" + "\n".join([*lines, f"differences and other problems: {len(problems)}", *problems]))
    if not options.keep and not problems:
        shutil.rmtree(scratch)
    return 1 if problems else 0


def start(folder: Path, *options: str) -> subprocess.Popen:
    """The shortened demo into `folder`, in a process group of its own."""
    code = folder.parent / "code"
    overrides = [word for override in SHORT for word in ("--set", override)]
    with log_of(folder).open("a") as log:
        return subprocess.Popen(
            [sys.executable, code / "run_benchmark.py", "run", code / "configs/demo.yaml", "--results", folder,
             *overrides, *options],
            cwd=folder.parent, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def log_of(folder: Path) -> Path:
    return folder.with_suffix(".log")


# Moments at which a record is half: each gives the trial for which it is now, or none.


def _testing(folder: Path) -> str | None:
    for path in folder.glob("running/*/heartbeat.json"):
        with suppress(OSError, ValueError):
            beat = json.loads(path.read_text())
            if beat["stage"].startswith("testing") and time.time() - beat["time"] < 0.5:
                return path.parent.name
    return None


def _there(pattern: str) -> Callable[[Path], str | None]:
    def moment(folder: Path) -> str | None:
        return next((path.relative_to(folder / "running").parts[0] for path in folder.glob(pattern)), None)

    return moment


def _moved(folder: Path) -> str | None:
    with suppress(OSError):
        return next((name for name in os.listdir(folder / "running") if (folder / "records" / name).exists()), None)
    return None


PUBLISHING = {
    "while its cases are tested": _testing,
    "while its weights are written": _there("running/*/record/weights.pt"),
    "once trial.yaml is written": _there("running/*/record/trial.yaml"),
    "once it is moved": _moved,
}


@dataclass
class Chaos:
    """One results folder, filled by a run that is killed and started again."""

    folder: Path
    chance: random.Random
    most: int  # kills here
    of: int  # kills altogether
    killed: list[tuple[str, bool]] = field(default_factory=list)  # victim, whether the moment that was aimed at came
    problems: list[str] = field(default_factory=list)
    orphans: list[psutil.Process] = field(default_factory=list)
    starts: int = 0
    seconds: float = 0.0

    def to_the_end(self) -> None:
        begin = time.monotonic()
        self._start()
        while self.driver.poll() != 0 and not self.problems:
            if self.driver.poll() is not None:
                self.problems.append(f"the run ended by itself with {self.driver.returncode}: {self._last_line()}")
            elif len(self.killed) < self.most:
                self._one_kill()
            else:
                time.sleep(0.5)
        _, left = psutil.wait_procs(alive(self.orphans), timeout=END_SECONDS)
        self.problems += [f"process {process.pid} outlives its run by {END_SECONDS} s" for process in alive(left)]
        self.seconds = time.monotonic() - begin

    def _start(self) -> None:
        self.driver = start(self.folder)
        self.starts += 1

    def _one_kill(self) -> None:
        name = self.chance.choices(list(VICTIMS), list(VICTIMS.values()))[0]
        pause, aimed = self.chance.uniform(*SECONDS), len(self.killed) % AIMED_EVERY == AIMED_EVERY - 1
        moment = self.chance.choice(list(PUBLISHING)) if aimed else None
        with suppress(subprocess.TimeoutExpired):
            self.driver.wait(pause)
        if self.driver.poll() is not None:
            return
        victim, trial = self._aim(name, moment) if aimed else (self._find(name, None), None)
        if self.driver.poll() is not None:
            return
        victim = victim or psutil.Process(self.driver.pid)  # nothing else is there so soon after the start
        name = name if victim.pid != self.driver.pid else "driver"
        self.orphans += tree(self.driver.pid)
        with suppress(psutil.NoSuchProcess):
            victim.kill()
        self.killed.append((name, trial is not None))
        when = f" of {trial} {moment}" if trial else ""
        said = f"{name}{when}: {self._aftermath(name)}"
        done = len(clusters.states(self.folder))
        say(f"{time.strftime('%H:%M:%S')} kill {self.of - self.most + len(self.killed)}: {said}; {done} records")

    def _find(self, name: str, trial: str | None) -> psutil.Process | None:
        """A process of that kind that is there now; of workers, the one that has the trial."""
        if name == "driver":
            return psutil.Process(self.driver.pid)
        processes = tree(self.driver.pid)
        if name == "raylet":
            return next((process for process in processes if title(process).endswith("/raylet")), None)
        actors = [process for process in processes if title(process).startswith("ray::ResourceTrainable")]
        pids = {process.pid for process in actors}
        found = [process for process in actors if (parent(process) in pids) == (name == "data worker")]
        if trial is not None and name == "worker":
            found = [process for process in found if has_open(process, f"{trial}.lock")] or found
        return self.chance.choice(found) if found else None

    def _aim(self, name: str, moment: str) -> tuple[psutil.Process | None, str | None]:
        """Wait for the moment; the victim is looked for beforehand, as the moment is short."""
        end, looked, victims = time.monotonic() + PATIENCE, 0.0, {}
        while time.monotonic() < end and self.driver.poll() is None:
            if time.monotonic() - looked > 0.5:
                trials = [path.parent.name for path in self.folder.glob("running/*/heartbeat.json")]
                victims = {trial: self._find(name, trial) for trial in trials}
                looked = time.monotonic()
            trial = PUBLISHING[moment](self.folder)
            if trial is not None and victims.get(trial) is not None:
                return victims[trial], trial
            time.sleep(0.001)
        return (self._find(name, None) if self.driver.poll() is None else None), None

    def _aftermath(self, name: str) -> str:
        begin = time.monotonic()
        if name in ("worker", "data worker"):
            with suppress(subprocess.TimeoutExpired):
                self.driver.wait(0.5)
            if self.driver.poll() is None:
                return "the run goes on"
        try:
            status = self.driver.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.problems.append(f"a run whose {name} was killed hangs for {END_SECONDS} s")
            self.driver.kill()
            return "hangs"
        if status == 0 or name in ("worker", "data worker"):
            return f"the run ended with {status}"  # 0: it was over anyway
        self._start()
        return f"gone after {time.monotonic() - begin:.1f} s ({status}), started again"

    def _last_line(self) -> str:
        return log_of(self.folder).read_text().strip().splitlines()[-1]

    def summary(self) -> str:
        counts = Counter(name for name, _ in self.killed)
        kinds = ", ".join(f"{counts[name]} of a {name}" for name in VICTIMS)
        aimed = sum(hit for _, hit in self.killed)
        return (
            f"killed: {len(clusters.states(self.folder))} records in {self.seconds:.0f} s after {len(self.killed)} "
            f"kills ({kinds}; {aimed} while a record was put together or moved) and {self.starts - 1} restarts; "
            f"{resumed(self.folder)} trials went on from a checkpoint in the end"
        )


def tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def title(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess, IndexError):
        return process.cmdline()[0]
    return ""


def parent(process: psutil.Process) -> int | None:
    with suppress(psutil.NoSuchProcess):
        return process.ppid()
    return None


def has_open(process: psutil.Process, file: str) -> bool:
    with suppress(psutil.Error):
        return any(opened.path.endswith(f"/{file}") for opened in process.open_files())
    return False


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Without zombies: those wait for somebody else."""
    found = []
    for process in set(processes):
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


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


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
