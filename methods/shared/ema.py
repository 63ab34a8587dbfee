"""The exponential-moving-average teacher."""

import copy

import torch
from torch import nn


def make_teacher(student: nn.Module) -> nn.Module:
    """A copy of the student that no gradient reaches.

    It stays in train mode during training (dropout and batch statistics active), as in the UA-MT release. Whether it
    starts equal to the student or not makes no difference: the first update copies the student.
    """
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, step: int, decay: float) -> None:
    """teacher = a teacher + (1 - a) student, a = min(1 - 1/(step + 1), decay), so that step 0 copies (UA-MT release).

    Parameters only: the teacher's batch-norm buffers follow its own forward passes.
    """
    alpha = min(1 - 1 / (step + 1), decay)
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - alpha)
