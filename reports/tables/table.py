"""What a table is: columns, rows of cells, notes. `rendering` writes it as Markdown and LaTeX, the page as HTML."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from reports.measures import Measure
from reports.tables.formats import (
    ALL_LABELLED,
    MISSING,
    fewer_cases,
    heading_of,
    labelled_of,
    mean_and_sd,
    name_of,
    number,
    runs_of,
    with_mean_of_all,
)


@dataclass(frozen=True)
class Cell:
    """value: what the text stands for, None or NaN where there is nothing. rank: 1 best, 2 second best, 0 neither."""

    text: str
    value: float | str | None = None
    rank: int = 0
    span: int = 1  # columns
    quiet: bool = False  # grey on the page: a figure to be taken with care

    @property
    def raw(self) -> str:
        """The value for sorting; "" where there is nothing."""
        return "" if pd.isna(self.value) else str(self.value)


@dataclass(frozen=True)
class Column:
    """A column, made of lines of a frame.

    Args:
        key: the column of the frame whose values are sorted and ranked.
        label: its heading.
        format: such a value as text.
        line: the whole line as text, where the value alone does not say it; replaces `format`.
        better: whether "higher" or "lower" is better, if the best are marked. "one": rank 1 alone is marked.
        ranked: which lines may be marked, where not all: a mean over fewer cases than others is not comparable.
        numeric: whether its values are numbers.
        figure: whether rows without runs show their state here.
        on_demand: whether the page shows it only to readers who ask for all columns, after the others.
        quiet: of which lines the value is grey on the page, and never marked as best.
    """

    key: str
    label: str
    format: Callable[..., str] = number
    line: Callable[[dict], str] | None = None
    better: str = ""
    ranked: Callable[[pd.DataFrame], pd.Series] | None = None
    numeric: bool = True
    figure: bool = False
    on_demand: bool = False
    quiet: Callable[[dict], bool] = lambda line: False

    def cell(self, line: dict, rank: int = 0) -> Cell:
        value, quiet = line[self.key], bool(self.quiet(line))
        return Cell(self.line(line) if self.line else self.format(value), value, 0 if quiet else rank, quiet=quiet)

    def ranks(self, frame: pd.DataFrame) -> dict:
        """{index: 1 or 2} of the best and second best values as printed, where there is anything to choose from."""
        if self.ranked is not None:
            frame = frame[self.ranked(frame)]
        values = frame[self.key].astype(float).round(2).dropna() if self.better else []
        if self.better == "one":
            return dict.fromkeys(values.index[values == 1], 1)
        if len(values) < 2:
            return {}
        places = values.rank(method="dense", ascending=self.better == "lower").astype(int)
        return places[places <= 2].to_dict()


@dataclass(frozen=True)
class Row:
    """rule: a line goes before it. key: the number of its row, where readers may unfold its runs."""

    cells: list[Cell]
    rule: bool = False
    key: int | None = None

    @property
    def spread(self) -> list[Cell]:
        """A cell for every column, for tables that sort: texts over several columns are cut before the colon."""
        cells = []
        for cell in self.cells:
            alone = cell.span == 1
            cells += [cell] if alone else [Cell(cell.text.partition(":")[0]), *[Cell(MISSING)] * (cell.span - 1)]
        return cells


@dataclass(frozen=True)
class Block:
    """A table proper: one budget, or one quantity."""

    heading: str
    columns: Sequence[Column]
    rows: list[Row]
    notes: Sequence[str] = ()

    @property
    def on_page(self) -> list[int]:
        """The places of the columns in the page's order."""
        return sorted(range(len(self.columns)), key=lambda place: self.columns[place].on_demand)


@dataclass(frozen=True)
class Table:
    """What a report shows of one experiment, or of several data sets, under one name.

    name: of its files. frame: its numbers, as its CSV has them. status: what is done. literature: numbered sources.
    """

    name: str
    title: str
    status: str
    blocks: list[Block]
    notes: list[str]
    frame: pd.DataFrame
    literature: Sequence[str] = ()


def measure_column(measure: Measure, mark: Callable[[dict], str] = lambda line: "", on_demand: bool = False) -> Column:
    """Mean and standard deviation over cases; of how many, where some have no value. Such a row is not ranked.

    Args:
        measure: what is shown. The frame has its `_mean`, `_sd`, `_mean_of_all` and `_cases`, and `cases`.
        mark: what stands behind the figures of a line.
        on_demand: as in `Column`.
    """
    cases = f"{measure.name}_cases"

    def text(line: dict) -> str:
        figures = mean_and_sd(line[f"{measure.name}_mean"], line[f"{measure.name}_sd"])
        figures = with_mean_of_all(figures, line[f"{measure.name}_mean_of_all"])
        return figures + mark(line) + fewer_cases(line[cases], line["cases"])

    return Column(
        f"{measure.name}_mean", measure.label, line=text, better=measure.better, figure=True, on_demand=on_demand,
        ranked=lambda frame: frame[cases] == frame["cases"],
    )  # fmt: skip


def rows_of(columns: Sequence[Column], frame: pd.DataFrame) -> list[Row]:
    """One row for each line of the frame."""
    return [Row([column.cell(line) for column in columns]) for line in frame.to_dict("records")]


def ranked_rows(columns: Sequence[Column], frame: pd.DataFrame, state: Callable[[dict], str]) -> list[Row]:
    """The rows of one budget, with a rule before methods and ceilings. Ceilings are not ranked, nor are rows whose mean
    lacks a run that failed or diverged.

    In a row without runs one cell says its state instead of all figures.
    """
    ranked = competing(frame)
    ranks = [column.ranks(ranked) for column in columns]
    figures = [place for place, column in enumerate(columns) if column.figure]
    rows: list[Row] = []
    before = ""
    for index, line in zip(frame.index, frame.to_dict("records"), strict=True):
        cells = [column.cell(line, of.get(index, 0)) for column, of in zip(columns, ranks, strict=True)]
        if line["runs_done"] == 0:
            cells[figures[0] : figures[-1] + 1] = [Cell(state(line), span=len(figures))]
        rows.append(Row(cells, rule=before not in ("", line["role"]), key=line.get("row")))
        before = line["role"]
    return rows


def competing(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are ranked."""
    return frame[(frame["role"] != "ceiling") & (frame["left_out"] == 0)]


def by_budget(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Heading and lines of each budget, the ceilings last in each."""
    ceiling = frame["role"].eq("ceiling")
    budgets = sorted(frame.loc[~ceiling, "labelled"].unique())
    if not budgets:
        return [(ALL_LABELLED, frame)] if len(frame) else []
    return [(heading_of(labelled), frame[ceiling | frame["labelled"].eq(labelled)]) for labelled in budgets]


NAME = Column("display", "Method", line=name_of, numeric=False)
LABELLED = Column("labelled", "Labelled", line=labelled_of)
SEEDS = Column("runs_done", "Seeds", line=runs_of)
