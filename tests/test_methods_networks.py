"""The V-Net against the released architecture written out anew, its openings, mixed precision, the discriminator."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from methods.shared.networks import autocast
from methods.shared.networks.autocast import Conv2d, Conv3d, ConvTranspose3d
from methods.shared.networks.backbone import Backbone
from methods.shared.networks.discriminators import DistanceMapDiscriminator
from methods.shared.networks.network import NetworkError


def vnet(classes=1, width=16, amp_dtype=None, **asked):
    return Backbone(classes, width, amp_dtype)(**asked)


CONVOLUTIONS = (1, 2, 3, 3, 3)  # of the five encoder blocks


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@torch.no_grad()
def liven(network, seed=0):
    """Batch norm as after training, in eval mode: statistics and affine parameters that make a difference."""
    torch.manual_seed(seed)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm3d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.1, 0.4)
            part.weight.uniform_(0.8, 1.4)
            part.bias.normal_(0.1, 0.1)
    return network.eval()


def images(batch, *size, seed=0):
    return torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(seed))


# The released V-Net as functions of a list of weights in the order of the forward pass.


def unit(x, weights, convolve):
    """Convolution, batch norm in eval mode, ReLU."""
    weight, bias, gamma, beta, mean, variance = (next(weights) for _ in range(6))
    x = convolve(x, weight, bias)
    mean, variance, gamma, beta = (v.view(1, -1, 1, 1, 1) for v in (mean, variance, gamma, beta))
    return torch.clamp((x - mean) / torch.sqrt(variance + 1e-5) * gamma + beta, min=0)


def conv3(x, weight, bias):
    return F.conv3d(x, weight, bias, padding=1)


def conv_down(x, weight, bias):
    return F.conv3d(x, weight, bias, stride=2)


def conv_up(x, weight, bias):
    return F.conv_transpose3d(x, weight, bias, stride=2)


def trilinear_up(x, weight, bias):
    return conv3(F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True), weight, bias)


def nearest_up(x, weight, bias):
    return conv3(x.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4), weight, bias)


UPSAMPLING = {"transposed": conv_up, "linear": trilinear_up, "nearest": nearest_up}


def released_encoder(x, weights):
    skips = []
    for level, convolutions in enumerate(CONVOLUTIONS):
        if level:
            x = unit(x, weights, conv_down)
        for _ in range(convolutions):
            x = unit(x, weights, conv3)
        skips.append(x)
    return skips


def released_decoder(skips, weights, up):
    x = skips[4]
    levels = []
    for skip, convolutions in zip(reversed(skips[:4]), reversed(CONVOLUTIONS[:4]), strict=True):
        x = unit(x, weights, up) + skip
        for _ in range(convolutions):
            x = unit(x, weights, conv3)
        levels.append(x)
    return levels


def weights_of(units):
    """Weights of (convolution, batch norm) pairs, in order."""
    for part in units:
        convolution, norm = (
            m for m in part.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d | nn.BatchNorm3d)
        )
        yield from (convolution.weight, convolution.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)


def encoder_units(network):
    encoder = network.encoder
    for level, block in enumerate(encoder.blocks):
        if level:
            yield encoder.downs[level - 1]
        yield from block


def decoder_units(network, index):
    for up, block in zip(network.decoders[index].ups, network.decoders[index].blocks, strict=True):
        yield up
        yield from block


def released(network, x, decoder=0, upsampling="transposed"):
    """The decoder's levels for `x`, computed as the release does with the weights of `network`."""
    skips = released_encoder(x, weights_of(encoder_units(network)))
    return released_decoder(skips, weights_of(decoder_units(network, decoder)), UPSAMPLING[upsampling])


def head(module, x):
    return torch.einsum("bixyz,oi->boxyz", x, module.weight[:, :, 0, 0, 0]) + module.bias.view(1, -1, 1, 1, 1)


@pytest.mark.parametrize(
    ("heads", "count"),
    [
        ({"segmentation": True, "signed_distance": True}, 9_448_866),
        ({"segmentation": True, "signed_distance": False}, 9_448_849),
        ({"segmentation": False, "signed_distance": True}, 9_448_849),
    ],
)
def test_the_published_number_of_parameters(heads, count):
    with torch.device("meta"):
        assert parameters(vnet(**heads)) == count


def test_two_channels_are_as_many_parameters_as_two_heads():
    with torch.device("meta"):
        assert parameters(vnet(classes=2)) == 9_448_866


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 16, 48), (16, 16, 16)])
def test_the_output_is_that_of_the_released_architecture(size):
    network = liven(vnet(width=3, signed_distance=True))
    x = images(2, *size)
    levels = released(network, x)
    output = network(x, features=True)
    assert output.logits.shape == (2, 1, *size) and output.logits.std() > 0.01
    torch.testing.assert_close(output.logits, head(network.segmentation[0], levels[-1]), rtol=1e-4, atol=1e-4)
    distance = torch.tanh(head(network.signed_distance[0], levels[-1]))
    torch.testing.assert_close(output.signed_distance, distance, rtol=1e-4, atol=1e-4)
    for feature, level in zip(output.features, levels, strict=True):
        torch.testing.assert_close(feature, level, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("change", ["skip before the ReLU", "no skip", "channels reversed"])
def test_the_comparison_would_notice_another_skip(change, monkeypatch):
    """The reference itself must be sharp: with the skips elsewhere its output is clearly another."""
    network = liven(vnet(width=3))
    x = images(1, 32, 32, 32)
    skips = released_encoder(x, weights_of(encoder_units(network)))
    weights = weights_of(decoder_units(network, 0))
    y = skips[4]
    for skip, convolutions in zip(reversed(skips[:4]), (3, 3, 2, 1), strict=True):
        if change == "skip before the ReLU":
            weight, bias, gamma, beta, mean, variance = (next(weights) for _ in range(6))
            y = F.batch_norm(conv_up(y, weight, bias), mean, variance, gamma, beta)
            y = torch.relu(y + skip)
        else:
            y = unit(y, weights, conv_up)
            y = y if change == "no skip" else y + skip.flip(1)
        for _ in range(convolutions):
            y = unit(y, weights, conv3)
    assert (network(x).logits - head(network.segmentation[0], y)).abs().max() > 1e-2


def test_channel_dropout_acts_after_the_deepest_block_and_before_the_heads_in_train_mode_alone():
    network = vnet(width=2)
    dropouts = [m for m in network.modules() if isinstance(m, nn.Dropout3d)]
    assert [m.p for m in dropouts] == [0.5, 0.5]
    x = images(2, 16, 16, 16)
    seen = {}
    network.encoder.dropout.register_forward_hook(lambda m, i, o: seen.update(deep=(i[0], o)))
    network.dropout.register_forward_hook(lambda m, i, o: seen.update(last=(i[0], o)))
    torch.manual_seed(0)
    output = network.train()(x, features=True)
    assert seen["deep"][0].shape == (2, 32, 1, 1, 1) and seen["last"][0].shape == (2, 2, 1, 1, 1)
    head = network.segmentation[0]
    torch.testing.assert_close(output.logits, F.conv3d(output.features[-1] * seen["last"][1], head.weight, head.bias))
    for before, after in seen.values():
        whole = [
            bool((a == 0).all()) or torch.equal(a, 2 * b)
            for a, b in zip(after.flatten(0, 1), before.flatten(0, 1), strict=True)
        ]
        assert all(whole)
    network.eval()(x)
    assert all(torch.equal(before, after) for before, after in seen.values())


@torch.no_grad()
@pytest.mark.parametrize("size", [(17, 20, 30), (16, 31, 16), (5, 16, 40)])
def test_other_sizes_are_padded_with_zeros_at_the_end_and_cropped_back(size):
    network = liven(vnet(width=2, signed_distance=True))
    x = images(2, *size)
    output = network(x)
    padded = torch.zeros(2, 1, *(-(-n // 16) * 16 for n in size))
    a, b, c = size
    padded[..., :a, :b, :c] = x
    whole = head(network.segmentation[0], released(network, padded)[-1])[..., :a, :b, :c]
    assert output.logits.shape == output.signed_distance.shape == (2, 1, *size)
    torch.testing.assert_close(output.logits, whole, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_decoder_features_have_the_published_shapes():
    with torch.device("meta"):
        output = vnet()(torch.empty(1, 1, 112, 112, 80), features=True)
    assert [tuple(f.shape) for f in output.features] == [
        (1, 128, 14, 14, 10), (1, 64, 28, 28, 20), (1, 32, 56, 56, 40), (1, 16, 112, 112, 80),
    ]  # fmt: skip


@torch.no_grad()
def test_what_is_not_asked_for_is_absent():
    output = vnet(width=2)(images(2, 16, 16, 16))
    assert output.signed_distance is None and output.level_logits == () and output.features == ()
    output = vnet(width=2, segmentation=False, signed_distance=True)(images(2, 16, 16, 16))
    assert output.logits is None and output.signed_distance.abs().max() < 1


@torch.no_grad()
def test_three_decoders_share_one_pass_of_the_encoder():
    kinds = ("transposed", "linear", "nearest")
    network = liven(vnet(width=2, classes=2, signed_distance=True, decoders=kinds))
    calls = []
    network.encoder.register_forward_hook(lambda *_: calls.append(1))
    x = images(1, 16, 32, 16)
    outputs = network.forward_decoders(x, features=True)
    assert len(calls) == 1 and len(outputs) == 3
    for i, (kind, output) in enumerate(zip(kinds, outputs, strict=True)):
        levels = released(network, x, i, kind)
        torch.testing.assert_close(output.logits, head(network.segmentation[i], levels[-1]), rtol=1e-4, atol=1e-4)
        distance = torch.tanh(head(network.signed_distance[i], levels[-1]))
        torch.testing.assert_close(output.signed_distance, distance, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(output.features[0], levels[0], rtol=1e-4, atol=1e-4)
    for a, b in itertools.combinations(outputs, 2):
        assert (a.logits - b.logits).abs().max() > 1e-3
    assert torch.equal(network(x).logits, outputs[0].logits)


def test_every_decoder_sends_a_gradient_to_the_encoder():
    network = liven(vnet(width=2, decoders=("transposed", "nearest")))
    gradients = []
    for i in range(2):
        network.zero_grad()
        network.forward_decoders(images(1, 16, 16, 16))[i].logits.sum().backward()
        gradients.append(network.encoder.blocks[0][0][0].weight.grad.clone())
        assert network.segmentation[1 - i].weight.grad is None
    assert all(g.abs().sum() > 0 for g in gradients) and not torch.allclose(*gradients)


@torch.no_grad()
def test_level_heads_give_a_full_size_map_of_each_decoder_level():
    network = liven(vnet(width=2, classes=2, level_dropout=(0.5, 0.3, 0.2, 0.1)))
    x = images(1, 32, 16, 32)
    output = network(x)
    assert [tuple(level.shape) for level in output.level_logits] == [(1, 2, 32, 16, 32)] * 4
    levels = released(network, x)
    for module, level, logits in zip(network.level_heads, levels[:3], output.level_logits[:3], strict=True):
        expected = F.interpolate(head(module, level), (32, 16, 32), mode="trilinear")
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(output.level_logits[3], output.logits)
    assert [m.p for m in network.level_dropout] + [network.dropout.p] == [0.5, 0.3, 0.2, 0.1]


@torch.no_grad()
def test_level_heads_are_cropped_back_too():
    output = vnet(width=2, level_dropout=(0.5, 0.3, 0.2, 0.1))(images(2, 17, 16, 20))
    assert [tuple(level.shape) for level in output.level_logits] == [(2, 1, 17, 16, 20)] * 4


@pytest.mark.parametrize(
    "openings",
    [{"level_dropout": (0.5,) * 5}, {"level_dropout": (0.1,) * 4, "segmentation": False}, {"decoders": ("bilinear",)}],
)
def test_openings_that_cannot_be_are_refused(openings):
    with pytest.raises(NetworkError, match="level_dropout|bilinear|not of 5"):
        vnet(width=2, **openings)


def test_the_backbone_gives_independent_networks_of_the_protocols_width_and_precision():
    backbone = Backbone(classes=2, width=3, amp_dtype=torch.bfloat16)
    a, b = backbone(), backbone(signed_distance=True)
    assert a.encoder.blocks[0][0][0].weight.shape[0] == 3 and a.segmentation[0].weight.shape[0] == 2
    assert a.amp_dtype == torch.bfloat16 and len(a.signed_distance) == 0 and len(b.signed_distance) == 1
    assert not torch.equal(a.segmentation[0].weight, b.segmentation[0].weight)


# Mixed precision


def test_the_trunk_runs_in_bf16_and_all_outputs_are_fp32():
    network = vnet(
        width=2, signed_distance=True, decoders=("transposed", "nearest"), level_dropout=(0.5,) * 4,
        amp_dtype=torch.bfloat16,
    )  # fmt: skip
    inside, at_heads = [], []
    network.encoder.blocks[0].register_forward_hook(lambda m, i, o: inside.append(o.dtype))
    network.decoders[0].blocks[-1].register_forward_hook(lambda m, i, o: inside.append(o.dtype))
    for heads in (network.segmentation, network.signed_distance, network.level_heads):
        for module in heads:
            module.register_forward_hook(lambda m, i, o: at_heads.append(o.dtype))
    outputs = network.forward_decoders(images(2, 48, 16, 16), features=True)
    assert set(inside) == {torch.bfloat16}
    assert set(at_heads) == {torch.float32} and len(at_heads) == 2 + 2 + 2 * 3
    for output in outputs:
        tensors = [output.logits, output.signed_distance, *output.level_logits, *output.features]
        assert {t.dtype for t in tensors} == {torch.float32}
    outputs[0].logits.sum().backward()
    assert {p.grad.dtype for p in network.parameters() if p.grad is not None} == {torch.float32}


def test_without_a_type_everything_is_fp32():
    network = vnet(width=2)
    inside = []
    network.encoder.blocks[2].register_forward_hook(lambda m, i, o: inside.append(o.dtype))
    network(images(2, 16, 16, 16))
    assert inside == [torch.float32]


@torch.no_grad()
def positive(network):
    """In eval mode, with positive weights that average their input: no sum cancels and no ReLU is near its kink, so
    that what rounding does to gradients stays small."""
    torch.manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.Conv3d | nn.ConvTranspose3d):
            sources = part.weight[0].numel() if isinstance(part, nn.Conv3d) else len(part.weight)
            part.weight.uniform_(0, 2 / sources)
            part.bias.zero_()
    return network.eval()


def gradients(network, loss):
    network.zero_grad()
    loss().backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def assert_close_to_fp32(network, loss):
    """The gradients of all convolutions under bf16 are those of fp32 up to rounding."""
    network.amp_dtype = None
    exact = gradients(network, loss)
    network.amp_dtype = torch.bfloat16
    rounded = gradients(network, loss)
    assert exact.keys() == rounded.keys()
    off = {name: ((rounded[name] - g).norm() / g.norm()).item() for name, g in exact.items() if g.dim() == 5}
    assert len(off) >= 5 and all(error < 0.05 for error in off.values()), off


@pytest.mark.parametrize("size", [(16, 16, 16), (32, 32, 16), (32, 16, 32), (17, 16, 16), (48, 32, 32)])
def test_bf16_gradients_are_those_of_fp32(size):
    # Patches of 16 or 32 along the first axis make a deep 3x3x3 convolution see a first axis of 2, where some CPUs
    # compute a bf16 weight gradient that is garbage.
    network = positive(vnet(width=4))
    x, weight = images(2, *size).abs(), images(2, *size, seed=1).abs()
    assert_close_to_fp32(network, lambda: (network(x).logits * weight).mean())


@pytest.mark.parametrize("layer", [Conv3d(3, 4, 3, padding=1), ConvTranspose3d(3, 4, 2, stride=2)])
def test_without_bf16_instructions_the_numbers_are_theirs(layer, monkeypatch):
    """Products of bf16 numbers, summed exactly (here in double precision), then rounded once."""
    monkeypatch.setattr(autocast, "CPU_HAS_BF16", False)
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 5, 4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(x)
    output.float().square().sum().backward()

    exact = copy.deepcopy(layer).double()
    with torch.no_grad():
        for parameter in exact.parameters():
            parameter.copy_(parameter.bfloat16())
    rounded = x.detach().bfloat16().double().requires_grad_()
    sums = exact(rounded)
    sums.backward(2 * output.detach().double())
    assert output.dtype == torch.bfloat16 and not torch.equal(output.float(), layer(x))
    assert (output == sums.bfloat16()).float().mean() > 0.99  # fp32's own sums turn a few of them
    exact_gradients = [rounded.grad, *(p.grad for p in exact.parameters())]
    for ours, theirs in zip([x.grad, *(p.grad for p in layer.parameters())], exact_gradients, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 1, 1), (4, 2, 1), (2, 2, 0)])
def test_padding_by_hand_gives_the_same_convolution(shape, monkeypatch):
    monkeypatch.setattr(autocast, "CPU_HAS_BF16", False)
    kernel, stride, padding = shape
    ours = Conv3d(3, 4, kernel, stride, padding).double()
    plain = torch.nn.Conv3d(3, 4, kernel, stride, padding).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 6, 4, 8, dtype=torch.float64, requires_grad=True)
    outputs = [layer(x) for layer in (ours, plain)]
    torch.testing.assert_close(*outputs)
    weight = torch.randn_like(outputs[0])
    gradients = [
        torch.autograd.grad((output * weight).sum(), [x, *layer.parameters()])
        for output, layer in zip(outputs, (ours, plain), strict=True)
    ]
    torch.testing.assert_close(*gradients)
    with torch.no_grad():  # where no gradient follows, nothing is padded
        torch.testing.assert_close(ours(x), plain(x))


def test_a_strided_convolution_of_one_pixel_has_the_right_gradients():
    layer = Conv2d(4, 8, 1, stride=2).to(memory_format=torch.channels_last)  # torch's own kills the process on AVX-512
    x = torch.randn(2, 4, 64, 64, requires_grad=True)
    y, kept = layer(x), x.detach()[:, :, ::2, ::2]
    expected = torch.einsum("oi,bihw->bohw", layer.weight[..., 0, 0], kept) + layer.bias[:, None, None]
    torch.testing.assert_close(y, expected)
    gradient = torch.randn_like(y)
    y.backward(gradient)
    expected = torch.einsum("bohw,bihw->oi", gradient, kept)
    torch.testing.assert_close(layer.weight.grad[..., 0, 0], expected, rtol=1e-4, atol=1e-3)
    spread = torch.zeros_like(x)
    spread[:, :, ::2, ::2] = torch.einsum("bohw,oi->bihw", gradient, layer.weight.detach()[..., 0, 0])
    torch.testing.assert_close(x.grad, spread, rtol=1e-4, atol=1e-5)


# SASSNet's discriminator


def test_the_discriminator_has_the_published_size_and_shapes():
    with torch.device("meta"):
        network = DistanceMapDiscriminator(3, 1, 1, width=64)
        assert parameters(network) == 11_020_290
        shapes = []
        network.trunk.register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape)))
        patch = torch.empty(4, 1, 112, 112, 80)
        assert network(patch, patch).shape == (4, 2)
    # What remains is the release's pooling kernel: pooling globally is the same.
    assert shapes == [(4, 512, 7, 7, 5)]


@torch.no_grad()
@pytest.mark.parametrize("classes", [1, 2])
def test_the_discriminator_is_the_released_one(classes):
    torch.manual_seed(0)
    network = DistanceMapDiscriminator(3, classes, 1, width=4).eval()
    maps, x = torch.rand(3, classes, 32, 48, 16) * 2 - 1, images(3, 32, 48, 16)
    convolutions = [m for m in network.trunk if isinstance(m, nn.Conv3d)]

    def convolve(module, value):
        return F.conv3d(value, module.weight, module.bias, stride=2, padding=1)

    y = convolve(network.map_entry, maps) + convolve(network.image_entry, x)
    for module in convolutions:
        y = convolve(module, torch.where(y > 0, y, 0.2 * y))
    y = torch.where(y > 0, y, 0.2 * y)
    expected = F.avg_pool3d(y, y.shape[2:]).flatten(1) @ network.head.weight.T + network.head.bias
    torch.testing.assert_close(network(maps, x), expected)
    assert [m.weight.shape[:2] for m in convolutions] == [(8, 4), (16, 8), (32, 16)]


def test_the_discriminators_dropout_acts_in_train_mode_alone():
    network = DistanceMapDiscriminator(3, 1, 1, width=4)
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout3d)] == [0.5] * 3
    maps, x = images(2, 16, 16, 16, seed=1), images(2, 16, 16, 16)
    assert not torch.equal(network.train()(maps, x), network(maps, x))
    assert torch.equal(network.eval()(maps, x), network(maps, x))


@pytest.mark.parametrize(
    "size",
    [
        (16, 16, 16), (32, 32, 16), (48, 48, 32),
        # Where a convolution's input is 2 along the second axis and 4 or more along the first, some CPUs compute a bf16
        # weight gradient that is garbage, or write outside of it: not run until it leaves autocast there.
        (32, 16, 16),
        (48, 20, 32),
    ],
)  # fmt: skip
def test_the_discriminators_bf16_gradients_are_those_of_fp32(size):
    network = positive(DistanceMapDiscriminator(3, 1, 1, width=16))
    maps, x = images(2, *size, seed=1).abs().tanh(), images(2, *size).abs()
    assert_close_to_fp32(network, lambda: network(maps, x)[:, 1].sum())


def test_the_discriminators_logits_are_fp32():
    network = DistanceMapDiscriminator(3, 1, 1, 4, torch.bfloat16)
    inside = []
    network.trunk.register_forward_hook(lambda m, i, o: inside.append(o.dtype))
    assert network(images(2, 32, 32, 32, seed=1), images(2, 32, 32, 32)).dtype == torch.float32
    assert inside == [torch.bfloat16]
