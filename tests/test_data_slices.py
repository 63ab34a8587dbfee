"""Slices and overlapping crops: what a batch of a 2D protocol holds, and how slices are predicted."""

import numpy as np
import pytest
import torch

from benchmark.trial.inference import predict_volume
from data.augment import Placement, place_beside
from data.batches import PatchStream

CPU = torch.device("cpu")
SHAPES = {"a": (20, 18, 5), "b": (17, 21, 3), "c": (20, 20, 4), "d": (16, 16, 6)}


class Numbered:
    """Every voxel has a value of its own: case, slice and place can be told from a patch."""

    channels = 1

    def image(self, case_id):
        volume = np.arange(np.prod(SHAPES[case_id]), dtype=np.float32).reshape(SHAPES[case_id])
        return volume + 1 + 1e5 * "abcd".index(case_id)

    def label(self, case_id):
        assert case_id in "ab", "the label of an unlabelled case was opened"
        return (Numbered.image(self, case_id) % 7).astype(np.uint8)


class TwoChannels(Numbered):
    channels = 2

    def image(self, case_id):
        volume = super().image(case_id)
        return np.stack([volume, -volume], -1)


def stream(dataset=None, patch=(16, 16), augmentation="crop", **more):
    return PatchStream(dataset or Numbered(), ["a", "b"], ["c", "d"], 2, 2, patch, augmentation, 3, **more)


def test_an_epoch_goes_through_all_slices_of_labelled_cases():
    batches = stream()
    seen = [tuple(origin) for step in range(4) for origin in batches[step]["labelled_origins"][:, 2:].tolist()]
    pairs = [pair for step in range(4) for pair in zip(batches[step]["labelled_ids"], seen[2 * step :], strict=False)]
    assert len(set(pairs)) == 8  # of 5 + 3 slices, each once in an epoch of 4 steps
    assert {case_id for case_id, _ in pairs} == {"a", "b"}


@pytest.mark.parametrize("augmentation", ["crop", "uamt_exact", "acdc_2d"])
def test_labels_belong_to_their_slices(augmentation):
    batch = stream(augmentation=augmentation)[2]
    assert batch["labelled_images"].shape == (2, 1, 16, 16) and batch["labels"].shape == (2, 16, 16)
    images = batch["labelled_images"][:, 0]
    assert np.array_equal(batch["labels"], (images % 7).astype(np.uint8))


def test_ids_and_origins_say_where_a_patch_comes_from():
    batch = stream(patch=(16, 16, 3))[1]
    for i, (case_id, (x, y, z)) in enumerate(zip(batch["labelled_ids"], batch["labelled_origins"], strict=True)):
        expected = Numbered().image(case_id)[x : x + 16, y : y + 16, z : z + 3]
        assert np.array_equal(batch["labelled_images"][i, 0], expected)
    assert set(batch["unlabelled_ids"]) <= {"c", "d"}


@pytest.mark.parametrize("augmentation", ["crop", "uamt_exact", "d4"])
def test_overlapping_crops_agree_where_they_overlap(augmentation):
    shifted = 0
    for step in range(8):
        batch = stream(patch=(8, 8, 2), augmentation=augmentation, overlapping=True)[step]
        first = np.concatenate([batch["labelled_images"], batch["unlabelled_images"]])
        for one, other, shift in zip(first[:, 0], batch["overlapping_images"][:, 0], batch["shifts"], strict=True):
            assert (np.abs(shift) <= np.array([4, 4, 1])).all()
            both = [slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, one.shape, strict=True)]
            moved = [slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(shift, one.shape, strict=True)]
            assert np.array_equal(one[tuple(both)], other[tuple(moved)])
            shifted += bool(shift.any())
    assert shifted > 10


def test_a_second_crop_stays_inside_the_volume():
    rng = np.random.default_rng(0)
    for _ in range(100):
        second = place_beside(Placement(1, None, 0, (1, 4, 0)), (20, 18, 2), (16, 16, 2), rng)
        assert 0 <= second.start[0] <= 2 and 0 <= second.start[1] <= 4 and second.start[2] == 0


@pytest.mark.parametrize("patch", [(16, 16), (16, 16, 3)])
def test_channels_stay_together(patch):
    batch = stream(TwoChannels(), patch=patch, augmentation="uamt_exact")[0]
    assert batch["labelled_images"].shape == (2, 2, *patch)
    assert np.array_equal(batch["labelled_images"][:, 0], -batch["labelled_images"][:, 1])


def test_a_batch_is_a_function_of_seed_and_step():
    one, other = stream(augmentation="acdc_2d"), stream(augmentation="acdc_2d")
    for step in (5, 0, 3):
        for key, array in one[step].items():
            assert np.array_equal(array, other[step][key])


def test_slices_are_predicted_one_by_one():
    image = np.random.default_rng(0).random((9, 7, 4)).astype(np.float32)
    sizes = []

    def predict(patches):
        sizes.append(tuple(patches.shape[1:]))
        return patches

    found = predict_volume(predict, image, 1, (4, 4), (2, 2), 3, CPU)
    np.testing.assert_allclose(found[0], image, atol=1e-6)
    assert set(sizes) == {(1, 4, 4)}


def test_resized_slices_come_back_at_their_size():
    image = np.kron(np.random.default_rng(0).random((4, 3, 2)), np.ones((2, 2, 1))).astype(np.float32)
    found = predict_volume(lambda patches: patches, image, 1, (16, 12), (16, 12), 3, CPU, resizes=True)
    assert found.shape == (1, 8, 6, 2)
    np.testing.assert_array_equal(found[0], image)


def test_channels_reach_the_prediction_together():
    image = np.random.default_rng(0).random((6, 6, 4, 2)).astype(np.float32)
    found = predict_volume(lambda p: p.mean(1, keepdim=True), image, 1, (4, 4, 4), (2, 2, 2), 3, CPU)
    np.testing.assert_allclose(found[0], image.mean(-1), atol=1e-6)
