"""The contract's checks of how a method trains; each raises ContractError, or says why it does not apply."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.contract.small_training import (
    LABELLED,
    SEED,
    UNLABELLED,
    Cases,
    SmallTraining,
    Subject,
    first_difference,
    phantoms,
    require,
    same,
    seed_outside_generators,
    unseen_images,
    with_noise_for_labels,
    with_other_images,
)
from benchmark.trial.process_state import MOST_CHANGES, ProcessState
from methods.shared import registry
from methods.shared.method import Batch, Method
from methods.shared.networks.network import SegmentationNetwork

CONFIDENT = 100.0  # by what logits are multiplied for methods with a threshold
KEEP_STATE = "keep all state in submodules and buffers (register_buffer), so that state_dict() has it"


def never_sees_labels_of_unlabelled_cases(subject: Subject) -> None:
    expected = subject.short
    found = SmallTraining(subject.name, cases=with_noise_for_labels(phantoms(), UNLABELLED)).run()
    difference = first_difference(expected, found)
    require(
        difference is None,
        f"{difference} changes with the labels of unlabelled cases: training_step() or extra_arrays() uses them",
    )
    found = SmallTraining(subject.name, cases=with_noise_for_labels(phantoms(), LABELLED)).run()
    require(
        first_difference(expected, found) is not None,
        "training is the same whatever the labels of labelled cases are: use batch.labels in training_step()",
    )


def learns_from_unlabelled_images(subject: Subject) -> str | None:
    method = registry.get(subject.name)
    if not method.patches(method.Settings(), 4)[1]:
        return "gets no unlabelled patches"
    with tempfile.TemporaryDirectory() as folder:
        # The ramp-up of an unlabelled loss is near 0 in this quarter: weights are those of supervised training.
        SmallTraining(subject.name, iterations=80).run(20).save(Path(folder))
        have_effect = any(_unlabelled_images_have_effect(subject.name, Path(folder), times) for times in (1, CONFIDENT))
    require(
        have_effect,
        "unlabelled images have no effect: at step 60 of 80 the gradient of what predict() uses is the same whatever "
        "they are; see that the unlabelled loss is not 0, that its ramp rises, and that its prediction is not detached",
    )
    return None


def _unlabelled_images_have_effect(name: str, checkpoint: Path, times: float) -> bool:
    cases = phantoms(), with_other_images(phantoms(), UNLABELLED)
    one, other = (_gradient_of_predictor(name, given, checkpoint, times) for given in cases)
    return bool((one - other).abs().max() > 1e-7 * one.abs().max())


def _gradient_of_predictor(name: str, cases: Cases, checkpoint: Path, times: float) -> Tensor:
    """The gradient at step 60, with the weights of `checkpoint`, of all parameters that predictions depend on.

    Logits are multiplied by `times`: some methods use unlabelled patches only where predictions are confident.
    """
    small = SmallTraining(name, cases=cases, iterations=80).load(checkpoint)
    small.state.step = 60
    heads = [head for m in small.method.modules() if isinstance(m, SegmentationNetwork) for head in m.segmentation]
    with torch.no_grad():
        for p in [p for head in heads for p in head.parameters()]:
            p.mul_(times)
    used = _used_by_predict(small.method)
    for module in small.method.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            # With batch statistics, labelled and unlabelled patches of one pass depend on each other in any case.
            module.eval()
            module.train = lambda mode=True, module=module: module
    small.run(1)
    return torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in used])


def _used_by_predict(method: Method) -> list[nn.Parameter]:
    parameters = [p for p in method.parameters() if p.requires_grad]
    try:
        predicted = method.eval().predict(unseen_images()).sum()
        gradients = torch.autograd.grad(predicted, parameters, allow_unused=True)
    except RuntimeError:  # predict() need not have a gradient: it may leave torch, or use a teacher alone
        return parameters
    return [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None]


def trains_every_parameter(subject: Subject) -> None:
    _each_has_one_optimiser(subject.untrained)
    small = subject.short
    require(bool(small.start), "no parameter trains: are the networks submodules, and not requires_grad_(False)?")
    parameters = dict(small.method.named_parameters())
    for key, before in small.start.items():
        require(
            key in small.reached,
            f"parameter {key} gets no gradient in 4 steps: use it in the total of its phase, or requires_grad_(False)",
        )
        require(
            key.endswith("bias") or not torch.equal(parameters[key], before),
            f"parameter {key} has a gradient but is the same after 4 steps: see its optimiser and after_step()",
        )


def _each_has_one_optimiser(small: SmallTraining) -> None:
    names = {p: key for key, p in small.method.named_parameters()}
    owners: dict[nn.Parameter, list[str]] = {p: [] for p in names}
    for phase, optimizer in small.state.optimizers.items():
        for p in [p for group in optimizer.param_groups for p in group["params"]]:
            require(
                p in names,
                f"the optimiser of phase {phase} has a parameter of shape {tuple(p.shape)} that is not the method's: "
                "make its network an attribute of the method, not of a list or of another object",
            )
            owners[p].append(phase)
    for p, phases in owners.items():
        if p.requires_grad:
            require(bool(phases), f"parameter {names[p]} is in no optimiser: give it to one, or requires_grad_(False)")
            several = f"parameter {names[p]} is in the optimisers of {' and '.join(phases)}: it belongs to one phase"
            require(len(phases) == 1, several)
        else:
            require(not phases, f"parameter {names[p]} is in an optimiser, but requires no gradient: leave it out")


def computes_losses_and_leaves_the_rest_to_the_loop(subject: Subject) -> None:
    small = SmallTraining(subject.name, iterations=2, precision="bf16")
    process = ProcessState(small.training, SEED)
    training_step = small.method.training_step

    def watched(batch: Batch, step: int, phase: str) -> dict[str, Tensor]:
        trainable = {key: p for key, p in small.method.named_parameters() if p.requires_grad}
        before = {key: (p.detach().clone(), _copy(p.grad)) for key, p in trainable.items()}
        losses = training_step(batch, step, phase)
        for key, p in trainable.items():
            weights, gradient = before[key]
            kept = torch.equal(p, weights) and same(p.grad, gradient)
            require(
                kept,
                f"training_step() of phase {phase} changes parameter {key} or its gradient: leave backward(), "
                "zero_grad() and the optimisers to the training loop",
            )
        _are_losses(losses, phase)
        return losses

    small.method.training_step = watched
    small.run()
    small.predict(unseen_images())
    changes = process.changes()
    require(
        not changes,
        f"it changes the process that it runs in, and so the trials after it ({'; '.join(changes[:MOST_CHANGES])}): "
        "undo that in training_step() and predict(), or leave it out",
    )


def _copy(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.clone()


def _are_losses(losses: dict[str, Tensor], phase: str) -> None:
    of_phase = f"training_step() of phase {phase}"
    require(isinstance(losses, dict) and "total" in losses, f"{of_phase} returns no dict with 'total', the loss")
    for key, value in losses.items():
        scalar = isinstance(value, Tensor) and value.shape == ()
        what = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        require(scalar, f"loss {key!r} of phase {phase} is {what}: return scalar tensors, means for instance")
    total = losses["total"]
    require(total.requires_grad, f"'total' of phase {phase} has no gradient: is it detached, or under no_grad?")
    require(total.dtype == torch.float32, f"'total' of phase {phase} is {total.dtype}: compute losses in float32")


def depends_on_the_seed_alone(subject: Subject) -> None:
    in_fp32 = subject.short, _short_after_other_draws(subject.name, seed=2)
    in_bf16 = [_short_after_other_draws(subject.name, seed=seed, iterations=3, precision="bf16") for seed in (1, 2)]
    for precision, trainings in (("fp32", in_fp32), ("bf16", in_bf16)):
        difference = first_difference(*trainings)
        require(
            difference is None,
            f"two trainings with one seed differ ({precision}: {difference}): draw random numbers from torch, which "
            "the loop seeds at each step, not from `random`, numpy or the clock",
        )
    require(
        first_difference(subject.untrained, SmallTraining(subject.name, seed=SEED + 1)) is not None,
        "another seed gives the same initial weights: do not seed torch in __init__()",
    )


def _short_after_other_draws(name: str, seed: int, **training: Any) -> SmallTraining:
    seed_outside_generators(seed)
    return SmallTraining(name, **training).run()


def goes_on_from_a_checkpoint(subject: Subject) -> None:
    straight = subject.short
    with tempfile.TemporaryDirectory() as folder:
        SmallTraining(subject.name).run(2).save(Path(folder))
        resumed = SmallTraining(subject.name).load(Path(folder)).run()
        weights = Path(folder) / "weights.pt"
        torch.save(straight.method.state_dict(), weights)
        weights = torch.load(weights, weights_only=True)
    difference = first_difference(straight, resumed)
    require(difference is None, f"2 steps, a checkpoint and 2 more differ from 4 steps ({difference}): {KEEP_STATE}")
    images = unseen_images()
    expected = resumed.predict(images)
    other = SmallTraining(subject.name, seed=SEED + 1)
    require(not torch.equal(other.predict(images), expected), "predict() gives the same whatever the weights are")
    other.method.load_state_dict(weights)
    same_again = torch.equal(other.predict(images), expected)
    require(same_again, f"weights loaded into another build of the method predict something else: {KEEP_STATE}")
