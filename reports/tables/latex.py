"""Writes a table as LaTeX that can be pasted into a paper: booktabs, notes under each table, readable type.

Type is never scaled. A table too wide for a column of text is continued in a second one, which repeats the names.
"""

import re
from collections.abc import Sequence

from data.errors import one_line
from reports.tables.table import Block, Cell, Column, Row, Table

PACKAGES = r"% \usepackage{booktabs,threeparttable}"
SMALL, WIDEST = 72, 84  # characters that 345 pt hold in \small and \footnotesize, the text width of article and LNCS
GAP = 1.5  # characters between two columns
SHORTEST = 7  # characters of a line of a heading


def latex(table: Table) -> str:
    """A table as LaTeX: a `table` for each block, or several if the block is too wide; then the notes of all."""
    lines = [PACKAGES]
    for block in table.blocks:
        parts = _parts(block)
        for number, places in enumerate(parts, start=1):
            of = f", part {number} of {len(parts)}" if len(parts) > 1 else ""
            label = _slug(f"{table.name} {block.heading}" + f" {number}" * (len(parts) > 1))
            notes = block.notes if number == len(parts) else ()
            lines += _table(f"{table.title}, {block.heading}{of}", label, block, places, notes)
    lines += [r"{\footnotesize", escape_latex(table.status), *_list("itemize", table.notes)]
    if table.literature:
        lines += ["Sources:", *_list("enumerate", table.literature)]
    return "\n".join([*lines, "}"]) + "\n"


def _table(caption: str, label: str, block: Block, places: Sequence[int], notes: Sequence[str]) -> list[str]:
    columns = [block.columns[place] for place in places]
    size = r"\small" if _width(block, places) <= SMALL else r"\footnotesize"
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{escape_latex(caption)}}}", rf"\label{{tab:{label}}}"]
    lines += [r"\begin{threeparttable}", size, r"\setlength{\tabcolsep}{3pt}"]
    lines += [rf"\begin{{tabular}}{{l*{{{len(columns) - 1}}}{{r}}}}", r"\toprule"]
    lines += [" & ".join(map(_heading, columns)) + r" \\", r"\midrule"]
    for row in block.rows:
        lines += [r"\midrule"] * row.rule + [" & ".join(_cells(row, places)) + r" \\"]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if notes:
        lines += [r"\begin{tablenotes}[flushleft]", r"\footnotesize", *_items(notes), r"\end{tablenotes}"]
    return [*lines, r"\end{threeparttable}", r"\end{table}", ""]


def _parts(block: Block) -> list[list[int]]:
    """The columns of each table that the block becomes, by place. Each begins with the first column."""
    parts = [[0]]
    for place in range(1, len(block.columns)):
        if len(parts[-1]) > 1 and _width(block, [*parts[-1], place]) > WIDEST:
            parts.append([0])
        parts[-1].append(place)
    return parts


def _width(block: Block, places: Sequence[int]) -> float:
    """About how many characters wide these columns are."""
    widths = [max(map(len, _lines(column.label))) for column in block.columns]
    for row in block.rows:
        place = 0
        for cell in row.cells:
            if cell.span == 1:
                widths[place] = max(widths[place], len(cell.text))
            place += cell.span
    return sum(widths[place] + GAP for place in places)


def _lines(label: str) -> list[str]:
    """A heading in short lines: it must not be wider than its numbers."""
    lines = [""]
    for word in label.split():
        fits = len(lines[-1]) + len(word) < max(SHORTEST, len(word))
        lines = [*lines[:-1], f"{lines[-1]} {word}".strip()] if fits or not lines[-1] else [*lines, word]
    return lines


def _heading(column: Column) -> str:
    lines = list(map(escape_latex, _lines(column.label)))
    if len(lines) == 1:
        return lines[0]
    stacked = r" \\ ".join(lines)
    return rf"\shortstack[{'r' if column.numeric else 'l'}]{{{stacked}}}"


def _cells(row: Row, places: Sequence[int]) -> list[str]:
    """The cells of a row at these places. Of a cell over several columns the first part has the text."""
    cells, begin = [], 0
    for cell in row.cells:
        span = sum(begin <= place < begin + cell.span for place in places)
        if span:
            cells.append(_cell(cell, span))
        begin += cell.span
    return cells


def _cell(cell: Cell, span: int) -> str:
    command = {1: r"\textbf", 2: r"\underline"}.get(cell.rank, rf"\multicolumn{{{span}}}{{l}}" if span > 1 else "")
    return f"{command}{{{escape_latex(cell.text)}}}" if command else escape_latex(cell.text)


def _list(kind: str, items: Sequence[str]) -> list[str]:
    return [rf"\begin{{{kind}}}", *_items(items), rf"\end{{{kind}}}"] if items else []


def _items(items: Sequence[str]) -> list[str]:
    return [rf"\item {escape_latex(item)}" for item in items]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    # after the \\ of a table row, [ would start a length and * a starred form
    "[": "{[}", "]": "{]}", "*": "{*}",
    "±": r"$\pm$", "×": r"$\times$", "−": "$-$", "≥": r"$\geq$", "≤": r"$\leq$", "·": r"$\cdot$", "√": r"$\surd$",
    "–": "--", "—": "---", "’": "'", "“": "``", "”": "''", "…": r"\ldots{}", "↓": r"$\downarrow$",
    "†": r"$^\dagger$", "§": r"\S{}", "‡": r"$^\ddagger$", "¶": r"\P{}", "⊙": r"$\odot$",
} | {character: "\\" + character for character in "&%$#_{}"}  # fmt: skip


def escape_latex(value: str) -> str:
    return "".join(LATEX.get(character) or _latex_character(character) for character in one_line(value))


def _latex_character(character: str) -> str:
    # pdflatex stops at characters its fonts lack: beyond Latin letters, name the code point instead
    return character if character < "\u0180" else f"{{[}}U+{ord(character):04X}{{]}}"
