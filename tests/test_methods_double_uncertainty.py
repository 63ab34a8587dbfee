"""Double-Uncertainty: what it makes of the Monte-Carlo passes of its teacher."""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_methods import build, make_batch

from methods.double_uncertainty import channel_entropy
from methods.shared.networks.network import NetworkOutput


@pytest.mark.parametrize("silent", [False, True])
def test_losses_are_of_the_means_and_of_the_variance_of_the_normalised_features(silent):
    method = build(
        "double_uncertainty", monte_carlo_passes=3, feature_uncertainty="variance", feature_weight=1.0, penalty=0.0
    )
    batch = make_batch(method, size=(4, 4, 4))
    random = torch.Generator().manual_seed(2)
    student, *passes = [
        (torch.randn(4, 1, 4, 4, 4, generator=random), torch.rand(4, 5, 4, 4, 4, generator=random)) for _ in range(4)
    ]
    if silent:  # a voxel without any activation has no direction
        passes[1][1][:, :, 0] = 0
    outputs = iter([NetworkOutput(logits=logits, features=(features.clone(),)) for logits, features in passes])
    method.teacher.forward = lambda images, features: next(outputs)
    method.student.forward = lambda images, features: NetworkOutput(logits=student[0], features=(student[1],))

    losses = method.training_step(batch, 0, "train")

    target = torch.stack([logits.sigmoid() for logits, _ in passes]).mean(0)
    entropy = -(target * target.log() + (1 - target) * (1 - target).log()) / math.log(2)
    variance = torch.stack([F.normalize(features, dim=1) for _, features in passes]).var(0, correction=0).mean(1)
    mean = torch.stack([features for _, features in passes]).mean(0)
    distance = (F.normalize(student[1], dim=1) - F.normalize(mean, dim=1)).square().mean(1)
    of_features = (torch.exp(-variance) * distance).mean()
    of_predictions = (torch.exp(-entropy) * (student[0].sigmoid() - target).square()).mean()
    expected = {
        "segmentation_uncertainty": entropy.mean(),
        "feature_uncertainty": variance.mean(),
        "features": of_features,
        "consistency": of_predictions + of_features,
    }
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4), name


def test_channel_entropy_runs_from_one_channel_to_all():
    one = torch.zeros(1, 8, 2, 2, 2)
    one[:, 3] = 5
    assert channel_entropy(one).max() < 1e-4
    assert torch.allclose(channel_entropy(torch.ones(1, 8, 2, 2, 2)), torch.ones(1, 2, 2, 2))
