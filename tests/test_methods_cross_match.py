"""CrossMatch: its threshold, its optimiser, who teaches whom, and its loss written again in numpy."""

import math

import numpy as np
import pytest
import torch
from helpers.tiny_methods import build
from helpers.watched import confidence, dice, sigmoid, slopes, some_places, supervised, watch
from test_methods_fixmatch import SIZE, mixed, prepared


@pytest.mark.parametrize(("step", "printed"), [(0, 0.521), (3000, 0.551), (6000, 0.668)])
def test_the_released_threshold_is_multiplied_by_the_entropy_of_a_coin(step, printed):
    progress = step / 6000 * 14000 / 17000
    meant = 0.75 + 0.25 * math.exp(-5 * (1 - progress) ** 2)
    assert build("cross_match").threshold(step) == pytest.approx(meant * math.log(2))
    assert build("cross_match").threshold(step) == pytest.approx(printed, abs=6e-4)
    assert build("cross_match", threshold_factor="none").threshold(step) == pytest.approx(meant)


@pytest.mark.parametrize("step", [0, 3000, 5999])
@pytest.mark.parametrize("factor", ["entropy", "none"])
def test_its_loss_and_slopes(step, factor, monkeypatch):
    method, batch = prepared("cross_match", monkeypatch, threshold_factor=factor)
    passes = watch(method.network)
    losses = method.training_step(batch, step, "train")
    losses["total"].backward()

    one, two = passes
    views = mixed(batch.unlabelled_images.numpy() + 1)
    np.testing.assert_allclose(two.images.numpy(), np.concatenate([views, views]), atol=1e-6)
    z, y = one.values(), (batch.labels[:, None] == 1).double().numpy()
    assert len(z) == 8 and len(two.values()) == 8
    threshold = method.threshold(step)

    def taught(student, teacher, mix):
        labels, sure = (teacher > 0) * 1.0, confidence(teacher)
        if mix:
            labels, sure = mixed(labels), mixed(sure)
        return dice(sigmoid(student), labels, sure >= threshold)

    clean, weak, strong = z[2:4], z[4:6], z[6:8]  # as teachers: they do not move below

    def total(z_one, z_two):
        s1, s2, weak2, strong2 = z_two[:2], z_two[2:4], z_two[4:6], z_two[6:8]
        from_clean = taught(z_one[4:6], clean, False) + taught(z_one[6:8], clean, False)
        from_clean += taught(weak2, clean, True) + taught(strong2, clean, True)
        across = taught(weak2, weak, True) + taught(strong2, strong, True)
        distillation = 0.7 * from_clean / 4 + 0.3 * across / 2
        views = taught(s1, clean, True) + taught(s2, clean, True)
        return 0.5 * (supervised(z_one[:2], y) + 0.25 * views + distillation)

    assert losses["total"].item() == pytest.approx(total(z, two.values()), rel=1e-4)
    places = some_places((8, 1, *SIZE), 24)
    found = slopes(lambda values: total(z, values), two.values(), places)
    assert [two.gradient()[p] for p in places] == pytest.approx(found, rel=1e-2, abs=1e-9)
    places = [p for p in places if p[0] not in (2, 3)]
    found = slopes(lambda values: total(values, two.values()), z, places)
    assert [one.gradient()[p] for p in places] == pytest.approx(found, rel=1e-2, abs=1e-9)
    assert not one.gradient()[2:4].any()


def test_a_quarter_and_three_quarters_of_the_channels_are_dropped_and_none_before_the_head(monkeypatch):
    method, batch = prepared("cross_match", monkeypatch)
    assert (method.weak.p, method.strong.p, method.network.dropout.p) == (0.25, 0.75, 0.0)
    passes = watch(method.network)
    method.training_step(batch, 0, "train")
    for level in passes[0].encoded:
        for scale, part in ((1 / 0.75, level[4:6]), (4.0, level[6:8])):
            for one, other in zip(level[2:4].flatten(0, 1), part.flatten(0, 1), strict=True):
                assert not other.any() or torch.allclose(other, scale * one, rtol=1e-4)


def test_the_release_has_adamw_with_a_rate_that_would_reach_0_at_17_of_14():
    method = build("cross_match", iterations=1400, optimizer="release")
    [optimizer] = method.configure_optimizers(None).values()
    assert isinstance(optimizer, torch.optim.AdamW)
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (1e-3, 1e-4)
    factors = [method.own_learning_rate_factor("train", step) for step in (0, 700, 1399)]
    assert factors == pytest.approx([1, (1 - 7000 / 17000) ** 0.9, (1 - 13990 / 17000) ** 0.9])
