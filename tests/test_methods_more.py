"""The details of the methods beyond the first five, each against its formula written out."""

import math

import pytest
import torch
import torch.nn.functional as F

from methods.asdnet import ASDNet
from methods.bcp import BCP, _region_loss, largest_components
from methods.double_uncertainty import channel_entropy
from methods.mc_net import _dice_loss, _sharpen
from methods.shared import registry
from methods.shared.method import Batch
from methods.shared.networks.discriminators import ConfidenceNetwork
from methods.shared.networks.vnet import Backbone, VNetOutput
from methods.shared.schedules import Schedule
from methods.tcse import draw_symmetries, turn, turn_back, zoom
from methods.urpc import _divergence


def build(name, iterations=100, **settings):
    torch.manual_seed(0)
    return registry.get(name)(registry.settings_of(name, settings), Backbone(width=2), Schedule(iterations))


def batch(seed=0, size=(32, 32, 32)):
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(4, 1, *size, generator=random)
    labels = (torch.rand(2, *size, generator=random) > 0.8).to(torch.uint8)
    maps = torch.rand(2, 1, *size, generator=random) - 0.5
    return Batch(images[:2], labels, images[2:], {"signed_distance": maps})


# TCSE: transformations and their inverse.


@pytest.mark.parametrize("symmetry", [(turns, mirror) for turns in range(4) for mirror in (False, True)])
def test_tcse_turning_back_undoes_turning(symmetry):
    volumes = torch.randn(2, 3, 6, 6, 5, generator=torch.Generator().manual_seed(1))
    turned = turn(volumes, [symmetry, (0, False)])
    assert torch.equal(turn_back(turned, [symmetry, (0, False)]), volumes)
    assert torch.equal(turned[0], volumes[0]) == (symmetry == (0, False))


def test_tcse_draws_all_eight_symmetries_of_a_square_and_the_four_of_a_rectangle():
    torch.manual_seed(0)
    assert len(set(draw_symmetries(torch.empty(500, 1, 4, 4, 2)))) == 8
    assert set(draw_symmetries(torch.empty(500, 1, 4, 6, 2))) == {(0, False), (0, True), (2, False), (2, True)}


def test_tcse_zooming_magnifies_in_the_plane_and_back():
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (32, 32, 6)), indexing="ij")
    volumes = torch.exp(-8 * (x**2 + y**2))[None, None] * (1 + z)
    volumes = torch.cat([volumes, volumes])
    larger = zoom(volumes, torch.tensor([1.1, 1.0]))
    assert torch.allclose(larger[1], volumes[1], atol=1e-5)
    assert larger[0, 0, ..., 0].max() < 1e-6 and torch.allclose(larger[0].sum(), 1.21 * volumes[0].sum(), rtol=0.01)
    back = zoom(larger, 1 / torch.tensor([1.1, 1.0]))
    assert (back - volumes)[:, :, 3:-3, 3:-3].abs().max() < 0.03  # interpolated twice


def test_tcse_scaling_compares_only_what_both_branches_see():
    method = build("tcse", scaling=0.1)
    method.student.forward = lambda images: VNetOutput(logits=torch.zeros_like(images))
    losses = method.train().training_step(batch(), 99, "train")
    assert losses["consistency"].item() == pytest.approx(0, abs=1e-10)  # 0.5 everywhere but for zeros from outside
    losses = build("tcse", scaling=0.1).train().training_step(batch(), 99, "train")
    losses["consistency"].backward()
    assert losses["consistency"].item() > 0


@pytest.mark.parametrize(("branch", "both"), [("pi", True), ("ema", False)])
def test_tcse_consistency_alone_has_a_gradient(branch, both):
    method = build("tcse", second_branch=branch)
    losses = method.train().training_step(batch(), 99, "train")
    losses["consistency"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.student.parameters())
    if not both:
        assert all(p.grad is None for p in method.teacher.parameters())


# DTC.


def test_dtc_objective():
    method = build("dtc")
    data = batch()
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


# ASDNet.


def test_asdnet_pseudo_labels_start_at_a_sixth_and_stop_without_trusted_voxels():
    method = build("asdnet", threshold=0.999999)
    early, late = (method.train().training_step(batch(), step, "segment") for step in (15, 99))
    assert late["pseudo"].item() == 0 and late["trusted_fraction"].item() == 0  # no voxel is that sure
    method = build("asdnet", threshold=1e-6)
    for step, started in ((15, False), (16, True)):
        losses = method.train().training_step(batch(), step, "segment")
        assert losses["pseudo"].item() > 0
        rest = losses["supervised"] + 0.05 * losses["adversarial"]
        assert (losses["total"] - rest).item() == pytest.approx(
            0.5 * method.schedule.ramp_up(step) * losses["pseudo"].item() if started else 0, abs=1e-5
        )
    assert early["total"].isfinite()


def test_asdnet_discriminator_never_sees_a_gradient_path_into_the_segmenter():
    method = build("asdnet")
    method.train().training_step(batch(), 50, "discriminate")["total"].backward()
    assert all(p.grad is None for p in method.network.parameters())
    assert any(p.grad is not None for p in method.discriminator.parameters())


def test_asdnet_attention_weights_hard_patches_more():
    data = batch()
    logits = torch.cat([torch.where(data.labels[:1, None] == 1, 4.0, -4.0), torch.full((1, 1, 32, 32, 32), -4.0)])
    plain = ASDNet._supervised(build("asdnet"), logits, data.labels)
    focused = ASDNet._supervised(build("asdnet", sample_attention=1.0), logits, data.labels)
    assert focused < plain  # the easy first patch hardly counts any more


def test_confidence_network_keeps_the_size_and_takes_any():
    network = ConfidenceNetwork(2, width=2)
    assert network(torch.rand(2, 2, 17, 24, 9)).shape == (2, 2, 17, 24, 9)


# MC-Net, URPC, Double-Uncertainty.


def test_sharpening_and_dice_of_mc_net():
    p = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    assert torch.allclose(_sharpen(p), p**10 / (p**10 + (1 - p) ** 10)) and _sharpen(p)[1] == 0.5
    a, b = torch.rand(2, 1, 3, 3, 3), (torch.rand(2, 1, 3, 3, 3) > 0.5).float()
    assert _dice_loss(a, b).item() == pytest.approx(1 - (2 * (a * b).sum() / (a.sum() + b.sum())).item(), rel=1e-5)


@pytest.mark.parametrize(("name", "pairs", "decoders"), [("mc_net", 2, 2), ("mc_net_plus", 6, 3)])
def test_mc_net_compares_every_ordered_pair_of_decoders(name, pairs, decoders):
    method = build(name)
    data = batch()
    torch.manual_seed(3)
    losses = method.train().training_step(data, 99, "train")
    torch.manual_seed(3)
    outputs = [output.logits.sigmoid() for output in method.network.forward_decoders(data.images)]
    terms = [(a - _sharpen(b)).square().mean() for a in outputs for b in outputs if a is not b]
    assert (len(outputs), len(terms)) == (decoders, pairs)
    assert losses["consistency"].item() == pytest.approx(sum(terms).item(), rel=1e-5)


def test_mc_net_has_the_papers_weight_and_rates_and_the_releases():
    def total(**settings):
        torch.manual_seed(3)
        return build("mc_net", **settings).train().training_step(batch(), 99, "train")

    paper, code = total(), total(supervised_weight=0.5)
    weight = build("mc_net").schedule.ramp_up(99)
    for losses, supervised in ((paper, 1.0), (code, 0.5)):
        expected = supervised * losses["supervised"] + weight * losses["consistency"]
        assert losses["total"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert [build("mc_net").learning_rate_factor(step) for step in (0, 99)] == pytest.approx([1, 0.01])
    assert build("mc_net", learning_rate="release").learning_rate_factor(99) == 1


def test_urpc_divergence_is_that_of_scipy():
    from scipy.special import rel_entr

    p, q = torch.rand(50, dtype=torch.float64) * 0.98 + 0.01, torch.rand(50, dtype=torch.float64) * 0.98 + 0.01
    expected = rel_entr(p.numpy(), q.numpy()) + rel_entr(1 - p.numpy(), 1 - q.numpy())
    assert _divergence(p, q).numpy() == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("silent", [False, True])
def test_monte_carlo_gives_the_means_and_the_variance_of_the_normalised_features(silent, monkeypatch):
    method = build("double_uncertainty", monte_carlo_passes=3, feature_uncertainty="variance")
    random = torch.Generator().manual_seed(2)
    passes = [
        (torch.randn(2, 1, 4, 4, 4, generator=random), torch.rand(2, 5, 4, 4, 4, generator=random)) for _ in range(3)
    ]
    if silent:  # a voxel without any activation has no direction
        passes[1][1][:, :, 0] = 0
    outputs = iter([VNetOutput(logits=logits, features=(features.clone(),)) for logits, features in passes])
    monkeypatch.setattr(method.teacher, "forward", lambda images, features: next(outputs))

    probabilities, features, variance = method._monte_carlo(torch.zeros(2, 1, 4, 4, 4))

    directions = torch.stack([F.normalize(features, dim=1) for _, features in passes])
    torch.testing.assert_close(probabilities, torch.stack([logits.sigmoid() for logits, _ in passes]).mean(0))
    torch.testing.assert_close(features, torch.stack([features for _, features in passes]).mean(0))
    torch.testing.assert_close(variance, directions.var(0, correction=0).mean(1))


def test_channel_entropy_runs_from_one_channel_to_all():
    one = torch.zeros(1, 8, 2, 2, 2)
    one[:, 3] = 5
    assert channel_entropy(one).max() < 1e-4
    assert torch.allclose(channel_entropy(torch.ones(1, 8, 2, 2, 2)), torch.ones(1, 2, 2, 2))


def test_cps_starts_as_the_release_or_as_pytorch_does():
    def spread(network):
        weight = network.encoder.blocks[2][1][0].weight
        return weight.std().item() * math.sqrt(weight[0].numel())  # times the root of the fan-in

    release, plain = build("cps"), build("cps", initialisation="pytorch")
    assert spread(release.first) == pytest.approx(math.sqrt(2), rel=0.1)
    assert spread(release.second) == pytest.approx(1, rel=0.1)
    assert spread(plain.first) == pytest.approx(math.sqrt(1 / 3), rel=0.1) == spread(plain.second)
    assert not torch.equal(next(plain.first.parameters()), next(plain.second.parameters()))


# BCP.


@pytest.mark.parametrize("step", [0, 50])
def test_bcp_mixes_whole_pairs_and_its_student_sees_both_at_once(step, monkeypatch):
    method, data, seen = build("bcp"), batch(), []
    outer = torch.zeros(1, 1, 32, 32, 32)
    outer[..., :9] = 1
    monkeypatch.setattr(method, "_mask", lambda images: outer)
    method.student.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    method.training_step(data, step, "train")
    [mixes] = seen  # two patches for its batch norm
    (a, b), (c, d) = data.labelled_images, data.unlabelled_images
    expected = ((a, b), (b, a)) if step == 0 else ((a, c), (d, b))  # outside, inside
    assert torch.equal(mixes, torch.stack([torch.where(outer[0] == 1, out, within) for out, within in expected]))


def test_bcp_learns_at_the_protocols_rates_unless_told_otherwise():
    method = build("bcp", iterations=170)
    assert [method.learning_rate_factor(step) for step in (0, 70, 71, 169)] == pytest.approx([1, 1, 0.1, 0.01])


def test_bcp_stages_learning_rate_and_teacher():
    method = build("bcp", iterations=170, learning_rate="release")
    assert method.pretraining_steps == 20
    assert [method.learning_rate_factor(step) for step in (0, 19, 20, 44)] == [1, 1, 1, 1]
    assert method.learning_rate_factor(45) == pytest.approx(0.1) and method.learning_rate_factor(169) == pytest.approx(
        1e-5
    )
    with torch.no_grad():
        for p in method.student.parameters():
            p.add_(1)
    method.after_step(19)
    assert all(torch.equal(a, b) for a, b in zip(method.teacher.parameters(), method.student.parameters(), strict=True))
    with torch.no_grad():
        next(method.student.parameters()).add_(1)
    before = next(method.teacher.parameters()).clone()
    method.after_step(20)
    assert torch.allclose(next(method.teacher.parameters()), before + 0.01, atol=1e-6)


def test_bcp_mask_is_a_cuboid_of_two_thirds_at_a_random_place():
    method = build("bcp")
    masks = [BCP._mask(method, torch.empty(1, 1, 30, 24, 18)) for _ in range(20)]
    assert {int((1 - mask).sum()) for mask in masks} == {20 * 16 * 12}
    assert len({tuple((mask == 0).nonzero()[0].tolist()) for mask in masks}) > 5


def test_bcp_region_loss_looks_at_its_region_alone():
    logits, targets = torch.randn(1, 1, 4, 4, 4), (torch.rand(1, 1, 4, 4, 4) > 0.5).float()
    region = torch.zeros(1, 1, 4, 4, 4)
    region[..., :2] = 1
    inside = logits[..., :2]
    entropy = F.binary_cross_entropy_with_logits(inside, targets[..., :2])
    p, y = inside.sigmoid(), targets[..., :2]
    dice = 1 - (2 * (p * y).sum() + 1e-5) / ((p + y).sum() + 1e-5)
    assert _region_loss(logits, targets, region).item() == pytest.approx((0.5 * (entropy + dice)).item(), rel=1e-4)
    assert torch.equal(_region_loss(logits + 9 * (1 - region), targets, region), _region_loss(logits, targets, region))


def test_bcp_pseudo_labels_are_largest_components():
    masks = torch.zeros(1, 2, 5, 5, 5, dtype=torch.bool)
    masks[0, 0, 0, 0, 0] = masks[0, 0, 1, 1, 1] = masks[0, 0, 4, 4, 4] = True
    kept = largest_components(masks)
    assert kept[0, 0].nonzero().tolist() == [[0, 0, 0], [1, 1, 1]] and kept[0, 1].sum() == 0


# All that claim to use unlabelled images.


@pytest.mark.parametrize("name", [n for n in registry.names() if not n.startswith("vnet")])
def test_unlabelled_images_send_a_gradient_into_what_predicts(name):
    """At three quarters of the schedule: a library once shipped a mean teacher whose consistency loss was always 0."""
    method = build(name)
    data = batch()
    images = data.unlabelled_images.clone().requires_grad_()
    data = Batch(data.labelled_images, data.labels, images, data.extra_arrays)
    phase = "segment" if "segment" in method.phases else method.phases[0]
    for module in method.modules():  # batch statistics alone would couple the patches
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()
    method.training_step(data, 75, phase)["total"].backward()
    assert images.grad.abs().sum() > 0
