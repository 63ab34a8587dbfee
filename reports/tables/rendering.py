"""Writes a table as Markdown or LaTeX, and a frame as CSV."""

import re
from pathlib import Path

import jinja2
import pandas as pd

from data.errors import one_line
from reports.tables.table import Table

TEMPLATES = Path(__file__).parents[1] / "templates"


def csv(frame: pd.DataFrame) -> str:
    """Plain numbers, one line a row of the frame."""
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.10g")


def markdown(table: Table) -> str:
    """A table as GitHub Markdown."""
    return _render("table.md", table, escape_markdown)


def latex(table: Table) -> str:
    """A table as LaTeX, to be input into a document with booktabs and graphicx."""
    return _render("table.tex", table, escape_latex)


def _render(template: str, table: Table, escape) -> str:
    # escaping is the environment's: whatever a template prints goes through it, so no template can forget
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        finalize=escape,
        undefined=jinja2.StrictUndefined,
        block_start_string="<%", block_end_string="%>",
        variable_start_string="<<", variable_end_string=">>",
        comment_start_string="<#", comment_end_string="#>",
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template(template).render(vars(table))


def escape_markdown(value) -> str:
    text = one_line(str(value)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", text)


LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    # after the \\ of a table row, [ would start a length and * a starred form
    "[": "{[}", "]": "{]}", "*": "{*}",
    "±": r"$\pm$", "×": r"$\times$", "−": "$-$", "≥": r"$\geq$", "≤": r"$\leq$", "·": r"$\cdot$", "√": r"$\surd$",
    "–": "--", "—": "---", "’": "'", "“": "``", "”": "''", "…": r"\ldots{}",
    "†": r"$^\dagger$", "§": r"\S{}", "‡": r"$^\ddagger$", "¶": r"\P{}",
} | {character: "\\" + character for character in "&%$#_{}"}  # fmt: skip


def escape_latex(value) -> str:
    return "".join(LATEX.get(character) or _latex_character(character) for character in one_line(str(value)))


def _latex_character(character: str) -> str:
    # pdflatex stops at characters its fonts lack: beyond Latin letters, name the code point instead
    return character if character < "\u0180" else f"{{[}}U+{ord(character):04X}{{]}}"
