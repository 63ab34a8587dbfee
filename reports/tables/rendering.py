"""Writes a table as Markdown or LaTeX, and a frame as CSV. The page writes tables as HTML."""

import re
from collections.abc import Sequence

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


def latex(table: Table) -> str:
    """A table as LaTeX, to be input into a document with booktabs and graphicx."""
    text = escape_latex
    lines = [r"% \usepackage{booktabs,graphicx}"]
    for block in table.blocks:
        lines += [r"\begin{table}", r"\centering", rf"\caption{{{text(table.title)}, {text(block.heading)}}}"]
        lines += [r"\resizebox{\textwidth}{!}{%", rf"\begin{{tabular}}{{l*{{{len(block.columns) - 1}}}{{r}}}}"]
        lines += [r"\toprule", " & ".join(text(column.label) for column in block.columns) + r" \\", r"\midrule"]
        for row in block.rows:
            lines += [r"\midrule"] * row.rule + [" & ".join(map(_latex_cell, row.cells)) + r" \\"]
        lines += [r"\bottomrule", r"\end{tabular}}"]
        for note in block.notes:
            lines += ["", r"\smallskip", rf"{{\footnotesize {text(note)}\par}}"]
        lines += [r"\end{table}", ""]
    lines += [r"{\footnotesize", text(table.status), *_latex_list("itemize", table.notes)]
    if table.literature:
        lines += ["Sources:", *_latex_list("enumerate", table.literature)]
    return "\n".join([*lines, "}"]) + "\n"


def _latex_cell(cell: Cell) -> str:
    span = rf"\multicolumn{{{cell.span}}}{{l}}" if cell.span > 1 else ""
    command = {1: r"\textbf", 2: r"\underline"}.get(cell.rank, span)
    return f"{command}{{{escape_latex(cell.text)}}}" if command else escape_latex(cell.text)


def _latex_list(kind: str, items: Sequence[str]) -> list[str]:
    return [rf"\begin{{{kind}}}", *(rf"\item {escape_latex(item)}" for item in items), rf"\end{{{kind}}}"]


def escape_markdown(value: str) -> str:
    text = one_line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", text)


LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    # after the \\ of a table row, [ would start a length and * a starred form
    "[": "{[}", "]": "{]}", "*": "{*}",
    "±": r"$\pm$", "×": r"$\times$", "−": "$-$", "≥": r"$\geq$", "≤": r"$\leq$", "·": r"$\cdot$", "√": r"$\surd$",
    "–": "--", "—": "---", "’": "'", "↓": r"$\downarrow$", "“": "``", "”": "''", "…": r"\ldots{}",
    "†": r"$^\dagger$", "§": r"\S{}", "‡": r"$^\ddagger$", "¶": r"\P{}", "⊙": r"$\odot$",
} | {character: "\\" + character for character in "&%$#_{}"}  # fmt: skip


def escape_latex(value: str) -> str:
    return "".join(LATEX.get(character) or _latex_character(character) for character in one_line(value))


def _latex_character(character: str) -> str:
    # pdflatex stops at characters its fonts lack: beyond Latin letters, name the code point instead
    return character if character < "\u0180" else f"{{[}}U+{ord(character):04X}{{]}}"
