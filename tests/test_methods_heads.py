"""The heads against torch's own 1x1x1 convolution after its own channel dropout."""

import pytest
import torch
import torch.nn.functional as F

from methods.shared.networks import heads
from methods.shared.networks.heads import make_head


@pytest.mark.parametrize("chunk", [heads.CHUNK, 7])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_outputs_and_gradients_are_those_of_a_convolution(channels, dtype, memory_format, chunk, monkeypatch):
    monkeypatch.setattr(heads, "CHUNK", chunk)
    torch.manual_seed(0)
    head = make_head(3, 4, channels)
    features = torch.randn(2, 4, 3, 5, 2).to(dtype).contiguous(memory_format=memory_format).requires_grad_()
    scale = torch.tensor([[2.0, 0, 2, 0], [0, 2, 2, 2]]).view(2, 4, 1, 1, 1)
    upstream = torch.randn(2, channels, 3, 5, 2)

    ours = head(features, scale)
    found = torch.autograd.grad(ours, [features, *head.parameters()], upstream)
    expected = F.conv3d(features.float() * scale, head.weight, head.bias)
    gradients = torch.autograd.grad(expected, [features, *head.parameters()], upstream)

    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected)
    for ours, theirs in zip(found, gradients, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs)


def test_channels_last_features_are_neither_copied_nor_given_another_layout():
    features = torch.randn(2, 4, 3, 5, 2).contiguous(memory_format=torch.channels_last_3d)
    assert heads._by_voxel(features).data_ptr() == features.data_ptr()
    assert heads._by_channel(heads._by_voxel(features), features).stride() == features.stride()


def test_a_second_derivative_is_refused_instead_of_wrong():
    features = torch.randn(1, 2, 2, 2, 2, requires_grad=True)
    output = make_head(3, 2, 1)(features, torch.ones(1, 2, 1, 1, 1))
    (gradient,) = torch.autograd.grad(output.square().sum(), features, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()
