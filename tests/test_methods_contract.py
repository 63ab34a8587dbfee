"""Every registered method is held to the contract that `check` holds anybody's to: a new file needs no test code."""

import dataclasses
from functools import cache

import pytest

from benchmark.contract import CHECKS
from benchmark.rehearsal import Subject
from methods import registry
from methods.method import Batch

subject = cache(Subject)  # its longer training serves several checks


def test_a_batch_has_no_room_for_labels_of_unlabelled_images():
    assert [f.name for f in dataclasses.fields(Batch)] == ["labeled_images", "labels", "unlabeled_images", "views"]


@pytest.mark.parametrize("title", CHECKS)
@pytest.mark.parametrize("name", registry.names())
def test_every_method(name, title):
    assert CHECKS[title](subject(name)) in (None, "gets no unlabelled patches")
