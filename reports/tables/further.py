"""What stands beside the papers' four figures: how sure a mean Dice is, its tail, and further metrics."""

import numpy as np
import pandas as pd

from reports import statistics
from reports.measures import DICE, Scores, further_measures
from reports.results import Results
from reports.tables.formats import FAULTS, MISSING, number, state_of, with_mean_of_all
from reports.tables.notes import evaluation_note, ranks_note, with_notes
from reports.tables.rows import summaries, with_those_left_out
from reports.tables.table import NAME, SEEDS, Block, Column, Table, by_budget, measure_column, ranked_rows

MEAN_OF_ALL = f"{DICE.name}_mean_of_all"
KEYS = ["row", "labelled", "unlabelled", "role", "method", "display", "settings", "fidelity", "stale", "peeked",
        "runs_done", "runs_counted", "runs_planned", "states", "draws", "cases", MEAN_OF_ALL, *FAULTS]  # fmt: skip
FIGURES = ["mean", "sd", "seed_sd", "cases", "mean_of_all"]
OF_DICE = [f"{DICE.name}_{what}" for what in ("mean", "low", "high", "p5", "below_half")]
HALF = 50  # per cent: a Dice below it is a failure


def further(results: Results, scored: Scores, rows: pd.DataFrame) -> Table:
    """A block for each budget; `scored`: of Dice and of `further_measures`, `rows`: as of `table_rows`."""
    shown = further_measures(results)
    postprocessing = results.plan.evaluation.postprocessing
    of_all = with_those_left_out(results, shown)
    lines = [summaries(scored, row, postprocessing, shown, of_all) for row in rows["row"]]
    figures = pd.DataFrame(lines, index=rows.index)
    names = [f"{measure.name}_{what}" for measure in shown for what in FIGURES]
    dice = [_of_dice(scored.get((row, postprocessing, DICE.name))) for row in rows["row"]]
    frame = rows[KEYS].join(pd.DataFrame(dice, rows.index, OF_DICE)).join(figures.reindex(columns=names))
    columns = [
        NAME,
        *DICE_COLUMNS,
        *map(measure_column, shown),
        SEEDS,
        Column("cases", "Cases", line=lambda line: str(line["cases"]) if line["runs_done"] else MISSING),
    ]
    blocks = [Block(heading, columns, ranked_rows(columns, lines, state_of)) for heading, lines in by_budget(frame)]
    notes = [
        evaluation_note(results),
        "Dice: mean with its 95 % interval, which takes seeds and test cases as samples; with one seed, cases alone. "
        f"5th percentile and share below {HALF} %: of single scores, one a seed and case. long.csv has these of every "
        "measure, the interquartile mean and the interval of the standard deviation.",
        f"95HD max: the larger of the two directed 95th percentiles, as surface-distance and MONAI have it. The "
        f"comparison's 95HD is medpy's, of both directions together. {shown[1].title}: normalised surface Dice, the "
        "share of the surface voxels of prediction and truth that lie within this distance of the other surface "
        "(evaluation.nsd_tolerance). Do not compare it with an NSD at another tolerance. Volume error: predicted minus "
        "true volume in per cent of the true one. Errors of both signs cancel in its mean, so look at its standard "
        "deviation, too.",
        *_incomplete(frame, names),
        ranks_note(rows),
    ]
    return with_notes(results, "further", frame, blocks, notes, title="further measures")


def _of_dice(table: pd.DataFrame | None) -> list[float]:
    """OF_DICE from a score table."""
    if table is None:
        return [np.nan] * len(OF_DICE)
    single = table.to_numpy()[:, table.notna().all()]
    low, high, _ = statistics.mean_interval(table)
    return [single.mean(), low, high, np.quantile(single, 0.05), (single < HALF).mean()]


def _mean_dice(line: dict) -> str:
    mean, low, high = (line[f"{DICE.name}_{what}"] for what in ("mean", "low", "high"))
    text = with_mean_of_all(number(mean), line[MEAN_OF_ALL])
    return text if pd.isna(low) else f"{text} [{number(max(low, 0))}, {number(min(high, 100))}]"


DICE_COLUMNS = [
    Column(f"{DICE.name}_mean", "Dice [%] [95 % interval]", line=_mean_dice, figure=True),
    Column(f"{DICE.name}_p5", "5th percentile [%]", figure=True),
    Column(f"{DICE.name}_below_half", f"Below {HALF} % [%]", lambda share: number(100 * share, 0), figure=True),
]


def _incomplete(frame: pd.DataFrame, names: list[str]) -> list[str]:
    """How to fill in what records were made without."""
    nothing = frame[[name for name in names if name.endswith("_mean")]].isna().all(axis=1)
    lacking = frame.loc[nothing & (frame["cases"] > 0), "display"].unique()
    if not len(lacking):
        return []
    return [
        f"Cells with –: records of {', '.join(lacking)} were made before these measures came. `evaluate` adds them "
        "from the stored predictions, without training."
    ]
