"""How many seeds a difference between two methods needs, before anything is trained."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.statistics.components import DRAW_AND_SEED, RESIDUAL, SEED, variance_components
from reports.statistics.pooling import FEWEST_DRAWS, FEWEST_METHODS, FEWEST_SEEDS
from reports.statistics.power import detectable_difference, expected_pool
from reports.statistics.score_matrices import shared_draws

MOST_SEEDS = 100  # that `seeds_needed` tries


@dataclass(frozen=True)
class PlannedFamily:
    """A comparison of several methods with one of them. Standard deviations are in the unit of the scores.

    Attributes:
        methods: how many there are, the reference included.
        cases: number of test cases.
        interaction_sd: method by case: how differently a case suits a method.
        seed_sd: of a method's mean over cases, from seed to seed. With shared draws: from draw to draw, without what a
            draw does to all methods alike.
        residual_sd: of a single score, beyond all that.
        crossed: whether runs are draws of the labelled cases that all methods share, four or more.
    """

    methods: int
    cases: int
    interaction_sd: float
    seed_sd: float
    residual_sd: float
    crossed: bool = False


def planned_like(tables: Iterable[pd.DataFrame]) -> PlannedFamily:
    """A family that varies as these score tables do.

    Args:
        tables: score table of each method, of shape (runs, cases), with two runs of some method.

    Raises:
        ValueError: the tables do not say how methods vary from seed to seed.

    Source:
        `variance_components`.
    """
    tables = list(tables)
    found = variance_components(tables)
    if found.reason:
        raise ValueError(f"how scores vary is not known: {found.reason}")
    variances = found.variances
    by_run = sum(variances.get(name, 0.0) for name in (SEED, "method × draw", DRAW_AND_SEED))
    return PlannedFamily(
        methods=found.methods,
        cases=found.cases,
        interaction_sd=float(np.sqrt(variances["method × case"])),
        seed_sd=float(np.sqrt(by_run)),
        residual_sd=float(np.sqrt(variances[RESIDUAL])),
        crossed=shared_draws(*tables) >= FEWEST_DRAWS,
    )


def difference_found(family: PlannedFamily, seeds: int, power: float = 0.8) -> float:
    """The smallest true difference that gets a star with this probability, with so many seeds of each method.

    A star is the seed-aware test's at 5 %, with the family's pool and Holm's correction over methods - 1 comparisons.

    Args:
        family: what is planned.
        seeds: of each method, or draws that all share.
        power: probability of the star.

    Returns:
        The difference in the scores' unit. NaN where the test is not made: one seed, two seeds of fewer than four
        methods, or fewer than four draws that are to be paired.

    Example:
        >>> family = PlannedFamily(methods=8, cases=20, interaction_sd=1.0, seed_sd=0.8, residual_sd=1.0)
        >>> [round(float(difference_found(family, seeds)), 1) for seeds in (3, 5, 10)]
        [4.3, 2.7, 2.0]
    """
    fewest = FEWEST_DRAWS if family.crossed else 2 if family.methods >= FEWEST_METHODS else FEWEST_SEEDS
    if seeds < fewest:
        return np.nan
    interaction, seed, residual = family.interaction_sd, family.seed_sd, family.residual_sd
    return detectable_difference(
        family.cases,
        np.sqrt(2 * (interaction**2 + residual**2 / seeds)),
        seeds,
        seed,
        residual_sd=residual,
        crossed=family.crossed,
        pool=expected_pool(family.methods, family.cases, seeds, seed, residual),
        comparisons=family.methods - 1,
        power=power,
    )


def seeds_needed(family: PlannedFamily, difference: float, power: float = 0.8) -> int | None:
    """The fewest seeds (or shared draws) with which a true difference gets a star with this probability.

    Returns:
        The number, or None if a hundred are not enough.

    Example:
        >>> family = PlannedFamily(methods=8, cases=20, interaction_sd=1.0, seed_sd=0.8, residual_sd=1.0)
        >>> seeds_needed(family, difference=2.0)
        10
    """
    for seeds in range(2, MOST_SEEDS + 1):
        if difference_found(family, seeds, power) <= difference:
            return seeds
    return None
