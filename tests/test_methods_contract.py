"""Every registered method is held to the contract that `check` holds anybody's to: a new file needs no test code."""

import dataclasses
from functools import cache

import pytest

from benchmark.contract.checks import CHECKS, SETTINGS
from benchmark.contract.small_training import Subject
from methods.shared import registry
from methods.shared.method import Batch

subject = cache(Subject)  # its trainings serve several checks


def test_a_batch_has_no_room_for_labels_of_unlabelled_images():
    assert [f.name for f in dataclasses.fields(Batch)] == [
        "labelled_images",
        "labels",
        "unlabelled_images",
        "extra_arrays",
        "labelled_ids",
        "unlabelled_ids",
        "labelled_origins",
        "unlabelled_origins",
        "overlapping_images",
        "shifts",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("title", CHECKS)
@pytest.mark.parametrize("name", registry.names())
def test_every_method(name, title):
    assert CHECKS[title](subject(name)) in (None, "gets no unlabelled patches")


@pytest.mark.slow
@pytest.mark.parametrize("title", SETTINGS)
@pytest.mark.parametrize("name", registry.names())
def test_every_method_under_every_setting(name, title):
    refused = SETTINGS[title](subject(name))
    # MC-Net's and CAML's decoders differ in upsampling, and a DynUNet has one way only. DyCON projects its encoder's
    # deepest features, and a DynUNet is one piece.
    without = ("mc_net", "mc_net_plus", "caml", "dycon")
    assert (refused is not None) == (title == "takes MONAI's DynUNet" and name in without), refused
