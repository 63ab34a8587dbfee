"""How often the verdict about a published figure is wrong.

`python -m reports.statistics.margin_simulation` prints the table of docs/calibration.md.
"""

import sys
from itertools import product

import numpy as np

from reports.statistics.margin import OPEN, OUTSIDE, WITHIN, interval_over_runs, side_of_margin

MARGIN = 1.0
RUNS, SEED_SDS = (2, 3, 5), (0.2, 0.4, 0.8, 1.6)
EQUAL, LOWER = 0.0, 2.0  # our method's true gap to the published one, in points of Dice


def verdict_rates(
    runs: int, seed_sd: float, gap: float, one_run: bool, replications: int, rng: np.random.Generator
) -> dict[str, float]:
    """Shares of replications in which the interval lies within the margin, outside, or neither.

    Args:
        runs: number of our runs.
        seed_sd: standard deviation of a run's mean over the cases, in points of Dice.
        gap: how much lower our method truly is than the published one, in points of Dice.
        one_run: whether the published figure is of one run with the same standard deviation; else it has no error.
        replications: number of independent simulations.
        rng: source of the random numbers.

    Returns:
        Shares of "within", "outside" and "open". "beyond one run": outside, and out of reach of one run of ours.
    """
    ours = rng.normal(-gap, seed_sd, (replications, runs))
    published = rng.normal(0, seed_sd, replications) if one_run else np.zeros(replications)
    low, high = interval_over_runs(ours - published[:, None])
    sides = np.array([side_of_margin(*ends, MARGIN) for ends in zip(low, high, strict=True)])
    one_low, one_high = interval_over_runs(ours - published[:, None], new_runs=1)
    rates = {side: float((sides == side).mean()) for side in (WITHIN, OUTSIDE, OPEN)}
    return rates | {"beyond one run": float(((sides == OUTSIDE) & ((one_low > 0) | (one_high < 0))).mean())}


def table(replications: int = 20_000, seed: int = 0) -> str:
    """The table in Markdown."""
    rng = np.random.default_rng(seed)
    shown = [(EQUAL, WITHIN), (EQUAL, OUTSIDE), (EQUAL, "beyond one run"), (LOWER, WITHIN), (LOWER, OUTSIDE)]
    lines = [
        "| Runs | Seed SD | Published figure | Equal: reproduced [%] | Equal: not reproduced [%]"
        " | Equal: not reproduced, beyond one run [%] | 2 lower: reproduced [%] | 2 lower: not reproduced [%] |",
        "| ---: | ---: | :--- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for runs, seed_sd, one_run in product(RUNS, SEED_SDS, (False, True)):
        rates = {gap: verdict_rates(runs, seed_sd, gap, one_run, replications, rng) for gap in (EQUAL, LOWER)}
        shares = [f"{100 * rates[gap][side]:.1f}" for gap, side in shown]
        cells = [runs, seed_sd, "of one run" if one_run else "exact", *shares]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
