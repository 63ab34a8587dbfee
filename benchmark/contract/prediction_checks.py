"""The contract's checks of what a method takes and gives; each raises ContractError, or says why it does not apply."""

from contextlib import suppress

import torch
from torch import Tensor

from benchmark.contract.small_training import (
    LONGER,
    SEED,
    ContractError,
    SmallTraining,
    Subject,
    require,
    unseen_images,
)
from benchmark.trial.finite import DivergedError
from benchmark.trial.probabilities import Extremes, PredictionError
from methods.shared.networks.network import SegmentationNetwork

FP32 = "compute in float32 what follows a network"
GUARD = "guard divisions, logarithms and roots"


def takes_odd_patch_sizes(subject: Subject) -> None:
    small = SmallTraining(subject.name, iterations=2, patch=(18, 20, 33))
    trains_and_predicts(small)
    for size in ((16, 16, 16), (17, 21, 30)):
        images = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(SEED))
        _are_probabilities(small.predict(images), (2, 1, *size))


def takes_several_classes(subject: Subject) -> None:
    for classes in (2, 3):
        trains_and_predicts(SmallTraining(subject.name, classes=classes, iterations=2))


def trains_and_predicts(small: SmallTraining) -> None:
    """To the end of the training, with finite losses and weights; then probabilities of every class."""
    _are_finite(small.run())
    backbone = small.method.backbone
    images = unseen_images().expand(-1, backbone.channels, -1, -1, -1)
    images = images[..., 0] if backbone.dimensions == 2 else images
    _are_probabilities(small.predict(images), (len(images), backbone.classes, *images.shape[2:]))


def keeps_its_losses_finite(subject: Subject) -> None:
    _are_finite(subject.longer)


def _are_finite(small: SmallTraining) -> None:
    with suppress(DivergedError):  # said below, with what to do
        small.state.flush()
    training = small.training
    for row in small.state.history:
        for key, value in row.items():
            where = f"step {row['step']} of {training.iterations}, learning rate {training.learning_rate}"
            require(value - value == 0, f"loss {key} is {value} ({where}): {GUARD}")
    try:
        small.state.check_finite()
    except DivergedError as error:
        raise ContractError(f"{error}: {GUARD}") from error


def predicts_probabilities(subject: Subject) -> None:
    small = SmallTraining(subject.name, iterations=2).run()
    before = {key: value.clone() for key, value in small.method.state_dict().items()}
    images = unseen_images()
    predicted = small.predict(images)
    _are_probabilities(predicted, tuple(images.shape))
    require(bool(predicted.std() > 0), "predict() gives the same value everywhere: does it use the images?")
    for key, value in small.method.state_dict().items():
        require(torch.equal(value, before[key]), f"predict() changes {key} in the state_dict: it must change nothing")
    require(torch.equal(small.predict(images), predicted), "predict() gives something else each time it is called")
    require(
        torch.allclose(small.predict(images[:1]), predicted[:1], rtol=1e-3, atol=1e-3),
        "predict() gives an image something else where others are in the batch: treat each by itself",
    )


def _are_probabilities(predicted: Tensor, shape: tuple[int, ...]) -> None:
    extremes = Extremes()
    try:
        extremes.add(predicted, shape)
        require(predicted.dtype == torch.float32, f"predict() returns {predicted.dtype}: {FP32}")
        extremes.check()
    except (DivergedError, PredictionError) as error:
        raise ContractError(str(error)) from error


def predicts_the_same_in_bf16(subject: Subject) -> str | None:
    weights = subject.longer.method.state_dict()
    exact, exact_distances = _predict_in("fp32", subject.name, weights)
    rounded, rounded_distances = _predict_in("bf16", subject.name, weights)
    if exact_distances:
        # The map from a distance to a mask is so steep that rounding shows in it, whatever the network is worth.
        error = _mean_difference(exact_distances, rounded_distances)
        require(error <= 5e-3, f"signed distances in bf16 are {error:.2g} off on average, more than 0.005: {FP32}")
        return None
    error = _mean_difference([exact], [rounded])
    require(error <= 5e-3, f"probabilities in bf16 are {error:.2g} off on average, more than 0.005: {FP32}")
    mask, other = exact > 0.5, rounded > 0.5
    if mask.all() or not mask.any():
        return "its mask after fifty steps is empty, or everything (probabilities do agree)"
    dice = 2 * (mask & other).sum().item() / (mask.sum() + other.sum()).item()
    require(dice >= 0.98, f"the Dice coefficient of masks in bf16 and fp32 is {dice:.3f}, less than 0.98: {FP32}")
    return None


def _predict_in(precision: str, name: str, weights: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Predictions, and the signed distances that they come from, if a network without other head makes them."""
    small = SmallTraining(name, **LONGER, precision=precision)
    small.method.load_state_dict(weights)
    distances: list[Tensor] = []
    for network in small.method.modules():
        if isinstance(network, SegmentationNetwork) and not len(network.segmentation):
            for head in network.signed_distance:
                head.register_forward_hook(lambda head, inputs, output: distances.append(torch.tanh(output)))
    return small.predict(unseen_images()), distances


def _mean_difference(exact: list[Tensor], rounded: list[Tensor]) -> float:
    return max((a - b).abs().mean().item() for a, b in zip(exact, rounded, strict=True))
