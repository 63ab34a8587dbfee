"""Simulated scores of two methods, and how often tests and intervals find a difference in them."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from reports.statistics.bootstrap import bootstrap_weights, resampled_differences
from reports.statistics.family_simulation import star_and_ring_rates
from reports.statistics.seed_aware import seed_aware_statistics

CASES = 20
FAMILY = 18  # methods of a simulated family
CASE_SD = 5.0  # both methods share it, so that it cancels, whatever it is
TAILS = ("normal", "heavy")


@dataclass(frozen=True)
class SimulatedDesign:
    """How the scores of two methods vary. All standard deviations are in points of Dice.

    Attributes:
        runs: number of runs of each method.
        seed_sd: of each method, of its mean over cases from run to run.
        interaction_sd: method by case, of each method. The difference of two methods has sqrt(2) times it.
        residual_sd: run by case within a method.
        tails: "normal", or "heavy" for a t distribution with 3 degrees of freedom of method by case and residual,
            scaled to the same standard deviations.
    """

    runs: tuple[int, int]
    seed_sd: tuple[float, float]
    interaction_sd: float
    residual_sd: float = 1.0
    tails: str = "normal"

    def __post_init__(self):
        if self.tails not in TAILS:
            raise ValueError(f"tails must be one of {TAILS}, not {self.tails!r}")
        if min(*self.seed_sd, self.interaction_sd, self.residual_sd) < 0:
            raise ValueError("standard deviations must not be negative")


def simulate_scores(
    design: SimulatedDesign, replications: int, rng: np.random.Generator, gap: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two methods on 20 cases: case + method by case + run + residual.

    Args:
        design: numbers of runs and standard deviations.
        replications: number of independent simulations.
        rng: source of the random numbers.
        gap: how much the first method is truly better, in points of Dice.

    Returns:
        Scores of the first and of the second method, of shape (replications, runs, 20) each.

    Raises:
        ValueError: `design` does not describe two methods.

    Source:
        The linear mixed model of `variance_of_difference`. Simulating a multi-reader model under no difference is
        how Roe & Metz (1997), Academic Radiology 4, validated such a test.

    Example:
        >>> design = SimulatedDesign(runs=(3, 5), seed_sd=(0.8, 0.8), interaction_sd=1.0)
        >>> first, second = simulate_scores(design, replications=1000, rng=np.random.default_rng(0), gap=2.0)
        >>> first.shape, second.shape
        ((1000, 3, 20), (1000, 5, 20))
        >>> print(f"{first.mean() - second.mean():.1f}")
        2.0
    """
    shared = rng.normal(0, CASE_SD, (replications, 1, CASES))
    first, second = (
        shared + _method_part(design, runs, seed_sd, replications, rng)
        for runs, seed_sd in zip(design.runs, design.seed_sd, strict=True)
    )
    return first + gap, second


def _method_part(
    design: SimulatedDesign, runs: int, seed_sd: float, replications: int, rng: np.random.Generator
) -> np.ndarray:
    """What a method does not share with the other: method by case, run and residual."""
    interaction = design.interaction_sd * _noise(rng, design.tails, (replications, 1, CASES))
    seeds = rng.normal(0, seed_sd, (replications, runs, 1))
    residual = design.residual_sd * _noise(rng, design.tails, (replications, runs, CASES))
    return interaction + seeds + residual


def _noise(rng: np.random.Generator, tails: str, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(3, shape) / np.sqrt(3) if tails == "heavy" else rng.standard_normal(shape)


def paired_rate(first: np.ndarray, second: np.ndarray) -> float:
    """Share of replications in which the paired t-test over cases, runs averaged, finds a difference at 5 %."""
    return float((stats.ttest_rel(first.mean(-2), second.mean(-2), axis=-1).pvalue < 0.05).mean())


def seed_aware_rate(first: np.ndarray, second: np.ndarray) -> float:
    """Share of replications in which the seed-aware test finds a difference at 5 %."""
    return float((seed_aware_statistics(first, second)[3] < 0.05).mean())


def interval_rate(first: np.ndarray, second: np.ndarray, rng: np.random.Generator, resamples: int = 1000) -> float:
    """Share of replications in which the bootstrap interval leaves out 0."""
    ends = [
        np.quantile(
            resampled_differences(a, b, bootstrap_weights(rng, resamples, a.shape[1], len(a), len(b))), [0.025, 0.975]
        )
        for a, b in zip(first, second, strict=True)
    ]
    return float(np.mean([low > 0 or high < 0 for low, high in ends]))


def family_rates(
    design: SimulatedDesign, replications: int, rng: np.random.Generator, methods: int = FAMILY
) -> tuple[float, float]:
    """Shares of families of equally good methods with a star, and with a ring, both false.

    The reference varies as the first method of `design`, all other methods as the second.
    """
    scores = [
        _method_part(design, design.runs[place > 0], design.seed_sd[place > 0], replications, rng)
        for place in range(methods)
    ]
    return star_and_ring_rates(scores)
