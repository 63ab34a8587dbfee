"""DTML: the gradients of both networks, its variants, and what the distance loss may see."""

import dataclasses

import pytest
import torch
from helpers.tiny_methods import build, make_batch, naive_cross_entropy, naive_dice_of_classes, no_dropout

from methods.shared import registry

STEP = 3000
RAMP = 0.2865047968601901  # exp(-5 / 4): e = 20 of 40


def lively(**options):
    """DTML whose distance maps lie where T is not saturated, so that its gradients mean something."""
    method = no_dropout(build("dtml", **options))
    with torch.no_grad():
        method.regressor.signed_distance[0].weight.mul_(2e-3)
        method.regressor.signed_distance[0].bias.zero_()
    return method


def trained(network):
    return [p for p in network.parameters() if p.requires_grad]  # all but a fixed bias


def gradients(loss, network):
    parts = torch.autograd.grad(loss, trained(network), retain_graph=True)
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize(("source", "factor"), [("code", 2), ("paper", 1)])
@pytest.mark.parametrize("supervision", ["mask", "dis", "dis_mask"])
def test_each_network_gets_the_gradient_of_its_own_objective(classes, source, factor, supervision):
    method = lively(classes=classes, consistency_factor=source, consistency_weight=3.0, supervision=supervision)
    batch = make_batch(method)
    method.training_step(batch, STEP, "train")["total"].backward()

    images = torch.cat([batch.labelled_images, batch.unlabelled_images])
    s, z = method.segmenter(images).logits, method.regressor(images).signed_distance
    p, q = 1 / (1 + torch.exp(-s)), 1 / (1 + torch.exp(1500 * z))
    segmentation = 0.5 * (naive_cross_entropy(s[:2], batch.labels) + naive_dice_of_classes(p[:2], batch.labels))
    distance = 0
    if "mask" in supervision:
        distance = distance + naive_dice_of_classes(q[:2], batch.labels)
    if "dis" in supervision:
        distance = distance + ((z[:2] - batch.extra_arrays["signed_distance"]) ** 2).mean()
    consistency = ((q - p) ** 2).mean()

    for network, supervised in ((method.segmenter, segmentation), (method.regressor, distance)):
        alone, mutual = gradients(supervised, network), gradients(consistency, network)
        found = torch.cat([p.grad.flatten() for p in trained(network)])
        error = found - (alone + factor * 3.0 * RAMP * mutual)
        # Measured against what one more or less of the consistency would make.
        assert error.norm() < 0.02 * (3.0 * RAMP * mutual).norm()


def test_the_two_factors_differ():
    losses = {}
    for source in ("code", "paper"):
        method = lively(consistency_factor=source)
        losses[source] = method.training_step(make_batch(method), STEP, "train")
    supervised = sum(losses["code"][name] for name in ("segmentation", "mask"))
    one, two = (losses[source]["total"] - supervised for source in ("paper", "code"))
    assert two.item() == pytest.approx(2 * one.item(), rel=1e-3) and one > 1e-4


def test_the_networks_share_nothing_and_have_one_head_each():
    method = build("dtml")
    a, b = method.segmenter, method.regressor
    assert not {id(p) for p in a.parameters()} & {id(p) for p in b.parameters()}
    assert not torch.equal(a.encoder.blocks[0][0][0].weight, b.encoder.blocks[0][0][0].weight)
    assert len(a.signed_distance) == len(b.segmentation) == 0


@pytest.mark.parametrize("supervision", ["dis", "dis_mask"])
def test_the_distance_loss_never_sees_an_unlabelled_patch(supervision):
    # In eval mode, since batch statistics would tie all patches of a batch together.
    method = lively(supervision=supervision).eval()
    batch = make_batch(method)
    assert batch.extra_arrays["signed_distance"].shape == (2, 1, 32, 16, 16)
    seen = batch.unlabelled_images.requires_grad_()
    losses = method.training_step(batch, STEP, "train")
    for name in ("distance", "segmentation"):
        assert not torch.autograd.grad(losses[name], seen, retain_graph=True)[0].any()
    assert torch.autograd.grad(losses["consistency"], seen)[0].any()
    changed = dataclasses.replace(batch, unlabelled_images=seen.detach() + 1)
    again = method.training_step(changed, STEP, "train")
    assert again["distance"] == losses["distance"] and again["consistency"] != losses["consistency"]


def test_the_consistency_sees_labelled_patches_too():
    method = lively().eval()
    batch = make_batch(method)
    seen = batch.labelled_images.requires_grad_()
    assert torch.autograd.grad(method.training_step(batch, STEP, "train")["consistency"], seen)[0].any()


def test_maps_are_prepared_only_where_they_are_used():
    assert not build("dtml").extra_arrays()
    assert list(build("dtml", supervision="dis").extra_arrays()) == ["signed_distance"]


def test_variants_and_patches():
    method = registry.get("dtml")

    def of(**values):
        settings = registry.settings_of("dtml", values)
        return method.variant(settings), method.patches(settings, 4)

    assert of() == ("mask", (2, 2))
    assert of(supervision="dis") == ("dis", (2, 2)) and of(supervision="dis_mask") == ("dis_mask", (2, 2))
    assert of(unlabelled=False) == ("labelled_only", (4, 0))


def test_without_unlabelled_patches_the_consistency_is_that_of_the_labelled_ones():
    method = lively(unlabelled=False)
    batch = make_batch(method)
    s, z = method.segmenter(batch.labelled_images).logits, method.regressor(batch.labelled_images).signed_distance
    expected = ((torch.sigmoid(-1500 * z) - torch.sigmoid(s)) ** 2).mean()
    assert len(batch.labelled_images) == 4 and len(batch.unlabelled_images) == 0
    assert method.training_step(batch, STEP, "train")["consistency"].item() == pytest.approx(expected.item(), rel=1e-3)


@torch.no_grad()
def test_predictions_are_of_the_network_asked_for():
    x = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    methods = {kind: lively(predict_with=kind, shift=0.0003).eval() for kind in ("segmentation", "distance", "mean")}
    some = methods["mean"]
    p = torch.sigmoid(some.segmenter(x).logits)
    q = torch.sigmoid(-1500 * (some.regressor(x).signed_distance - 0.0003))
    for kind, expected in (("segmentation", p), ("distance", q), ("mean", (p + q) / 2)):
        torch.testing.assert_close(methods[kind].predict(x), expected, rtol=1e-3, atol=1e-5)
    assert (p - q).abs().max() > 0.01
    torch.testing.assert_close(build("dtml").eval().predict(x), p)
