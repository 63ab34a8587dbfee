"""Settings that experiments may choose for all methods: whether a method runs under them.

A method that speaks of probabilities through `self.head`, and of images by their last axes, runs under all of them.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmark.contract.prediction_checks import trains_and_predicts
from benchmark.contract.small_training import Cases, SmallTraining, Subject, phantoms, require
from methods.shared.networks.network import NetworkError

SLICES = (32, 32)  # of a patch
LEVELS = (1, 2, 2, 2, 2)  # strides of the DynUNet: as many levels as a V-Net has


def takes(subject: Subject, cases: Cases | None = None, classes: int = 1, **training: Any) -> str | None:
    """Whether the method trains and predicts under such a protocol; why the plan refuses it, if it does."""
    try:
        trains_and_predicts(SmallTraining(subject.name, cases=cases, classes=classes, iterations=2, **training))
    except NetworkError as error:
        return str(error)
    return None


def takes_several_channels(subject: Subject) -> str | None:
    """Images whose second channel is the first, mirrored."""
    cases = phantoms()
    images = {case_id: np.stack([image, image[::-1]], -1) for case_id, image in cases.images.items()}
    return takes(subject, replace(cases, images=images, channels=2))


def keeps_to_the_protocols_patches(subject: Subject) -> None:
    """As many patches a step as the protocol has, or fewer."""
    small = SmallTraining(subject.name)
    labelled, unlabelled = small.stream.labelled_patches, small.stream.unlabelled_patches
    require(
        labelled + unlabelled <= small.training.batch_size,
        f"takes {labelled} labelled and {unlabelled} unlabelled patches where the protocol has "
        f"{small.training.batch_size}: the tables of an experiment say so",
    )


CHECKS = {
    "keeps to the protocol's patches": keeps_to_the_protocols_patches,
    "takes slices": partial(takes, patch=SLICES),
    "takes a softmax over background and classes": partial(takes, classes=2, head="softmax"),
    "takes slices, a softmax and a U-Net, resized": partial(
        takes, classes=2, head="softmax", patch=SLICES, network="unet_2d", augmentation="acdc_2d"
    ),
    "takes several channels": takes_several_channels,
    "takes MONAI's DynUNet": partial(takes, patch=(32, 32, 32), network={"name": "dynunet", "strides": LEVELS}),
}
