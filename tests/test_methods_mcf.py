"""MCF: its loss written again in numpy, and which network teaches which."""

import numpy as np
import pytest
import torch
from helpers.tiny_methods import build, make_batch
from helpers.watched import cross_entropy, dice, dice_of_channels, hot, sigmoid, slopes, softmax, some_places, watch

SIZE = (32, 16, 16)


@pytest.mark.parametrize(("step", "ramp"), [(0, np.exp(-5)), (3000, np.exp(-1.25)), (6000, 1.0)])
@pytest.mark.parametrize("better", [0, 1])
def test_its_loss_and_slopes(step, ramp, better):
    method = build("mcf").train()
    batch = make_batch(method, size=SIZE)
    with torch.no_grad():
        for network in (method.first, method.second):
            network.segmentation[0].weight.mul_(5)
        # The left atrium is a tenth of a patch: who calls nothing atrium, or everything, is worse.
        (method.second, method.first)[better].segmentation[0].bias.fill_(-30)
    watched = watch(method.first), watch(method.second)
    losses = method.training_step(batch, step, "train")
    losses["total"].backward()
    [[first], [second]] = watched
    assert torch.equal(first.images, batch.images) and torch.equal(second.images, batch.images)
    y = (batch.labels[:, None] == 1).double().numpy()
    values = first.values(), second.values()
    assert (losses["first_is_better"].item() == 1) is (better == 0)
    differ = (values[0][:2] > 0) != (values[1][:2] > 0)
    p = sigmoid(values[better][2:])
    sharp = p**10 / (p**10 + (1 - p) ** 10)  # without gradient

    def total(both):
        loss = 0
        for z in both:
            loss += cross_entropy(z[:2], y).mean() + dice(sigmoid(z[:2]), y)
            loss += 0.5 * (differ * (sigmoid(z[:2]) - y) ** 2).sum() / (differ.sum() + 1e-16)
        return loss + 0.1 * ramp * ((sigmoid(both[1 - better][2:]) - sharp) ** 2).mean()

    assert losses["total"].item() == pytest.approx(total(values), rel=1e-4)
    places = some_places((4, 1, *SIZE), 16)
    found = slopes(lambda z: total((z, values[1])), values[0], places)
    assert [first.gradient()[q] for q in places] == pytest.approx(found, rel=1e-2, abs=1e-8)
    found = slopes(lambda z: total((values[0], z)), values[1], places)
    assert [second.gradient()[q] for q in places] == pytest.approx(found, rel=1e-2, abs=1e-8)


def test_a_softmax_on_slices_reviews_where_labels_differ_and_sharpens_over_all_channels():
    method = build("mcf", classes=2, dimensions=2, head="softmax").train()
    batch = make_batch(method, size=(32, 16))
    with torch.no_grad():
        for network in (method.first, method.second):
            network.segmentation[0].weight.mul_(5)
    watched = watch(method.first), watch(method.second)
    losses = method.training_step(batch, 6000, "train")
    p, q = (softmax(passes[0].values()) for passes in watched)
    y, differ = hot(batch.labels.numpy(), 3), p[:2].argmax(1) != q[:2].argmax(1)
    assert 0 < differ.mean() < 1 and losses["differ"].item() == pytest.approx(differ.mean(), abs=1e-4)

    supervised = sum(dice_of_channels(r[:2], y) - (y * np.log(r[:2])).sum(1).mean() for r in (p, q))
    assert losses["supervised"].item() == pytest.approx(supervised, rel=1e-4)
    review = sum(((r[:2] - y) ** 2).mean(1)[differ].mean() for r in (p, q))
    assert losses["review"].item() == pytest.approx(review, rel=1e-4)
    better, worse = (p, q) if dice_of_channels(p[:2], y) < dice_of_channels(q[:2], y) else (q, p)
    sharp = better[2:] ** 10 / (better[2:] ** 10).sum(1, keepdims=True)
    assert losses["consistency"].item() == pytest.approx(((worse[2:] - sharp) ** 2).mean(), rel=1e-4)


@torch.no_grad()
def test_the_mean_of_both_networks_predicts():
    method = build("mcf").eval()
    images = torch.randn(2, 1, 32, 16, 16)
    both = torch.sigmoid(method.first(images).logits), torch.sigmoid(method.second(images).logits)
    torch.testing.assert_close(method.predict(images), sum(both) / 2)
    for name, expected in zip(("first", "second"), both, strict=True):
        torch.testing.assert_close(build("mcf", predict_with=name).eval().predict(images), expected)
