"""Reads the Dice in a training log that released code has written: a text log, or a CSV file."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from data.errors import UserError, one_line

STEPS = ("iteration", "iterations", "iter", "step")  # what a CSV file may call its iterations
NO_SCORE = ("best", "loss")  # in names such as best_dice and loss_dice
STUDENT, TEACHER = "student", "teacher"

_ITERATION = re.compile(r"\biteration\s*:?\s*(\d+)\b", re.IGNORECASE)
_DICE = re.compile(r"(\w*dice\w*)\s*:\s*([^\s,;]+)", re.IGNORECASE)
_BOTH = re.compile(r"Dice-S/T:\s*([^\s/,]+)/([^\s,]+)")  # AD-MT's, of the iteration in the line before


class LogError(UserError):
    """A training log that cannot be used, or a row that it cannot be held against."""


class _Value(NamedTuple):
    name: str
    line: int
    iteration: str
    dice: str


def read_log(file: Path, column: str | None = None) -> pd.Series:
    """The Dice over the iterations of one training.

    Lines such as `iteration 36 : dice_score: 0.0235 best_dice: 0.0300` of UA-MT, SSL4MIS and their descendants are
    read, and AD-MT's `Dice-S/T:7.40/2.35` as `student` and `teacher`. Names with "best" or "loss" are left out.

    Args:
        file: a text log. Or, if its name ends in .csv, columns for the iteration and for Dice.
        column: which Dice; None: the only one.

    Returns:
        Dice in percent, index the iteration. Values that are all at most 1 are taken as fractions.

    Raises:
        LogError: the file cannot be read, has no such Dice, or holds more than one run.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LogError(f"{file} cannot be read: {error.strerror}") from None
    of_csv = file.suffix.lower() == ".csv"
    curves: dict[str, list[_Value]] = {}
    for value in _csv_values(file) if of_csv else _text_values(text):
        curves.setdefault(value.name, []).append(value)
    if not curves:
        wanted = (
            f"columns for the iteration ({', '.join(STEPS)}) and for Dice, with values"
            if of_csv
            else "lines such as `iteration 200 : mean_dice : 0.81`"
        )
        raise LogError(f"{file} has no Dice: it needs {wanted}")
    if column is None and len(curves) > 1:
        raise LogError(f"{file} has several Dice: {', '.join(curves)}. Choose one with --column")
    if column is not None and column not in curves:
        raise LogError(f"{file} has no Dice {column!r}: it has {', '.join(curves)}")
    return _curve(file, curves[column] if column else next(iter(curves.values())))


def _text_values(text: str) -> Iterator[_Value]:
    iteration = None
    for number, line in enumerate(text.split("\n"), start=1):
        if found := _ITERATION.search(line):
            iteration = found[1]
            for name, dice in _DICE.findall(line, found.end()):
                if _is_score(name):
                    yield _Value(name, number, iteration, dice)
        if iteration and (both := _BOTH.search(line)):
            yield from (_Value(name, number, iteration, both[n]) for n, name in enumerate((STUDENT, TEACHER), start=1))


def _csv_values(file: Path) -> Iterator[_Value]:
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise LogError(f"{file} cannot be read as CSV: {one_line(error)}") from None
    steps = [column for column in table if column.strip().lower() in STEPS]
    for name in (column for column in table if steps and _is_score(column)):
        for place, (iteration, dice) in enumerate(zip(table[steps[0]], table[name], strict=True)):
            if dice:  # an empty cell: nothing was scored at this iteration
                yield _Value(name, place + 2, iteration, dice)


def _is_score(name: str) -> bool:
    return "dice" in name.lower() and not any(word in name.lower() for word in NO_SCORE)


def _curve(file: Path, values: list[_Value]) -> pd.Series:
    last, iterations, dice = -1, [], []
    for value in values:
        try:
            iterations.append(int(value.iteration))
            dice.append(float(value.dice))
        except ValueError:
            raise LogError(
                f"{file}, line {value.line}: {value.name} {one_line(value.dice)!r} at iteration "
                f"{one_line(value.iteration)!r} are no numbers"
            ) from None
        if not (math.isfinite(dice[-1]) and 0 <= dice[-1] <= 100):
            raise LogError(f"{file}, line {value.line}: {value.name} {value.dice} is no Dice between 0 and 100")
        if iterations[-1] <= last:
            raise LogError(
                f"{file}, line {value.line}: iteration {iterations[-1]} comes after {last}; keep the lines of one run"
            )
        last = iterations[-1]
    factor = 100.0 if max(dice) <= 1 else 1.0
    return pd.Series(dice, iterations, name=values[0].name) * factor
