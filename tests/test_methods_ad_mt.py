"""AD-MT: its turns and teachers, and its loss written again in numpy."""

import math

import numpy as np
import pytest
import torch
from helpers.tiny_methods import build, make_batch
from helpers.watched import confidence, cross_entropy, sigmoid, slopes, softmax, some_places, supervised, watch
from test_methods_fixmatch import SIZE, half_boxes, mixed

from methods import ad_mt


def bits(p):
    """The entropy of a probability."""
    return -(p * np.log2(p + 1e-10) + (1 - p) * np.log2(1 - p + 1e-10))


def prepared(monkeypatch, turn, size=SIZE, **settings):
    """A method in one of its turns. Its networks are sure of some voxels and differ; the first patch gets a box."""
    method = build("ad_mt", **settings).train()
    method.turns = [turn] * 6000
    method.strong_view = lambda images: images + 1
    monkeypatch.setattr(ad_mt, "beta_boxes", half_boxes)
    monkeypatch.setattr(torch, "randperm", lambda n: torch.arange(n).flip(0))
    with torch.no_grad():
        for network in (method.student, *method.teachers):
            network.segmentation[0].weight.mul_(8)
    return method, make_batch(method, size=size)


@pytest.mark.parametrize(("step", "ramp"), [(0, math.exp(-5)), (3000, math.exp(-1.25)), (5999, math.exp(-5 / 1600))])
@pytest.mark.parametrize(("turn", "overruling"), [(0, "mixed"), (1, "mixed"), (1, "code")])
def test_its_loss_and_slopes(step, ramp, turn, overruling, monkeypatch):
    method, batch = prepared(monkeypatch, turn, threshold=0.7, overruling=overruling)
    student, first, second = watch(method.student), watch(method.teachers[0]), watch(method.teachers[1])
    losses = method.training_step(batch, step, "train")
    losses["total"].backward()
    [only], [one], [other] = student, first, second
    assert [teacher.training for teacher in method.teachers] == [turn == 0, turn == 1]

    mix = mixed if turn == 1 else np.copy
    given = batch.unlabelled_images.numpy()
    strong = mixed(given) if turn == 1 else given + 1
    np.testing.assert_allclose(only.images.numpy(), np.concatenate([batch.images.numpy(), strong]), atol=1e-6)
    p, q = sigmoid(one.values()), sigmoid(other.values())
    weights = np.exp(-bits(p)), np.exp(-bits(q))
    common = (weights[0] * p + weights[1] * q) / (weights[0] + weights[1])
    labels, sure = mix((common > 0.5) * 1.0), mix(np.maximum(common, 1 - common))
    conflict = mix(((p > 0.5) != (q > 0.5)) * 1.0) == 1
    z, y = only.values(), (batch.labels[:, None] == 1).double().numpy()
    guess, surety = (z[2:4] > 0) * 1.0, confidence(z[2:4])
    if overruling == "mixed":
        guess, surety = mix(guess), mix(surety)
    overruled = conflict & (guess != labels) & (surety > sure)
    assert overruled.any()
    labels, sure = np.where(overruled, guess, labels), np.where(overruled, surety, sure)
    trusted = sure >= 0.7
    assert 0.05 < trusted.mean() < 0.95

    def total(values):
        pseudo = (trusted * cross_entropy(values[4:], labels)).sum() / trusted.sum()
        return supervised(values[:2], y) + 2 * ramp * pseudo

    assert losses["total"].item() == pytest.approx(total(z), rel=2e-4)
    places = [place for place in some_places((6, 1, *SIZE), 24) if place[0] not in (2, 3)]
    assert [only.gradient()[p] for p in places] == pytest.approx(slopes(total, z, places), rel=2e-2, abs=1e-8)
    assert not only.gradient()[2:4].any()
    assert all(p.grad is None for p in method.teachers.parameters())


def test_a_softmax_on_slices_has_the_released_ensemble_and_overruling(monkeypatch):
    settings = {"threshold": 0.5, "overruling": "code", "classes": 2, "dimensions": 2, "head": "softmax"}
    method, batch = prepared(monkeypatch, turn=0, size=(32, 16), **settings)
    student, first, second = watch(method.student), watch(method.teachers[0]), watch(method.teachers[1])
    losses = method.training_step(batch, 0, "train")

    p, q = softmax(first[0].values()), softmax(second[0].values())
    surety = [np.exp((r * np.log2(r + 1e-10)).sum(1, keepdims=True)) for r in (p, q)]
    common = (surety[0] * p + surety[1] * q) / (surety[0] + surety[1])
    labels, sure, conflict = common.argmax(1), common.max(1), p.argmax(1) != q.argmax(1)
    weak, strong = softmax(student[0].values()[2:4]), softmax(student[0].values()[4:])
    overruled = conflict & (weak.argmax(1) != labels) & (weak.max(1) > sure)
    assert overruled.any() and not overruled.all()
    labels, sure = np.where(overruled, weak.argmax(1), labels), np.where(overruled, weak.max(1), sure)
    trusted = sure >= 0.5
    assert 0.05 < trusted.mean() < 0.95
    expected = -np.log(np.take_along_axis(strong, labels[:, None], 1)[:, 0])[trusted].mean()
    assert losses["consistency"].item() == pytest.approx(expected, rel=1e-3)
    assert losses["conflict"].item() == pytest.approx(conflict.mean(), abs=1e-4)


def test_turns_take_1_to_19_steps_and_follow_from_the_seed():
    turns = build("ad_mt").turns
    changes = [0, *(i for i in range(1, 6000) if turns[i] != turns[i - 1])]
    lengths = np.diff(changes)
    assert turns[0] == 0 and len(turns) == 6000
    assert lengths.min() == 1 and lengths.max() == 19 and lengths.mean() == pytest.approx(10, abs=1)
    assert turns == build("ad_mt").turns != build("ad_mt", longest_turn=14).turns


@pytest.mark.parametrize(("step", "kept"), [(0, 0), (79, 0), (80, 0), (82, 0.5), (83, 0.5), (84, 2 / 3), (5000, 0.99)])
def test_only_the_active_teacher_follows_the_student_with_its_statistics(step, kept):
    method = build("ad_mt")
    method.turns = [1] * 6000
    before = {name: value.clone() for name, value in method.teachers.state_dict().items()}
    with torch.no_grad():
        for value in method.student.state_dict().values():
            if value.is_floating_point():
                value.fill_(3)
    method.after_step(step)
    for name, value in method.teachers.state_dict().items():
        if name.startswith("0.") or not value.is_floating_point():
            assert torch.equal(value, before[name])
        else:
            torch.testing.assert_close(value, kept * before[name] + (1 - kept) * 3)


def test_the_released_view_stays_within_the_range_of_the_patch_but_for_noise():
    images = torch.randn(40, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    changed = ad_mt._released_view(images)
    low, high = images.amin((1, 2, 3, 4)), images.amax((1, 2, 3, 4))
    inside = (changed.amin((1, 2, 3, 4)) >= low - 1e-5) & (changed.amax((1, 2, 3, 4)) <= high + 1e-5)
    same = (changed == images).flatten(1).all(1)
    assert 0.6 < inside.float().mean() < 0.95 and 0.05 < same.float().mean() < 0.35


def test_the_released_view_scales_jitters_clips_and_adds_clipped_noise(monkeypatch):
    images, drawn, asked = torch.randn(2, 1, 6, 6, 6), [1.4, 0.3, 0.79, 0.6, 0.19], []

    def uniform(given, low, high):
        asked.append((low, high))
        return torch.full((len(given), 1, 1, 1, 1), drawn[len(asked) - 1])

    monkeypatch.setattr(ad_mt, "uniform", uniform)
    torch.manual_seed(0)
    changed = ad_mt._released_view(images)
    torch.manual_seed(0)
    noise = torch.randn_like(images).numpy()
    assert asked == [(0.5, 1.5), (-0.5, 0.5), (0, 1), (0.1, 1), (0, 1)]
    for image, found, added in zip(images.numpy(), changed.numpy(), noise, strict=True):
        scaled = 1.4 * (image - image.min()) / (image.max() - image.min())
        scaled = np.clip(scaled + 0.3 * scaled.mean(), 0, 1)
        assert 0.05 < (scaled == 1).mean() < 0.95
        expected = scaled * (image.max() - image.min()) + image.min() + 0.6 * np.clip(added, -2, 2)
        np.testing.assert_allclose(found, expected, atol=1e-5)
