"""The EMA teacher and its input noise."""

import pytest
import torch
from torch import nn

from methods.shared.ema import make_teacher, move_teacher, update_teacher
from methods.shared.noise import add_noise


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.ReLU(), nn.Conv3d(3, 2, 1))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_after_step_0_the_teacher_is_the_student_exactly():
    student, teacher = network(0), network(1)
    assert not same(student.parameters(), teacher.parameters())
    update_teacher(teacher, student, 0, 0.99)
    assert same(student.parameters(), teacher.parameters())


@pytest.mark.parametrize(
    ("step", "alpha"), [(1, 1 / 2), (2, 2 / 3), (9, 0.9), (98, 98 / 99), (99, 0.99), (100, 0.99), (5999, 0.99)]
)
def test_the_decay_warms_up_to_its_value(step, alpha):
    student, teacher = network(0), network(1)
    before = [p.detach().clone() for p in teacher.parameters()]
    update_teacher(teacher, student, step, 0.99)
    for was, now, target in zip(before, teacher.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(now, alpha * was + (1 - alpha) * target, rtol=1e-5, atol=1e-7)


def test_another_decay_is_reached_sooner():
    student, teacher = network(0), network(1)
    before = teacher[0].weight.detach().clone()
    update_teacher(teacher, student, 50, 0.5)
    torch.testing.assert_close(teacher[0].weight, 0.5 * before + 0.5 * student[0].weight, check_stride=False)


def test_the_student_and_the_teachers_buffers_stay_as_they_are():
    student, teacher = network(0), network(1)
    student(torch.randn(2, 1, 5, 5, 5))
    parameters = [p.detach().clone() for p in student.parameters()]
    buffers = [b.clone() for b in teacher.buffers()]
    update_teacher(teacher, student, 3, 0.99)
    assert same(parameters, student.parameters())
    assert same(buffers, teacher.buffers())
    assert not torch.equal(teacher[1].running_mean, student[1].running_mean)


def test_a_teacher_is_a_copy_without_gradients_that_shares_nothing():
    student = network(0)
    teacher = make_teacher(student)
    assert same(student.parameters(), teacher.parameters())
    assert not any(p.requires_grad for p in teacher.parameters()) and all(p.requires_grad for p in student.parameters())
    with torch.no_grad():
        student[0].weight.add_(1)
    assert not torch.equal(teacher[0].weight, student[0].weight)


def test_noise_is_a_clipped_tenth_of_a_normal_and_fresh_at_each_call():
    torch.manual_seed(0)
    images = torch.randn(1, 1, 40, 40, 40)
    noise = add_noise(images) - images
    assert noise.abs().max() <= 0.2 + 1e-6
    # 4.6 % of a normal lie beyond two deviations, and are clipped there.
    assert (noise.abs() > 0.2 - 1e-6).float().mean() == pytest.approx(0.0455, abs=0.004)
    inner = noise[noise.abs() < 0.1]
    assert len(inner) / noise.numel() == pytest.approx(0.6827, abs=0.01)
    assert noise.mean().abs() < 2e-3
    assert not torch.equal(add_noise(images), add_noise(images))


def test_noise_leaves_its_input():
    images = torch.zeros(2, 1, 4, 4, 4)
    add_noise(images)
    assert not images.any()


@pytest.mark.parametrize("statistics", [False, True])
def test_statistics_of_batch_norm_are_averaged_only_if_asked_for(statistics):
    student, teacher = network(0), network(1)
    student(torch.randn(2, 1, 4, 4, 4))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    move_teacher(teacher, student, 0.25, statistics)
    parameters = dict(teacher.named_parameters())
    for name, target in student.state_dict().items():
        kept = 0.25 if name in parameters or (statistics and target.is_floating_point()) else 1
        torch.testing.assert_close(teacher.state_dict()[name], (kept * before[name] + (1 - kept) * target).to(target))
