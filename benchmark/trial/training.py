"""The training loop that all methods share: one step is the method's phases in order, nothing else."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from benchmark.records.models import LOGGED
from benchmark.records.protocol import Training
from benchmark.trial.finite import DivergedError, check_finite, not_finite
from benchmark.trial.loading import batches as prepared_batches
from data.batches import PatchStream
from data.cache import Dataset
from data.intensity import Intensity
from data.randomness import integer_seed
from methods.shared import registry
from methods.shared.intensity import change_intensity
from methods.shared.method import Batch, Method, MethodSettings
from methods.shared.networks.autocast import AutocastNetwork
from methods.shared.networks.backbone import Backbone
from methods.shared.networks.layers import convolution_format
from methods.shared.schedules import Schedule
from methods.shared.step_log import LoggedImage

FIELDS = [each.name for each in fields(Batch)]
AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}


def build_method(
    name: str, settings: MethodSettings, training: Training, classes: int, seed: int, device: torch.device,
    channels: int = 1,
) -> Method:  # fmt: skip
    """A freshly initialised method on `device`, whose weights depend on the seed alone. `channels`: of an image."""
    torch.manual_seed(integer_seed(seed, "initialisation"))
    method = new_method(name, settings, training, classes, channels).to(device)
    convolution_format(method)
    if training.compile != "none":
        for network in filter(lambda module: isinstance(module, AutocastNetwork), method.modules()):
            network.compile_trunk(training.compile)
    return method


def new_method(name: str, settings: MethodSettings, training: Training, classes: int, channels: int) -> Method:
    """A method on torch's current device, with the network, head and schedules of a protocol."""
    backbone = Backbone(
        classes, training.width, AMP_DTYPES[training.precision], channels, len(training.patch), training.network.name,
        training.network.arguments, training.head, training.strong_intensity,
    )  # fmt: skip
    schedule = Schedule(training.iterations, training.learning_rate_schedule, training.warm_up)
    return registry.get(name)(settings, backbone, schedule)


def make_stream(
    method: Method, dataset: Dataset, labelled: list[str], unlabelled: list[str], training: Training, seed: int
) -> PatchStream:
    """The method's batches: as many labelled and unlabelled patches a step as it asks for, and its extra arrays."""
    patches = method.patches(method.settings, training.batch_size)
    return PatchStream(
        dataset, labelled, unlabelled, *patches, training.patch, training.augmentation, seed, method.extra_arrays(),
        method.overlapping_crops,
    )  # fmt: skip


@dataclass
class TrainingState:
    """All that a step changes: with the step's number this is a checkpoint. No generator: every random number comes
    from (seed, stream, step)."""

    method: Method
    optimizers: dict[str, torch.optim.Optimizer]
    scheduled: list[tuple[torch.optim.Optimizer, float]]  # those whose learning rate follows the protocol, and the rate
    own_rates: dict[str, list[float]]  # of the other optimisers, by phase: the rate of each group at the start
    scaler: torch.amp.GradScaler  # of fp16's gradients, which else vanish; does nothing in other precisions
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    pending: list[tuple[dict[str, float], dict[str, torch.Tensor]]] = field(default_factory=list)
    images: dict[str, LoggedImage] = field(default_factory=dict)  # what the last step asked to show
    began_infinite: tuple[str, ...] = ()  # buffers that hold an infinity on purpose, as a lowest loss so far

    def check_finite(self) -> None:
        """Raises DivergedError if a weight, a buffer or an optimiser's state is not finite. Waits for the device."""
        check_finite(self.method, self.optimizers, self.step, self.began_infinite)

    def flush(self) -> None:
        """Bring the losses of the steps since the last flush from the device to `history`, in one copy.

        Raises DivergedError, after that, if a total is not finite.
        """
        for names in dict.fromkeys(tuple(losses) for _, losses in self.pending):
            group = [(row, losses) for row, losses in self.pending if tuple(losses) == names]
            values = torch.stack([torch.stack(list(losses.values())) for _, losses in group]).tolist()
            self.history += [row | dict(zip(names, v, strict=True)) for (row, _), v in zip(group, values, strict=True)]
        self.history.sort(key=lambda row: row["step"])
        first = len(self.history) - len(self.pending)
        self.pending.clear()
        for row in self.history[first:]:
            if bad := [name for name, value in totals(row).items() if value - value != 0]:
                raise DivergedError(f"loss {bad[0]} is {row[bad[0]]} at step {row['step']}")


def totals(row: dict[str, float]) -> dict[str, float]:
    """What each phase minimised, in a row of the history."""
    return {name: value for name, value in row.items() if name.endswith("total") and not name.startswith(LOGGED)}


def initial_state(method: Method, training: Training) -> TrainingState:
    """Before the first step: optimisers, one a phase, with their learning-rate schedule. Raises MethodError where the
    method's optimisers are others than its phases."""
    device = next(method.parameters()).device.type
    scheduled: list[tuple[torch.optim.Optimizer, float]] = []

    def sgd(parameters) -> torch.optim.SGD:
        optimizer = torch.optim.SGD(
            [p for p in parameters if p.requires_grad],
            lr=training.learning_rate, momentum=training.momentum, weight_decay=training.weight_decay,
            fused=device == "cuda",  # one kernel, and with fp16 no waiting for the device
        )  # fmt: skip
        if training.precision == "fp16":
            # Where the first step's gradients overflow, the fused kernel does nothing: the momentum it was to begin
            # with would stay memory that nobody has written.
            for p in optimizer.param_groups[0]["params"]:
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
        scheduled.append((optimizer, training.learning_rate))
        return optimizer

    optimizers = method.configure_optimizers(sgd)
    if tuple(optimizers) != method.phases:
        raise registry.MethodError(
            f"{type(method).__name__}.configure_optimizers() must give one optimiser for each of "
            f"the phases {', '.join(method.phases)}, got {', '.join(optimizers)}"
        )
    scaler = torch.amp.GradScaler(device, enabled=training.precision == "fp16")
    began_infinite = tuple(not_finite(dict(method.named_buffers())))
    by_protocol = [optimizer for optimizer, _ in scheduled]
    own_rates = {
        phase: [group["lr"] for group in optimizer.param_groups]
        for phase, optimizer in optimizers.items()
        if optimizer not in by_protocol
    }
    return TrainingState(method, optimizers, scheduled, own_rates, scaler, began_infinite=began_infinite)


def train(
    state: TrainingState, stream: PatchStream, training: Training, seed: int, device: torch.device, data_workers: int,
    say: Callable[[str], None] = print, sharing: int = 1,
) -> Iterator[int]:  # fmt: skip
    """Train from `state.step` to the end; yields the number of steps done after each.

    `say` is told of data workers that were replaced, and `sharing` is how many trials share the machine's memory.
    """
    many = training.accumulation
    indices = range(many * state.step, many * training.iterations)
    prepared = prepared_batches(stream, indices, data_workers, device.type == "cuda", say, sharing)
    earlier = state.history[-1]["seconds"] if state.history else 0.0
    start = time.perf_counter()
    while state.step < training.iterations:
        batches = [to_batch(arrays, device) for arrays in itertools.islice(prepared, many)]
        torch.manual_seed(integer_seed(seed, "training", state.step))  # dropout, noise: functions of (seed, step)
        batches = [_with_weak_intensity(batch, training.weak_intensity) for batch in batches]
        rate = _set_learning_rates(state)
        losses = {}
        for phase in state.method.phases:
            losses |= _run_phase(state, batches, phase, training.gradient_clipping)
        state.scaler.update()
        state.method.after_step(state.step)
        numbers, state.images = state.method.take_log()
        seconds = round(earlier + time.perf_counter() - start, 3)
        row = {"step": state.step, "seconds": seconds, "learning_rate_factor": rate}
        state.pending.append((row | {LOGGED + name: value for name, value in numbers.items()}, losses))
        state.step += 1
        yield state.step


def _with_weak_intensity(batch: Batch, weak: Intensity) -> Batch:
    if weak.is_off:
        return batch
    names = ("labelled_images", "unlabelled_images")
    return replace(batch, **{name: change_intensity(getattr(batch, name), weak) for name in names})


def _set_learning_rates(state: TrainingState) -> float:
    """Those of the step. Returns the factor of the protocol's rate."""
    rate = state.method.learning_rate_factor(state.step)
    for optimizer, base in state.scheduled:
        for group in optimizer.param_groups:
            group["lr"] = base * rate
    for phase, bases in state.own_rates.items():
        factor = state.method.own_learning_rate_factor(phase, state.step)
        for group, base in zip(state.optimizers[phase].param_groups, bases, strict=True):
            group["lr"] = base * factor
    return rate


def _run_phase(
    state: TrainingState, batches: list[Batch], phase: str, clipping: float | None
) -> dict[str, torch.Tensor]:
    """One step of a phase's optimiser, from the mean gradient of the batches. Returns the mean of each loss."""
    method, optimizer = state.method, state.optimizers[phase]
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    found = []
    for number, batch in enumerate(batches):
        method.train()
        losses = method.training_step(batch, state.step, phase)
        if number == 0:  # after the first losses: a method may compute gradients for itself
            optimizer.zero_grad(set_to_none=True)
        # Into this phase's parameters and no others: an adversary's gradients are never polluted.
        state.scaler.scale(losses["total"] / len(batches)).backward(inputs=parameters)
        found.append({name: value.detach().float() for name, value in losses.items()})
    clipping = method.gradient_clipping if clipping is None else clipping
    if clipping is not None:
        state.scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, clipping)
    state.scaler.step(optimizer)
    prefix = f"{phase}/" if len(method.phases) > 1 else ""
    if len(found) == 1:
        return {prefix + name: value for name, value in found[0].items()}
    return {prefix + name: torch.stack([losses[name] for losses in found]).mean() for name in found[0]}


def to_batch(arrays: dict[str, Any], device: torch.device) -> Batch:
    """A batch of the patch stream on the training device."""
    tensors = {name: array.to(device, non_blocking=True) for name, array in arrays.items() if isinstance(array, Tensor)}
    ids = {name: tuple(array) for name, array in arrays.items() if not isinstance(array, Tensor)}
    fixed = {key: tensors.pop(key) for key in FIELDS if key in tensors}
    return Batch(**fixed, **ids, extra_arrays=tensors)
