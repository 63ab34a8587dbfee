"""What `predict` gives is checked to be probabilities, without waiting for the device at each window."""

import torch
from torch import Tensor

from benchmark.trial.finite import DivergedError

ROUNDING = 1e-3  # by which a probability in half precision may leave 0..1


class PredictionError(ValueError):
    """What predict() gives cannot be probabilities: the method's code is to be mended."""


class Extremes:
    """The lowest and the highest of many probabilities; they stay on the device until `check`.

    Example:
        >>> extremes = Extremes()
        >>> extremes.add(torch.tensor([0.2, 1.5]), (2,))
        >>> extremes.check()
        Traceback (most recent call last):
        ...
        benchmark.trial.probabilities.PredictionError: predict() gives values from 0.2 to 1.5: return probabilities, \
sigmoids of logits
    """

    def __init__(self):
        self._found: list[Tensor] = []

    def add(self, probabilities: Tensor, shape: tuple[int, ...]) -> None:
        """Take one more result of `predict`. Raises PredictionError if it is no tensor of this shape."""
        if not isinstance(probabilities, Tensor):
            raise PredictionError(f"predict() returns a {type(probabilities).__name__}: return one tensor")
        if probabilities.is_complex():
            raise PredictionError("predict() returns complex numbers: return probabilities, sigmoids of logits")
        if (found := tuple(probabilities.shape)) != shape:
            raise PredictionError(
                f"predict() returns shape {found}, not {shape}: one channel a class, at the images' size"
            )
        self._found.append(torch.stack(probabilities.detach().float().aminmax()))

    def check(self) -> None:
        """Raises DivergedError if any is not finite, PredictionError if any lies outside 0..1, rounding aside."""
        if not self._found:
            return
        found = torch.stack(self._found)
        if not found.isfinite().all():
            raise DivergedError("predict() gives probabilities that are infinite or not a number")
        low, high = found.min().item(), found.max().item()
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise PredictionError(
                f"predict() gives values from {low:.3g} to {high:.3g}: return probabilities, sigmoids of logits"
            )
