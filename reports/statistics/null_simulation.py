"""How often tests and intervals are wrong when methods do not differ: two alone, and the 18 of a family.

`python -m reports.statistics.null_simulation` prints the table of docs/calibration.md.
"""

import sys
from itertools import product

import numpy as np

from reports.statistics.simulation import (
    SimulatedDesign,
    family_rates,
    interval_rate,
    paired_rate,
    seed_aware_rate,
    simulate_scores,
)

GRID = [
    SimulatedDesign((runs, runs), (seed_sd, seed_sd), interaction_sd)
    for runs, seed_sd, interaction_sd in product((3, 5), (0.0, 0.4, 0.8), (1.0, 1.5))
]
# little and much residual, outliers, two runs, unequal numbers and spreads of runs: where approximations show
BEYOND_GRID = [
    SimulatedDesign((3, 3), (0.8, 0.8), 1.0, residual_sd=0.0),
    SimulatedDesign((5, 5), (0.8, 0.8), 1.0, residual_sd=0.0),
    SimulatedDesign((3, 3), (0.4, 0.4), 1.0, residual_sd=3.0),
    SimulatedDesign((5, 5), (0.4, 0.4), 1.0, residual_sd=3.0),
    SimulatedDesign((3, 3), (0.8, 0.8), 1.0, tails="heavy"),
    SimulatedDesign((5, 5), (0.8, 0.8), 1.0, tails="heavy"),
    SimulatedDesign((2, 2), (0.4, 0.4), 1.0),
    SimulatedDesign((2, 2), (0.8, 0.8), 1.0),
    SimulatedDesign((3, 5), (0.8, 0.0), 1.0),
    SimulatedDesign((3, 5), (0.0, 0.8), 1.0),
    SimulatedDesign((2, 5), (0.8, 0.0), 1.0),
]


def table(replications: int = 20_000, slow_replications: int = 2_000, seed: int = 0) -> str:
    """The table in Markdown. Bootstrap and families are slower, so they get `slow_replications` alone."""
    rng, families = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    lines = [
        "| Runs | Seed SD | Method-by-case SD | Residual SD | Tails | Paired t-test [%] | Seed-aware test [%]"
        " | Bootstrap interval [%] | Power, gap 1 [%] | Power, gap 2 [%]"
        " | Family: a false star [%] | Family: a false ring [%] |",
        "| :--- | :--- | ---: | ---: | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for design in GRID + BEYOND_GRID:
        first, second = simulate_scores(design, replications, rng)
        rates = [paired_rate(first, second), seed_aware_rate(first, second)]
        rates.append(interval_rate(first[:slow_replications], second[:slow_replications], rng))
        rates += [seed_aware_rate(*simulate_scores(design, replications, rng, gap)) for gap in (1.0, 2.0)]
        rates += family_rates(design, slow_replications, families)
        cells = [
            _both(design.runs),
            _both(design.seed_sd),
            design.interaction_sd,
            design.residual_sd,
            design.tails,
            *(f"{100 * rate:.1f}" for rate in rates),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _both(values: tuple) -> str:
    return str(values[0]) if values[0] == values[1] else f"{values[0]} and {values[1]}"


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
