"""`make scale`: what the driver costs a trial, at 100 and at 2,000 trials, and what follows for a large cluster.

The trials do nothing: one weight, one step, one test case of 16 voxels a side. They pass through the real planner and
the real scheduler, so what they take is what the harness costs. Writes nothing but a scratch folder, which it removes.
Ends with 1 if a trial costs more than it may.
"""

import argparse
import heapq
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
COUNTS = (100, 2000)
MOST_SECONDS = 0.3  # that a trial may cost once the workers are warm
MOST_GROWTH = 1.2  # of that, from the first of COUNTS to the last; other work on the machine shows in it
SIGNS = 4000  # of life, by which is measured what each costs the driver
WARM, CPU, SIGN, FIRST = (
    "a trial, warm [s]", "driver's CPU, a trial [s]", "driver's CPU, a sign of life [s]", "first trial done [s]",
)  # fmt: skip

METHOD = '''
import os

import torch
from torch import nn

import benchmark.trial.run
from methods.shared.method import Info, Method, Passes
from methods.shared.registry import register

benchmark.trial.run.REPORT_SECONDS = float(os.environ.get("SCALE_REPORT_SECONDS", benchmark.trial.run.REPORT_SECONDS))


@register("noop")
class Noop(Method):
    """Nothing: one weight."""

    info = Info(title="Noop", year=2026, source="none", fidelity="adapted", passes=Passes(train=1))

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.weight = nn.Parameter(torch.zeros(1))

    def training_step(self, batch, step, phase):
        return {"total": (self.weight - 1).square().sum()}

    def predict(self, images):
        return torch.sigmoid(images)
'''


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # in a process of its own: folder, trials
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(Path(options.measure[0]), int(options.measure[1]))))
        return 0
    columns = {}
    for count in options.counts:
        with tempfile.TemporaryDirectory(prefix="semiseg-scale-") as scratch:
            columns[count] = in_a_process(Path(scratch), count) | afterwards(Path(scratch))
    with tempfile.TemporaryDirectory(prefix="semiseg-scale-") as scratch:
        signs = in_a_process(Path(scratch), 0)
    for column in columns.values():
        column |= signs
    show({f"{count:,} trials": column for count, column in columns.items()})
    warm = [column[WARM] for column in columns.values()]
    growth = warm[-1] / warm[0]
    costs = [column[CPU] for column in columns.values()]
    print(f"\nthe last column over the first: {growth:.2f} in time, {costs[-1] / costs[0]:.2f} in the driver's CPU\n")
    show({"10,000 trials of 3 to 6 h": makespan(10_000, 256, columns[options.counts[-1]])})
    return 0 if max(warm) < MOST_SECONDS and growth <= MOST_GROWTH else 1


def in_a_process(scratch: Path, count: int) -> dict:
    """measure(), so that its peak memory is of this alone."""
    (scratch / "noop.py").write_text(METHOD)
    environment = {"SCALE_REPORT_SECONDS": "0"} if not count else {}
    out = subprocess.run([sys.executable, __file__, "--measure", scratch, str(count)], check=True,
                         stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | environment)  # fmt: skip
    return json.loads(out.stdout.splitlines()[-1])


def write_experiment(scratch: Path, seeds: int, iterations: int) -> Path:
    path = scratch / "scale.yaml"
    path.write_text(yaml.safe_dump({
        "name": "scale", "data": {"source": "phantom", "train": 4, "test": 1, "size": [16, 16, 16]},
        "methods": ["noop"], "baseline": None, "labelled": [2], "seeds": list(range(seeds)), "plugins": ["noop.py"],
        "training": {"iterations": iterations, "patch": [16, 16, 16], "width": 2, "threads": 1, "precision": "fp32"},
        "evaluation": {"stride": [16, 16, 16]},
        "execution": {"device": "cpu", "data_workers": 0, "tensorboard": False},
    }))  # fmt: skip
    return path


def plan(config: Path) -> tuple:
    """The experiment, its results folder beside the file, and all its trials."""
    sys.path.insert(0, str(ROOT))
    from benchmark.planning.experiment_file import load_experiment
    from benchmark.planning.plan import make_plan, write_plan
    from benchmark.records.results_folder import ResultsFolder

    experiment, results = load_experiment(config), ResultsFolder(config.parent / "results")
    results.create()
    planned = make_plan(experiment, results)
    write_plan(planned)
    return experiment, results, [found.trial for found in planned.trials]


def measure(scratch: Path, count: int) -> dict:
    """Plan and run so many trials; none: two long ones that give signs of life at every step."""
    begin = time.perf_counter()
    experiment, results, trials = plan(write_experiment(scratch, count or 2, iterations=1 if count else SIGNS // 2))
    planned = time.perf_counter()
    from benchmark.cluster.scheduler import run_trials

    done, signs = [], []

    def take(progress) -> None:
        if progress.stage == "done":
            done.append((time.perf_counter(), time.process_time()))
        else:
            signs.append(time.process_time())

    start = time.perf_counter()
    assert run_trials(trials, results, experiment.execution, take)
    assert len(done) == len(trials)
    if not count:
        return {SIGN: (signs[-1] - signs[0]) / (len(signs) - 1)}
    return {
        "planning [s]": planned - begin,
        FIRST: done[0][0] - start,
        WARM: (done[-1][0] - done[0][0]) / (count - 1),
        CPU: (done[-1][1] - done[0][1]) / (count - 1),
        "peak memory of the driver [MB]": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def afterwards(scratch: Path) -> dict:
    """What a finished folder costs to look at: `run` until it has said that nothing is to run, and `status`."""
    command = [sys.executable, ROOT / "run_benchmark.py"]
    run = [*command, "run", scratch / "scale.yaml", "--results", scratch / "results"]
    begin = time.perf_counter()
    process = subprocess.Popen(
        run, stdout=subprocess.PIPE, text=True, bufsize=1, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )
    said = next(line for line in process.stdout if "to run" in line)
    again = time.perf_counter() - begin
    assert "; 0 to run" in said, said
    process.kill()  # the report of so many rows is another matter
    process.wait()
    begin = time.perf_counter()
    subprocess.run([*command, "status", scratch / "results"], check=True, stdout=subprocess.DEVNULL)
    return {'`run` again, until "0 to run" [s]': again, "`status` [s]": time.perf_counter() - begin}


def makespan(trials: int, gpus: int, measured: dict) -> dict:
    """On paper: list scheduling, the longest first, with what was measured of this machine's driver.

    The driver is busy with one thing at a time: it hands out trials one after another, and a worker waits for it once a
    second, as it gives its sign of life.
    """
    busy = gpus * measured[SIGN]  # share of the driver's time that signs of life take, one a second and worker
    stretched = 1 + measured[SIGN] / (1 - busy) if busy < 1 else busy
    between = measured[WARM] * (os.cpu_count() or 1)  # so many trials ran at a time
    chance = random.Random(1)
    hours = sorted((chance.uniform(3, 6) for _ in range(trials)), reverse=True)
    bound = max(sum(hours) / gpus, hours[0])
    free, driver = [measured[FIRST] / 3600] * gpus, 0.0
    for length in hours:
        driver = max(heapq.heappop(free), driver) + measured[CPU] / 3600
        heapq.heappush(free, driver + length * stretched + between / 3600)
    return {
        "all work / 256 GPUs [h]": sum(hours) / gpus,
        "longest trial [h]": hours[0],
        "makespan [h]": max(free),
        "makespan / lower bound": max(free) / bound,
        "driver busy with signs of life": busy,
    }


def show(columns: dict[str, dict]) -> None:
    rows = list(next(iter(columns.values())))
    print(f"{'':38}" + "".join(f"{name:>28}" for name in columns))
    for row in rows:
        print(f"{row:38}" + "".join(f"{column[row]:>28.4f}" for column in columns.values()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
