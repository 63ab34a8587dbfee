"""Ramps and learning rate over a training. They scale with its number of steps; 6,000 give the published values."""

import math
from dataclasses import dataclass

PUBLISHED_ITERATIONS = 6000
RAMP_STEPS = 40  # the released codes count the ramp in 40 "epochs" of 150 iterations


@dataclass(frozen=True)
class Schedule:
    """The schedules of a training. Steps count from 0.

    Args:
        iterations: the number of steps of the training.
        learning_rate: the protocol's schedule of the learning rate: "step", "poly", "cosine" or "constant".
        warm_up: steps in which the learning rate grows from 0, linearly.

    Source:
        UA-MT release, `ramps.py` and `train_LA_meanteacher_certainty_unlabel.py`.

    Example:
        >>> schedule = Schedule(iterations=6000)
        >>> [round(schedule.ramp_up(step), 4) for step in (0, 3000, 6000)]
        [0.0067, 0.2865, 1.0]
        >>> [round(schedule.learning_rate_factor(step), 4) for step in (0, 2500, 5000)]
        [1.0, 0.1, 0.01]
        >>> Schedule(iterations=600).scaled(1000)
        100
    """

    iterations: int
    learning_rate: str = "step"
    warm_up: int = 0

    def ramp_up(self, step: int) -> float:
        """The weight of an unsupervised loss, in 0..1: exp(-5 (1 - e/40)^2) with e = step // 150 at 6,000 steps."""
        epoch = min(RAMP_STEPS * step // self.iterations, RAMP_STEPS)
        return math.exp(-5 * (1 - epoch / RAMP_STEPS) ** 2)

    def smooth_ramp_up(self, step: int) -> float:
        """The same ramp without its steps of 150: e/40 is step / iterations. UA-MT's threshold follows it."""
        return math.exp(-5 * (1 - min(step / self.iterations, 1)) ** 2)

    def learning_rate_factor(self, step: int) -> float:
        """By what the learning rate is multiplied under the protocol's schedule, warm-up included."""
        return getattr(self, self.learning_rate)(step) * self.warm_up_factor(step)

    def step(self, step: int) -> float:
        """1, then 0.1 after 2,500 and 0.01 after 5,000 of 6,000 steps."""
        return 0.1 ** (12 * step // (5 * self.iterations))

    def poly(self, step: int, power: float = 0.9) -> float:
        """(1 - step / iterations)^power."""
        return (1 - step / self.iterations) ** power

    def cosine(self, step: int) -> float:
        """From 1 to 0 along half a cosine."""
        return 0.5 * (1 + math.cos(math.pi * step / self.iterations))

    def constant(self, step: int) -> float:
        """1."""
        return 1.0

    def warm_up_factor(self, step: int) -> float:
        """(step + 1) / warm_up while that is below 1, then 1."""
        return min((step + 1) / self.warm_up, 1.0) if self.warm_up else 1.0

    def scaled(self, iteration: int) -> int:
        """The step of this training that corresponds to a step of the published 6,000."""
        return iteration * self.iterations // PUBLISHED_ITERATIONS
