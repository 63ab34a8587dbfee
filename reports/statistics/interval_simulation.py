"""How often intervals leave out the truth, and how often two methods are called equivalent that are not.

`python -m reports.statistics.interval_simulation` prints the tables of docs/calibration.md.
"""

import sys
from itertools import product

import numpy as np
import pandas as pd
from scipy import stats

from reports.statistics import family_grid as grid
from reports.statistics.distribution import sd_interval
from reports.statistics.family_simulation import FamilyDesign, found, simulate_family
from reports.statistics.intervals import contrasts
from reports.statistics.margin import equivalence_p
from reports.statistics.pooling import RunPool, pool_variances
from reports.statistics.seed_aware import seed_aware_statistics
from reports.statistics.simulation import interval_rate

CASES, METHODS = 20, 8
CASE_SD = 10.0  # all methods share it; the mean of one method has it in its interval
FAR = 100.0  # a margin so wide that one of the two one-sided tests is always passed: the other errs most then


def equivalent_rows(scores: list[np.ndarray], margin: float) -> np.ndarray:
    """Which rows are called equivalent to the first method, after Holm's correction.

    Args:
        scores: of each method, of shape (families, seeds, cases).
        margin: what is too small to count.

    Returns:
        Of shape (families, methods - 1).
    """
    scores = [of_method.astype(float) for of_method in scores]
    pool = _pools(scores)
    tested = [seed_aware_statistics(scores[0], row, pool)[:3] for row in scores[1:]]
    return found(np.stack([equivalence_p(*of_row, margin) for of_row in tested], axis=1))


def equivalence_power(seeds: int, seed_sd: float, margin: float = 1.0, families: int = 1000) -> float:
    """How often a row is called equivalent where all 8 methods are equal: 20 cases; method by case and residual SD 1.

    Example:
        >>> [round(equivalence_power(seeds, seed_sd=0.4, margin=2), 2) for seeds in (3, 5)]
        [0.76, 0.98]
    """
    design = FamilyDesign((seeds,) * METHODS, CASES, (seed_sd,) * METHODS, interaction_sd=1.0, residual_sd=1.0)
    return float(equivalent_rows(simulate_family(design, families, np.random.default_rng(5)), margin).mean())


def _pools(scores: list[np.ndarray]) -> RunPool:
    """The pool of each family; scores of each method, of shape (families, seeds, cases)."""
    runs = np.stack([of_method.mean(-1).var(-1, ddof=1) for of_method in scores], axis=-1)
    return pool_variances(runs, [of_method.shape[1] for of_method in scores])


def missed(design: FamilyDesign, replications: int, rng: np.random.Generator) -> dict[str, float]:
    """Shares of replications in which an interval leaves out the truth.

    Returns:
        For the difference of two methods: "seed-aware", in a family, "alone", with no other method, and "bootstrap".
        "mean": of one method. "gap": of the gap closed, half in truth, by the second of a family with the first as its
        floor and the third as its ceiling, which is in no pool.
    """
    scores = [of_method.astype(float) for of_method in simulate_family(design, replications, rng)]
    pool = _pools(scores)

    def excludes(first: np.ndarray, second: np.ndarray, pool: RunPool) -> float:
        return float((seed_aware_statistics(first, second, pool)[3] < 0.05).mean())

    lone, ceiling = scores[:2], scores[2]
    family = _pools([*lone, *scores[3:]])
    by_case = rng.normal(0, CASE_SD, (replications, 1, design.cases))
    mean, gap = np.ones(1), np.array([1, -0.5, -0.5])
    outside = []
    for place in range(replications):
        of_family = RunPool(family.variance[place], family.seeds)
        known = contrasts([pd.DataFrame(of[place]) for of in (lone[1], lone[0], ceiling)], [of_family, of_family, None])
        alone = contrasts([pd.DataFrame(lone[1][place] + by_case[place])])
        outside.append([abs(value) > half for value, half in (alone.at(mean), known.at(gap))])
    rates = np.mean(outside, axis=0)
    return {
        "seed-aware": excludes(*lone, pool),
        "alone": excludes(*lone, _pools(lone)),
        "bootstrap": interval_rate(*lone, rng, resamples=400),
        "mean": float(rates[0]),
        "gap": float(rates[1]),
    }


def highest_equivalence_rate(scenario: grid.Scenario, seeds: int, replications: int, rng: np.random.Generator) -> float:
    """How many families have a false equivalence, where each row is as far from the first as the margin: the highest
    share of the grid's sizes."""
    rates = []
    for cases, methods in product(grid.CASES, grid.METHODS):
        first, *rows = simulate_family(scenario.design(seeds, cases, methods), replications, rng)
        rates.append(float(equivalent_rows([first + FAR, *rows], FAR).any(1).mean()))
    return max(rates)


COLUMNS = {
    "seed-aware": "Difference, seed-aware [%]", "alone": "of two methods alone [%]", "bootstrap": "bootstrap [%]",
    "mean": "Mean of a method [%]", "gap": "Gap closed [%]", "equivalent": "Highest: a false equivalence [%]",
}  # fmt: skip


def line(scenario: grid.Scenario, seeds: int, replications: int) -> list[float]:
    """A line of the table, in per cent."""
    rng = np.random.default_rng([3, grid.SCENARIOS.index(scenario), seeds])
    rates = missed(scenario.design(seeds, CASES, METHODS), replications, rng)
    rates["equivalent"] = highest_equivalence_rate(scenario, seeds, replications, rng)
    return [100 * rates[name] for name in COLUMNS]


def table(replications: int = 2000) -> str:
    """The table in Markdown."""
    lines = [
        f"| Seed, method-by-case, residual SD | Seeds | {' | '.join(COLUMNS.values())} |",
        f"| :--- | ---: |{' ---: |' * len(COLUMNS)}",
    ]
    for scenario, seeds in product(grid.SCENARIOS, grid.SEEDS):
        cells = [f"{rate:.1f}" for rate in line(scenario, seeds, replications)]
        lines.append("| " + " | ".join([scenario.name, str(seeds), *cells]) + " |")
    return "\n".join(lines)


# Dice of cases is skewed to the left: values of these, with their true standard deviations
SHAPES = {
    "normal": (lambda rng, size: rng.standard_normal(size), 1.0),
    "beta (8, 2)": (lambda rng, size: rng.beta(8, 2, size), stats.beta.std(8, 2)),
    "gamma (4), reversed": (lambda rng, size: -rng.gamma(4, size=size), 2.0),
    "exponential, reversed": (lambda rng, size: -rng.exponential(size=size), 1.0),
}


def sd_missed(shape: str, cases: int, replications: int, rng: np.random.Generator) -> tuple[float, float]:
    """Shares of replications in which Bonett's and the textbook interval of an SD leave out the truth."""
    draw, true = SHAPES[shape]
    values = draw(rng, (replications, cases))
    bonett = np.array([sd_interval(sample) for sample in values])
    quantiles = stats.chi2.isf([0.025, 0.975], cases - 1)
    textbook = np.sqrt((cases - 1) * values.var(1, ddof=1)[:, None] / quantiles)
    bonett_rate, textbook_rate = (
        float(((ends[:, 0] > true) | (ends[:, 1] < true)).mean()) for ends in (bonett, textbook)
    )
    return bonett_rate, textbook_rate


def sd_table(replications: int = 5000) -> str:
    """The second table in Markdown."""
    rng = np.random.default_rng(4)
    lines = ["| Values | Cases | Bonett [%] | Textbook, χ² [%] |", "| :--- | ---: | ---: | ---: |"]
    for shape, cases in product(SHAPES, grid.CASES):
        rates = sd_missed(shape, cases, replications, rng)
        lines.append("| " + " | ".join([shape, str(cases), *(f"{100 * rate:.1f}" for rate in rates)]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n\n{sd_table()}\n")
