"""`make chaos`: a run whose processes are killed again and again ends with the records of one that nobody touched.

The demo, shortened, runs four times, with all 17 methods. Undisturbed. With SIGKILL for one of its processes, or
SIGTERM for itself, at random moments and while a record is put together and moved; it is started again whenever it is
gone. On three nodes of which one is taken away. On a cluster with bad nodes and nodes that come late. Ends with 1 if
anything differs, is lost, half or left over.
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
from reliability import demo_run, nodes  # noqa: E402
from reliability.demo_run import CODE, compared, incomplete, log_of, resumed, say, start  # noqa: E402

SIGTERM = "driver by SIGTERM"  # all others by SIGKILL
VICTIMS = {"worker": 5, "data worker": 2, "raylet": 3, "driver": 3, SIGTERM: 3}  # how often, one against the other
GENTLE = {143, -15}  # statuses of a run that SIGTERM has ended; -15: before it had begun
AIMED_EVERY = 3  # of so many kills one is aimed at a moment of PUBLISHING
SECONDS = (0.5, 15)  # between two kills
PATIENCE = 90  # seconds to wait for the moment that is aimed at
END_SECONDS = 120  # in which a run whose raylet is gone must end, and orphans with it


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="an empty or new folder for results and logs; default: a scratch one")
    parser.add_argument("--quick", action="store_true", help="three methods alone, to try this script")
    options = parser.parse_args()
    demo_run.overrides += demo_run.QUICK if options.quick else ()
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
    for part, folder in ((nodes.lose_a_node, "node-lost"), (nodes.bad_and_late_nodes, "nodes-bad")):
        line, found = part(undisturbed, scratch / folder)
        lines.append(line)
        problems += found
    say("\n" + "\n".join([*lines, f"differences and other problems: {len(problems)}", *problems]))
    if not options.keep and not problems:
        shutil.rmtree(scratch)
    return 1 if problems else 0


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
        if victim.pid == self.driver.pid and name != SIGTERM:
            name = "driver"
        self.orphans += tree(self.driver.pid)
        with suppress(psutil.NoSuchProcess):
            victim.terminate() if name == SIGTERM else victim.kill()
        self.killed.append((name, trial is not None))
        when = f" of {trial} {moment}" if trial else ""
        said = f"{name}{when}: {self._aftermath(name)}"
        done = len(clusters.states(self.folder))
        say(f"{time.strftime('%H:%M:%S')} kill {self.of - self.most + len(self.killed)}: {said}; {done} records")

    def _find(self, name: str, trial: str | None) -> psutil.Process | None:
        """A process of that kind that is there now; of workers, the one that has the trial."""
        if name in ("driver", SIGTERM):
            return psutil.Process(self.driver.pid)
        processes = tree(self.driver.pid)
        if name == "raylet":
            return next((process for process in processes if title(process).endswith("/raylet")), None)
        actors = [process for process in processes if title(process).startswith("ray::_Inner")]
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
        if name == SIGTERM and status not in (*GENTLE, 0):
            self.problems.append(f"SIGTERM ended a run with {status}: {self._last_line()}")
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


if __name__ == "__main__":
    sys.exit(main())
