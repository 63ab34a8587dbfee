"""How often tests and intervals are wrong when two methods do not differ: python -m reports.statistics.null_simulation

Prints the table of docs/statistics.md. Scores, in points of Dice, are case + method x case + run + residual.
"""

import sys
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import stats

from reports.statistics.resampling import resampled_differences, resampling_weights
from reports.statistics.seeds import seed_aware

CASES = 20
CASE_SD = 5.0  # what both methods share cancels, whatever it is


@dataclass(frozen=True)
class Setting:
    """runs: of each method; seed_sd: of each method, of its mean over cases from run to run; interaction_sd: method by
    case, of each method (the difference of two has sqrt(2) times it); residual_sd: run by case within a method. Where
    `tails` are heavy, the last two follow a t-distribution of 3 degrees of freedom, scaled to these SDs, not a normal.
    """

    runs: tuple[int, int]
    seed_sd: tuple[float, float]
    interaction_sd: float
    residual_sd: float = 1.0
    tails: str = "normal"


GRID = [
    Setting((runs, runs), (seed_sd, seed_sd), interaction_sd)
    for runs, seed_sd, interaction_sd in product((3, 5), (0.0, 0.4, 0.8), (1.0, 1.5))
]
# little and much residual, outliers, two runs, unequal numbers and spreads of runs: where approximations show
BEYOND = [
    Setting((3, 3), (0.8, 0.8), 1.0, residual_sd=0.0),
    Setting((5, 5), (0.8, 0.8), 1.0, residual_sd=0.0),
    Setting((3, 3), (0.4, 0.4), 1.0, residual_sd=3.0),
    Setting((5, 5), (0.4, 0.4), 1.0, residual_sd=3.0),
    Setting((3, 3), (0.8, 0.8), 1.0, tails="heavy"),
    Setting((5, 5), (0.8, 0.8), 1.0, tails="heavy"),
    Setting((2, 2), (0.4, 0.4), 1.0),
    Setting((2, 2), (0.8, 0.8), 1.0),
    Setting((3, 5), (0.8, 0.0), 1.0),
    Setting((3, 5), (0.0, 0.8), 1.0),
    Setting((2, 5), (0.8, 0.0), 1.0),
]


def experiments(setting: Setting, draws: int, rng: np.random.Generator, gap: float = 0.0) -> list[np.ndarray]:
    """Scores of two methods, (draws, runs, CASES) each; the first is truly better by `gap`."""
    shared = rng.normal(0, CASE_SD, (draws, 1, CASES))
    scores = []
    for runs, seed_sd in zip(setting.runs, setting.seed_sd, strict=True):
        interaction = setting.interaction_sd * _noise(rng, setting.tails, (draws, 1, CASES))
        seeds = rng.normal(0, seed_sd, (draws, runs, 1))
        residual = setting.residual_sd * _noise(rng, setting.tails, (draws, runs, CASES))
        scores.append(shared + interaction + seeds + residual)
    scores[0] += gap
    return scores


def _noise(rng: np.random.Generator, tails: str, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(3, shape) / np.sqrt(3) if tails == "heavy" else rng.standard_normal(shape)


def paired_rate(first: np.ndarray, second: np.ndarray) -> float:
    """Share of experiments that the paired t-test over cases, runs averaged, finds significant at 5 %."""
    return float((stats.ttest_rel(first.mean(-2), second.mean(-2), axis=-1).pvalue < 0.05).mean())


def seed_aware_rate(first: np.ndarray, second: np.ndarray) -> float:
    """Share of experiments that the seed-aware test finds significant at 5 %."""
    return float((seed_aware(first, second)[3] < 0.05).mean())


def interval_rate(first: np.ndarray, second: np.ndarray, rng: np.random.Generator, resamples: int = 1000) -> float:
    """Share of experiments whose bootstrap interval leaves out 0."""
    ends = [
        np.quantile(
            resampled_differences(a, b, resampling_weights(rng, resamples, a.shape[1], len(a), len(b))), [0.025, 0.975]
        )
        for a, b in zip(first, second, strict=True)
    ]
    return float(np.mean([low > 0 or high < 0 for low, high in ends]))


def table(draws: int = 20_000, intervals: int = 2_000, seed: int = 0) -> str:
    """The Markdown table; `intervals` is the number of experiments that the slower bootstrap is tried on."""
    rng = np.random.default_rng(seed)
    lines = [
        "| Runs | Seed SD | Method-by-case SD | Residual SD | Tails | Paired t-test [%] | Seed-aware test [%]"
        " | Bootstrap interval [%] | Power, gap 1 [%] | Power, gap 2 [%] |",
        "| :--- | :--- | ---: | ---: | :--- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for setting in GRID + BEYOND:
        first, second = experiments(setting, draws, rng)
        rates = [paired_rate(first, second), seed_aware_rate(first, second)]
        rates.append(interval_rate(first[:intervals], second[:intervals], rng))
        rates += [seed_aware_rate(*experiments(setting, draws, rng, gap)) for gap in (1.0, 2.0)]
        runs, seed_sd = (_pair(values) for values in (setting.runs, setting.seed_sd))
        cells = [
            runs,
            seed_sd,
            setting.interaction_sd,
            setting.residual_sd,
            setting.tails,
            *(f"{100 * rate:.1f}" for rate in rates),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _pair(values: tuple) -> str:
    return str(values[0]) if values[0] == values[1] else f"{values[0]} and {values[1]}"


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
