"""Whether a training's numbers are finite: an infinity or a NaN in a weight is a training that has diverged."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class DivergedError(RuntimeError):
    """A loss, a weight or a probability became infinite or not a number."""


def not_finite(tensors: dict[str, Tensor]) -> list[str]:
    """The names of those tensors that hold an infinity or a NaN. Waits once for each device.

    Example:
        >>> not_finite({"a": torch.zeros(2), "b": torch.tensor([1.0, float("nan")]), "count": torch.tensor(3)})
        ['b']
    """
    by_device: dict[torch.device, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() or tensor.is_complex():
            by_device[tensor.device][name] = tensor.detach()
    found = set()
    for group in by_device.values():
        finite = torch.stack([tensor.isfinite().all() for tensor in group.values()]).tolist()
        found |= {name for name, fine in zip(group, finite, strict=True) if not fine}
    return [name for name in tensors if name in found]


def check_finite(
    method: nn.Module, optimizers: dict[str, torch.optim.Optimizer], step: int, except_for: Iterable[str] = ()
) -> None:
    """Check that a training may go on, or count as done.

    Args:
        method: its parameters and buffers are checked.
        optimizers: their momentum and other state is checked, by phase.
        step: the steps done.
        except_for: buffers that need not be finite, because they began so.

    Raises:
        DivergedError: with how many tensors are not finite, and after which step.
    """
    tensors: dict[str, Tensor] = dict(method.named_parameters()) | dict(method.named_buffers())
    tensors = {name: tensor for name, tensor in tensors.items() if name not in except_for}
    names = {parameter: name for name, parameter in method.named_parameters()}
    for phase, optimizer in optimizers.items():
        for parameter, state in optimizer.state.items():
            of = f"of {names.get(parameter, 'a parameter')} in optimiser {phase}"
            tensors |= {f"{key} {of}": value for key, value in state.items() if isinstance(value, Tensor)}
    if bad := not_finite(tensors):
        raise DivergedError(
            f"{len(bad)} of {len(tensors)} tensors of weights, buffers and optimisers are not finite after "
            f"{step} steps; the first is {bad[0]}"
        )
