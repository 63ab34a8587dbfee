"""The comparison table as papers print it, and what tells its differences from chance."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from benchmark.records.case_values import SELECTED
from reports import statistics
from reports.measures import DICE, HD95, HD95_MM, Measure, measures
from reports.results import Results
from reports.selection import RULES, column_of
from reports.significance import LEVEL
from reports.statistics.friedman import FEWEST_METHODS
from reports.tables.detectable import detectable_note
from reports.tables.faults import collapse_notes, never_found_notes
from reports.tables.formats import MISSING, difference, mean_and_sd, p_value, state_of
from reports.tables.notes import evaluation_note, ranks_note, with_notes
from reports.tables.table import (
    LABELLED,
    NAME,
    SEEDS,
    Block,
    Column,
    Table,
    by_budget,
    competing,
    measure_column,
    ranked_rows,
)
from reports.variance import variance_note

BY_SEEDS, BY_CASES = "*", "(*)"
FEW_SEEDS = {statistics.ONE_SEED: "one seed", statistics.TWO_SEEDS: "two seeds"}
PERFECT = 99.9  # percent of Dice
UNEVEN = 20  # points of Dice between runs of a row, from which on a note names it


def comparison(results: Results, rows: pd.DataFrame, tests: pd.DataFrame, variances: pd.DataFrame) -> Table:
    """A block for each budget; `rows` as of `table_rows`, `tests` as of `significance`, `variances` as of
    `variance_frame`."""
    shown, wanted = measures(results), results.plan.reference
    blocks = []
    for heading, lines in by_budget(rows):
        block = comparison_block(heading, lines, tests, shown, wanted)
        of_budget = variance_note(variances, lines["labelled"].iloc[0])
        blocks.append(replace(block, notes=[*block.notes, of_budget]) if of_budget else block)
    notes = [
        evaluation_note(results),
        *_mean_notes(rows),
        *_uneven_notes(rows),
        *_perfect_notes(rows),
        *never_found_notes(results),
        *collapse_notes(results),
        *_test_notes(rows, results.plan.report.margin),
        ranks_note(rows),
    ]
    return with_notes(results, "comparison", rows, blocks, notes)


def comparison_block(
    heading: str, rows: pd.DataFrame, tests: pd.DataFrame, shown: Sequence[Measure], wanted: str | None
) -> Block:
    """The rows of one budget. `wanted`: the display name of the reference, which may have no results here."""
    compared = rows[rows["role"] != "ceiling"]
    reference = next(iter(compared["reference"].dropna()), None)
    rules = [rule for rule in SELECTED if column_of(rule, "mean") in rows]
    columns = _columns(shown, rules, reference, ranked=bool(compared["rank"].notna().any()))
    if "validation_cases" in rows:
        columns = [LABELLED if column.key == LABELLED.key else column for column in columns]
    notes = [detectable_note(tests[tests["row"].isin(compared["row"])], compared["cases"].max())]
    if reference is None and wanted is not None and len(compared):
        lacking = compared.loc[compared["display"] == wanted, "left_out"].gt(0).any()
        why = "lacks runs that failed or diverged" if lacking else "has no results"
        notes.insert(0, f"No tests here: the reference {wanted} {why}.")
    return Block(heading, columns, ranked_rows(columns, rows, _state_and_reason), [note for note in notes if note])


def _columns(shown: Sequence[Measure], rules: Sequence[str], reference: str | None, ranked: bool) -> list[Column]:
    columns = [
        NAME,
        replace(LABELLED, on_demand=True),
        Column("unlabelled", "Unlabelled", str, on_demand=True),
        *(
            measure_column(measure, significance_mark)
            if measure is DICE
            else measure_column(measure, on_demand=measure not in (HD95, HD95_MM))
            for measure in shown
        ),
        *map(_selected, rules),
        SEEDS,
        Column(
            "cases", "Cases", line=lambda line: str(line["cases"]) if line["runs_done"] else MISSING, on_demand=True
        ),
        Column("empty", "Empty", line=_empty, on_demand=True),
    ]
    if reference is not None:
        columns += [
            Column("difference", f"Dice of {reference} − row [95 % interval]", line=_difference),
            Column("cases_p_holm", "p over cases (Holm)", p_value, on_demand=True),
            Column("seeds_p_holm", "p over seeds (Holm), verdict", line=_p_over_seeds),
        ]
    return columns + [Column("rank", "Rank [95 %]", line=_rank)] * ranked


def _selected(rule: str) -> Column:
    """Dice of a checkpoint that was chosen after training; never ranked."""
    mean, sd = column_of(rule, "mean"), column_of(rule, "sd")
    return Column(mean, f"Dice [%], {RULES[rule]}", line=lambda line: mean_and_sd(line[mean], line[sd]))


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
    p = FEW_SEEDS.get(line["seeds_reason"]) or p_value(line["seeds_p_holm"])
    return p if pd.isna(line["seeds_p_holm"]) else f"{p}, {line['verdict']}"


def _rank(line: dict) -> str:
    if pd.isna(line["rank"]):
        return MISSING
    return f"{line['rank']:g} [{line['rank_low']:g}, {line['rank_high']:g}]"


def _state_and_reason(line: dict) -> str:
    state = state_of(line)
    return textwrap.shorten(f"{state}: {line['reasons']}" if line["reasons"] else state, 80, placeholder=" …")


def _mean_notes(rows: pd.DataFrame) -> list[str]:
    """What the figures are of; nothing where there are none."""
    counted = rows[rows["runs_counted"] > 0]
    if counted.empty:
        return []
    over = "seeds and draws" if counted["draws"].str.contains(" ").any() else "seeds"
    averaged = f" Each case is first averaged over its {over}." if (counted["runs_counted"] > 1).any() else ""
    return [
        f"± is the standard deviation over test cases, not over seeds.{averaged}",
        f"Empty predictions: {int(rows['empty'].sum())} of {int(rows['predictions'].sum())}.",
    ]


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


def _perfect_notes(rows: pd.DataFrame) -> list[str]:
    """Which rows are too good, or too even, to be segmentations of real scans."""
    mean, sd = (rows[f"{DICE.name}_{what}"].astype(float) for what in ("mean", "sd"))
    named = [
        f"{line['display']} with {line['labelled']} labelled, {mean_and_sd(mean[index], sd[index])}"
        for index, line in rows[(mean >= PERFECT) | (sd == 0)].iterrows()
    ]
    if not named:
        return []
    return [
        f"Dice of {PERFECT:g} or more, or the same in every case: {'; '.join(named)}. Real segmentations are not like "
        "that. Look at the predictions before you quote it."
    ]


def _test_notes(rows: pd.DataFrame, margin: float) -> list[str]:
    tested = rows[rows["difference"].notna()]
    notes = []
    if len(tested):
        found = f"{int(tested['significant'].sum())} of {len(tested)} rows have one."
        notes = [TESTS_NOTE, *_few_seeds_notes(tested), f"{MARKS_NOTE} {found}"]
        notes += [DRAWS_NOTE] * bool(tested["seeds_crossed"].eq(True).any())
        notes += [VERDICT_NOTE.format(margin=margin)] * bool(tested["seeds_p_holm"].notna().any()) + [INTERVAL_NOTE]
        few = tested["cases_reason"].eq(statistics.TOO_FEW_FOR_MARKS)
        notes += [FEW_CASES_NOTE] * bool(few.any())
        notes += [
            f"No test against {line['display']} ({line['labelled']} labelled): {line['cases_reason']}."
            for line in tested[tested["cases_p_holm"].isna() & ~few].to_dict("records")
        ]
    if rows["rank"].notna().any():
        p_of_budgets = competing(rows).groupby("labelled")["seeds_p_holm"]
        by_seeds = ((p_of_budgets.size() >= FEWEST_METHODS) & (p_of_budgets.count() > 0)).any()
        notes.append(RANK_NOTE + RANK_FIGURE * bool(by_seeds))
    return notes


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
    "should err in 5 % of tables errs in up to 10 %, and so does the interval. Train a third seed.",
}
TESTS_NOTE = (
    "p over cases: two-sided paired t-test on Dice between the reference and the row, as in papers. Each case is "
    "averaged over seeds. This test compares trained checkpoints, not methods: it ignores how much a method varies "
    "from seed to seed. p over seeds: seed-aware test, which takes seeds and cases as samples. It compares methods. "
    "It counts a method as no steadier from seed to seed than the pool of all rows of its budget. "
    "Both are Holm-corrected over the rows of a budget. statistics.csv adds uncorrected p values, Wilcoxon's test, "
    "95HD, effect sizes and ranks within cases."
)
DRAWS_NOTE = (
    "All methods share their draws of the labelled cases. The seed-aware test pairs them, so that what a draw does to "
    "all methods alike cancels."
)
MARKS_NOTE = (
    f"Marks after Dice (p < {LEVEL:g}, Holm-corrected): {BY_SEEDS} differs from the reference by the seed-aware test; "
    f"{BY_CASES} differs by the paired t-test over cases, where no seed-aware test is possible."
)
FEW_CASES_NOTE = (
    f"Fewer than {statistics.FEWEST_FOR_MARKS} test cases: rows have no corrected p, no mark and no verdict. With so "
    "few cases a t-test rests on normal differences, which nobody can check. A sign test over five cases that all "
    "agree has p = 0.06."
)
VERDICT_NOTE = (
    "Verdict beside p over seeds. Different: the row has a star. Equivalent: two one-sided tests with the seed-aware "
    "test's variance find that the difference is within ±{margin:g} points (report.margin), Holm-corrected likewise. "
    "Different within margin: both. Open: neither. More seeds decide an open row."
)
INTERVAL_NOTE = (
    "95 % interval: the seed-aware test's, with seeds and cases as samples. With one seed of the row or of the "
    "reference it is the paired t-test's over cases. Intervals are not corrected for several comparisons, so that one "
    "may leave out 0 without a star. One that reaches beyond 100 points is left out. The bootstrap's interval, too "
    "narrow with few seeds, is in statistics.csv."
)
RANK_NOTE = (
    "Rank: by mean Dice within the budget. The range holds 95 % of the ranks when seeds and cases are resampled. With "
    "fewer than five seeds it is too narrow; with one, only cases are resampled."
)
RANK_FIGURE = " The figure of ranks shows which rows the seed-aware test tells apart."
