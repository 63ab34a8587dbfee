"""Which cases are for training and for testing, which of them are labelled, and a short name for a split."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from data.case import DataError, shorten_list
from data.randomness import generator


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ListFiles(_Block):
    """Two list files, one case a line, relative to the root folder."""

    train: str
    test: str


class Share(_Block):
    """A share of the cases for testing, drawn from a seed."""

    test: float = Field(gt=0, lt=1)
    seed: int = 0


class Fold(_Block):
    """The `fold`-th (0, 1, …) of `folds` parts for testing, drawn from a seed: each case is in one of them."""

    folds: int = Field(ge=2)
    fold: int = Field(ge=0)
    seed: int = 0

    @model_validator(mode="after")
    def _one_of_them(self) -> "Fold":
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
    """Training and test cases of `ids`, in their order; all cases of a patient are on the same side.

    Raises DataError where one side would be empty.
    """
    patients = sorted({patient_of(case_id) for case_id in ids})
    order = [patients[i] for i in generator(split.seed, "split").permutation(len(patients))]
    if isinstance(split, Fold):
        tested = set(order[split.fold :: split.folds])
    else:
        tested, wanted = set(), max(round(split.test * len(ids)), 1)
        for patient in order:  # whole patients, until there are enough cases
            if sum(patient_of(case_id) in tested for case_id in ids) >= wanted:
                break
            tested.add(patient)
    test = [case_id for case_id in ids if patient_of(case_id) in tested]
    train = [case_id for case_id in ids if patient_of(case_id) not in tested]
    if not train or not test:
        raise DataError(
            f"data.split leaves {len(train)} cases for training and {len(test)} for testing, of {len(ids)} cases of "
            f"{len(patients)} patients: choose another share or fewer folds"
        )
    return train, test


def patients(pattern: str | None) -> Callable[[str], str]:
    """The patient of a case: what the regular expression finds in the case's name, or its first group; by default every
    case is a patient of its own. The returned function raises DataError for a name in which it finds nothing."""
    return str if pattern is None else partial(_patient_of, re.compile(pattern))


def _patient_of(pattern: re.Pattern, case_id: str) -> str:
    found = pattern.search(case_id)
    if found is None:
        raise DataError(
            f"data.patients {pattern.pattern!r} finds no patient in the name of case {case_id!r}: correct it"
        )
    return found[1] if pattern.groups and found[1] is not None else found[0]


def check_patients(train: list[str], test: list[str], patient_of: Callable[[str], str]) -> None:
    """Raises DataError if a patient has cases for training and for testing."""
    if both := sorted({patient_of(case_id) for case_id in train} & {patient_of(case_id) for case_id in test}):
        raise DataError(
            f"data.split: {len(both)} patients have cases for training and for testing, where each may be on one side: "
            f"{shorten_list(both)}"
        )


def read_lists(root: Path, split: ListFiles, ending: str = "") -> tuple[list[str], list[str]]:
    """Training and test ids of two list files, whose lines are `<case>` or `<case><ending>`. Raises DataError."""
    train, test = root / split.train, root / split.test
    ids = _read_list(train, ending), _read_list(test, ending)
    if both := sorted(set(ids[0]) & set(ids[1])):
        raise DataError(
            f"{len(both)} cases are in both {train} and {test}, where each may be in one: {', '.join(both)}"
        )
    return ids


def _read_list(path: Path, ending: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list file {path} (data.split), one case a line: {error}") from error
    ids = [line.strip().removesuffix(ending) for line in lines if line.strip()]
    if not ids:
        raise DataError(f"the list file {path} (data.split) names no case: write one a line")
    # A case's id names folders and files, here and in results.
    if nested := [case_id for case_id in ids if case_id == ".." or Path(case_id).name != case_id]:
        raise DataError(f"the list file {path} (data.split) names {nested[0]!r}, which is no plain case id: write CASE")
    if twice := sorted({case_id for case_id in ids if ids.count(case_id) > 1}):
        raise DataError(f"the list file {path} names cases twice: {', '.join(twice)}; remove one")
    return ids


def labelled_ids(
    candidates: list[str], count: int, draw: Literal["first"] | int, left_out: Sequence[str] = ()
) -> list[str]:
    """The `count` labelled cases of a draw, of the training cases that have a label.

    Draw "first" takes the first `count` of the list, as the papers do (UA-MT release); an integer n names the n-th
    random draw. A smaller count of the same draw is always the beginning of a larger one, so that 5 % of the labels
    are part of 10 %, and these of 20 %. `left_out` are never drawn, and leave the order of the others as it is. Raises
    DataError where `count` is not in 1 to what there is.
    """
    order = range(len(candidates))
    if draw != "first":
        order = generator(draw, "labelled draw").permutation(len(candidates))
    chosen = [candidates[i] for i in order if candidates[i] not in left_out]
    if not 1 <= count <= len(chosen):
        raise DataError(
            f"{count} labelled cases asked for, but there are {len(chosen)} training cases with a label: choose 1 to "
            "that"
        )
    return chosen[:count]


def unlabelled_ids(train_ids: list[str], labelled: list[str]) -> list[str]:
    """The training cases that are not labelled, in the order of the list."""
    taken = set(labelled)
    return [case_id for case_id in train_ids if case_id not in taken]


def split_hash(train_ids: list[str], test_ids: list[str]) -> str:
    """Twelve hex digits that name a split: the cases and their order, which decides what "first" means."""
    return hashlib.sha256(json.dumps([train_ids, test_ids]).encode()).hexdigest()[:12]
