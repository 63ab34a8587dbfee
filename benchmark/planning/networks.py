"""Whether a method can use the experiment's network: known before a trial runs."""

from contextlib import suppress
from functools import cache

import torch

from benchmark.planning.experiment import ExperimentError
from benchmark.records.protocol import Training
from benchmark.trial.training import new_method
from data.augment import AUGMENTATIONS
from methods.shared import registry
from methods.shared.networks.network import NetworkError
from methods.shared.networks.registry import network_arguments


def check_network(name: str, settings: dict, training: Training, classes: int, channels: int) -> None:
    """Refuse a network that a method cannot use, and patches that an augmentation cannot make.

    The method is built without memory for its weights, on torch's meta device.

    Args:
        name: of the method.
        settings: of the method, as an experiment gives them.
        training: the protocol.
        classes: foreground classes.
        channels: of an image.

    Raises:
        ExperimentError: with what the method asks for and the network does not have.
        NetworkError: an unknown network, or arguments that it does not take.
    """
    network_arguments(training.network.name, training.network.arguments)
    if AUGMENTATIONS[training.augmentation].resizes:
        _check_resizing(name, training)
    if reason := _refusal(
        name, registry.settings_of(name, settings).model_dump_json(), training.model_dump_json(), classes, channels
    ):
        raise ExperimentError(
            f"method {name} cannot use training.network: {reason}; choose another network, or leave the method out"
        )


def _check_resizing(name: str, training: Training) -> None:
    how = f"training.augmentation {training.augmentation} resizes whole slices"
    if len(training.patch) == 3:
        raise ExperimentError(f"{how}: give training.patch two numbers, such as [256, 256]")
    if registry.get(name).overlapping_crops:
        raise ExperimentError(f"{how}, and method {name} needs overlapping crops: choose augmentation crop")


@cache
def _refusal(name: str, settings: str, protocol: str, classes: int, channels: int) -> str:
    training = Training.model_validate_json(protocol)
    chosen = registry.get(name).Settings.model_validate_json(settings)
    for device in ("meta", "cpu"):  # some transformers compute with weights as they are built, which needs memory
        with torch.random.fork_rng(devices=[]), torch.device(device), suppress(Exception):
            try:
                new_method(name, chosen, training, classes, channels)
            except NetworkError as error:
                return str(error)
            return ""
    return ""  # what else goes wrong is said by the method's first trial, with its place
