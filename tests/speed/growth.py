"""`make growth`: how time and memory grow with the patch, the cases, the trials and the workers; a plot of each.

Every point is measured in a process of its own. The line is the straight one from the first point to the last; for the
time of more workers with as many more trials it is the one that stays what it was. Writes docs/figures/growth.png and
results/growth.json; needs an idle machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import matplotlib
import psutil
import torch
from workload import CPU, PAPER, ROOT, Cases, Size, loop, timed, with_settings_of_a_trial

from benchmark.trial import provenance
from data.cache import prepare
from data.sources import PhantomSettings

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

PATCHES = [(48, 48, 32), (64, 64, 48), (80, 80, 64), (96, 96, 80), (112, 112, 80)]
CASES = [10, 20, 40, 80, 160]
TRIALS = [50, 100, 200, 400]
WORKERS = [1, 2, 4, 8]
SLEEP, TRIALS_A_WORKER = 2.0, 4
GIB = 2**30


def patch(number: int) -> dict[str, float]:
    """A V-Net's training step of 4 patches with 16 filters."""
    size = Size("", PATCHES[number], PAPER.stride, PAPER.case)
    with tempfile.TemporaryDirectory() as scratch:
        cases = Cases(size, Path(scratch))
    provenance.reset_peak_memory(CPU)
    step = cases.our_step("vnet")
    for _ in range(5):
        step()
    seconds = statistics.median(timed(step) for _ in range(5))
    voxels = 4 * size.patch[0] * size.patch[1] * size.patch[2]
    return {"x": voxels / 1e6, "time": seconds, "memory": provenance.peak_memory(CPU) / GIB}


def cases(number: int) -> dict[str, float]:
    """Preparing so many cases, and the memory of 200 batches from all of them."""
    count = CASES[number]
    settings = PhantomSettings(source="phantom", train=count, test=1, size=(96, 96, 64))
    seconds = timed(lambda: prepare(settings))
    dataset = prepare(settings)
    provenance.reset_peak_memory(CPU)
    training = Size("", (64, 64, 48), (64, 64, 48), (96, 96, 64)).training(width=2, threads=1)
    method = loop.build_method("vnet", loop.registry.settings_of("vnet", {}), training, 1, 0, CPU)
    stream = loop.make_stream(method, dataset, dataset.train_ids, [], training, 0)
    for step in range(200):
        stream[step]
    return {"x": count, "time": seconds, "memory": provenance.peak_memory(CPU) / GIB}


def trials(number: int) -> dict[str, float]:
    """So many trials that do nothing, two at a time; memory of the driver."""
    scale = _scale()
    with tempfile.TemporaryDirectory() as scratch:
        found = scale.in_a_process(Path(scratch), TRIALS[number])
    seconds = found[scale.FIRST] + found[scale.WARM] * (TRIALS[number] - 1)
    return {"x": TRIALS[number], "time": seconds, "memory": found["peak memory of the driver [MB]"] / 1024}


def workers(number: int) -> dict[str, float]:
    """Trials that sleep, four for each worker, on so many declared CPUs: the time should stay what it is with one.

    Memory is that of all workers together, code that they share counted once.
    """
    scale, count = _scale(), WORKERS[number]
    sys.path.insert(0, str(ROOT / "tests"))
    from helpers.clusters import cluster

    with tempfile.TemporaryDirectory() as scratch, cluster(1, count) as made:
        folder = Path(scratch)
        sleeping = scale.METHOD.replace(
            "        return {", f"        import time\n        time.sleep({SLEEP})\n        return {{"
        )
        (folder / "noop.py").write_text(sleeping)
        experiment, results, trials = scale.plan(
            scale.write_experiment(folder, seeds=TRIALS_A_WORKER * count, iterations=1)
        )
        from benchmark.cluster.scheduler import run_trials  # Ray reads the cluster's token when it is imported

        peak = [0.0]
        threading.Thread(target=_watch_workers, args=(peak,), daemon=True).start()
        seconds = timed(
            lambda: run_trials(trials, results, experiment.execution, lambda progress: None, address=made.address)
        )
    return {"x": count, "time": seconds, "memory": peak[0]}


def _watch_workers(peak: list[float]) -> None:
    while True:
        taken = 0
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # one that ends meanwhile
                # Ray renames a worker by what it does: the first is a trial's while it runs, the second between two
                if any(name in " ".join(process.cmdline()) for name in ("ray::_Inner", "ray::TrialActor")):
                    taken += process.memory_full_info().pss
        peak[0] = max(peak[0], taken / GIB)
        time.sleep(0.5)


def _scale():
    sys.path.insert(0, str(ROOT / "tests" / "reliability"))
    import scale

    return scale


PANELS = {
    "patch": (patch, len(PATCHES), "voxels a step [million]", "a V-Net's training step [s]", "peak memory [GiB]"),
    "cases": (cases, len(CASES), "cases", "preparing them [s]", "peak memory of 200 batches [GiB]"),
    "trials": (trials, len(TRIALS), "trials that do nothing", "the run [s]", "peak memory of the driver [GiB]"),
    "workers": (
        workers, len(WORKERS), "workers (declared CPUs)", f"{TRIALS_A_WORKER} trials each that sleep {SLEEP:g} s [s]",
        "memory of all workers [GiB]",
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PANELS, default=list(PANELS))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # in a process of its own: panel, number
    options = parser.parse_args()
    if options.measure:
        with_settings_of_a_trial()
        torch.set_num_threads(os.cpu_count())
        panel, number = options.measure
        print(json.dumps(PANELS[panel][0](int(number))))
        return
    file = ROOT / "results" / "growth.json"
    file.parent.mkdir(exist_ok=True)
    measured = json.loads(file.read_text())["panels"] if file.exists() else {}
    for panel in options.only:
        measured[panel] = [_in_a_process(panel, number) for number in range(PANELS[panel][1])]
        print(panel, *measured[panel], sep="\n  ", flush=True)
        content = {"machine": provenance.environment(), **provenance.revision(), "panels": measured}
        file.write_text(json.dumps(content, indent=1))
    draw(measured, ROOT / "docs" / "figures" / "growth.png")


def _in_a_process(panel: str, number: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="semiseg-growth-") as cache:
        out = subprocess.run(
            [sys.executable, __file__, "--measure", panel, str(number)], check=True, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"SEMISEG_CACHE": cache},
        )  # fmt: skip
    return json.loads(out.stdout.splitlines()[-1])


def draw(measured: dict[str, list[dict[str, float]]], file: Path) -> None:
    figure, axes = pyplot.subplots(2, len(measured), figsize=(3.6 * len(measured), 6), layout="constrained")
    for column, (panel, points) in enumerate(measured.items()):
        for axis, key, label in zip(axes[:, column], ("time", "memory"), PANELS[panel][3:], strict=True):
            first, last = points[0], points[-1]
            end = first[key] if (panel, key) == ("workers", "time") else last[key]
            axis.plot([first["x"], last["x"]], [first[key], end], color="0.6", linewidth=1)
            axis.plot([p["x"] for p in points], [p[key] for p in points], "o", color="tab:blue")
            axis.set(xlabel=PANELS[panel][2], ylabel=label, xlim=(0, None))
            axis.set_ylim(0, 1.15 * max(p[key] for p in points))
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
