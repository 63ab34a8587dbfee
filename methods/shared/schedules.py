"""What changes over training. Everything scales with the number of iterations; 6000 gives the published values."""

import math
from dataclasses import dataclass

PUBLISHED_ITERATIONS = 6000
RAMP_STEPS = 40  # the released codes count the ramp in 40 "epochs" of 150 iterations


@dataclass(frozen=True)
class Schedule:
    """The schedules of a training of `iterations` steps; `step` counts from 0."""

    iterations: int

    def ramp_up(self, step: int) -> float:
        """Staircase r = exp(-5 (1 - e/40)^2), e = step // 150 at 6000 iterations (UA-MT release, `ramps.py`)."""
        epoch = min(RAMP_STEPS * step // self.iterations, RAMP_STEPS)
        return math.exp(-5 * (1 - epoch / RAMP_STEPS) ** 2)

    def smooth_ramp_up(self, step: int) -> float:
        """The same ramp counted in iterations (UA-MT's uncertainty threshold)."""
        return math.exp(-5 * (1 - min(step / self.iterations, 1)) ** 2)

    def learning_rate_factor(self, step: int) -> float:
        """0.1 per drop: after 2500 and after 5000 of 6000 iterations."""
        return 0.1 ** (12 * step // (5 * self.iterations))

    def scaled(self, iteration: int) -> int:
        """An iteration number of the published 6000 on this training's scale."""
        return iteration * self.iterations // PUBLISHED_ITERATIONS
