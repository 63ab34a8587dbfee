"""The comparison as a paper prints it, to paste: the layout of Table 3 of the DTML paper (Zhang & Zhang, 2021)."""

from dataclasses import replace

import pandas as pd

from reports.measures import measures
from reports.results import Results
from reports.tables.formats import state_of
from reports.tables.notes import MARKS, evaluation_note, with_notes
from reports.tables.summary import mark_notes, mean_column
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
    seeds = sorted({int(n) for n in rows["runs_counted"] if n})
    of = f" and {' or '.join(map(str, seeds))} seed{'s' * (seeds != [1])}" if seeds else ""
    notes = [f"Means over {results.plan.data.test} test cases{of}. {evaluation_note(results)}", *mark_notes(rows)]
    return notes + [note for fidelity, note in MARKS.items() if (rows["fidelity"] == fidelity).any()]
