"""The comparison as a paper prints it, to paste: the layout of Table 3 of the DTML paper (Zhang & Zhang, 2021)."""

from dataclasses import replace

import pandas as pd

from reports.measures import measures, with_rows
from reports.results import Results
from reports.tables.formats import counted, state_of
from reports.tables.notes import evaluation_note, mark_notes, training_notes, with_notes
from reports.tables.summary import figure_notes, mean_column
from reports.tables.table import LABELLED, NAME, Block, Column, Table, by_budget, ranked_rows


def publication(results: Results, rows: pd.DataFrame) -> Table:
    """A block for each budget, each with the notes that it needs; `rows` as of `table_rows`."""
    shown = measures(results)
    columns = [
        NAME,
        replace(LABELLED, label="Labelled scans"),
        Column("unlabelled", "Unlabelled scans", str),
        *map(mean_column, shown),
    ]
    blocks = [
        Block(heading, columns, ranked_rows(columns, lines, state_of), _notes(results, lines))
        for heading, lines in by_budget(rows)
    ]
    return replace(with_notes(results, "publication", rows, blocks, [], title="comparison"), notes=[])


def _notes(results: Results, rows: pd.DataFrame) -> list[str]:
    """What a reader of this block alone must know. `rows`: those of the block."""
    runs = [number for number in rows["runs_counted"] if number]
    seeds = f" and {counted(runs, 'seed')}" if runs else ""
    cells = with_rows(results.cells)
    return [
        f"Means over {results.plan.data.test} test cases{seeds}. {evaluation_note(results)}",
        *training_notes(results),
        *figure_notes(rows),
        *mark_notes(cells[cells["row"].isin(rows["row"])]),
    ]
