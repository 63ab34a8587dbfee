"""Intensity augmentation and CutMix: what a setting does, and that seeds alone decide it."""

import pytest
import torch

from benchmark.contract.small_training import SmallTraining
from data.intensity import STRONG, Intensity
from methods.shared.cutmix import beta_boxes, paste, random_box, random_boxes
from methods.shared.intensity import change_intensity

ALWAYS = {"probability": 1.0, "blur_probability": 1.0, "noise_probability": 1.0}


def images(size=(12, 10, 8)):
    return torch.randn(4, 2, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(12, 10), (12, 10, 8)])
@pytest.mark.parametrize(
    "strength",
    [
        {"brightness": 0.5},
        {"contrast": 0.5},
        {"gamma": 0.5},
        {"bias_field": 0.5},
        {"blur": (1, 2)},
        {"noise": (0.1, 1)},
    ],
)
def test_each_kind_changes_every_image_by_itself(size, strength):
    given = images(size)
    torch.manual_seed(0)
    changed = change_intensity(given, Intensity(**strength, **ALWAYS))
    torch.manual_seed(0)
    assert changed.equal(change_intensity(given, Intensity(**strength, **ALWAYS)))
    assert changed.shape == given.shape and changed.isfinite().all()
    differences = (changed - given).flatten(1)
    assert (differences.abs().amax(1) > 1e-3).all()
    assert len({round(d.abs().mean().item(), 6) for d in differences}) == 4  # strengths of their own


def test_brightness_shifts_by_deviations_and_contrast_keeps_the_mean():
    given = images()
    shift = change_intensity(given, Intensity(brightness=0.5, **ALWAYS)) - given
    deviation = given.std((1, 2, 3, 4))
    assert (shift.std((1, 2, 3, 4)) < 1e-5).all() and (shift.mean((1, 2, 3, 4)).abs() <= 0.5 * deviation).all()
    scaled = change_intensity(given, Intensity(contrast=0.5, **ALWAYS))
    torch.testing.assert_close(scaled.mean((1, 2, 3, 4)), given.mean((1, 2, 3, 4)), atol=1e-5, rtol=0)
    ratio = scaled.std((1, 2, 3, 4)) / deviation
    assert ((ratio > 0.499) & (ratio < 1.501)).all()


def test_gamma_and_bias_keep_the_range_in_order():
    given = images()
    changed = change_intensity(given, Intensity(gamma=0.5, **ALWAYS))
    for before, after in zip(given, changed, strict=True):
        assert (after.flatten()[before.flatten().argsort()].diff() > -1e-5).all()
        torch.testing.assert_close(torch.stack(before.aminmax()), torch.stack(after.aminmax()))


def test_a_blur_is_a_gaussian_and_keeps_constants():
    constant = torch.full((2, 1, 9, 9, 9), 3.0)
    torch.testing.assert_close(change_intensity(constant, Intensity(blur=(1, 1), **ALWAYS)), constant)
    point = torch.zeros(1, 1, 15, 15)
    point[..., 7, 7] = 1
    blurred = change_intensity(point, Intensity(blur=(1, 1), **ALWAYS))[0, 0]
    offsets = torch.arange(-7.0, 8.0)
    variance = (blurred.sum(1) * offsets.square()).sum() / blurred.sum()
    assert blurred.sum().item() == pytest.approx(1, abs=1e-5) and variance.item() == pytest.approx(1, abs=0.03)


def test_a_probability_leaves_some_images_alone():
    torch.manual_seed(0)
    given = images().repeat(50, 1, 1, 1, 1)
    changed = change_intensity(given, Intensity(brightness=0.5, probability=0.3))
    share = (changed != given).flatten(1).any(1).float().mean().item()
    assert share == pytest.approx(0.3, abs=0.1)


def test_a_box_has_its_sides_and_stays_inside():
    torch.manual_seed(0)
    for _ in range(50):
        box = random_box((8, 6, 5), sides=(3, 6, 2))[0, 0]
        inside = box.nonzero()
        assert box.sum() == 3 * 6 * 2 and (inside.amax(0) - inside.amin(0) + 1).tolist() == [3, 6, 2]


@pytest.mark.parametrize("through_depth", [False, True])
def test_boxes_take_the_share_that_is_asked_for(through_depth):
    torch.manual_seed(0)
    boxes = random_boxes(torch.zeros(200, 1, 32, 32, 32), 0.5, (0.02, 0.4), (0.5, 2.0), through_depth)
    share = boxes.mean((1, 2, 3, 4))
    drawn = share[share > 0]
    assert 70 < len(drawn) < 130 and drawn.min() > 0.01 and drawn.max() < 0.45
    assert drawn.mean().item() == pytest.approx(0.21, abs=0.04)
    if through_depth:
        assert boxes.amax((2, 3))[share > 0].eq(1).all()


@pytest.mark.parametrize("size", [(32, 24), (32, 24, 16)])
def test_beta_boxes_share_their_sides_and_are_cut_at_the_border(size):
    torch.manual_seed(0)
    whole = []
    for _ in range(40):
        boxes = beta_boxes(torch.zeros(4, 1, *size))[:, 0]
        sides = torch.stack([(box.nonzero().amax(0) - box.nonzero().amin(0) + 1) for box in boxes])
        assert torch.equal(boxes.flatten(1).sum(1), sides.prod(1).float())
        largest = sides.amax(0)
        assert (largest <= torch.tensor(size)).all() and (sides <= largest).all()
        whole.append(sides.float().mean(0) / torch.tensor(size))
    # sqrt(1 - s) is 0.7 in the mean, of which the border takes about a quarter
    assert torch.stack(whole).mean().item() == pytest.approx(0.52, abs=0.08)


def test_pasting_takes_each_voxel_from_one_image():
    torch.manual_seed(0)
    one, other = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    boxes = random_boxes(one, probability=1)
    assert paste(one, other, boxes).equal(boxes.expand(-1, 3, -1, -1))


def test_weak_intensity_changes_batches_and_resumes_alike():
    weak = STRONG.model_dump()
    plain = SmallTraining("vnet").run().history()
    one = SmallTraining("vnet", weak_intensity=weak).run().history()
    assert one == SmallTraining("vnet", weak_intensity=weak).run().history() != plain
