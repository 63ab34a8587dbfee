"""The training loop that all methods share: one step is the method's phases in order, nothing else."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from benchmark.records.models import LOGGED
from benchmark.records.protocol import Training
from benchmark.trial.finite import DivergedError, check_finite, not_finite
from benchmark.trial.loading import batches as prepared_batches
from data.batches import PatchStream
from data.cache import Dataset
from data.randomness import integer_seed
from methods.shared import registry
from methods.shared.method import Batch, Method, MethodSettings
from methods.shared.networks.autocast import AutocastNetwork
from methods.shared.networks.vnet import Backbone
from methods.shared.schedules import Schedule
from methods.shared.step_log import LoggedImage

AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}


def build_method(
    name: str, settings: MethodSettings, training: Training, classes: int, seed: int, device: torch.device
) -> Method:
    """A freshly initialised method on `device`; its weights depend on the seed alone."""
    backbone = Backbone(classes, training.width, AMP_DTYPES[training.precision])
    torch.manual_seed(integer_seed(seed, "initialisation"))
    method = registry.get(name)(settings, backbone, Schedule(training.iterations))
    method = method.to(device, memory_format=torch.channels_last_3d)
    if training.compile != "none":
        for network in filter(lambda module: isinstance(module, AutocastNetwork), method.modules()):
            network.compile_trunk(training.compile)
    return method


def make_stream(
    method: Method, dataset: Dataset, labelled: list[str], unlabelled: list[str], training: Training, seed: int
) -> PatchStream:
    """The method's batches: as many labelled and unlabelled patches a step as it asks for, and its extra arrays."""
    patches = method.patches(method.settings, training.batch_size)
    return PatchStream(
        dataset, labelled, unlabelled, *patches, training.patch, training.augmentation, seed, method.extra_arrays()
    )


@dataclass
class TrainingState:
    """All that a step changes: with the step's number this is a checkpoint. No generator: every random number comes
    from (seed, stream, step)."""

    method: Method
    optimizers: dict[str, torch.optim.Optimizer]
    scheduled: list[tuple[torch.optim.Optimizer, float]]  # those whose learning rate follows the protocol, and the rate
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
    return TrainingState(method, optimizers, scheduled, scaler, began_infinite=began_infinite)


def train(
    state: TrainingState, stream: PatchStream, training: Training, seed: int, device: torch.device, data_workers: int,
    say: Callable[[str], None] = print, sharing: int = 1,
) -> Iterator[int]:  # fmt: skip
    """Train from `state.step` to the end; yields the number of steps done after each.

    `say` is told of data workers that were replaced, and `sharing` is how many trials share the machine's memory.
    """
    steps = range(state.step, training.iterations)
    batches = prepared_batches(stream, steps, data_workers, device.type == "cuda", say, sharing)
    earlier = state.history[-1]["seconds"] if state.history else 0.0
    start = time.perf_counter()
    for arrays in batches:
        batch = to_batch(arrays, device)
        torch.manual_seed(integer_seed(seed, "training", state.step))  # dropout, noise: functions of (seed, step)
        rate = state.method.learning_rate_factor(state.step)
        for optimizer, base in state.scheduled:
            for group in optimizer.param_groups:
                group["lr"] = base * rate
        losses = {}
        for phase in state.method.phases:
            losses |= _run_phase(state, batch, phase)
        state.scaler.update()
        state.method.after_step(state.step)
        numbers, state.images = state.method.take_log()
        seconds = round(earlier + time.perf_counter() - start, 3)
        row = {"step": state.step, "seconds": seconds, "learning_rate_factor": rate}
        state.pending.append((row | {LOGGED + name: value for name, value in numbers.items()}, losses))
        state.step += 1
        yield state.step


def _run_phase(state: TrainingState, batch: Batch, phase: str) -> dict[str, torch.Tensor]:
    method, optimizer = state.method, state.optimizers[phase]
    method.train()
    losses = method.training_step(batch, state.step, phase)
    optimizer.zero_grad(set_to_none=True)
    # Into this phase's parameters and no others: an adversary's gradients are never polluted.
    state.scaler.scale(losses["total"]).backward(
        inputs=[p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    )
    state.scaler.step(optimizer)
    prefix = f"{phase}/" if len(method.phases) > 1 else ""
    return {prefix + name: value.detach().float() for name, value in losses.items()}


def to_batch(arrays: dict[str, torch.Tensor], device: torch.device) -> Batch:
    """A batch of the patch stream on the training device."""
    arrays = {name: array.to(device, non_blocking=True) for name, array in arrays.items()}
    fixed = {name: arrays.pop(name) for name in ("labelled_images", "labels", "unlabelled_images")}
    return Batch(**fixed, extra_arrays=arrays)
