"""`make bench-gpu`: what a training step and a test case cost on this GPU at the paper's sizes, beside loops as the
released codes have them.

Both sides load their data as they do in earnest, in data workers: the harness in one or, with distance maps, four; the
releases in four. Steps are
timed in blocks, the sides in turn, and the GPU is waited for at the end of a block alone. The releases run in fp32 with
cuDNN's deterministic kernels, their default, and with TF32, which is torch's. Prints tables and writes every timing to
results/bench-gpu.json.
"""

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import torch
from reference import LOOPS, Loader, predict_case
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from workload import FIRST_STEP, PAPER, ROOT, STEPS, STUDY, Cases, Size, flop_of, timed

from benchmark.planning.experiment import Execution
from benchmark.trial import provenance
from benchmark.trial.inference import fold_batch_norm, predict_volume
from methods.shared import registry

GPU = torch.device("cuda")
BLOCK, BLOCKS, WARM_UP = 10, 3, 8  # steps, blocks of them, steps before the first block
WORKERS_OF_A_RELEASE = 4
PRECISIONS = ("bf16", "fp16", "fp32")
WORKERS = (1, 2, 4)
FED_BY_WORKERS = ("vnet", "dtc", "sass", "bcp")  # two with distance maps to prepare, one that needs the host besides
MATMUL = 8192
Row = dict[str, object]


class _Crops(torch.utils.data.Dataset):
    """A release's data set: each item decodes a whole case."""

    def __init__(self, files: list[Path], size: Size):
        self.files, self.size = files, size

    def __len__(self) -> int:
        return STEPS * self.size.batch_size

    def __getitem__(self, i: int):
        return Loader(self.files, self.size.patch, seed=i).crop(self.files[i % len(self.files)])


def steps_of_release(cases: Cases, name: str) -> Iterator[float]:
    release = LOOPS[name](cases.size.width, STEPS, device="cuda")
    crops = _Crops(cases.files, cases.size)
    batches = DataLoader(crops, cases.size.batch_size, num_workers=WORKERS_OF_A_RELEASE, pin_memory=True)
    for images, labels in batches:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True):
            loss = release.step(images.cuda(), labels.cuda(), FIRST_STEP)
        yield loss  # outside, or the harness's steps would run with these flags, too


def blocks_in_turn(sides: dict[str, Iterator]) -> dict[str, list[float]]:
    """Seconds a step of every block of each side."""
    for steps in sides.values():
        run(steps, WARM_UP)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(BLOCKS):
        for name, steps in sides.items():
            seconds[name].append(timed(partial(run, steps, BLOCK)) / BLOCK)
    return seconds


def run(steps: Iterator, count: int) -> None:
    for _ in islice(steps, count):
        pass
    torch.cuda.synchronize()


def methods(cases: Cases, console: Console) -> list[Row]:
    """Every method's step alone on the GPU; those with a loop of the releases beside it in turn."""
    rows = []
    for name in registry.names():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        ours = cases.training(name, workers=None)
        run(ours, 2)
        memory = torch.cuda.max_memory_allocated()
        sides = {"ours": ours}
        if name in LOOPS:
            sides["release"] = steps_of_release(cases, name)
        seconds = blocks_in_turn(sides)
        rows.append({"method": name, "memory": memory, "seconds": seconds})
        for steps in sides.values():
            steps.close()
        console.print(name, {side: f"{1000 * median(s):.1f} ms" for side, s in seconds.items()}, highlight=False)
    return rows


def variants(cases: Cases, console: Console) -> list[Row]:
    """The V-Net's step by precision, layout, compilation and data workers."""
    rows = []

    def measure(title: str, workers: int | None = None, method: str = "vnet", **settings) -> None:
        try:
            steps = cases.training(method, workers=workers, **settings)
            seconds = blocks_in_turn({"ours": steps})["ours"]
            steps.close()
        except Exception as error:  # one variant that does not run must not cost the others
            console.print(title, type(error).__name__, str(error)[:300], highlight=False)
            return
        rows.append({"what": title, "seconds": seconds})
        console.print(title, f"{1000 * median(seconds):.1f} ms", highlight=False)

    for precision in PRECISIONS:
        measure(precision, precision=precision)
    with patch.object(torch, "channels_last_3d", torch.contiguous_format):
        measure("bf16, channels first")
    for name in FED_BY_WORKERS:
        for workers in WORKERS:
            measure(f"{name}, {workers} data workers", workers, name)
    for mode in ("default", "reduce-overhead"):
        measure(f"torch.compile: {mode}", compile=mode)
    return rows


def inference(cases: Cases, console: Console) -> list[Row]:
    """Sliding windows over a test case."""
    case_id = cases.dataset.test_ids[0]
    image = np.asarray(cases.dataset.image(case_id))
    folded = fold_batch_norm(cases.method("vnet", cases.size.training()))
    release = LOOPS["vnet"](cases.size.width, device="cuda")
    size = cases.size
    calls: dict[str, Callable] = {
        f"{batch} windows at a time": partial(
            predict_volume, folded.predict, image, 1, size.patch, size.stride, batch, GPU
        )
        for batch in (1, Execution().window_batch, 16)
    }
    calls["release"] = partial(predict_case, release, image, size.patch, size.stride)
    rows = []
    for call in calls.values():
        call()
    for title, call in calls.items():
        seconds = [timed(call) for _ in range(BLOCKS)]
        rows.append({"what": title, "seconds": seconds})
        console.print(title, f"{median(seconds):.2f} s", highlight=False)
    return rows


def ceiling(cases: Cases, console: Console) -> dict[str, float]:
    """FLOP of the V-Net's step, and what this GPU does in large bf16 matrix products."""
    flop = flop_of(cases.our_step("vnet"))
    a, b = torch.randn(2, MATMUL, MATMUL, dtype=torch.bfloat16, device=GPU)
    products = (torch.mm(a, b) for _ in iter(int, 1))
    rate = 2 * MATMUL**3 / median(blocks_in_turn({"mm": products})["mm"])
    console.print(f"{flop / 1e9:.0f} GFLOP a step; matmul {rate / 1e12:.0f} TFLOP/s")
    return {"flop_a_step": flop, "matmul_flop_per_second": rate}


PARTS = {"ceiling": ceiling, "methods": methods, "inference": inference, "variants": variants}


def show(rows: list[Row], console: Console) -> None:
    table = Table(title=f"a step on {torch.cuda.get_device_name()}", title_justify="left")
    for column in ("method", "ours", "release", "ratio", "memory", "hours of 6,000"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for row in rows:
        ours, release = median(row["seconds"]["ours"]), row["seconds"].get("release")
        beside = ("", "") if release is None else (f"{1000 * median(release):.0f} ms", f"{median(release) / ours:.1f}x")
        table.add_row(
            row["method"], f"{1000 * ours:.0f} ms", *beside, f"{row['memory'] / 2**30:.1f} GiB",
            f"{6000 * ours / 3600:.2f}",
        )  # fmt: skip
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--small", action="store_true", help="at the sizes of configs/la_half/study.yaml")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
                        help=f"of {', '.join(PARTS)}")  # fmt: skip
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU here: `make bench` is for the CPU")
    console, size = Console(width=120), STUDY if options.small else PAPER
    scratch = Path(tempfile.mkdtemp(prefix="semiseg-bench-"))
    os.environ["SEMISEG_CACHE"] = str(scratch / "cache")
    target = ROOT / "results" / "bench-gpu.json"
    target.parent.mkdir(exist_ok=True)
    try:
        cases = Cases(size, scratch, GPU)
        content = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"), "size": size.name, **provenance.revision(),
            "machine": provenance.environment(), "gpu": torch.cuda.get_device_name(),
        }  # fmt: skip
        for name in options.only:
            content[name] = PARTS[name](cases, console)
            target.write_text(json.dumps(content, indent=1), encoding="utf-8")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if "methods" in content:
        show(content["methods"], console)
    console.print(f"every timing: {target}", highlight=False)


if __name__ == "__main__":
    main()
