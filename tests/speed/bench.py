"""`make bench`, `make bench-paper`: the harness against a loop as the released codes have it, and against the machine.

Every figure is a ratio of medians over rounds in which both sides are timed in turn. Prints a table and writes every
raw timing to results/bench.json (bench-paper.json; with --only bench-part.json). Targets are those at the paper's
sizes but for the floor's. Needs an idle machine: it says so where it finds none, and what others took meanwhile.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil
import torch
import yaml
from reference import LOOPS, Loader, distance_map, predict_case
from reference import case_metrics as medpy_metrics
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from workload import (
    CPU,
    HALF,
    PAPER,
    ROOT,
    STUDY,
    Cases,
    Size,
    elsewhere,
    flop_of,
    in_turn,
    loop,
    medians,
    timed,
    with_settings_of_a_trial,
)

from benchmark.planning.experiment import Execution
from benchmark.records.protocol import Evaluation
from benchmark.trial import loading, provenance
from benchmark.trial.inference import fold_batch_norm, predict_volume, windows
from benchmark.trial.metrics import case_metrics
from benchmark.trial.scoring import predict_labels, score_case
from methods.shared import registry
from methods.shared.networks.autocast import Conv3d
from methods.shared.signed_distance import signed_distance_map

STEPS = {"vnet": (4.2, 5), "dtml": (4.2, 5), "dtc": (4.2, 5), "ua_mt": (3.6, 4.2)}  # target and stretch of each
MATMUL_SIZES = (1024, 2048, 4096)
MEMORY_STEPS = 8
NOOP_TRIALS = 200
REPORTS = 1000


@dataclass
class Figure:
    """One row: `value` is what the target is about, a ratio unless `unit` says otherwise."""

    what: str
    ours: str
    other: str
    value: float
    target: float | None = None
    stretch: float | None = None
    unit: str = "x"
    at_least: bool = True
    note: str = ""
    raw: dict = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        reached = [t is not None and (self.value >= t if self.at_least else self.value <= t) for t in self.limits]
        return "stretch" if reached[1] else "met" if reached[0] else "MISSED"

    @property
    def limits(self) -> tuple[float | None, float | None]:
        return self.target, self.stretch


def faster(what: str, raw: dict[str, list[float]], target: float | None, stretch: float | None, **more) -> Figure:
    """How many times faster "ours" is than "reference"."""
    middle = medians(raw)
    ratio = middle["reference"] / middle["ours"]
    return Figure(what, seconds(middle["ours"]), seconds(middle["reference"]), ratio, target, stretch, raw=raw, **more)


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"


def training_step(name: str, cases: Cases, paper: bool) -> Iterator[Figure]:
    target, stretch = STEPS[name]
    calls = {"ours": cases.our_step(name), "reference": cases.reference_step(name)}
    if name == "dtml":
        calls["once"] = cases.reference_step(name, back_twice=False)
    raw = in_turn(calls)
    yield faster(f"training step, {name}", raw, target, stretch)
    if name == "dtml":
        once = {"ours": raw["ours"], "reference": raw["once"]}
        yield faster("training step, dtml", once, target, stretch, note="were the release to go back once")


def passes(cases: Cases, paper: bool) -> Iterator[Figure]:
    """Every method's step over its declared passes at the V-Net's price, measured beside it in the same rounds."""
    vnet, forward = cases.our_step("vnet"), _forward_only(cases)
    whole = flop_of(vnet)
    for name in registry.names():
        if name == "vnet":
            continue
        step = cases.our_step(name)
        share = flop_of(step) / whole
        raw = in_turn({"vnet": vnet, "forward": forward, "ours": step})
        middle, declared = medians(raw), registry.get(name).info.passes
        batch = cases.size.batch_size
        price = ((declared.train + declared.other) * middle["vnet"] + declared.extra * middle["forward"]) / batch
        note = (
            f"{declared.train:g} passes and {declared.extra} forward, of {middle['forward'] / middle['vnet']:.0%}, "
            f"{declared.other:g} in other networks; {middle['ours'] / middle['vnet']:.2f} times the time and "
            f"{share:.2f} times the FLOP of vnet"
        )
        yield Figure(
            f"step over its passes, {name}", seconds(middle["ours"]), seconds(price), middle["ours"] / price, 1.15,
            at_least=False, note=note, raw=raw,
        )  # fmt: skip


def _forward_only(cases: Cases) -> Callable:
    """A forward pass of a whole batch without gradient, in train mode as a teacher's."""
    training = cases.size.training()
    network = cases.method("vnet", training).train()
    images = torch.randn(training.batch_size, 1, *training.patch)

    def forward() -> None:
        with torch.no_grad():
            network.predict(images)

    return forward


def inference(cases: Cases, paper: bool) -> Iterator[Figure]:
    size, case_id = cases.size, cases.dataset.test_ids[0]
    method = cases.method("vnet", size.training())
    image, reference = np.asarray(cases.dataset.image(case_id)), LOOPS["vnet"](size.width)
    _same_weights(method, reference, cases)
    batch = Execution().window_batch
    ours = partial(predict_volume, fold_batch_norm(method).predict, image, 1, size.patch, size.stride, batch, CPU)
    theirs = elsewhere(_reference_prediction, reference.networks[0].state_dict(), image, size)
    count = len(windows(tuple(map(max, image.shape, size.patch)), size.patch, size.stride))
    raw = in_turn({"ours": ours, "reference": theirs})
    yield faster("inference of a case", raw, 3.3, 3.9, note=f"{count} windows of {image.shape}")
    difference = float(np.abs(ours()[0] - theirs()).mean())
    yield Figure("its mean difference in probability", "bf16", "fp32", difference, 5e-3, unit="", at_least=False)


def _reference_prediction(weights: dict, image: np.ndarray, size: Size) -> Callable:
    reference = LOOPS["vnet"](size.width)
    reference.networks[0].load_state_dict(weights)
    return partial(predict_case, reference, image, size.patch, size.stride)


def _same_weights(method, reference, cases: Cases) -> None:
    """Give both one set of weights, a little trained, so that probabilities are not all alike."""
    training = cases.size.training(patch=(48, 48, 32), iterations=20)
    state = loop.initial_state(method, training)
    for _ in loop.train(state, cases.stream(method, training), training, 0, CPU, 0):
        pass
    plain = reference.networks[0].state_dict().values()
    for target, source in zip(plain, method.network.state_dict().values(), strict=True):
        source = torch.atleast_1d(source)
        torch.atleast_1d(target.zero_())[-len(source) :] = source  # two channels, of which the first is 0


def metrics(cases: Cases, paper: bool) -> Iterator[Figure]:
    truth = cases.dataset.native(cases.dataset.test_ids[0])
    rng = np.random.default_rng(0)
    prediction = np.roll(truth.label, (3, -2, 1), (0, 1, 2))  # displaced, and with specks far from the target
    prediction[tuple(rng.integers(0, n, 50) for n in prediction.shape)] = 1
    ours = partial(case_metrics, prediction, truth.label, 1, truth.spacing, "worst", 2.0)
    theirs = partial(medpy_metrics, prediction == 1, truth.label == 1)
    raw = in_turn({"ours": ours, "reference": theirs})
    expected = theirs()
    found = {row["metric"]: row["value"] for row in ours() if row["unit"] in ("", "voxel")}
    difference = max(abs(found[name] - value) for name, value in expected.items())
    note = "ours has assd, hd95_max, nsd, volume_error and millimetres, too"
    yield faster("metrics of a case", raw, 10, 20, note=note)
    yield Figure("their largest difference", "", "medpy", difference, 1e-6, unit="", at_least=False)


def distance_maps(cases: Cases, paper: bool) -> Iterator[Figure]:
    label = cases.dataset.label(cases.dataset.train_ids[0])
    margins = [(n - p) // 2 for n, p in zip(label.shape, cases.size.patch, strict=True)]
    mask = label[tuple(slice(max(m, 0), max(m, 0) + p) for m, p in zip(margins, cases.size.patch, strict=True))] == 1
    ours, theirs = partial(signed_distance_map, mask), partial(distance_map, mask)
    yield faster("signed distance map of a patch", in_turn({"ours": ours, "reference": theirs}), 3, 5)
    difference = float(np.abs(ours() - theirs()).max())
    yield Figure("its largest difference", "", "scipy", difference, 1e-6, unit="", at_least=False)


def batches(cases: Cases, paper: bool) -> Iterator[Figure]:
    training = cases.size.training()
    stream = cases.stream(cases.method("vnet", training), training)
    theirs = elsewhere(_reference_batch, cases.files, cases.size)
    numbers = iter(range(10_000))
    raw = in_turn({"ours": lambda: stream[next(numbers)], "reference": theirs})
    yield faster("batch preparation", raw, 20, None, note="cases in the page cache on both sides")
    for name in ("vnet", "dtc"):
        steps = 15 if paper else 20
        waited, passed = _waiting(cases, name, steps)
        note = f"{steps} steps with one data worker"
        yield Figure(
            f"waiting for data, {name}", seconds(waited), seconds(passed), 100 * waited / passed, 2, unit=" %",
            at_least=False, note=note,
        )  # fmt: skip


def _reference_batch(files: list[Path], size: Size) -> Callable[[], None]:
    loader = Loader(files, size.patch, size.batch_size)

    def batch() -> None:
        loader.batch()

    return batch


def _waiting(cases: Cases, name: str, count: int) -> tuple[float, float]:
    """Seconds that a training waits for its data worker, and all; the worker's start is not counted."""
    waits: list[float] = []

    class Watched(DataLoader):
        def __iter__(self):
            batches = super().__iter__()
            while True:
                begin = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    return
                waits.append(time.perf_counter() - begin)
                yield batch

    plain, loading.DataLoader = loading.DataLoader, Watched
    try:
        steps = cases.training(name, workers=None, steps=2 * (count + 2))
        next(steps)
        next(steps)
        waits.clear()
        passed = timed(lambda: list(steps))
    finally:
        loading.DataLoader = plain
    return sum(waits), passed


def floor(cases: Cases, paper: bool) -> Iterator[Figure]:
    """The V-Net's training step in FLOP/s, over what this machine does in large bf16 matrix products."""
    target, stretch = (64, 75) if paper else (85, 90)
    calls = {"step": cases.our_step("vnet")}
    flop = flop_of(calls["step"])
    for n in MATMUL_SIZES:
        a, b = torch.randn(2, n, n, dtype=torch.bfloat16)
        calls[f"matmul {n}"] = partial(torch.mm, a, b)
    raw = in_turn(calls)
    middle = medians(raw)
    rate = flop / middle["step"]
    best = max(2 * n**3 / middle[f"matmul {n}"] for n in MATMUL_SIZES)
    yield Figure(
        "share of the bf16 matmul rate", f"{rate / 1e9:.0f} GFLOP/s", f"{best / 1e9:.0f} GFLOP/s", 100 * rate / best,
        target, stretch, unit=" %", note=f"{flop / 1e9:.0f} GFLOP a step", raw=raw,
    )  # fmt: skip


def compiled(cases: Cases, paper: bool) -> Iterator[Figure]:
    """What torch.compile makes of the V-Net's step; it is off by default, so nothing is asked of it."""
    raw = in_turn({"ours": cases.our_step("vnet", compile="default"), "reference": cases.our_step("vnet")})
    yield faster("vnet step, compiled, over plain", raw, None, None)


def half_precision(cases: Cases, paper: bool) -> Iterator[Figure]:
    """What bf16 gains over fp32; on a CPU without it, where it is done in fp32, nothing."""
    raw = in_turn({"ours": cases.our_step("vnet"), "reference": cases.our_step("vnet", precision="fp32")})
    yield faster("vnet step, bf16 over fp32", raw, None, None)


def padding(cases: Cases, paper: bool) -> Iterator[Figure]:
    """What it gains that convolutions pad their first axis themselves; nothing on a CPU with AVX-512, where none do."""
    with tempfile.TemporaryDirectory() as scratch:
        for of in [cases] if paper else [cases, Cases(STUDY, Path(scratch))]:
            raw = in_turn({"ours": of.our_step("vnet"), "reference": partial(_padded_by_torch, of.our_step("vnet"))})
            yield faster(f"vnet step at {of.size.name}, padding by hand over torch's", raw, None, None)


def _padded_by_torch(step: Callable) -> None:
    with patch.object(Conv3d, "_conv_forward", torch.nn.Conv3d._conv_forward):
        step()


def memory(cases: Cases, paper: bool) -> Iterator[Figure]:
    """Peak resident memory of training, predicting a case and scoring it, each side in a process of its own."""
    folder = cases.files[0].parent
    peaks = {"ours": _in_a_process(_peak_of_ours, cases.size, folder)}
    peaks["reference"] = elsewhere(_peak_of_reference, cases.size, folder)()
    share = peaks["ours"] / peaks["reference"]
    yield Figure(
        "peak memory of a vnet trial", f"{peaks['ours'] / 2**30:.2f} GiB", f"{peaks['reference'] / 2**30:.2f} GiB",
        share, 1, 0.5, at_least=False, note="data worker not counted on either side", raw=peaks,
    )  # fmt: skip


def _in_a_process(call: Callable, *arguments):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(call, arguments)


def _peak_of_ours(size: Size, folder: Path) -> int:
    torch.set_num_threads(os.cpu_count())
    cases, case = _cases_again(size, folder)
    training = size.training()
    method = cases.method("vnet", training)
    steps = loop.train(loop.initial_state(method, training), cases.stream(method, training), training, 0, CPU, 0)
    for _ in range(MEMORY_STEPS):
        next(steps)
    evaluation = Evaluation(stride=size.stride)
    method = fold_batch_norm(method)
    batch = Execution().window_batch
    labels = predict_labels(method, cases.dataset, case.id, size.patch, evaluation, batch, max_windows=2 * batch)
    score_case(labels, case, 1, evaluation)
    return provenance.peak_memory(CPU)


def _peak_of_reference(size: Size, folder: Path) -> Callable[[], int]:
    cases, case = _cases_again(size, folder)

    def peak() -> int:
        reference = LOOPS["vnet"](size.width)
        loader = Loader(cases.files, size.patch, size.batch_size)
        for step in range(MEMORY_STEPS):
            reference.step(*loader.batch(), step)
        part = case.image[tuple(slice(p + 1) for p in size.patch)]
        predict_case(reference, part, size.patch, size.stride)
        medpy_metrics(np.roll(case.label, 2, 0) == 1, case.label == 1)
        return provenance.peak_memory(CPU)

    return peak


def _cases_again(size: Size, folder: Path):
    cases = Cases(size, Path(tempfile.mkdtemp(dir=folder)))
    case = cases.dataset.native(cases.dataset.test_ids[0])
    provenance.reset_peak_memory(CPU)
    return cases, case


def harness(cases: Cases, paper: bool) -> Iterator[Figure]:
    """What does not depend on the size of the patch."""
    scale = _module("tests/reliability/scale.py")
    with tempfile.TemporaryDirectory() as scratch:
        trial = scale.in_a_process(Path(scratch), NOOP_TRIALS)[scale.WARM]
    yield Figure(
        "overhead of a warm trial", "", "", trial, 0.3, 0.1, unit=" s", at_least=False,
        note=f"{NOOP_TRIALS} trials of one step",
    )  # fmt: skip
    first = [_first_step() for _ in range(3)]
    yield Figure("from `run` to the first step", "", "", statistics.median(first), unit=" s", raw={"ours": first})
    command = [sys.executable, ROOT / "run_benchmark.py", "--help"]
    helped = in_turn({"ours": partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)})["ours"]
    yield Figure("`--help`", "", "", statistics.median(helped), unit=" s", raw={"ours": helped})
    measure = _module("docs/measure_report.py")
    with tempfile.TemporaryDirectory() as scratch:
        measure.write_folder(Path(scratch), REPORTS)
        reports = [timed(lambda: measure.write_report([Path(scratch)], Path(scratch) / "report")) for _ in range(3)]
    yield Figure(
        f"`report` on {REPORTS:,} records", "", "", statistics.median(reports), unit=" s", raw={"ours": reports}
    )


def _module(path: str):
    specification = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _first_step() -> float:
    """Seconds from the command to the first sign of life of the first trial, at the end of its one step."""
    values = {
        "name": "first", "data": {"source": "phantom", "train": 4, "test": 1, "size": [32, 32, 32]},
        "methods": ["dtml"], "baseline": None, "labelled": [2], "evaluation": {"stride": [16, 16, 16]},
        "training": {"iterations": 1, "patch": [16, 16, 16], "width": 2, "threads": 1, "precision": "fp32"},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "first.yaml").write_text(yaml.safe_dump(values))
        results = Path(scratch) / "results"
        command = [sys.executable, ROOT / "run_benchmark.py", "run", Path(scratch) / "first.yaml", "--results", results]
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not (beats := list(results.glob("running/*/heartbeat.json"))) and process.poll() is None:
            time.sleep(0.01)
        passed = time.perf_counter() - begin
        assert beats, "the run ended without a step"
        process.wait()
    return passed


def _processors() -> tuple[float, float, float]:
    """Seconds on the clock, on all processors together, and of this process and its children."""
    used = os.times()
    alive = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    own = sum(used[:4]) + sum(times.user + times.system for times in alive)
    fields = Path("/proc/stat").read_text().split("\n")[0].split()[1:] if Path("/proc/stat").exists() else []
    busy = sum(int(value) for i, value in enumerate(fields[:8]) if i not in (3, 4))  # neither idle nor waiting
    return used.elapsed, busy / os.sysconf("SC_CLK_TCK"), own


FIGURES = {
    **{name: partial(training_step, name) for name in STEPS},
    "passes": passes,
    "inference": inference,
    "metrics": metrics,
    "distance": distance_maps,
    "batches": batches,
    "floor": floor,
    "compiled": compiled,
    "half_precision": half_precision,
    "padding": padding,
    "memory": memory,
    "harness": harness,
}


def show(figures: list[Figure], title: str, console: Console) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("what", "ours", "reference", "ratio", "target", "stretch", ""):
        table.add_column(column, justify="left" if column in ("what", "") else "right")
    for figure in figures:
        sign = "≥" if figure.at_least else "≤"
        limits = ["" if limit is None else f"{sign} {limit:g}{figure.unit}" for limit in figure.limits]
        row = (figure.what, figure.ours, figure.other, f"{figure.value:.3g}{figure.unit}", *limits, figure.verdict)
        table.add_row(*row, style="red" if figure.verdict == "MISSED" else None)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paper", action="store_true", help="at the paper's sizes")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES), metavar="NAME",
                        help=f"of {', '.join(FIGURES)}")  # fmt: skip
    options = parser.parse_args()
    with_settings_of_a_trial()
    size, console = (PAPER, Console()) if options.paper else (HALF, Console())
    torch.set_num_threads(os.cpu_count())
    load, begin = os.getloadavg()[0], time.perf_counter()
    if load > 0.7:
        console.print(f"[red]the machine is busy (load {load:.1f}): figures are of little worth[/red]")
    scratch = Path(tempfile.mkdtemp(prefix="semiseg-bench-"))
    os.environ["SEMISEG_CACHE"] = str(scratch / "cache")
    figures: list[Figure] = []
    others: dict[str, float] = {}
    try:
        cases = Cases(size, scratch)
        for name in options.only:
            if options.paper and name == "harness":
                continue  # no patch size changes it
            before = _processors()
            for figure in FIGURES[name](cases, options.paper):
                if not options.paper and name not in ("floor", "harness") and figure.unit:
                    figure.target = figure.stretch = None  # set for the paper's sizes
                figures.append(figure)
                console.print(f"{figure.what}: {figure.value:.3g}{figure.unit} {figure.verdict}", highlight=False)
            passed, busy, own = (now - then for now, then in zip(_processors(), before, strict=True))
            others[name] = round(100 * (busy - own) / passed / os.cpu_count(), 1)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    minutes = (time.perf_counter() - begin) / 60
    machine = provenance.environment() | {"threads": torch.get_num_threads(), "load_before": load, "others": others}
    title = (
        f"{size.name}: {size.batch_size} patches of {'x'.join(map(str, size.patch))}, {size.width} filters; "
        f"{machine['processor']}, {machine['threads']} threads, torch {torch.__version__}"
    )
    show(figures, title, Console(width=140))
    console.print("per cent of the processors that other processes took:", others, highlight=False)
    name = ("bench-paper" if options.paper else "bench") + ("" if options.only == list(FIGURES) else "-part")
    target = ROOT / "results" / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    content = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "minutes": round(minutes, 1), "size": asdict(size),
        "machine": machine, **provenance.revision(),
        "figures": [asdict(figure) | {"verdict": figure.verdict} for figure in figures],
    }  # fmt: skip
    target.write_text(json.dumps(content, indent=1), encoding="utf-8")
    console.print(f"{minutes:.1f} minutes; every timing: {target}", highlight=False)


if __name__ == "__main__":
    main()
