"""Simulated scores of a family: several methods on the same cases, a few seeds each."""

from dataclasses import dataclass

import numpy as np

DEATH = (20.0, 30.0)  # points of Dice that a dead run loses


@dataclass(frozen=True)
class FamilyDesign:
    """How the scores of a family of methods vary. All standard deviations are in points of Dice.

    Attributes:
        seeds: runs of each method.
        cases: number of cases.
        seed_sd: of each method, of its mean over cases from run to run. Its length is the number of methods.
            The first method is the reference.
        interaction_sd: method by case.
        residual_sd: run by case within a method.
        heavy: whether seeds and residuals follow a t distribution with 3 degrees of freedom, scaled to these
            standard deviations, and not a normal one.
        dead: probability that a run collapses: it loses 20 to 30 points in every case.
    """

    seeds: int
    cases: int
    seed_sd: tuple[float, ...]
    interaction_sd: float
    residual_sd: float
    heavy: bool = False
    dead: float = 0.0

    @property
    def methods(self) -> int:
        """Number of methods, the reference among them."""
        return len(self.seed_sd)


def simulate_family(design: FamilyDesign, replications: int, rng: np.random.Generator, gap: float = 0.0) -> np.ndarray:
    """Scores of a family of methods: method by case + run + residual.

    What all methods share in a case cancels in every difference, so it is left out.

    Args:
        design: numbers and standard deviations.
        replications: number of independent families.
        rng: source of the random numbers.
        gap: how much the second method is truly better than all others, in points of Dice.

    Returns:
        Scores of shape (replications, methods, seeds, cases).

    Example:
        >>> design = FamilyDesign(seeds=3, cases=12, seed_sd=(0.8,) * 4, interaction_sd=1.0, residual_sd=1.0)
        >>> scores = simulate_family(design, replications=1000, rng=np.random.default_rng(0), gap=2.0)
        >>> scores.shape
        (1000, 4, 3, 12)
        >>> scores.mean((0, 2, 3)).round(1) + 0
        array([0., 2., 0., 0.])
    """
    runs = (replications, design.methods, design.seeds, 1)
    seeds = np.array(design.seed_sd)[:, None, None] * _noise(rng, design.heavy, runs)
    if design.dead:
        seeds -= (rng.random(runs) < design.dead) * rng.uniform(*DEATH, runs)
    scores = design.residual_sd * _noise(rng, design.heavy, (*runs[:-1], design.cases))
    scores += seeds
    scores += design.interaction_sd * rng.standard_normal((*runs[:2], 1, design.cases))
    scores[:, 1] += gap
    return scores


def _noise(rng: np.random.Generator, heavy: bool, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(3, shape) / np.sqrt(3) if heavy else rng.standard_normal(shape)
