"""How far mean ranks over data sets can be trusted, and what a test over cases of all data sets would find falsely.

`python -m reports.statistics.dataset_simulation` prints the two tables of docs/statistics.md.
"""

import numpy as np
import pandas as pd
from scipy import stats

from reports.statistics.datasets import means_by_dataset, rank_over_datasets

MEANS = (0.0, 0.5, 1.0, 2.0)  # of the methods over data sets, in points of Dice
RUNS, CASES = 3, 12  # of each method, and of each data set
CASE_SD, INTERACTION_SD, RESIDUAL_SD = 5.0, 1.5, 1.0  # of a case, of method by case, and of a single score
DATASETS = (2, 3, 5, 10)


def simulate(
    datasets: int, difference_sd: float, seed_sd: float, rng: np.random.Generator, means: tuple[float, ...] = MEANS
) -> dict[str, dict[str, pd.DataFrame]]:
    """Scores of methods on several data sets.

    Args:
        datasets: how many there are.
        difference_sd: of a method's mean from data set to data set, in points of Dice.
        seed_sd: of a method's mean from run to run.
        rng: source of the random numbers.
        means: of each method, over all data sets.

    Returns:
        For each data set, a score table of each method, of shape (3 runs, 12 cases).
    """
    scores = {}
    for number in range(datasets):
        case = rng.normal(0, CASE_SD, CASES)
        scores[f"{number:02}"] = {
            f"{method}": pd.DataFrame(
                mean
                + rng.normal(0, difference_sd)
                + case
                + rng.normal(0, INTERACTION_SD, CASES)
                + rng.normal(0, seed_sd, (RUNS, 1))
                + rng.normal(0, RESIDUAL_SD, (RUNS, CASES))
            )
            for method, mean in enumerate(means)
        }
    return scores


def held(datasets: int, difference_sd: float, seed_sd: float, replications: int, rng: np.random.Generator) -> float:
    """How often the range over runs, cases and data sets holds the expected mean rank.

    Args:
        datasets: how many there are.
        difference_sd: of a method's mean from data set to data set, in points of Dice.
        seed_sd: of a method's mean from run to run.
        replications: tables to simulate.
        rng: source of the random numbers.

    Returns:
        The share over methods and tables.

    Example:
        >>> held(datasets=5, difference_sd=0.3, seed_sd=0.8, replications=20, rng=np.random.default_rng(0)) > 0.9
        True
    """
    tables = [
        rank_over_datasets(simulate(datasets, difference_sd, seed_sd, rng), resamples=200).sort_index()
        for _ in range(replications)
    ]
    ranks, low, high = (np.array([t[key] for t in tables]) for key in ("mean_rank", "rank_low", "rank_high"))
    expected = ranks.mean(axis=0)
    return float(((low <= expected) & (expected <= high)).mean())


def false_findings(
    datasets: int, difference_sd: float, replications: int, rng: np.random.Generator
) -> tuple[float, float]:
    """How often Friedman's test finds a difference at 5 % between methods that are alike over all data sets.

    Args:
        datasets: how many there are.
        difference_sd: of a method's mean from data set to data set, in points of Dice.
        replications: tables to simulate.
        rng: source of the random numbers.

    Returns:
        The share with one block for each case of each data set, and with one block for each data set.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> over_cases, over_datasets = false_findings(5, difference_sd=2.0, replications=50, rng=rng)
        >>> over_cases > 0.5, over_datasets < 0.15
        (True, True)
    """
    found = np.zeros(2)
    for _ in range(replications):
        scores = simulate(datasets, difference_sd, 0.8, rng, means=(0.0,) * len(MEANS))
        cases = pd.concat([pd.DataFrame({m: t.mean() for m, t in of.items()}) for of in scores.values()])
        blocks = (cases, means_by_dataset(scores))
        found += [stats.friedmanchisquare(*of.to_numpy().T).pvalue < 0.05 for of in blocks]
    return tuple((found / replications).tolist())


def main() -> None:
    rng = np.random.default_rng(0)
    print("| Data sets | Difference SD 0.3 | Difference SD 2 | Difference SD 2, seed SD 0.2 |\n|" + " ---: |" * 4)
    for datasets in DATASETS:
        shares = [held(datasets, *sds, 150, rng) for sds in ((0.3, 0.8), (2.0, 0.8), (2.0, 0.2))]
        print(f"| {datasets} | {' | '.join(f'{100 * share:.0f}' for share in shares)} |", flush=True)
    print("\n| Difference SD | Blocks: cases | Blocks: data sets |\n|" + " ---: |" * 3)
    for difference_sd in (0.0, 1.0, 2.0):
        rates = false_findings(5, difference_sd, 1000, rng)
        print(f"| {difference_sd:g} | {' | '.join(f'{100 * rate:.1f}' for rate in rates)} |", flush=True)


if __name__ == "__main__":
    main()
