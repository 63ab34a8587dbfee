"""DTC: its objective, written out."""

import math

import pytest
import torch
from helpers.tiny_methods import build, make_batch


def test_the_objective_is_that_of_the_paper():
    method = build("dtc", iterations=100)
    data = make_batch(method)
    torch.manual_seed(5)
    losses = method.train().training_step(data, 60, "train")
    torch.manual_seed(5)
    output = method.network(data.images)
    p, z, y = output.logits.sigmoid(), output.signed_distance, (data.labels == 1).float()[:, None]
    dice = 1 - (2 * (p[:2] * y).sum() + 1e-5) / (p[:2].square().sum() + y.square().sum() + 1e-5)
    regression = (z[:2] - data.extra_arrays["signed_distance"]).square().mean()
    consistency = (torch.sigmoid(-1500 * z) - p).square().mean()
    weight = math.exp(-5 * (1 - 24 / 40) ** 2)  # step 60 of 100: stair 24 of 40
    assert losses["total"].item() == pytest.approx((dice + 0.3 * regression + weight * consistency).item(), rel=1e-4)
