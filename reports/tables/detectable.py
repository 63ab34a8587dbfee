"""What stands below a comparison: which difference it could have found."""

import numpy as np
import pandas as pd

from reports import statistics
from reports.measures import DICE
from reports.significance import LEVEL

MOST = 100  # points of Dice


def detectable_note(tests: pd.DataFrame, cases: int) -> str:
    """Which difference in Dice this many cases and seeds can tell from chance; "" with too few cases to find any."""
    if not cases >= statistics.FEWEST_FOR_MARKS:
        return ""
    tested = tests[(tests["measure"] == DICE.name) & tests["case_sd"].notna()]
    if tested.empty:
        return (
            f"Detectable difference: with {cases} cases and 80 % power, a paired t-test finds a true difference of "
            f"{statistics.detectable_difference(cases, 1.0):.2f} standard deviations of the cases' differences (dz). "
            "No correction for several comparisons is included."
        )
    cases, comparisons = int(tested["cases"].median()), int(tested["comparisons"].max())
    held = f"after Holm's correction for {comparisons} comparisons" if comparisons > 1 else "in the one comparison"
    dz = statistics.detectable_difference(cases, 1.0, comparisons=comparisons)
    return (
        f"Detectable difference in Dice {held}, with 80 % power and the spread seen here (median over the rows against "
        f"{tested['reference'].iloc[0]}). Paired t-test over {cases} cases: {tested['cases_detectable'].median():.1f} "
        f"points (dz = {dz:.2f}) between two trained checkpoints. {_over_seeds(tested)} Smaller differences can go "
        "unnoticed."
    )


def _over_seeds(tested: pd.DataFrame) -> str:
    """What the seed-aware test can find: in the row that varies least, and in the median row."""
    known = tested[tested["seeds_detectable"].notna()]
    if known.empty:
        few = (tested["seeds_reason"] == statistics.TWO_SEEDS).any()
        needed = "three seeds of each of fewer than four methods" if few else "two seeds of each method"
        return f"Seed-aware test: unknown, because it needs {needed}."
    seeds = " or ".join(str(int(n)) for n in np.unique(known[["runs", "runs_reference"]]))
    least, median = known["seeds_detectable"].min(), known["seeds_detectable"].median()
    test = f"Seed-aware test with {seeds} seeds:"
    if len(known) == 1 and median <= MOST:
        return f"{test} {median:.1f} points between two methods."
    if median <= MOST:
        return f"{test} {median:.1f} points between two methods, {least:.1f} in the row that varies least."
    if least <= MOST:
        return f"{test} none in the median row, {least:.1f} points in the row that varies least."
    if (tested["seeds_p_holm"] < LEVEL).any():
        return f"{test} none with so much power. The marked difference was found with less."
    return f"{test} none, because Dice cannot differ by more than {MOST} points."
