"""What the speed benchmark races against computes what the harness computes; nothing is timed here."""

import numpy as np
import pytest
import torch
from speed import reference

from benchmark.trial.inference import predict_volume
from benchmark.trial.metrics import case_metrics
from data.augment import crop_patch
from data.phantom import PhantomSettings, PhantomSource
from methods.shared import registry
from methods.shared.method import Batch
from methods.shared.networks.backbone import Backbone
from methods.shared.schedules import Schedule
from methods.shared.signed_distance import signed_distance_map

PATCH, WIDTH, STEPS, STEP = (32, 16, 16), 2, 6000, 4000


@pytest.fixture(scope="module")
def case():
    return PhantomSource(PhantomSettings(source="phantom", size=(32, 32, 24))).read("train-000")


@pytest.fixture
def batch(case):
    rng = np.random.default_rng(0)
    crops = [crop_patch(case.image, case.label, PATCH, "uamt_exact", rng) for _ in range(4)]
    images, labels = zip(*crops, strict=True)
    return torch.from_numpy(np.stack(images)[:, None]), torch.from_numpy(np.stack(labels))


def ours(name):
    torch.manual_seed(0)
    return registry.get(name)(registry.settings_of(name, {}), Backbone(1, WIDTH), Schedule(STEPS)).train()


def with_our_weights(name, method, **options):
    """The reference loop with the method's weights; of two softmax channels the first is 0."""
    loop = reference.LOOPS[name](WIDTH, STEPS, **options)
    for plain, shared in zip(loop.networks, method.children(), strict=True):
        for target, source in zip(plain.state_dict().values(), shared.state_dict().values(), strict=True):
            source = torch.atleast_1d(source)
            torch.atleast_1d(target.zero_())[-len(source) :] = source
    return loop


def step_of_ours(name, method, images, labels):
    labelled = reference.LOOPS[name].labelled
    arrays = {"labels": labels[:labelled].numpy()}
    extra_arrays = {key: torch.from_numpy(make(arrays, None)) for key, make in method.extra_arrays().items()}
    batch = Batch(images[:labelled], labels[:labelled], images[labelled:], extra_arrays)
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.01, 0.9, weight_decay=1e-4)
    loss = method.training_step(batch, STEP, "train")
    loss["total"].backward()
    optimizer.step()
    method.after_step(STEP)
    return loss["total"].item()


@pytest.mark.parametrize(
    ("name", "options"), [("vnet", {}), ("ua_mt", {}), ("dtc", {}), ("dtml", {}), ("dtml", {"back_twice": False})]
)
def test_a_step_has_the_same_loss_and_leads_to_the_same_weights(name, options, batch):
    images, labels = batch
    method = ours(name)
    loop = with_our_weights(name, method, **options)
    torch.manual_seed(1)
    expected = step_of_ours(name, method, images, labels)
    torch.manual_seed(1)
    assert loop.step(images, labels.long(), STEP) == pytest.approx(expected, rel=1e-5)
    for plain, shared in zip(loop.networks, method.children(), strict=True):
        first, second = next(plain.parameters()), next(shared.parameters())
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-6)


def test_the_same_windows_are_averaged(case):
    method = ours("vnet").eval()
    loop = with_our_weights("vnet", method)
    stride = (9, 7, 5)
    found = predict_volume(method.predict, case.image, 1, PATCH, stride, 4, torch.device("cpu"))
    np.testing.assert_allclose(reference.predict_case(loop, case.image, PATCH, stride), found[0], atol=1e-5)


def test_the_same_distance_map(case):
    mask = case.label[:, 8:24] == 1
    np.testing.assert_allclose(reference.distance_map(mask), signed_distance_map(mask), atol=1e-6)


def test_the_same_metrics(case):
    moved = np.roll(case.label, 3, 0)
    rows = case_metrics(moved, case.label, 1, case.spacing, "worst", 2.0)
    expected = reference.case_metrics(moved == 1, case.label == 1)
    found = {row["metric"]: row["value"] for row in rows if row["unit"] in ("", "voxel")}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_crops_are_of_the_file(case, tmp_path):
    reference.write_h5(tmp_path / "case.h5", case.image, case.label)
    images, labels = reference.Loader([tmp_path / "case.h5"] * 4, PATCH).batch()
    assert images.shape == (4, 1, *PATCH) and labels.shape == (4, *PATCH)
    assert set(labels.unique().tolist()) == {0, 1} and np.isin(images.numpy(), np.append(case.image, 0)).all()
