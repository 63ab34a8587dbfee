"""Input noise of teachers."""

import torch
from torch import Tensor


def add_noise(images: Tensor) -> Tensor:
    """images + clip(0.1 N(0,1), -0.2, 0.2), drawn afresh at each call (UA-MT release)."""
    return images + (0.1 * torch.randn_like(images)).clamp_(-0.2, 0.2)
