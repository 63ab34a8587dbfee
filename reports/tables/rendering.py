"""Writes a table as Markdown, and a frame as CSV. `latex` writes LaTeX, and the page HTML."""

import re

import pandas as pd

from benchmark.records.spreadsheets import neutral
from data.errors import one_line
from reports.tables.table import Cell, Table


def csv(frame: pd.DataFrame) -> str:
    """Plain numbers, one line for each line of the frame. Texts are `neutral` to spreadsheets."""
    texts = {
        column: pd.Series([neutral(value) for value in frame[column]], frame.index, dtype=object)
        for column in frame.select_dtypes(exclude=["number", "bool"])
    }
    safe = frame.assign(**texts).rename(columns=neutral)
    return safe.to_csv(index=False, lineterminator="\n", float_format="%.10g")


def markdown(table: Table) -> str:
    """A table as GitHub Markdown."""
    text = escape_markdown
    lines = [f"# {text(table.title)}", "", f"**{text(table.status)}**"]
    for block in table.blocks:
        lines += ["", f"## {text(block.heading)}", ""]
        lines += ["|" + "".join(f" {text(column.label)} |" for column in block.columns)]
        lines += ["| :--- |" + " ---: |" * (len(block.columns) - 1)]
        lines += ["|" + "".join(map(_markdown_cell, row.cells)) for row in block.rows]
        for note in block.notes:
            lines += ["", text(note)]
    lines += ["", *(f"- {text(note)}" for note in table.notes)]
    if table.literature:
        lines += ["", "## Sources", ""]
        lines += [f"{place}. {text(source)}" for place, source in enumerate(table.literature, start=1)]
    return "\n".join(lines) + "\n"


def _markdown_cell(cell: Cell) -> str:
    before, after = {1: ("**", "**"), 2: ("<ins>", "</ins>")}.get(cell.rank, ("", ""))
    return f" {before}{escape_markdown(cell.text)}{after} |" + " |" * (cell.span - 1)


def escape_markdown(value: str) -> str:
    text = one_line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", text)
