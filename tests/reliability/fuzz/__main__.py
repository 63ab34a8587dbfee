"""Counts what mutated inputs lead to: `make fuzz`, or `PYTHONPATH=.:tests python -m reliability.fuzz` with options."""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before numpy and torch: children are forked

from reliability.fuzz import experiments, guard, lists, masks, results, scans  # noqa: E402
from reliability.fuzz.judging import ACCEPTED, FINDING, REFUSED, Verdict, fault  # noqa: E402

TARGETS = {"experiments": experiments, "scans": scans, "masks": masks, "lists": lists, "results": results}
ROOT = Path(__file__).parents[3]
PROCESS_SECONDS = 300  # that a command line in a process of its own may take
KEPT = 3  # inputs of one cause


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=300, help="for all targets together")
    parser.add_argument("--inputs", type=int, help="of each target, instead of a time")
    parser.add_argument("--processes", type=int, default=4, help="inputs of each target that real processes meet, too")
    parser.add_argument("--only", metavar="TARGET[:NUMBER]", help="a target, or one input, which is then kept")
    parser.add_argument("--keep", type=Path, default=ROOT / "results" / "fuzz", help="a folder for findings")
    options = parser.parse_args()
    name, _, number = (options.only or "").partition(":")
    if name and name not in TARGETS:
        parser.error(f"--only {options.only}: the targets are {', '.join(TARGETS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the scratch folder goes
    runs = [Run(name, options.seed, options.keep) for name in ([name] if name else TARGETS)]
    scratch = Path(tempfile.mkdtemp(prefix="semiseg-fuzz-"))
    try:
        for run in runs:
            if number:
                run.one(int(number), scratch / run.name)
            else:
                run.many(options.inputs, options.seconds / len(runs), options.processes, scratch / run.name)
    finally:
        shutil.rmtree(scratch)
    print(table(runs), flush=True)
    return 1 if any(run.causes for run in runs) else 0


@dataclass
class Run:
    """The inputs of one target, and how they fared."""

    name: str
    seed: int
    keep: Path
    counts: Counter = field(default_factory=Counter)
    causes: Counter = field(default_factory=Counter)
    processes: int = 0

    def one(self, number: int, scratch: Path) -> None:
        """Judge one input, and keep it whatever comes out."""
        with guard.Guard(TARGETS[self.name], self.name, self.seed, scratch) as guarded:
            verdict = guarded.judge(number)
            self._count(number, verdict, guarded.input_folder, always=True)
        print(f"{verdict.outcome} {verdict.cause}\n{verdict.detail}", flush=True)

    def many(self, inputs: int | None, seconds: float, processes: int, scratch: Path) -> None:
        """Judge inputs from number 0 on, so many or for so long; the first ones in processes of their own, too."""
        with guard.Guard(TARGETS[self.name], self.name, self.seed, scratch) as guarded:
            end, number = time.monotonic() + seconds, 0
            while number < inputs if inputs is not None else time.monotonic() < end:
                self._count(number, guarded.judge(number), guarded.input_folder)
                number += 1
        for number in range(processes):
            self._count(number, self._in_a_process(number, scratch), scratch / "input")
            self.processes += 1

    def _in_a_process(self, number: int, scratch: Path) -> Verdict:
        """How one of an input's command lines fares as a user calls it: nothing is replaced."""
        given = guard.make_input(TARGETS[self.name], self.name, self.seed, number, scratch)
        arguments = random.Random(number).choice(given.commands)
        with guard.environment(scratch):
            try:
                done = subprocess.run(
                    [sys.executable, ROOT / "run_benchmark.py", *arguments],
                    cwd=scratch / "input", capture_output=True, timeout=PROCESS_SECONDS,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return Verdict(
                    FINDING, f"{arguments[0]}: hang of over {PROCESS_SECONDS} s in a process", given.mutation
                )
            except ValueError:  # no shell could pass on such an argument either
                return Verdict(REFUSED)
        out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
        if cause := fault(arguments, done.returncode, out, err, given):
            return Verdict(FINDING, f"{cause} (in a process)", f"{given.mutation}\n{arguments}\n{err}\n{out}")
        return Verdict(REFUSED if done.returncode else ACCEPTED)

    def _count(self, number: int, verdict: Verdict, folder: Path, always: bool = False) -> None:
        self.counts[verdict.outcome] += 1
        if verdict.outcome == FINDING:
            self.causes[verdict.cause] += 1
            if self.causes[verdict.cause] == 1:
                print(f"finding, --seed {self.seed} --only {self.name}:{number}: {verdict.cause}", flush=True)
        if always or (verdict.outcome == FINDING and self.causes[verdict.cause] <= KEPT):
            kept = self.keep / f"{self.name}-{self.seed}-{number}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, symlinks=True)
            (kept / "verdict.txt").write_text(f"{verdict.outcome} {verdict.cause}\n{verdict.detail}", errors="replace")


def table(runs: list[Run]) -> str:
    """The counts of every target, then how often each cause was found."""
    lines = ["", "| target | inputs | accepted | refused | findings | of these in processes of their own |",
             "|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for run in runs:
        counts = [run.counts.total(), run.counts[ACCEPTED], run.counts[REFUSED], run.counts[FINDING], run.processes]
        lines.append(f"| {run.name} | {' | '.join(f'{count:,}' for count in counts)} |")
    for run in runs:
        lines += [f"{count:6}  {run.name}: {cause}" for cause, count in run.causes.most_common()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
