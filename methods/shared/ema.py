"""The exponential-moving-average teacher."""

import copy

import torch
from torch import nn


def make_teacher(student: nn.Module) -> nn.Module:
    """A copy of the student that gets no gradient.

    The copy stays in train mode during training, as in the UA-MT release. Its dropout is active, and its batch norm
    uses the statistics of the batch.

    Args:
        student: any network. It is not changed.

    Returns:
        The copy. Its initial weights have no influence, because the first `update_teacher` copies the student's.

    Source:
        Tarvainen & Valpola, NeurIPS 2017; UA-MT release, `train_LA_meanteacher_certainty_unlabel.py`.

    Example:
        >>> teacher = make_teacher(nn.Linear(2, 1))
        >>> any(parameter.requires_grad for parameter in teacher.parameters())
        False
    """
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, step: int, decay: float) -> float:
    """Move the teacher's parameters towards the student's: teacher = a teacher + (1 - a) student.

    The weight is a = min(1 - 1 / (step + 1), decay), so that step 0 copies the student. Buffers are not averaged: those
    of the teacher's batch norm follow from its forward passes.

    Args:
        teacher: as `make_teacher` returns it; changed in place.
        student: the network that is trained.
        step: the number of the training step (0, 1, …).
        decay: the largest weight of the teacher, below 1.

    Returns:
        The weight a of this step, to be logged.

    Source:
        UA-MT release, `update_ema_variables`.

    Example:
        >>> student = nn.Linear(1, 1)
        >>> teacher = make_teacher(student)
        >>> with torch.no_grad():
        ...     _ = teacher.weight.fill_(0.0), student.weight.fill_(1.0)
        >>> update_teacher(teacher, student, step=9, decay=0.99)
        0.9
        >>> round(teacher.weight.item(), 3)
        0.1
    """
    alpha = min(1 - 1 / (step + 1), decay)
    move_teacher(teacher, student, alpha)
    return alpha


@torch.no_grad()
def move_teacher(teacher: nn.Module, student: nn.Module, decay: float, statistics: bool = False) -> None:
    """The same with a given weight a = decay.

    Args:
        teacher: as `make_teacher` returns it; changed in place.
        student: the network that is trained.
        decay: the weight of the teacher. 0 copies the student.
        statistics: whether the running statistics of batch norm are averaged, too.

    Example:
        >>> student = nn.BatchNorm1d(1)
        >>> teacher = make_teacher(student)
        >>> _ = student.running_mean.fill_(1.0)
        >>> move_teacher(teacher, student, decay=0.75, statistics=True)
        >>> teacher.running_mean
        tensor([0.2500])
    """
    torch._foreach_lerp_(_averaged(teacher, statistics), _averaged(student, statistics), 1 - decay)


def _averaged(network: nn.Module, statistics: bool) -> list[torch.Tensor]:
    buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()] if statistics else []
    return [*network.parameters(), *buffers]
