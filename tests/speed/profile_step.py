"""Where the CPU time of a training step goes: `python tests/speed/profile_step.py METHOD [--paper] [--reference]`."""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import torch
from reference import LOOPS
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from workload import HALF, PAPER, Cases, build_reference_step, with_settings_of_a_trial

STEPS = 3
WARM_UP = 6  # until the heap has grown to what a step needs
GROUPS = {  # the first whose word is in an operator's name
    "convolution, backward": ("convolution_backward", "conv_transpose3d_backward"),
    "convolution": ("convolution", "conv3d", "conv_transpose"),
    "batch norm, backward": ("batch_norm_backward",),
    "batch norm": ("batch_norm",),
    "ReLU, backward": ("threshold_backward", "ReluBackward0"),
    "ReLU": ("relu", "clamp_min", "clamp_min_"),
    "addition": ("aten::add", "aten::add_"),
}
SMALLEST = 0.5  # per cent, of what is listed by its own name


def group_of(name: str) -> str:
    for group, words in GROUPS.items():
        if name in words or any(word in name for word in words if not word.startswith("aten::")):
            return group
    return name


def profile_step(cases: Cases, name: str, reference: bool) -> dict[str, tuple[float, int]]:
    """Seconds a step in the training thread, and calls, of each group of operators."""
    step = build_reference_step(name, cases.size, cases.files, {}) if reference else cases.our_step(name)
    for _ in range(WARM_UP):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(STEPS):
            step()
    groups: dict[str, tuple[float, int]] = {}
    for event in profiler.key_averages():
        group = group_of(event.key)
        passed, count = groups.get(group, (0.0, 0))
        groups[group] = (passed + event.self_cpu_time_total / 1e6 / STEPS, count + event.count // STEPS)
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", help="any method of the harness")
    parser.add_argument("--paper", action="store_true", help="at the paper's sizes")
    parser.add_argument("--reference", action="store_true", help=f"the reference loop instead: {', '.join(LOOPS)}")
    options = parser.parse_args()
    if not options.reference:
        with_settings_of_a_trial()
    torch.set_num_threads(os.cpu_count())
    scratch = Path(tempfile.mkdtemp(prefix="semiseg-profile-"))
    os.environ["SEMISEG_CACHE"] = str(scratch / "cache")
    try:
        cases = Cases(PAPER if options.paper else HALF, scratch)
        groups = profile_step(cases, options.method, options.reference)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    whole = sum(passed for passed, _ in groups.values())
    side = "reference loop" if options.reference else "harness"
    table = Table(title=f"{options.method}, {side}, {cases.size.name}: {whole:.2f} s a step", title_justify="left")
    table.add_column("operators")
    for column in ("s a step", "share", "calls"):
        table.add_column(column, justify="right")
    rest = 0.0
    for group, (passed, count) in sorted(groups.items(), key=lambda item: -item[1][0]):
        share = 100 * passed / whole
        if share < SMALLEST and group not in GROUPS:
            rest += passed
        else:
            table.add_row(group, f"{passed:.3f}", f"{share:.1f} %", str(count))
    table.add_row(f"others, each below {SMALLEST} %", f"{rest:.3f}", f"{100 * rest / whole:.1f} %", "")
    Console().print(table)


if __name__ == "__main__":
    main()
