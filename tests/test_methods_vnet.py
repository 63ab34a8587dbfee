"""The supervised V-Net and its distance-regressing sibling."""

import pytest
import torch
from helpers.tiny_methods import build, make_batch, naive_cross_entropy, naive_dice_of_classes, no_dropout

from methods.shared import registry
from methods.shared.networks.backbone import Backbone
from methods.shared.schedules import Schedule


@pytest.mark.parametrize("name", ["vnet", "vnet_sdm"])
def test_patches_are_all_labelled_or_the_half_that_the_others_get(name):
    method = registry.get(name)
    assert method.patches(registry.settings_of(name, {}), 4) == (4, 0)
    assert method.patches(registry.settings_of(name, {"labelled_patches": "half"}), 4) == (2, 0)


@pytest.mark.parametrize("classes", [1, 2])
def test_the_loss_of_the_v_net_is_half_cross_entropy_half_dice(classes):
    method = no_dropout(build("vnet", classes))
    batch = make_batch(method)
    logits = method.network(batch.labelled_images).logits
    expected = 0.5 * (naive_cross_entropy(logits, batch.labels) + naive_dice_of_classes(logits.sigmoid(), batch.labels))
    assert method.training_step(batch, 0, "train")["total"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize(
    ("settings", "loss"),
    [
        ({}, lambda z, g, y: naive_dice_of_classes(torch.sigmoid(-1500 * z), y)),
        ({"supervision": "dis"}, lambda z, g, y: ((z - g) ** 2).mean()),
        ({"supervision": "dis", "distance_norm": "l1"}, lambda z, g, y: (z - g).abs().mean()),
    ],
)
def test_the_losses_of_the_distance_v_net(settings, loss, classes):
    method = no_dropout(build("vnet_sdm", classes, **settings))
    batch = make_batch(method)
    z = method.network(batch.labelled_images).signed_distance
    expected = loss(z, batch.extra_arrays.get("signed_distance"), batch.labels)
    losses = method.training_step(batch, 0, "train")
    assert losses["total"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["active_fraction"].item() == pytest.approx((z.abs() < 7 / 1500).float().mean().item())


def test_maps_are_prepared_only_where_they_are_used():
    assert list(build("vnet_sdm", supervision="dis").extra_arrays()) == ["signed_distance"]
    assert not build("vnet_sdm").extra_arrays() and not build("vnet").extra_arrays()


@torch.no_grad()
def test_predictions():
    x = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    method = build("vnet").eval()
    torch.testing.assert_close(method.predict(x), torch.sigmoid(method.network(x).logits))
    for shift in (0.0, 0.0075):
        method = build("vnet_sdm", shift=shift).eval()
        z = method.network(x).signed_distance
        torch.testing.assert_close(method.predict(x), torch.sigmoid(-1500 * (z - shift)), rtol=1e-3, atol=1e-5)


def test_the_networks_have_the_published_size():
    for name in ("vnet", "vnet_sdm"):
        with torch.device("meta"):
            method = registry.get(name)(registry.settings_of(name, {}), Backbone(), Schedule(6000))
        assert sum(p.numel() for p in method.parameters()) == 9_448_849
