"""What is raced: sizes, cases, and the harness's own loop, one step at a call."""

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from weakref import WeakSet

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from reference import LOOPS, Loader, Loop, write_h5  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from benchmark.planning.experiment import Execution  # noqa: E402
from benchmark.records.protocol import Training  # noqa: E402
from benchmark.trial import allocator  # noqa: E402
from benchmark.trial import training as loop  # noqa: E402
from benchmark.trial.process_state import configure_torch  # noqa: E402
from benchmark.trial.setup import data_workers  # noqa: E402
from data.cache import Dataset, prepare  # noqa: E402
from data.sources import PhantomSettings  # noqa: E402
from methods.shared import registry  # noqa: E402
from methods.shared.method import Method  # noqa: E402

CPU = torch.device("cpu")
ROUNDS, SLOW_ROUNDS, SLOW = 5, 2, 10.0
WARM_UP_CALLS, WARM_UP_SECONDS = 5, 15.0
STEPS, FIRST_STEP = 6000, 3000  # halfway, where every method does all that it ever does


@dataclass(frozen=True)
class Size:
    """A protocol. The left-atrium cases have 148..232 x 133..159 x 88 voxels, 193 x 143 x 88 in the median."""

    name: str
    patch: tuple[int, int, int]
    stride: tuple[int, int, int]
    case: tuple[int, int, int]  # phantoms are up to an eighth larger along x and y
    width: int = 16
    batch_size: int = 4

    def training(self, **changes) -> Training:
        values = {"iterations": STEPS, "patch": self.patch, "width": self.width, "batch_size": self.batch_size}
        return Training(**values | {"threads": torch.get_num_threads()} | changes)


HALF = Size("half resolution", (64, 64, 48), (9, 9, 2), (90, 68, 44))
STUDY = Size("the study's sizes", (48, 48, 32), (12, 12, 8), (90, 68, 44), width=8)  # configs/la_half/study.yaml
PAPER = Size("the paper's sizes", (112, 112, 80), (18, 18, 4), (180, 136, 88))


class Cases:
    """The same phantoms for both sides: prepared in the cache, and as compressed h5 files."""

    def __init__(self, size: Size, folder: Path, device: torch.device = CPU):
        self.size, self.device = size, device
        self.dataset: Dataset = prepare(PhantomSettings(source="phantom", train=8, test=1, size=size.case))
        self.files = [folder / f"{case_id}.h5" for case_id in self.dataset.train_ids]
        for case_id, file in zip(self.dataset.train_ids, self.files, strict=True):
            write_h5(file, self.dataset.image(case_id), self.dataset.label(case_id))

    def method(self, name: str, training: Training) -> Method:
        configure_torch(training)
        return loop.build_method(name, registry.settings_of(name, {}), training, self.dataset.classes, 0, self.device)

    def stream(self, method: Method, training: Training):
        ids = self.dataset.train_ids
        labelled, unlabelled = (ids, []) if not method.patches(method.settings, 4)[1] else (ids[:4], ids[4:])
        return loop.make_stream(method, self.dataset, labelled, unlabelled, training, 0)

    def training(self, name: str, workers: int | None = 0, steps: int = STEPS, **settings) -> Iterator[int]:
        """The harness's loop from halfway on, by default with its batches prepared in the training thread, as the
        reference's are: a worker would prepare them while the other side's time is taken. workers: None is a trial's.
        """
        training = self.size.training(iterations=steps, **settings)
        method = self.method(name, training)
        workers = data_workers(Execution(), method, self.device) if workers is None else workers
        state = loop.initial_state(method, training)
        state.step = steps // 2
        return loop.train(state, self.stream(method, training), training, 0, self.device, workers)

    def our_step(self, name: str, **settings) -> Callable[[], int]:
        return partial(next, self.training(name, **settings))

    def reference_step(self, name: str, **options) -> Callable[[], None]:
        return elsewhere(build_reference_step, name, self.size, self.files, options)


def build_reference_step(name: str, size: Size, files: list[Path], options: dict) -> Callable[[], float]:
    reference: Loop = LOOPS[name](size.width, STEPS, **options)
    loader = Loader(files, size.patch, size.batch_size)
    return lambda: reference.step(*loader.batch(), FIRST_STEP)


def with_settings_of_a_trial() -> None:
    """Begin this program anew with the allocator as a trial has it; glibc reads its settings at the start alone."""
    if any(os.environ.get(name) != value for name, value in allocator.SETTINGS.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | allocator.SETTINGS)


def elsewhere(build: Callable, *arguments) -> Callable[[], object]:
    """A call of `build(*arguments)()` in a process of its own with the allocator as the system has it, as a published
    script runs; the process ends with this one."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, build, arguments), daemon=True)
    ours = {name: os.environ.pop(name) for name in allocator.SETTINGS if name in os.environ}
    try:
        process.start()
    finally:
        os.environ.update(ours)
    there.close()
    here.recv()

    def call() -> object:
        here.send(None)
        return here.recv()

    return call


def _serve(pipe, build: Callable, arguments: tuple) -> None:
    torch.set_num_threads(os.cpu_count())
    call = build(*arguments)
    pipe.send("ready")
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(call())


def flop_of(call: Callable) -> int:
    """Of the convolutions and matrix products in a call, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def timed(call: Callable) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def in_turn(calls: dict[str, Callable]) -> dict[str, list[float]]:
    """Seconds of each call, the calls one after another in every round, after a warm-up that is not counted.

    Two rounds are enough where one takes over ten seconds.
    """
    whole = sum(map(_warm_up, calls.values()))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(SLOW_ROUNDS if whole > SLOW else ROUNDS):
        for name, call in calls.items():
            seconds[name].append(timed(call))
    return seconds


_warm: WeakSet[Callable] = WeakSet()


def _warm_up(call: Callable) -> float:
    """Five calls, or as many as 15 seconds hold: the heap grows for some steps. Returns the seconds of the last.

    What was warmed up before needs one call.
    """
    taken: list[float] = []
    while len(taken) < WARM_UP_CALLS and sum(taken) < WARM_UP_SECONDS and not (taken and call in _warm):
        taken.append(timed(call))
    _warm.add(call)
    return taken[-1]


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in seconds.items()}
