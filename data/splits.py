"""Splits: which cases are for training and for testing, and which of the training cases are labelled."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from data.case import DataError, shorten, shorten_list
from data.names import name_problems
from data.randomness import generator


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ListFiles(_Block):
    """Two list files with one case a line. Their paths are relative to the root folder."""

    train: str
    test: str


class Share(_Block):
    """A random share of the cases is for testing: `test` of them, in 0..1, drawn from `seed`."""

    test: float = Field(gt=0, lt=1)
    seed: int = 0


class Fold(_Block):
    """Cross-validation: part `fold` (0, 1, …) of `folds` parts is for testing. `seed` decides the parts."""

    folds: int = Field(ge=2)
    fold: int = Field(ge=0)
    seed: int = 0

    @model_validator(mode="after")
    def _fold_exists(self) -> "Fold":
        if self.fold >= self.folds:
            raise ValueError(f"fold must be one of 0 to {self.folds - 1}")
        return self


def _kind(value: Any) -> str:
    keys = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return "a fold" if {"fold", "folds"} & set(keys) else "list files" if "train" in keys else "a share"


Split = Annotated[
    Annotated[ListFiles, Tag("list files")] | Annotated[Share, Tag("a share")] | Annotated[Fold, Tag("a fold")],
    Discriminator(_kind),
]


def divide(ids: list[str], split: Share | Fold, patient_of: Callable[[str], str] = str) -> tuple[list[str], list[str]]:
    """Divide cases into training and test cases. All cases of a patient are on the same side.

    Args:
        ids: the cases.
        split: a random share, or a fold of a cross-validation.
        patient_of: the patient of a case. By default every case is a patient.

    Returns:
        Training cases and test cases, each in the order of `ids`.

    Raises:
        DataError: no case would be left on one side.

    Example:
        >>> divide(["a", "b", "c", "d"], Share(test=0.25, seed=0))
        (['a', 'b', 'c'], ['d'])
    """
    patients = sorted({patient_of(case_id) for case_id in ids})
    order = [patients[i] for i in generator(split.seed, "split").permutation(len(patients))]
    if isinstance(split, Fold):
        tested = set(order[split.fold :: split.folds])
    else:
        tested, count = set(), max(round(split.test * len(ids)), 1)
        for patient in order:  # whole patients, until there are enough cases
            if sum(patient_of(case_id) in tested for case_id in ids) >= count:
                break
            tested.add(patient)
    test = [case_id for case_id in ids if patient_of(case_id) in tested]
    train = [case_id for case_id in ids if patient_of(case_id) not in tested]
    if not train or not test:
        raise DataError(
            f"data.split leaves {len(train)} cases for training and {len(test)} for testing, out of {len(ids)} cases "
            f"of {len(patients)} patients: choose another share or fewer folds"
        )
    return train, test


def patients(pattern: str | None) -> Callable[[str], str]:
    """A function that finds the patient of a case in its name.

    Args:
        pattern: a regular expression. Its first group is the patient, or the whole match if it has no group. With None
            every case is a patient.

    Returns:
        The function. It raises DataError for a name in which the pattern finds nothing.

    Example:
        >>> patients("(p[0-9]+)_")("p12_scan3")
        'p12'
    """
    return str if pattern is None else partial(_patient_of, re.compile(pattern))


def _patient_of(pattern: re.Pattern, case_id: str) -> str:
    found = pattern.search(case_id)
    if found is None:
        raise DataError(
            f"data.patients {shorten(pattern.pattern)!r} finds no patient in the name of case {case_id!r}: correct the "
            "pattern"
        )
    return found[1] if pattern.groups and found[1] is not None else found[0]


def check_patients(train: list[str], test: list[str], patient_of: Callable[[str], str]) -> None:
    """Raise DataError if a patient has cases for training and for testing."""
    if shared := sorted({patient_of(case_id) for case_id in train} & {patient_of(case_id) for case_id in test}):
        raise DataError(
            f"data.split: {len(shared)} patients have cases for training and for testing: {shorten_list(shared)}; "
            "put all cases of a patient on one side"
        )


def read_lists(root: Path, split: ListFiles, ending: str = "") -> tuple[list[str], list[str]]:
    """Read the training and the test cases from two list files.

    Args:
        root: the folder that the files' paths are relative to.
        split: the two paths.
        ending: removed from the end of a line if it is there.

    Returns:
        Training cases and test cases, in the order of the files.

    Raises:
        DataError: a file cannot be read, names no case or names one twice, or a case is in both files.
    """
    train, test = root / split.train, root / split.test
    ids = read_list(train, ending), read_list(test, ending)
    if shared := sorted(set(ids[0]) & set(ids[1])):
        raise DataError(
            f"{len(shared)} cases are in both {train} and {test}: {shorten_list(shared)}; remove each from one of them"
        )
    return ids


def read_list(path: Path, ending: str = "", key: str = "data.split") -> list[str]:
    """Read the names of cases from a list file.

    Args:
        path: has one case a line.
        ending: removed from the end of a line if it is there.
        key: of the experiment, for messages.

    Raises:
        DataError: the file cannot be read, names no case, names one twice, or names something else.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # Windows marks files by their first bytes
    except (OSError, ValueError) as error:  # not UTF-8, or a path that cannot be
        raise DataError(f"cannot read the list file {path} ({key}), one case a line: {error}") from error
    ids = [line.strip().removesuffix(ending) for line in lines if line.strip()]
    if not ids:
        raise DataError(f"the list file {path} ({key}) names no case: write one a line")
    # A case's id names folders and files, here and in results.
    if nested := [case_id for case_id in ids if case_id == ".." or Path(case_id).name != case_id]:
        raise DataError(
            f"the list file {path} ({key}) names {shorten(nested[0])!r}, which is a path: write the case alone"
        )
    if problems := name_problems(ids):
        raise DataError(f"the list file {path} ({key}), {problems[0]}")
    if repeated := sorted(case_id for case_id, count in Counter(ids).items() if count > 1):
        raise DataError(f"the list file {path} names cases twice: {shorten_list(repeated)}; remove one line of each")
    return ids


def labelled_ids(
    candidates: list[str], count: int, draw: Literal["first"] | int, left_out: Sequence[str] = ()
) -> list[str]:
    """Choose the labelled cases of an experiment.

    Draws are nested: a smaller `count` of the same draw is the beginning of a larger one. So 5 % of the labels are part
    of 10 %, and these of 20 %.

    Args:
        candidates: the training cases that have a label.
        count: how many cases to choose.
        draw: "first" takes the first of the list, as the papers do. A number names a random draw.
        left_out: cases that are never chosen. The order of the others does not depend on them.

    Returns:
        `count` cases, in the order of the draw.

    Raises:
        DataError: there are fewer cases than `count`, or `count` is below 1.

    Source:
        "first": UA-MT release, `train_LA_meanteacher_certainty_unlabel.py`.

    Example:
        >>> labelled_ids(["a", "b", "c", "d"], 2, "first")
        ['a', 'b']
        >>> labelled_ids(["a", "b", "c", "d"], 2, 0)
        ['b', 'a']
    """
    order = range(len(candidates))
    if draw != "first":
        order = generator(draw, "labelled draw").permutation(len(candidates))
    chosen = [candidates[i] for i in order if candidates[i] not in left_out]
    if not 1 <= count <= len(chosen):
        raise DataError(
            f"{count} labelled cases asked for, but there are {len(chosen)} training cases with a label: "
            f"choose 1 to {len(chosen)}"
        )
    return chosen[:count]


def without_validation(drawn: list[str], count: int, patient_of: Callable[[str], str]) -> tuple[list[str], list[str]]:
    """Divide labelled cases into those to train on and those that choose a checkpoint.

    The last of the draw choose, so that the training cases of nested draws stay nested. Other scans of their patients
    are not trained on.

    Args:
        drawn: the labelled cases, in the order of their draw.
        count: how many of them choose.
        patient_of: the patient of a case.

    Returns:
        The cases to train on, and those that choose.

    Raises:
        DataError: no case is left to train on.

    Example:
        >>> without_validation(["a1", "b1", "a2", "c1"], 2, patient_of=lambda case: case[0])
        (['b1'], ['a2', 'c1'])
    """
    choosing = drawn[max(len(drawn) - count, 0) :]
    patients = {patient_of(case_id) for case_id in choosing}
    labelled = [case_id for case_id in drawn if patient_of(case_id) not in patients]
    if not labelled:
        raise DataError(
            f"data.validation_cases {count} leaves none of {len(drawn)} labelled cases to train on: choose fewer of "
            "them, or more labelled cases"
        )
    return labelled, choosing


def unlabelled_ids(train_ids: list[str], labelled: list[str]) -> list[str]:
    """The training cases that are not labelled, in the order of the list.

    Example:
        >>> unlabelled_ids(["a", "b", "c"], labelled=["b"])
        ['a', 'c']
    """
    taken = set(labelled)
    return [case_id for case_id in train_ids if case_id not in taken]


def split_hash(train_ids: list[str], test_ids: list[str]) -> str:
    """A short name of a split: twelve hexadecimal digits.

    It depends on the cases and on their order, because the order decides which cases draw "first" takes.

    Example:
        >>> split_hash(["a", "b"], ["c"])
        '3aafec9ce630'
    """
    return hashlib.sha256(json.dumps([train_ids, test_ids]).encode()).hexdigest()[:12]
