"""Virtual adversarial training: where in the neighbourhood of an image a prediction changes most."""

from collections.abc import Callable

import torch
from torch import Tensor


def steepest_direction(loss: Callable[[Tensor], Tensor], images: Tensor, probe: float) -> Tensor:
    """The direction in which a loss of images rises fastest, estimated by one power iteration.

    The slope is taken at a random place near each image, because that of the image itself is 0: there a loss between
    old and new prediction has its minimum. No parameter gets a gradient.

    Args:
        loss: takes images and returns a scalar. Use a sum over voxels, because gradients of a mean may be too small
            for half precision.
        images: (B, M, ...).
        probe: how far from each image the slope is taken.

    Returns:
        (B, M, ...), of length 1 for each image, without gradient.

    Source:
        Miyato et al., TPAMI 2019; SS-Net release, `utils/losses.py` (VAT3d).

    Example:
        >>> direction = steepest_direction(lambda images: images[:, :, 0].sum(), torch.zeros(1, 1, 2, 4), probe=10)
        >>> direction.tolist()
        [[[[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]]]
    """
    direction = _unit(torch.rand_like(images) - 0.5).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(images + probe * direction), direction)
    return _unit(gradient)


def _unit(directions: Tensor) -> Tensor:
    """Each of (B, M, ...) with length 1."""
    lengths = directions.flatten(1).norm(dim=1).view(-1, *[1] * (directions.ndim - 1))
    return directions / (lengths + 1e-8)
