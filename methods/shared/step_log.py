"""What a method reports of a training step besides its losses."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class LoggedImage:
    """A map beside the patch that it belongs to, both on the training device.

    Args:
        volume: the map, (C, H, W, D).
        image: the patch, (1, H, W, D).
    """

    volume: Tensor
    image: Tensor


class StepLog(nn.Module):
    """The base of `Method` that takes what a step reports. The training loop collects it after each step.

    Example:
        >>> log = StepLog()
        >>> weight = log.log("consistency_weight", 0.1)
        >>> log.take_log()
        ({'consistency_weight': 0.1}, {})
    """

    def __init__(self):
        super().__init__()
        self._numbers: dict[str, float] = {}
        self._images: dict[str, LoggedImage] = {}
        self._wants_images = False

    def log(self, name: str, value: float) -> float:
        """Report a number of this step, such as the weight of a loss. It becomes a curve.

        Tensors belong in the dictionary that `training_step` returns: the loop fetches those together. Fetching one
        here would wait for the GPU.

        Args:
            name: of the curve.
            value: a plain number.

        Returns:
            The value, so that it can be reported where it is computed.

        Raises:
            TypeError: the value is no plain number.
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(
                f"log({name!r}) got {type(value).__name__}: give a plain number, or return a tensor with the losses"
            )
        self._numbers[name] = float(value)
        return value

    def log_image(self, name: str, volume: Tensor, image: Tensor) -> None:
        """Show a map of this step, such as an uncertainty. It is kept at the few steps that have pictures.

        Args:
            name: of the picture.
            volume: the map of one patch, (C, H, W, D), or (C, H, W) of a slice. The first channel is shown.
            image: the patch that it belongs to, (M, H, W, D) or (M, H, W). The first channel is shown.

        Raises:
            ValueError: they have other shapes.
        """
        if volume.ndim not in (3, 4) or image.ndim != volume.ndim or image.shape[1:] != volume.shape[1:]:
            shapes = f"{tuple(volume.shape)} and {tuple(image.shape)}"
            raise ValueError(f"log_image({name!r}) got {shapes}: give a map (C, H, W, D) and its patch (M, H, W, D)")
        if self._wants_images:
            self._images[name] = LoggedImage(volume.detach(), image.detach())

    def want_images(self, wanted: bool) -> None:
        """Whether `log_image` keeps what it gets from here on. Called by the training loop."""
        self._wants_images = wanted

    def take_log(self) -> tuple[dict[str, float], dict[str, LoggedImage]]:
        """What was reported since the last call: numbers and images, by name. Called by the training loop."""
        taken = self._numbers, self._images
        self._numbers, self._images = {}, {}
        return taken
