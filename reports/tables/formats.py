"""How numbers, methods and runs are written in the cells of tables."""

from collections.abc import Iterable

import pandas as pd

from benchmark.records.models import EXTERNAL, name_with_role
from benchmark.records.states import DONE

MISSING = "–"
FAULT = "↓"
FAULTS = ["collapsed", "diverged", "left_out"]  # counts of runs, which give a row its mark
ALL_LABELLED = "All cases labelled"


def number(value: float, digits: int = 2) -> str:
    if pd.isna(value):
        return MISSING
    text = f"{value:.{digits}f}"
    return text.replace("-", "−" if float(text) else "")  # no minus before a zero


def signed(value: float, digits: int = 2) -> str:
    return MISSING if pd.isna(value) else f"{value:+.{digits}f}".replace("-", "−")


def mean_and_sd(mean: float, sd: float) -> str:
    return number(mean) if pd.isna(mean) or pd.isna(sd) else f"{number(mean)} ± {number(sd)}"


def fewer_cases(cases: int, of: int) -> str:
    """How many cases a mean is over, where others of the same row are over more."""
    return f" ({cases} of {of} cases)" if 0 < cases < of else ""


def p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else number(p, 3)


def difference(line: dict) -> str:
    """The difference of a line in points of Dice and, where it has one, its interval.

    An interval beyond the range of Dice says nothing, so none is shown.
    """
    beyond = pd.isna(line["low"]) or max(abs(line["low"]), abs(line["high"])) > 100
    interval = "" if beyond else f" [{signed(line['low'])}, {signed(line['high'])}]"
    return signed(line["difference"]) + interval


def heading_of(labelled: int) -> str:
    return f"{labelled} labelled cases"


def labelled_of(line: dict) -> str:
    """How many cases are labelled: those that are trained on, and those that choose a checkpoint."""
    spent = line.get("validation_cases", 0)
    return f"{line['labelled']} (+{spent} val)" if spent else str(line["labelled"])


def name_of(line: dict) -> str:
    """A row's name with its marks and, of a floor or ceiling, its role."""
    mark = {"reconstruction": "†", EXTERNAL: "‡"}.get(line["fidelity"], "")
    faults = sum(line[fault] for fault in FAULTS) if line["runs_done"] else 0
    marks = mark + "§" * (line["stale"] > 0) + "⊙" * (line["peeked"] > 0) + FAULT * (faults > 0)
    return name_with_role(line["display"] + marks, line.get("role", "method"))


def counted(numbers: Iterable[int], what: str) -> str:
    """How many there are, where that may differ.

    Example:
        >>> counted([1], "seed"), counted([3, 2, 2], "seed"), counted([1, 2, 5], "seed")
        ('1 seed', '2 or 3 seeds', '1 to 5 seeds')
    """
    found = sorted({int(number) for number in numbers})
    text = f"{found[0]} to {found[-1]}" if len(found) > 2 else " or ".join(map(str, found))
    return f"{text} {what}{'s' * (found != [1])}"


def with_mean_of_all(text: str, mean: float) -> str:
    """A mean that lacks runs, and in brackets the mean with what these count as, where there are any."""
    return text if pd.isna(mean) else f"{text} ({number(mean)})"


def runs_of(line: dict) -> str:
    """How many seeds (and draws) of how many a row has, and what became of the others where some are done. Runs that
    diverged and count are among those that it has."""
    draws = len(line["draws"].split())
    unit = "" if draws == 1 else f" runs ({draws} draws)"
    has = line["runs_done"] and line["runs_counted"]
    counts = f"{has}{unit}" if has == line["runs_planned"] else f"{has} of {line['runs_planned']}{unit}"
    others = ", ".join(state for state in line["states"].split("; ") if not state.endswith(f" {DONE}"))
    return f"{counts} ({others})" if has and others else counts


def state_of(line: dict) -> str:
    """Where the trials of a row without figures are."""
    return line["states"].removeprefix("1 ") if line["runs_planned"] == 1 else line["states"]
