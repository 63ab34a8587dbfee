"""SASSNet: its losses, and two phases that leave each other alone, as the training loop drives them."""

import copy
import dataclasses

import pytest
import torch
from helpers.tiny_methods import build, make_batch, naive_dice_of_classes, no_dropout

from benchmark.records.protocol import Training
from benchmark.trial.training import _run_phase, initial_state
from methods.shared import registry
from methods.shared.networks.backbone import Backbone
from methods.shared.schedules import Schedule

STEP = 3000
RAMP = 0.2865047968601901  # exp(-5 / 4)


def state_of(method):
    return initial_state(method, Training(iterations=6000))


def gradients(module):
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


def same(a, b):
    return all(x is y is None or torch.equal(x, y) for x, y in zip(a, b, strict=True))


def snapshot(module):
    return [value.clone() for value in module.state_dict().values()]


def log_probability(logits, of):
    """Of class `of`[i] for the i-th row."""
    p = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)
    return torch.stack([torch.log(row[c]) for row, c in zip(p, of, strict=True)])


def test_the_discriminator_has_the_published_size():
    with torch.device("meta"):
        method = registry.get("sass")(registry.settings_of("sass", {}), Backbone(), Schedule(6000))
    assert sum(p.numel() for p in method.discriminator.parameters()) == 11_020_290


@pytest.mark.parametrize("classes", [1, 2])
def test_the_segmenters_loss(classes):
    method = no_dropout(build("sass", classes=classes, adversarial_weight=2.0)).train()
    batch = make_batch(method)
    losses = method.training_step(batch, STEP, "segment")
    images = torch.cat([batch.labelled_images, batch.unlabelled_images])
    output = method.network(images)
    segmentation = naive_dice_of_classes(torch.sigmoid(output.logits[:2]), batch.labels)
    distance = ((output.signed_distance[:2] - batch.extra_arrays["signed_distance"]) ** 2).mean()
    judged = method.discriminator(output.signed_distance[2:], batch.unlabelled_images)
    adversarial = -log_probability(judged, [1, 1]).mean()  # to pass for labelled
    for name, expected in (("segmentation", segmentation), ("distance", distance), ("adversarial", adversarial)):
        assert losses[name].item() == pytest.approx(expected.item(), rel=1e-4)
    total = segmentation + 0.3 * distance + 2.0 * RAMP * adversarial
    assert losses["total"].item() == pytest.approx(total.item(), rel=1e-4)


@pytest.mark.parametrize("classes", [1, 2])
def test_the_discriminators_loss_has_class_1_for_labelled(classes):
    method = no_dropout(build("sass", classes=classes)).train()
    batch = make_batch(method)
    # Images and a discriminator so unlike that exchanged classes would show.
    batch = dataclasses.replace(batch, unlabelled_images=5 * batch.unlabelled_images + 5)
    with torch.no_grad():
        method.discriminator.head.weight.mul_(10)
    loss = method.training_step(batch, STEP, "discriminate")["total"]
    images = torch.cat([batch.labelled_images, batch.unlabelled_images])
    maps = method.network.eval()(images).signed_distance.detach()
    judged = method.discriminator(maps, images)
    assert loss.item() == pytest.approx(-log_probability(judged, [1, 1, 0, 0]).mean().item(), rel=1e-4)
    assert loss.item() != pytest.approx(-log_probability(judged, [0, 0, 1, 1]).mean().item(), rel=1e-3)


def test_the_phases_leave_each_others_gradients_and_weights_alone():
    method = build("sass", adversarial_weight=1.0)
    state = state_of(method)
    batch = make_batch(method)

    adversary = snapshot(method.discriminator)
    _run_phase(state, [batch], "segment", None)
    assert gradients(method.discriminator) == [None] * len(list(method.discriminator.parameters()))
    assert all(g is not None for g in gradients(method.network))
    assert same(adversary, snapshot(method.discriminator))

    network, of_network = snapshot(method.network), gradients(method.network)
    _run_phase(state, [batch], "discriminate", None)
    assert same(network, snapshot(method.network)) and same(of_network, gradients(method.network))
    assert all(g is not None and g.abs().sum() > 0 for g in gradients(method.discriminator))
    assert not same(adversary, snapshot(method.discriminator))

    adversary, of_adversary = snapshot(method.discriminator), gradients(method.discriminator)
    _run_phase(state, [batch], "segment", None)
    assert same(adversary, snapshot(method.discriminator)) and same(of_adversary, gradients(method.discriminator))
    assert not same(network, snapshot(method.network))


def test_the_adversarial_loss_reaches_the_distance_head_through_unlabelled_patches_alone():
    method = build("sass").eval()
    batch = make_batch(method)
    labelled, unlabelled = batch.labelled_images.requires_grad_(), batch.unlabelled_images.requires_grad_()
    losses = method.training_step(batch, STEP, "segment")
    of_labelled, of_unlabelled = torch.autograd.grad(losses["adversarial"], (labelled, unlabelled), retain_graph=True)
    assert not of_labelled.any() and of_unlabelled.any()
    head = method.network.signed_distance[0].weight
    assert torch.autograd.grad(losses["adversarial"], head, retain_graph=True)[0].any()
    for name in ("segmentation", "distance"):
        assert not torch.autograd.grad(losses[name], unlabelled, retain_graph=True)[0].any()


def test_the_discriminator_sees_eval_mode_predictions_of_the_weights_just_updated():
    method = build("sass")
    state = state_of(method)
    batch = make_batch(method)
    before = copy.deepcopy(method.network).eval()
    seen = []
    method.discriminator.register_forward_pre_hook(lambda m, inputs: seen.append((m.training, *inputs)))

    _run_phase(state, [batch], "segment", None)
    updated = copy.deepcopy(method.network)
    _run_phase(state, [batch], "discriminate", None)

    (training, maps, images), (training_later, maps_later, images_later) = seen
    assert training is False and maps.requires_grad and torch.equal(images, batch.unlabelled_images)
    assert training_later is True and not maps_later.requires_grad
    everything = torch.cat([batch.labelled_images, batch.unlabelled_images])
    assert torch.equal(images_later, everything)
    with torch.no_grad():
        assert torch.equal(maps_later, updated.eval()(everything).signed_distance)
        assert not torch.allclose(maps_later, before(everything).signed_distance, atol=1e-6)
        assert not torch.allclose(maps_later, updated.train()(everything).signed_distance, atol=1e-3)


def test_optimisers_are_the_published_ones():
    state = state_of(build("sass"))
    assert list(state.optimizers) == ["segment", "discriminate"]
    segment, discriminate = state.optimizers.values()
    assert isinstance(segment, torch.optim.SGD) and isinstance(discriminate, torch.optim.Adam)
    assert (segment.defaults["lr"], segment.defaults["momentum"], segment.defaults["weight_decay"]) == (0.01, 0.9, 1e-4)
    assert not segment.defaults["nesterov"]
    defaults = discriminate.defaults
    assert (defaults["lr"], defaults["betas"], defaults["weight_decay"]) == (1e-4, (0.9, 0.99), 0)
    assert [optimizer for optimizer, _ in state.scheduled] == [segment]  # Adam's rate is constant


@torch.no_grad()
def test_the_segmentation_head_predicts():
    method = build("sass").eval()
    x = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(method.predict(x), torch.sigmoid(method.network(x).logits))
