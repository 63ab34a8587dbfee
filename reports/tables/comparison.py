"""The comparison table as papers print it, and what tells its differences from chance."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd

from reports import statistics
from reports.measures import DICE, Measure, measures
from reports.results import Results
from reports.significance import LEVEL
from reports.tables.faults import collapse_note
from reports.tables.formats import MISSING, difference, p_value, state_of
from reports.tables.notes import RANKS_NOTE, evaluation_note, with_notes
from reports.tables.table import NAME, SEEDS, Block, Column, Table, by_budget, measure_column, ranked_rows

BY_SEEDS, BY_CASES = "*", "(*)"
FEW_SEEDS = {statistics.ONE_SEED: "one seed", statistics.TWO_SEEDS: "two seeds"}
UNEVEN = 20  # points of Dice between runs of a row, from which on a note names it


def comparison(results: Results, rows: pd.DataFrame, tests: pd.DataFrame) -> Table:
    """A block for each budget; `rows` as of `table_rows`, `tests` as of `significance`."""
    shown, wanted = measures(results), results.plan.reference
    blocks = [comparison_block(heading, lines, tests, shown, wanted) for heading, lines in by_budget(rows)]
    notes = [
        evaluation_note(results),
        "± is the standard deviation over test cases, not over seeds. Each case is first averaged over its seeds.",
        f"Empty predictions: {int(rows['empty'].sum())} of {int(rows['predictions'].sum())}.",
        *_uneven_notes(rows),
        collapse_note(results),
        *_test_notes(rows),
        RANKS_NOTE,
    ]
    return with_notes(results, "comparison", rows, blocks, notes)


def comparison_block(
    heading: str, rows: pd.DataFrame, tests: pd.DataFrame, shown: Sequence[Measure], wanted: str | None
) -> Block:
    """The rows of one budget. `wanted`: the display name of the reference, which may have no results here."""
    competing = rows[rows["role"] != "ceiling"]
    reference = next(iter(competing["reference"].dropna()), None)
    columns = _columns(shown, reference, ranked=bool(competing["rank"].notna().any()))
    notes = [detectable_note(tests[tests["row"].isin(competing["row"])], competing["cases"].max())]
    if reference is None and wanted is not None and len(competing):
        lacking = competing.loc[competing["display"] == wanted, "left_out"].gt(0).any()
        why = "lacks runs that failed or diverged" if lacking else "has no results"
        notes.insert(0, f"No tests here: the reference {wanted} {why}.")
    return Block(heading, columns, ranked_rows(columns, rows, _state_and_reason), [note for note in notes if note])


def _columns(shown: Sequence[Measure], reference: str | None, ranked: bool) -> list[Column]:
    columns = [
        NAME,
        Column("labelled", "Labelled", str),
        Column("unlabelled", "Unlabelled", str),
        *(
            measure_column(measure, significance_mark) if measure is DICE else measure_column(measure)
            for measure in shown
        ),
        SEEDS,
        Column("cases", "Cases", line=lambda line: str(line["cases"]) if line["runs_done"] else MISSING),
        Column("empty", "Empty", line=_empty),
    ]
    if reference is not None:
        columns += [
            Column("difference", f"Dice of {reference} − row [95 % interval]", line=_difference),
            Column("cases_p_holm", "p over cases (Holm)", p_value),
            Column("seeds_p_holm", "p over seeds (Holm)", line=_p_over_seeds),
        ]
    return columns + [Column("rank", "Rank [95 %]", line=_rank)] * ranked


def significance_mark(line: dict) -> str:
    return f" {BY_SEEDS if line['decided_by'] == 'seeds' else BY_CASES}" if line["significant"] else ""


def _empty(line: dict) -> str:
    if not line["runs_done"]:
        return MISSING
    return f"{line['empty']:.0f} of {line['predictions']:.0f}" if line["empty"] else "0"


def _difference(line: dict) -> str:
    if pd.isna(line["difference"]):
        return MISSING if pd.isna(line["reference"]) else "reference"
    return difference(line)


def _p_over_seeds(line: dict) -> str:
    return FEW_SEEDS.get(line["seeds_reason"]) or p_value(line["seeds_p_holm"])


def _rank(line: dict) -> str:
    if pd.isna(line["rank"]):
        return MISSING
    return f"{line['rank']:g} [{line['rank_low']:g}, {line['rank_high']:g}]"


def _state_and_reason(line: dict) -> str:
    state = state_of(line)
    return textwrap.shorten(f"{state}: {line['reasons']}" if line["reasons"] else state, 80, placeholder=" …")


def detectable_note(tests: pd.DataFrame, cases: int) -> str:
    """Which difference in Dice this many cases and seeds can tell from chance; "" with fewer than two cases."""
    if not cases >= 2:
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
    known = tested[tested["seeds_detectable"].notna()]
    seeds = " or ".join(str(int(n)) for n in np.unique(known[["runs", "runs_reference"]]))
    points = known["seeds_detectable"].median()
    if known.empty:
        few = (tested["seeds_reason"] == statistics.TWO_SEEDS).any()
        needed = "three seeds of each of fewer than four methods" if few else "two seeds of each method"
        by_seeds = f"Seed-aware test: unknown, because it needs {needed}."
    elif points > 100 and not (tested["seeds_p_holm"] < LEVEL).any():
        by_seeds = f"Seed-aware test with {seeds} seeds: none, because Dice cannot differ by more than 100 points."
    elif points > 100:
        by_seeds = f"Seed-aware test with {seeds} seeds: none in most rows, which vary more than the marked ones."
    else:
        by_seeds = f"Seed-aware test with {seeds} seeds: {points:.1f} points between two methods."
    return (
        f"Detectable difference in Dice {held}, with 80 % power and the spread seen here (median over the rows against "
        f"{tested['reference'].iloc[0]}). Paired t-test over {cases} cases: {tested['cases_detectable'].median():.1f} "
        f"points (dz = {dz:.2f}) between two trained checkpoints. {by_seeds} Smaller differences can go unnoticed."
    )


def _uneven_notes(rows: pd.DataFrame) -> list[str]:
    """Which rows have runs so far apart that one of them may have failed without an error."""
    low, high = (rows[f"{DICE.name}_run_{end}"].astype(float) for end in ("low", "high"))
    uneven = rows[(high - low > UNEVEN) & (rows["diverged"] == 0)]
    if uneven.empty:
        return []
    ends = zip(uneven["display"], uneven["labelled"], low[uneven.index], high[uneven.index], strict=True)
    of = [f"{name} with {labelled} labelled, {least:.1f} to {most:.1f}" for name, labelled, least, most in ends]
    return [
        f"Runs more than {UNEVEN} points of Dice apart: {'; '.join(of)}. One of them may have failed to learn. Look at "
        "the losses before you quote the mean or a test of it."
    ]


def _test_notes(rows: pd.DataFrame) -> list[str]:
    tested = rows[rows["difference"].notna()]
    notes = []
    if len(tested):
        found = f"{int(tested['significant'].sum())} of {len(tested)} rows have one."
        notes = [TESTS_NOTE, *_few_seeds_notes(tested), f"{MARKS_NOTE} {found}", INTERVAL_NOTE]
        notes += [
            f"No test against {line['display']} ({line['labelled']} labelled): {line['cases_reason']}."
            for line in tested[tested["cases_p_holm"].isna()].to_dict("records")
        ]
    return notes + [RANK_NOTE] * bool(rows["rank"].notna().any())


def _few_seeds_notes(tested: pd.DataFrame) -> list[str]:
    """Which rows have no p over seeds for want of seeds, and why."""
    notes = []
    for reason, words in FEW_SEEDS.items():
        concerned = tested["seeds_reason"] == reason
        if concerned.any():
            named = tested[concerned].groupby("display", sort=False)["labelled"]
            of = [f"{name} ({', '.join(map(str, budgets))} labelled)" for name, budgets in named]
            which = "no row has a" if concerned.all() else f"{', '.join(of)}: no"
            notes.append(f"{words.capitalize()}: {which} p over seeds. {WHY_NOT[reason]}")
    return notes


WHY_NOT = {
    statistics.ONE_SEED: "With one seed of the row or of the reference, the variation from seed to seed is unknown.",
    statistics.TWO_SEEDS: "With two seeds of the row or of the reference and fewer than four methods, a test that "
    "should err in 5 % of tables errs in up to 10 %. Train a third seed.",
}
TESTS_NOTE = (
    "p over cases: two-sided paired t-test on Dice between the reference and the row, as in papers. Each case is "
    "averaged over seeds. This test compares trained checkpoints, not methods: it ignores how much a method varies "
    "from seed to seed. p over seeds: seed-aware test, which takes seeds and cases as samples. It compares methods. "
    "It counts a method as no steadier from seed to seed than the pool of all rows of its budget. "
    "Both are Holm-corrected over the rows of a budget. statistics.csv adds uncorrected p values, Wilcoxon's test, "
    "95HD, effect sizes and ranks within cases."
)
MARKS_NOTE = (
    f"Marks after Dice (p < {LEVEL:g}, Holm-corrected): {BY_SEEDS} differs from the reference by the seed-aware test; "
    f"{BY_CASES} differs by the paired t-test over cases, where no seed-aware test is possible."
)
INTERVAL_NOTE = (
    "95 % interval: bootstrap over seeds and cases; with one seed, paired t-test over cases. With fewer than five "
    "seeds the bootstrap's interval is too narrow if seeds vary much. Then quote that of the seed-aware test: "
    "seeds_low and seeds_high in statistics.csv. Intervals are not corrected for several comparisons."
)
RANK_NOTE = (
    "Rank: by mean Dice within the budget. The range holds 95 % of the ranks when seeds and cases are resampled. With "
    "one seed only cases are resampled, so the range is too narrow."
)
