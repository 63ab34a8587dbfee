"""CAML: its losses written a second time in numpy, its memory of labelled voxels, and its attention."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from helpers.second_writing import FixedNetwork, as_numpy, random_logits, sigmoid, slopes
from helpers.tiny_methods import build, make_batch, no_dropout

from methods.caml import CAML, CrossModalAttention
from methods.shared.networks.backbone import Backbone
from methods.shared.networks.network import NetworkError, Parts, SegmentationNetwork
from methods.shared.schedules import Schedule
from methods.shared.voxel_memory import VoxelMemory, best_within

SIZE = (8, 8, 8)
SMALL = {"memory": 3, "queries": 20, "embedding": 4}
RAMP = {0: 0.006737946999085467, 50: 0.2865047968601901, 99: 0.9968798775}  # exp(-5 (1 - e/40)²), e = 40 step // 100


def fixed(seed=0):
    """CAML whose networks have fixed outputs, and a batch."""
    method = no_dropout(build("caml", iterations=100, **SMALL)).train()
    networks = [
        FixedNetwork(random_logits(4, 1, *SIZE, seed=seed + i), features=random_logits(4, 2, *SIZE, seed=seed + 10 + i))
        for i in range(2)
    ]
    networks[0].dropout = torch.nn.Identity()
    method.vanilla = networks[0]
    method.__dict__["_attended"] = networks[1]  # before the class's own
    batch = dataclasses.replace(make_batch(method, size=SIZE), labelled_ids=("a", "b"))
    return method, networks, batch


def perceptron(module, x, training):
    """Linear, batch norm, ReLU, linear."""
    first, norm, last = module[0], module[1], module[3]
    weights = as_numpy(first.weight, first.bias, last.weight, last.bias, norm.running_mean, norm.running_var)
    w, b, v, c, mean, variance = weights
    x = x @ w.T + b
    if training:
        mean, variance = x.mean(0), x.var(0)
    return np.maximum((x - mean) / np.sqrt(variance + norm.eps), 0) @ v.T + c


def correlation_in_numpy(method, memory, known):
    """The release's correlation consistency of the two unlabelled patches, from voxels in any order."""
    networks = method.vanilla, method._attended
    z, other = (network.logits[0].detach()[2:, 0].double().numpy() for network in networks)
    chosen = []
    for c in (0, 1):
        confidence = np.maximum(sigmoid(z), 1 - sigmoid(z))
        inside = ((z > 0) == c) & ((other > 0) == c)
        order = np.argsort(np.where(inside, -confidence, 1.0), axis=None)[: min(20, inside.sum())]
        assert inside.sum() > 20
        chosen += list(order)
    correlations = []
    for network, projection, prediction in zip(networks, method.projections, method.predictions, strict=True):
        features = network.features[2:].double().numpy().transpose(0, 2, 3, 4, 1).reshape(-1, 2)[chosen]
        queries = perceptron(prediction, perceptron(projection, features, True), True)
        logits = queries @ memory[known].reshape(-1, memory.shape[2]).T / 0.1
        exponents = np.exp(logits - logits.max(1, keepdims=True))
        correlations.append(exponents / exponents.sum(1, keepdims=True))
    of_vanilla, of_auxiliary = correlations
    return -(of_auxiliary * np.log(of_vanilla + 1e-8)).sum(1).mean()


@pytest.mark.parametrize("known", [[0, 1], [1]])
def test_the_correlation_consistency_in_numpy(known):
    method, networks, _ = fixed()
    memory = random_logits(2, 3, 4, seed=5)
    available = torch.zeros(2, dtype=torch.bool)
    available[known] = True
    method.memory.recall = lambda: (memory, available)
    labels = [(network.logits[0].detach()[:, 0] > 0).long() for network in networks]
    confidence = method.head.confidence(networks[0].logits[0].detach().sigmoid())[:, 0]
    voxels = [network.features.flatten(2).transpose(1, 2)[2:] for network in networks]
    found = method._correlation(voxels, labels[0][2:], labels[0][2:] == labels[1][2:], confidence[2:])
    assert found.item() == pytest.approx(correlation_in_numpy(method, memory.double().numpy(), known), rel=1e-3)


def test_without_a_memory_the_correlation_is_nothing_and_has_finite_gradients():
    method, _, batch = fixed()
    method._remember = lambda *_: None
    losses = method.training_step(batch, 50, "train")
    assert losses["correlation"] == 0
    losses["total"].backward()
    assert all(p.grad.isfinite().all() for p in method.projections.parameters())


@pytest.mark.parametrize("step", RAMP)
def test_the_other_losses_in_numpy_and_their_gradients(step):
    method, networks, batch = fixed()
    losses = method.training_step(batch, step, "train")
    correlation = losses["correlation"].item()
    [labels] = as_numpy(batch.labels)

    def loss(*logits):
        p = [sigmoid(z[:, 0]) for z in logits]
        sharp = [a**10 / (a**10 + (1 - a) ** 10) for a in p]
        dice = [1 - (2 * (a[:2] * labels).sum() + 1e-8) / (a[:2].sum() + labels.sum() + 1e-8) for a in p]
        consistency = ((p[0] - sharp[1]) ** 2).mean() + ((p[1] - sharp[0]) ** 2).mean()
        return 0.5 * sum(dice) + RAMP[step] * (consistency + 0.05 * correlation)

    logits = [network.logits[0] for network in networks]
    assert losses["total"].item() == pytest.approx(loss(*as_numpy(*logits)), rel=1e-4)
    exact, expected = slopes(losses["total"], logits, loss)  # correlations do not depend on logits
    assert exact == pytest.approx(expected, rel=1e-3)


def test_the_memory_holds_voxels_that_both_get_right_of_the_latest_patch_of_each_case():
    method, networks, batch = fixed()
    z, other, labels = networks[0].logits[0][:2, 0] > 0, networks[1].logits[0][:2, 0] > 0, batch.labels > 0
    projections = copy.deepcopy(method.projections)  # with the statistics of before the step
    method.training_step(batch, 0, "train")
    assert (method.memory.owners >= 0).sum() == 2
    for slot in range(2):
        for c in (0, 1):
            right = ((z[slot] == labels[slot]) & (other[slot] == labels[slot]) & (labels[slot] == c)).flatten()
            assert method.memory.counts[slot, c].sum().item() == pytest.approx(right.sum().item())
            projected = [
                perceptron(p, n.features[slot].flatten(1).T[right].double().numpy(), False)
                for p, n in zip(projections, networks, strict=True)
            ]
            candidates = torch.from_numpy(sum(projected) / 2).float()
            for voxel in method.memory.voxels[slot, c]:
                assert (candidates - voxel).abs().amax(1).min() < 1e-3
    before = method.memory.voxels.clone()
    method.training_step(dataclasses.replace(batch, labelled_ids=("b", "c")), 1, "train")
    changed = (method.memory.voxels != before).flatten(1).any(1)
    assert changed.nonzero().flatten().tolist() == [1, 2] and method.memory.ages[:3].tolist() == [0, 1, 1]


def test_the_oldest_case_leaves_a_full_memory():
    method, _, batch = fixed()
    method.memory.owners.fill_(7)
    method.memory.ages.copy_(torch.arange(128).roll(5))  # the oldest is in slot 5, the next one in slot 6
    method.training_step(batch, 500, "train")
    assert (method.memory.owners != 7).nonzero().flatten().tolist() == [5, 6]


def test_voxels_are_recalled_by_how_many_they_stand_for():
    method, _, _ = fixed()
    method.memory.counts[0, 0], method.memory.counts[1, 0], method.memory.counts[2, 1] = 1e6, 1.0, 1.0
    method.memory.voxels[0], method.memory.voxels[1], method.memory.voxels[2] = 1, 2, 3
    torch.manual_seed(0)
    memory, known = method.memory.recall()
    assert known.tolist() == [True, True] and memory.shape == (2, 3, 4)
    assert (memory[0] == 1).all() and (memory[1] == 3).all()
    method.memory.counts[2, 1, 0] = 0
    assert method.memory.recall()[1].tolist() == [True, False]


def test_the_best_of_a_mask_repeat_where_there_are_fewer():
    score, mask = torch.tensor([0.9, 0.1, 0.5, 0.7]), torch.tensor([False, True, True, True])
    found, valid = best_within(mask, score, 2)
    assert found.tolist() == [3, 2] and valid.tolist() == [True, True]
    found, valid = best_within(mask, score, 6)
    assert found.tolist() == [3, 2, 1, 3, 2, 1] and valid.tolist() == [True] * 3 + [False] * 3
    found, valid = best_within(torch.zeros_like(mask), score, 4)
    assert sorted(found.tolist()) == [0, 1, 2, 3] and not valid.any()


def test_memory_and_queries_have_features_after_dropout():
    method, networks, batch = fixed()
    networks[0].dropout = torch.nn.Dropout3d(1.0)  # none is left
    seen = []
    method._remember = lambda voxels, *_: seen.extend(voxels)
    method._correlation = lambda voxels, *_: seen.extend(voxels) or torch.zeros(())
    method.training_step(batch, 0, "train")
    assert len(seen) == 4 and not any(voxels.any() for voxels in seen)


def test_attention_changes_a_level_before_the_next_in_training_alone():
    method = no_dropout(build("caml", **SMALL)).train()
    seen = []
    method.attention.register_forward_hook(lambda module, inputs, output: seen.append(output) or 0 * output)
    encoded = []
    method.auxiliary.decode = lambda levels, size, **_: encoded.extend(levels)
    method._attended(torch.randn(2, 1, 32, 32, 32))
    assert encoded[3].abs().max() == 0 and encoded[3].shape == (2, 16, 4, 4, 4) and len(seen) == 1
    torch.testing.assert_close(*encoded[4])  # the deepest level of both patches has seen zeros
    attention, x = CrossModalAttention(8), torch.randn(2, 8, 3, 4)
    assert attention.eval()(x) is x and attention.train()(x).shape == x.shape


def test_the_patches_of_a_batch_meet_in_attention():
    attention = CrossModalAttention(8)
    for layer in attention.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    attention.within.self_attn.dropout = attention.across.self_attn.dropout = 0.0
    x = torch.randn(2, 8, 3, 4).requires_grad_()
    gradient = torch.autograd.grad(attention.train()(x)[0, :, 0, 0].square().sum(), x)[0].abs().sum(1)
    assert (gradient > 0).all()  # places of its own patch, and those of the other one


def test_a_network_that_does_not_say_its_encoders_channels_is_refused():
    parts = Parts(torch.nn.Identity(), lambda upsampling: torch.nn.Identity(), channels=(2,), multiple=1)
    network = SegmentationNetwork("mine", parts, dimensions=3, classes=1, channels=1)
    with pytest.raises(NetworkError, match="mine does not say the channels"):
        _ = network.encoder_channels


@pytest.mark.parametrize("name", ["vnet", "resvnet", "unet_2d", "unet_3d"])
def test_encoders_say_their_channels_and_let_each_level_be_changed(name):
    network = Backbone(width=2, network=name)().eval()
    levels = []
    encoded = network.encode(torch.zeros(1, 1, 32, 32, 32), lambda level, x: levels.append((level, x.shape[1])) or x)
    assert levels == list(enumerate(network.encoder_channels)) and len(encoded) == len(levels)


@torch.no_grad()
def test_the_network_without_attention_predicts():
    method = build("caml", **SMALL).eval()
    images = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(method.predict(images), method.vanilla(images).logits.sigmoid())


@pytest.mark.parametrize("network", ["vnet", "unet_2d", "unet_3d"])
def test_the_networks_differ_in_upsampling(network):
    method = CAML(CAML.Settings(**SMALL), Backbone(width=2, network=network), Schedule(100))
    layers = [[type(layer) for layer in n.decoders.modules()] for n in (method.vanilla, method.auxiliary)]
    assert layers[0] != layers[1]


def test_a_slice_leaves_what_the_memory_has_of_other_slices_of_its_case():
    memory = VoxelMemory(classes=1, size=2, features=3)
    for part, value in [(4, 1.0), (5, 2.0), (4, 3.0)]:
        slot = memory.slot("a", step=part, part=torch.tensor(part))
        memory.store(slot, 0, torch.full((2, 3), value), torch.tensor([True, True]), count=torch.tensor(9))
    assert memory.voxels[memory.counts > 0].unique().tolist() == [2.0, 3.0]
