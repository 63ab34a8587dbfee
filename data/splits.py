"""Which training cases are labelled, and a short name for a split."""

import hashlib
import json
from typing import Literal

from data.case import DataError
from data.randomness import generator


def labelled_ids(train_ids: list[str], count: int, draw: Literal["first"] | int) -> list[str]:
    """The `count` labelled cases of a draw.

    Draw "first" takes the first `count` of the list, as the papers do (UA-MT release); an integer n names the n-th
    random draw. A smaller count of the same draw is always the beginning of a larger one, so that 5 % of the labels
    are part of 10 %, and these of 20 %. Raises DataError where `count` is not in 1..len(train_ids).
    """
    if not 1 <= count <= len(train_ids):
        raise DataError(
            f"{count} labelled cases asked for, but there are {len(train_ids)} training cases: choose 1 to that"
        )
    if draw == "first":
        return list(train_ids[:count])
    order = generator(draw, "labelled draw").permutation(len(train_ids))
    return [train_ids[i] for i in order[:count]]


def unlabelled_ids(train_ids: list[str], labelled: list[str]) -> list[str]:
    """The training cases that are not labelled, in the order of the list."""
    taken = set(labelled)
    return [case_id for case_id in train_ids if case_id not in taken]


def split_hash(train_ids: list[str], test_ids: list[str]) -> str:
    """Twelve hex digits that name a split: the cases and their order, which decides what "first" means."""
    return hashlib.sha256(json.dumps([train_ids, test_ids]).encode()).hexdigest()[:12]
