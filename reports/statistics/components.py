"""Where the variance of single scores comes from: cases, methods, draws of the labelled cases, seeds, the rest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd

from reports.statistics.nested import variances_within
from reports.statistics.score_matrices import DRAW, score_matrices

METHOD, DRAWN, CASE = 0, 1, 2  # axes of the scores
NAMES = {
    (CASE,): "case", (METHOD,): "method", (METHOD, CASE): "method × case", (DRAWN,): "draw",
    (METHOD, DRAWN): "method × draw",
}  # fmt: skip
SEED, RESIDUAL = "seed", "residual"
DRAW_AND_SEED = "method × draw, seed"  # with one seed a draw the two cannot be told apart
FEW_METHODS, FEW_CASES, FEW_RUNS = "fewer than two methods", "fewer than two cases", "no method has two seeds"


@dataclass(frozen=True)
class Components:
    """Result of `variance_components`.

    Attributes:
        variances: of each component, in the square of the scores' unit. An estimate below 0 counts as 0.
        shares: of their sum.
        methods: number of methods.
        draws: number of draws of the labelled cases.
        cases: number of cases.
        reason: why variances and shares are empty; "" if they are not.
    """

    variances: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    shares: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    methods: int = 0
    draws: int = 0
    cases: int = 0
    reason: str = ""


def variance_components(tables: Iterable[pd.DataFrame]) -> Components:
    """Divide the variance of a single score (one run, one case) into its sources.

    The model is score = case + method + method x case + draw + method x draw + seed(method, draw) + residual, all
    random. The two parts with a draw are there only where every method has the same two draws or more. Otherwise a run
    is a seed, and what its draw changes is part of the seed. With one seed a draw, method × draw contains the seed.

    Classical ANOVA estimates are used: mean squares are set equal to their expectations. They are unbiased and take
    milliseconds. With equal numbers of seeds they equal REML's wherever none is below 0. statsmodels' `MixedLM` has
    REML. On the first study it gave the same within 0.1 %, but it took 3 and 6 seconds a budget, and its optimiser did
    not converge at first. Unequal numbers of seeds are handled by unweighted means: a method counts with its mean over
    seeds, and the share of seeds and residual in it is subtracted.

    Args:
        tables: score table of each method, of shape (runs, cases). Index level `draw`, if any: the draw. A case that
            any run of any method lacks is left out.

    Returns:
        Variances and shares of case, method, method × case, draw, method × draw, seed and residual.

    Raises:
        ValueError: a value of `tables` is not a score table.

    Source:
        Searle, Casella & McCulloch (1992), Variance components, chapters 4 and 5.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> cases = rng.normal(0, 10, 12)
        >>> tables = [pd.DataFrame(cases + rng.normal(0, 3, (3, 1)) + rng.normal(0, 1, (3, 12))) for _ in range(6)]
        >>> variance_components(tables).shares.round(2).to_dict()
        {'case': 0.81, 'method': 0.05, 'method × case': 0.0, 'seed': 0.13, 'residual': 0.02}
    """
    tables = list(tables)
    score_matrices(*tables)  # raises what is to be raised of wrong tables
    if len(tables) < 2:
        return Components(reason=FEW_METHODS)
    cells = _cells(tables)
    cases = cells[0][0].shape[1]
    shape = {"methods": len(cells), "draws": len(cells[0]), "cases": cases}
    if cases < 2:
        return Components(**shape, reason=FEW_CASES)
    repeated = [runs for method in cells for runs in method if len(runs) > 1]
    if not repeated and shape["draws"] < 2:
        return Components(**shape, reason=FEW_RUNS)
    effects = _crossed(np.array([[runs.mean(axis=0) for runs in method] for method in cells]))
    whole = max(effects, key=len)  # method x (draw x) case, and the residual averaged over seeds
    seed, residual = _within(repeated) if repeated else (0.0, 0.0)
    averaged = np.mean([1 / len(runs) for method in cells for runs in method])
    effects[whole] -= averaged * residual
    effects[whole[:-1]] -= averaged * seed
    if whole != (METHOD, CASE):  # how a draw changes single cases counts as residual
        residual += sum(max(effects[axes], 0) for axes in (whole, (DRAWN, CASE)))
    names = NAMES if repeated else NAMES | {(METHOD, DRAWN): DRAW_AND_SEED}
    found = {name: effects[axes] for axes, name in names.items() if axes in effects}
    found |= {SEED: seed} if repeated else {}
    variances = pd.Series(found | {RESIDUAL: residual}).clip(lower=0)
    total = variances.sum()
    if total == 0:
        return Components(**shape, reason="all scores are alike")
    return Components(variances, variances / total, **shape)


def _within(repeated: list[np.ndarray]) -> tuple[float, float]:
    """Variances of seed and residual, pooled over methods and draws; scores (seeds, cases) of each."""
    squares = np.array([variances_within(runs) for runs in repeated])
    runs, residual = np.average(squares, axis=0, weights=[len(runs) - 1 for runs in repeated])
    return runs - residual / repeated[0].shape[1], residual


def _cells(tables: Sequence[pd.DataFrame]) -> list[list[np.ndarray]]:
    """Scores (seeds, cases) of each method and draw; of one draw, unless all methods have the same two or more."""
    cases = pd.concat(tables).dropna(axis=1).columns
    draws = [set(table.index.unique(DRAW)) if DRAW in table.index.names else set() for table in tables]
    if len(draws[0]) > 1 and all(of_method == draws[0] for of_method in draws):
        return [
            [table.xs(draw, level=DRAW)[cases].to_numpy(dtype=float) for draw in sorted(draws[0], key=str)]
            for table in tables
        ]
    return [[table[cases].to_numpy(dtype=float)] for table in tables]


def _crossed(scores: np.ndarray) -> dict[tuple[int, ...], float]:
    """Variance components of crossed random effects, one value a cell; scores (methods, draws, cases).

    Returns:
        {axes that an effect varies over: its variance}. The last, over all axes, is the rest. Axes of length 1 are
        left out.
    """
    axes = [axis for axis in range(scores.ndim) if scores.shape[axis] > 1]
    subsets = [of for size in range(len(axes) + 1) for of in combinations(axes, size)]
    means = {of: scores.mean(tuple(set(range(scores.ndim)) - set(of)), keepdims=True) for of in subsets}
    found: dict[tuple[int, ...], float] = {}
    for of in reversed(subsets[1:]):
        effect = sum((-1) ** (len(of) - len(part)) * means[part] for part in subsets if set(part) <= set(of))
        averaged_over = scores.size / effect.size  # cells in each of its values
        square = averaged_over * (effect**2).sum() / np.prod([scores.shape[axis] - 1 for axis in of])
        above = sum(
            scores.size / np.prod([scores.shape[axis] for axis in larger]) * variance
            for larger, variance in found.items()
            if set(of) < set(larger)
        )
        found[of] = float((square - above) / averaged_over)
    return found
