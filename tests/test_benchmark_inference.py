"""Sliding windows, the mean over them, and labels on a case's own grid."""

import math
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from benchmark.records.protocol import Evaluation, Training
from benchmark.trial.inference import fold_batch_norm, label_map, predict_volume, window_starts, windows
from benchmark.trial.scoring import predict_labels, score_case
from data.cache import prepare
from data.sources import PhantomSettings
from methods.shared.networks.backbone import Backbone


def vnet(classes=1, width=16, amp_dtype=None, **asked):
    return Backbone(classes, width, amp_dtype)(**asked)


CPU = torch.device("cpu")


def released_starts(size, patch, stride):
    """As the UA-MT release loops: sx = ceil((size - patch) / stride) + 1 windows, the last one pushed back inside."""
    return [min(stride * x, size - patch) for x in range(math.ceil((size - patch) / stride) + 1)]


def test_the_published_volumes_have_three_windows_along_z():
    assert window_starts(88, 80, 4) == [0, 4, 8]


@pytest.mark.parametrize("patch", [1, 5, 16])
def test_starts_are_those_of_the_release_and_leave_no_gap(patch):
    for size in range(patch, patch + 25):
        for stride in range(1, patch + 1):
            starts = window_starts(size, patch, stride)
            assert starts == released_starts(size, patch, stride)
            assert {start + i for start in starts for i in range(patch)} == set(range(size))


def test_a_volume_no_larger_than_the_patch_has_one_window():
    assert window_starts(16, 16, 4) == window_starts(9, 16, 4) == [0]


def test_the_official_test_set_has_1128_windows():
    root = os.environ.get("SEMISEG_LA")
    if not root:
        pytest.skip("SEMISEG_LA is not set")
    lists = Path(__file__).parents[1] / "data" / "lists"
    ids = [line.split("/")[0].strip() for line in (lists / "la_test.list").read_text().split()]
    files = [Path(root) / "2018LA_Seg_Training Set" / case_id / "mri_norm2.h5" for case_id in ids]
    if missing := sum(not file.is_file() for file in files):
        pytest.skip(f"{missing} of the {len(ids)} official test cases are not in SEMISEG_LA")
    counts = []
    for file in files:
        with h5py.File(file) as case:
            counts.append(len(windows(case["image"].shape, (112, 112, 80), (18, 18, 4))))
    assert sum(counts) == 1128 and min(counts) == 45 and max(counts) == 84


class Uneven(nn.Module):
    """A network whose output depends on where in the window a voxel lies, so that no wrong offset goes unseen."""

    def __init__(self, patch, classes):
        super().__init__()
        noise = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn((classes, *patch), generator=noise), requires_grad=False)
        self.calls = []

    def forward(self, images):
        self.calls.append(len(images))
        return (images * self.weight + 0.3 * images.roll(1, 2)).sigmoid()

    predict = forward


def brute_force(network, image, patch, stride):
    """The mean at every voxel of all windows that hold it, one window at a time and in double precision."""
    low = [max(p - n, 0) // 2 for n, p in zip(image.shape, patch, strict=True)]
    full = [max(n, p) for n, p in zip(image.shape, patch, strict=True)]
    inside = tuple(slice(a, a + n) for a, n in zip(low, image.shape, strict=True))
    volume = np.zeros(full, np.float32)
    volume[inside] = image
    total, visits = 0.0, np.zeros(full)
    for x in released_starts(full[0], patch[0], stride[0]):
        for y in released_starts(full[1], patch[1], stride[1]):
            for z in released_starts(full[2], patch[2], stride[2]):
                area = (slice(x, x + patch[0]), slice(y, y + patch[1]), slice(z, z + patch[2]))
                window = network.predict(torch.from_numpy(volume[area])[None, None])[0].double().numpy()
                placed = np.zeros((len(window), *full))
                placed[(slice(None), *area)] = window
                total = total + placed
                visits[area] += 1
    return (total / visits)[(slice(None), *inside)]


@pytest.mark.parametrize("window_batch", [1, 4])
@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize(
    ("shape", "stride"),
    [((8, 6, 10), (3, 2, 4)), ((5, 3, 7), (8, 6, 10)), ((8, 13, 4), (3, 5, 4)), ((17, 9, 15), (3, 6, 4))],
    ids=["as the patch", "smaller", "mixed", "larger"],
)
def test_probabilities_are_the_mean_over_all_windows(shape, stride, classes, window_batch):
    patch = (8, 6, 10)
    image = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    network = Uneven(patch, classes)
    found = predict_volume(network.predict, image, classes, patch, stride, window_batch, CPU)
    assert max(network.calls) <= window_batch
    assert found.shape == (classes, *shape) and found.dtype == np.float32
    np.testing.assert_allclose(found, brute_force(network, image, patch, stride), rtol=0, atol=1e-5)


def test_a_limit_of_windows_is_kept():
    network = Uneven((8, 6, 10), 1)
    image = np.zeros((20, 20, 20), np.float32)
    predict_volume(network.predict, image, 1, (8, 6, 10), (4, 3, 5), 4, CPU, max_windows=1)
    assert network.calls == [1]


def test_a_label_is_the_likeliest_class_above_one_half():
    probabilities = np.array([[0.6, 0.5, 0.7, 0.2, 0.51], [0.4, 0.5, 0.8, 0.3, 0.9]], np.float32).reshape(2, 5, 1, 1)
    labels = label_map(probabilities, (5, 1, 1))
    assert labels.dtype == np.uint8 and labels.ravel().tolist() == [1, 0, 2, 0, 2]


@pytest.mark.parametrize(("amp_dtype", "tolerance"), [(None, 1e-5), (torch.bfloat16, 5e-3)])
@pytest.mark.parametrize("upsampling", ["transposed", "linear"])
def test_folded_batch_norm_predicts_the_same_and_leaves_the_network_alone(amp_dtype, tolerance, upsampling):
    torch.manual_seed(0)
    network = vnet(width=4, decoders=(upsampling,), signed_distance=True, amp_dtype=amp_dtype)
    images = torch.randn(2, 1, 48, 32, 32)
    with torch.no_grad():
        for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm3d)):
            norm.weight.uniform_(0.5, 2)
            norm.bias.uniform_(-0.5, 0.5)
        for _ in range(5):
            network(images + torch.randn_like(images))  # statistics
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in folded.modules())
    with torch.inference_mode():
        found, expected = folded(images), network(images)
        assert (found.logits.sigmoid() - expected.logits.sigmoid()).abs().mean() < tolerance
        assert (found.signed_distance - expected.signed_distance).abs().mean() < tolerance
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Ramp(nn.Module):
    """Probability rises along x of the training grid: p = 0.2 + (i + 0.5) / 16, and 1 where that is more."""

    def __init__(self):
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(1))

    def predict(self, images):
        ramp = (0.2 + (torch.arange(16) + 0.5) / 16).clamp(max=1)
        return ramp.view(1, 1, 16, 1, 1).expand(len(images), 1, 16, *images.shape[3:])


def test_a_case_is_graded_on_its_own_grid():
    settings = PhantomSettings(source="phantom", train=1, test=1, size=(32, 32, 32), spacing=2.5)
    dataset = prepare(settings)
    case = dataset.native("test-000")
    grid = dataset.image("test-000").shape
    assert grid != case.image.shape and grid[0] >= 16
    evaluation = Evaluation(stride=(16, 16, 16))
    patch = (grid[0], 16, 16)

    class Fitting(Ramp):
        def predict(self, images):
            ramp = (0.2 + (torch.arange(grid[0]) + 0.5) / grid[0]).clamp(max=1)
            return ramp.view(1, 1, -1, 1, 1).expand(len(images), 1, *patch)

    labels = predict_labels(Fitting(), dataset, "test-000", Training(patch=patch), evaluation, 4)
    assert labels.shape == case.label.shape
    # The same physical ramp at the native voxels' centres: the two volumes share their outer faces.
    n = case.image.shape[0]
    expected = 0.2 + (np.arange(n) + 0.5) / n > 0.5
    assert 0 < expected.sum() < n
    assert np.array_equal(labels, np.broadcast_to(expected[:, None, None], labels.shape))
    rows = score_case(labels, case, 1, evaluation)
    counts = {row["value"] for row in rows if row["metric"] == "reference"}
    assert counts == {float(np.count_nonzero(case.label))}
    assert {row["postprocessing"] for row in rows} == {"none", "largest_component"}
