"""URPC: the uncertainty of its levels and its consistency, written out."""

import pytest
import torch
from helpers.tiny_methods import build, make_batch
from scipy.special import rel_entr


def test_uncertainty_and_consistency_are_those_of_the_paper():
    method = build("urpc", iterations=100).train()
    batch, seen = make_batch(method), []
    method.network.register_forward_hook(lambda network, inputs, output: seen.extend(output.level_logits))
    losses = method.training_step(batch, 99, "train")

    p = torch.stack(seen)[:, 2:].detach().double().sigmoid().numpy()  # of unlabelled patches alone
    mean = p.mean(0)
    divergence = rel_entr(mean, p) + rel_entr(1 - mean, 1 - p)
    certainty = torch.exp(torch.from_numpy(-divergence)).numpy()
    levels = range(len(p))
    rectified = [((mean - p[i]) ** 2 * certainty[i]).mean() / certainty[i].mean() for i in levels]
    expected = sum(rectified[i] + divergence[i].mean() for i in levels) / len(levels)
    assert losses["uncertainty"].item() == pytest.approx(divergence.mean(), rel=1e-3)
    assert losses["consistency"].item() == pytest.approx(expected, rel=1e-3)
