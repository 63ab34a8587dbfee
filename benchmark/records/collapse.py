"""Which trainings collapsed without an error: the network is dead, or its Dice is far below that of other seeds.

The rule is declared here and printed under each comparison. It only marks a run. The run counts as any other.
"""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

LAST = 10  # a network is judged by the last tenth of its steps
FAR_BELOW = 20.0  # points of Dice below the median of the runs of a row
FEWEST = 3  # runs of a row; with two, neither is the unusual one
# For records of earlier versions, which do not say what their method declared in `Method.dead_below`.
DEAD_BELOW = {"active_fraction": 1e-4}


def steps_judged(iterations: int) -> int:
    """How many of the last steps decide whether a network is dead: a tenth, and at least one.

    Example:
        >>> steps_judged(6000), steps_judged(3)
        (600, 1)
    """
    return max(1, iterations // LAST)


def dead(history: Sequence[Mapping[str, float]], dead_below: Mapping[str, float], iterations: int) -> str:
    """Why a network is dead after the steps so far.

    Args:
        history: logged values by name, a mapping for each step, in order. With several phases a name begins with the
            phase, as in "segment/total".
        dead_below: the value of each such loss below which the network is dead; as in `Method.dead_below`.
        iterations: steps of the whole training.

    Returns:
        One phrase, or "" if the network is alive, was not trained for a tenth of its steps, or logs no such loss.

    Example:
        >>> history = [{"total": 0.5, "active_fraction": 0.002}] * 80 + [{"total": 0.5, "active_fraction": 0.0}] * 10
        >>> dead(history, {"active_fraction": 1e-4}, iterations=100)
        'dead network: active_fraction has a median of 0 over the last 10 steps, below 0.0001'
        >>> dead(history[:-1], {"active_fraction": 1e-4}, iterations=1000)
        ''
    """
    steps = steps_judged(iterations)
    if len(history) < steps:
        return ""
    last = history[-steps:]
    for name in last[-1]:
        limit = dead_below.get(name.rpartition("/")[2])
        if limit is None or any(name not in row for row in last):
            continue
        middle = median(row[name] for row in last)
        if middle < limit:
            over = f"the last {steps} steps" if steps > 1 else "the last step"
            return f"dead network: {name} has a median of {middle:.2g} over {over}, below {limit:g}"
    return ""


def dead_in_history(text: str, dead_below: Mapping[str, float] = DEAD_BELOW) -> str:
    """The same for a finished training, from the text of history.csv; "" also if that cannot be read.

    Example:
        >>> dead_in_history("step,active_fraction\\n0,0.003\\n1,0.00002\\n")
        'dead network: active_fraction has a median of 2e-05 over the last step, below 0.0001'
    """
    header = next(csv.reader(io.StringIO(text)), [])
    names = [name for name in header if name.rpartition("/")[2] in dead_below]
    if not names:
        return ""
    try:
        rows = [{name: float(row[name]) for name in names} for row in csv.DictReader(io.StringIO(text))]
    except (ValueError, TypeError, csv.Error):
        return ""
    return dead(rows, dead_below, len(rows)) if rows else ""


def dead_in_record(record: Path) -> str:
    """The same for a record that an earlier version made."""
    try:
        return dead_in_history((record / "history.csv").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return ""


def far_below(dice: Mapping[str, float]) -> dict[str, str]:
    """Which runs of a row of a table have a Dice far below the median of its runs.

    Args:
        dice: mean Dice in percent of each run that was trained to its end, by the id of its trial.

    Returns:
        One phrase for each such run, by trial.

    Example:
        >>> far_below({"seed 1": 69.0, "seed 2": 18.0, "seed 3": 65.6})
        {'seed 2': 'Dice 18.0 lies 47.6 points below the median of its 3 runs'}
        >>> far_below({"seed 1": 69.0, "seed 2": 18.0})
        {}
    """
    if len(dice) < FEWEST:
        return {}
    middle = median(dice.values())
    return {
        trial: f"Dice {value:.1f} lies {middle - value:.1f} points below the median of its {len(dice)} runs"
        for trial, value in dice.items()
        if middle - value > FAR_BELOW
    }


def far_below_in_rows(runs: Iterable[tuple[Hashable, str, float]]) -> dict[str, str]:
    """`far_below` of every row.

    Args:
        runs: of each run that was trained to its end: its row, its trial and its mean Dice in percent. Runs without a
            Dice (NaN) are left out.

    Example:
        >>> far_below_in_rows([("A", "1", 69.0), ("A", "2", 18.0), ("A", "3", 65.6), ("B", "4", 10.0)])
        {'2': 'Dice 18.0 lies 47.6 points below the median of its 3 runs'}
    """
    rows: dict[Hashable, dict[str, float]] = defaultdict(dict)
    for row, trial, dice in runs:
        if not math.isnan(dice):
            rows[row][trial] = dice
    return {trial: reason for row in rows.values() for trial, reason in far_below(row).items()}
