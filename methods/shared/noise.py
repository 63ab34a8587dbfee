"""Input noise of teachers."""

import torch
from torch import Tensor


def add_noise(images: Tensor) -> Tensor:
    """Images with Gaussian noise of deviation 0.1, clipped to [-0.2, 0.2]. Each call draws new noise.

    Args:
        images: of any shape, with intensities of deviation about 1.

    Returns:
        A new tensor of the same shape.

    Source:
        UA-MT release, `train_LA_meanteacher_certainty_unlabel.py`.

    Example:
        >>> noise = add_noise(torch.zeros(1, 1, 8, 8, 8))
        >>> 0 < noise.abs().max().item() <= 0.2001
        True
    """
    return images + (0.1 * torch.randn_like(images)).clamp_(-0.2, 0.2)
