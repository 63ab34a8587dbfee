"""A trace of a few training steps, for chrome://tracing or https://ui.perfetto.dev."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

WARM_UP = 3  # steps before the trace, while kernels are chosen and caches fill


@contextmanager
def traced(path: Path, steps: int) -> Iterator[Callable[[], None]]:
    """Call what this gives after every training step: `path` gets a trace of `steps` of them. 0: nothing happens."""
    if not steps:
        yield lambda: None
        return
    path.parent.mkdir(exist_ok=True)  # without parents: a results folder that was moved away is not made anew
    with torch.profiler.profile(
        activities=torch.profiler.supported_activities(),
        schedule=torch.profiler.schedule(wait=WARM_UP - 1, warmup=1, active=steps, repeat=1),
        on_trace_ready=lambda profile: profile.export_chrome_trace(str(path)),
    ) as profile:
        yield profile.step
