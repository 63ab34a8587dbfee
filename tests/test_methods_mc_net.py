"""MC-Net and MC-Net+: the losses between their decoders, written out."""

import pytest
import torch
from helpers.tiny_methods import build, make_batch

STEPS = 100


def sharpened(p):
    """With temperature 0.1."""
    return p**10 / (p**10 + (1 - p) ** 10)


@pytest.mark.parametrize(("name", "pairs", "decoders"), [("mc_net", 2, 2), ("mc_net_plus", 6, 3)])
def test_it_compares_every_ordered_pair_of_decoders(name, pairs, decoders):
    method = build(name, iterations=STEPS)
    data = make_batch(method)
    torch.manual_seed(3)
    losses = method.train().training_step(data, 99, "train")
    torch.manual_seed(3)
    outputs = [output.logits.sigmoid() for output in method.network.forward_decoders(data.images)]
    terms = [(a - sharpened(b)).square().mean() for a in outputs for b in outputs if a is not b]
    assert (len(outputs), len(terms)) == (decoders, pairs)
    assert losses["consistency"].item() == pytest.approx(sum(terms).item(), rel=1e-5)
    targets = (data.labels == 1).float()[:, None]
    dice = [2 * (p[:2] * targets).sum() / (p[:2].sum() + targets.sum()) for p in outputs]
    assert losses["supervised"].item() == pytest.approx(sum(1 - d.item() for d in dice), rel=1e-5)


def test_weights_and_rates_are_the_papers_or_the_releases():
    def total(**settings):
        method = build("mc_net", iterations=STEPS, **settings)
        data = make_batch(method)
        torch.manual_seed(3)
        return method.train().training_step(data, 99, "train")

    paper, code = total(), total(supervised_weight=0.5)
    weight = build("mc_net", iterations=STEPS).schedule.ramp_up(99)
    for losses, supervised in ((paper, 1.0), (code, 0.5)):
        expected = supervised * losses["supervised"] + weight * losses["consistency"]
        assert losses["total"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert [build("mc_net", iterations=STEPS).learning_rate_factor(step) for step in (0, 99)] == pytest.approx(
        [1, 0.01]
    )
    assert build("mc_net", iterations=STEPS, learning_rate="release").learning_rate_factor(99) == 1
