"""Batches from data workers. Where these lack shared memory, die or hang, the training goes on with the same numbers.

A batch depends on (seed, step) alone, so whoever prepares it may be replaced at any step.
"""

import math
import multiprocessing
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import torch
from torch.utils.data import DataLoader

from benchmark.trial import label_watch
from data.batches import PatchStream

AHEAD = 4  # batches that a data worker prepares ahead
SILENCE = 60.0  # seconds that a training waits for one batch before it gives its data workers up
LOOK = 5.0  # seconds between two looks at whether they live
RESTARTS = 2  # of data workers that died
SPARE = 1.1  # of shared memory, for what is rounded up to pages
PLENTY = 16  # times what images and labels need: with as much, extra arrays find room, too
SHARED_MEMORY = "/dev/shm"
STARTED_AGAIN = "new ones are started"
IN_TRAINING = "batches are prepared in the training process from here on, which is slower"

Batch = dict[str, torch.Tensor | list[str]]
Say = Callable[[str], None]


class _LostError(Exception):
    """Data workers that will give no more batches. `may_return`: new ones may do better."""

    def __init__(self, reason: str, may_return: bool):
        super().__init__(reason)
        self.may_return = may_return


def batches(
    stream: PatchStream, steps: range, workers: int, pin_memory: bool, say: Say, sharing: int = 1,
    silence: float = SILENCE,
) -> Iterator[Batch]:  # fmt: skip
    """The batch of each step, in order.

    Args:
        stream: computes the batch of a step.
        steps: which steps.
        workers: processes that prepare batches; 0: none.
        pin_memory: whether batches are put where a GPU can fetch them.
        say: is told in one line when data workers are replaced or done without.
        sharing: the trials that share the machine's memory.
        silence: seconds to wait for a batch before data workers are given up.

    Raises:
        Exception: what computing a batch raises.
    """
    workers, ahead = _fitting(stream, steps, workers, sharing, say)
    crew: _Crew | None = None
    restarts = 0
    try:
        for step in steps:
            batch = None
            while batch is None and workers:
                try:
                    if crew is None:
                        crew = _Crew(stream, range(step, steps.stop), workers, ahead, pin_memory, min(LOOK, silence))
                    batch = crew.next(silence)
                except _LostError as lost:
                    workers = workers if lost.may_return and restarts < RESTARTS else 0
                    restarts += 1
                    say(f"step {step}: {lost}; {STARTED_AGAIN if workers else IN_TRAINING}")
                    if crew is not None:
                        crew.kill()
                    crew = None
            yield to_tensors(stream[step], pin_memory) if batch is None else batch
    except Exception:
        if crew is not None:
            crew.kill()  # the error holds on to them as long as anybody holds on to it
        raise
    finally:
        crew = None  # ends the processes now


class _Crew:
    """The processes of one DataLoader."""

    def __init__(self, stream: PatchStream, steps: range, workers: int, ahead: int, pin_memory: bool, look: float):
        before = set(multiprocessing.active_children())
        on_child = signal.getsignal(signal.SIGCHLD)
        self._look = look
        loader = DataLoader(
            _Stream(stream), batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=ahead,
            pin_memory=pin_memory, timeout=look, worker_init_fn=label_watch.for_data_workers(),
        )  # fmt: skip
        try:
            self._batches = iter(loader)
        except OSError as error:  # no process, or no memory to share
            raise _LostError(f"no data worker can be started ({error})", may_return=False) from error
        if on_child is not None and threading.current_thread() is threading.main_thread():
            # torch would raise wherever the training is when a worker dies, in the middle of a step. It is noticed
            # soon enough when the next batch is waited for.
            signal.signal(signal.SIGCHLD, on_child)
        self._processes = set(multiprocessing.active_children()) - before

    def __str__(self) -> str:
        ids = sorted(process.pid for process in self._processes)
        return f"the data worker{'s' if len(ids) > 1 else ''} (process {', '.join(map(str, ids))})"

    def next(self, silence: float) -> Batch:
        """The next batch. Raises _LostError, or what computing it raised."""
        for _ in range(max(math.ceil(silence / self._look), 1)):
            try:
                return next(self._batches)
            except Exception as error:
                if "in DataLoader worker process" in str(error):  # an error of the stream, passed on
                    raise
                if "DataLoader timed out" not in str(error):
                    reason = f"{self} died, perhaps for lack of memory"
                    raise _LostError(reason, may_return=True) from error
        raise _LostError(f"{self} gave no batch for {silence:g} s", may_return=False)

    def kill(self) -> None:
        """At once: one that hangs would not end by itself, nor on SIGTERM."""
        for process in self._processes:
            with suppress(ValueError):  # closed already
                process.kill()
                process.join(LOOK)


def _fitting(stream: PatchStream, steps: range, workers: int, sharing: int, say: Say) -> tuple[int, int]:
    """Data workers, and the batches that each prepares ahead, for which there is shared memory.

    Without it a batch is lost, or its worker killed: 64 MB, as in a container of Docker, hold few published patches.
    """
    free = free_shared_memory()
    images = 4 * math.prod(stream.patch) * (stream.labelled_patches + stream.unlabelled_patches)
    if not workers or not steps or free is None or free >= PLENTY * sharing * images * (workers * AHEAD + 1):
        return workers, AHEAD
    try:
        needed = (
            SPARE * sharing * sum(array.nbytes for array in stream[steps.start].values() if hasattr(array, "nbytes"))
        )
    except Exception:  # the data worker will say it
        return workers, AHEAD
    for number in range(workers, 0, -1):
        for ahead in (AHEAD, AHEAD // 2, 1):
            if needed * (number * ahead + 1) > free:  # one more than are prepared: that of the step
                continue
            if (number, ahead) != (workers, AHEAD):
                say(
                    f"{SHARED_MEMORY} has {_mib(free)} left, too little for {AHEAD} batches ahead of each of "
                    f"{workers} data workers: there are {number}, which prepare {ahead} ahead"
                )
            return number, ahead
    say(
        f"{SHARED_MEMORY} has {_mib(free)} left, too little for batches of {_mib(needed / sharing)}: {IN_TRAINING}; "
        "give the machine or the container more (docker run --shm-size 2g)"
    )
    return 0, AHEAD


def _mib(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"


def free_shared_memory() -> int | None:
    """Bytes that processes can still share; None where the system does not say."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return 0 if sys.platform == "linux" else None


def to_tensors(batch: dict, pin_memory: bool = False) -> Batch:
    """Arrays as tensors. Lists of case ids stay as they are."""
    arrays = {name: array for name, array in batch.items() if not isinstance(array, list)}
    tensors = {name: torch.as_tensor(array) for name, array in arrays.items()}
    return batch | ({name: tensor.pin_memory() for name, tensor in tensors.items()} if pin_memory else tensors)


class _Stream(torch.utils.data.Dataset):
    """The patch stream as DataLoader wants it; its workers turn arrays into tensors."""

    def __init__(self, stream: PatchStream):
        self.stream = stream

    def __getitem__(self, step: int) -> dict:
        return self.stream[step]
