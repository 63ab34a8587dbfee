"""UniMatch: its three views, and its loss written again in numpy."""

import numpy as np
import pytest
import torch
from helpers.watched import confidence, dice, sigmoid, slopes, some_places, supervised, watch
from test_methods_fixmatch import SIZE, mixed, prepared


@pytest.mark.parametrize("step", [0, 3000, 5999])
def test_its_loss_and_slopes_at_any_step(step, monkeypatch):
    method, batch = prepared("unimatch", monkeypatch, threshold=0.7)
    passes = watch(method.network)
    losses = method.training_step(batch, step, "train")
    losses["total"].backward()

    weak, strong = passes
    views = mixed(batch.unlabelled_images.numpy() + 1)
    np.testing.assert_allclose(strong.images.numpy(), np.concatenate([views, views]), atol=1e-6)
    z, y = weak.values(), (batch.labels[:, None] == 1).double().numpy()
    labels, sure = (z[2:4] > 0) * 1.0, confidence(z[2:4])
    assert len(z) == 6 and 0.05 < (sure >= 0.7).mean() < 0.95

    def total(z_weak, z_strong):
        p = sigmoid(z_strong)
        strong = sum(dice(part, mixed(labels), mixed(sure) >= 0.7) for part in (p[:2], p[2:]))
        features = dice(sigmoid(z_weak[4:]), labels, sure >= 0.7)
        return 0.5 * (supervised(z_weak[:2], y) + 0.25 * strong + 0.5 * features)

    assert losses["total"].item() == pytest.approx(total(z, strong.values()), rel=1e-4)
    places = some_places((4, 1, *SIZE))
    found = slopes(lambda values: total(z, values), strong.values(), places)
    assert [strong.gradient()[p] for p in places] == pytest.approx(found, rel=1e-2, abs=1e-9)
    places = [p for p in some_places((6, 1, *SIZE), 24) if p[0] not in (2, 3)]
    found = slopes(lambda values: total(values, strong.values()), z, places)
    assert [weak.gradient()[p] for p in places] == pytest.approx(found, rel=1e-2, abs=1e-9)
    assert not weak.gradient()[2:4].any()


def test_the_view_of_features_lacks_half_of_their_channels(monkeypatch):
    method, batch = prepared("unimatch", monkeypatch)
    passes = watch(method.network)
    method.training_step(batch, 0, "train")
    kept = []
    for level in passes[0].encoded:
        clean, perturbed = level[2:4].flatten(2), level[4:].flatten(2)
        for one, other in zip(clean.flatten(0, 1), perturbed.flatten(0, 1), strict=True):
            kept.append(bool(other.any()) or not one.any())
            assert not other.any() or torch.allclose(other, 2 * one)
    assert 0.3 < np.mean(kept) < 0.8
