"""Batches are a function of (seed, step), and hold no label of an unlabelled case."""

import pickle
from collections import Counter

import numpy as np
import pytest

from data.batches import PatchStream
from data.case import DataError

LABELLED = [f"labelled-{i}" for i in range(6)]
UNLABELLED = [f"unlabelled-{i}" for i in range(9)]
PATCH = (6, 5, 4)


class FakeDataset:
    """Each image tells its case; asking for the label of an unlabelled case is an error."""

    def image(self, case_id):
        number = (LABELLED + UNLABELLED).index(case_id)
        return 100 * number + np.random.default_rng(number).random((9, 8, 6), dtype=np.float32)

    def label(self, case_id):
        assert case_id in LABELLED, "the label of an unlabelled case was opened"
        return (self.image(case_id) % 1 > 0.5).astype(np.uint8)


def noisy(batch, rng):
    assert set(batch) == {"labelled_images", "labels", "unlabelled_images"}
    return batch["unlabelled_images"] + rng.standard_normal(batch["unlabelled_images"].shape, dtype=np.float32)


def stream(labelled=LABELLED, unlabelled=UNLABELLED, b_l=2, b_u=2, seed=0, **more):
    return PatchStream(FakeDataset(), labelled, unlabelled, b_l, b_u, PATCH, "uamt_exact", seed, **more)


def equal(a, b):
    return a.keys() == b.keys() and all(
        np.array_equal(a[key], b[key]) and np.asarray(a[key]).dtype == np.asarray(b[key]).dtype for key in a
    )


def test_shapes_types_and_no_other_field():
    batch = stream(extra_arrays={"noisy": noisy})[0]
    assert all(batch.pop(key) for key in ("labelled_ids", "unlabelled_ids"))
    described = {key: (array.shape, array.dtype.name) for key, array in batch.items()}
    assert described == {
        "labelled_origins": ((2, 3), "int64"),
        "unlabelled_origins": ((2, 3), "int64"),
        "labelled_images": ((2, 1, *PATCH), "float32"),
        "labels": ((2, *PATCH), "uint8"),
        "unlabelled_images": ((2, 1, *PATCH), "float32"),
        "noisy": ((2, 1, *PATCH), "float32"),
    }


def test_labels_belong_to_their_images():
    batch = stream()[3]
    assert np.array_equal(batch["labels"], batch["labelled_images"][:, 0] % 1 > 0.5)


def test_a_batch_depends_on_seed_and_step_alone():
    one = stream(extra_arrays={"noisy": noisy})
    in_order = [one[step] for step in range(7)]
    copy = pickle.loads(pickle.dumps(one))
    for step in (6, 0, 3, 3):
        assert equal(copy[step], in_order[step])
    assert not equal(in_order[0], in_order[1])
    assert not equal(in_order[0], stream(seed=1, extra_arrays={"noisy": noisy})[0])


def test_a_case_is_cropped_anew_at_each_step():
    one = stream(labelled=LABELLED[:1], unlabelled=UNLABELLED[:1], b_l=1, b_u=1)
    for key in ("labelled_images", "unlabelled_images"):
        assert len({one[step][key].tobytes() for step in range(10)}) > 5


def test_labelled_patches_do_not_depend_on_the_unlabelled_ones_or_the_extra_arrays():
    # so that two methods at one seed see the same labelled patches
    a, b = stream(b_u=2)[4], stream(b_u=1, unlabelled=UNLABELLED[:3], extra_arrays={"noisy": noisy})[4]
    assert np.array_equal(a["labelled_images"], b["labelled_images"]) and np.array_equal(a["labels"], b["labels"])


def test_batches_are_of_the_cases_they_name():
    one = stream()
    for step in range(5):
        labelled, unlabelled = one.cases(step)
        numbers = (
            np.concatenate([one[step]["labelled_images"], one[step]["unlabelled_images"]]).max((1, 2, 3, 4)) // 100
        )
        assert [(LABELLED + UNLABELLED)[int(n)] for n in numbers] == labelled + unlabelled


def test_an_epoch_visits_each_labelled_case_once_in_a_new_order():
    one = stream()
    epochs = [[case_id for step in range(3 * e, 3 * e + 3) for case_id in one.cases(step)[0]] for e in range(5)]
    assert all(sorted(epoch) == LABELLED for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_an_incomplete_last_group_is_dropped():
    one = stream(labelled=LABELLED[:5])
    for epoch in range(5):
        assert len({case_id for step in (2 * epoch, 2 * epoch + 1) for case_id in one.cases(step)[0]}) == 4


def test_fewer_labelled_cases_than_patches_are_repeated():
    batch = Counter(stream(labelled=LABELLED[:2], b_l=5).cases(7)[0])
    assert sum(batch.values()) == 5 and set(batch.values()) == {2, 3}


def test_unlabelled_cases_come_in_permutations_renewed_each_epoch():
    one = stream(labelled=LABELLED * 2, b_u=3)  # an epoch is 6 steps: 18 unlabelled patches, 9 cases twice
    epochs = [[case_id for step in range(6 * e, 6 * e + 6) for case_id in one.cases(step)[1]] for e in range(4)]
    for epoch in epochs:
        assert sorted(epoch[:9]) == sorted(epoch[9:]) == UNLABELLED
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_without_unlabelled_patches_their_array_is_empty():
    batch = stream(unlabelled=[], b_l=4, b_u=0)[0]
    assert batch["unlabelled_images"].shape == (0, 1, *PATCH)
    assert batch["labelled_images"].shape == (4, 1, *PATCH)


@pytest.mark.parametrize(("labelled", "unlabelled"), [([], UNLABELLED), (LABELLED, [])])
def test_a_kind_of_patch_without_cases_is_refused(labelled, unlabelled):
    with pytest.raises(DataError, match=f"there are {len(labelled)} labelled and {len(unlabelled)} unlabelled ones"):
        stream(labelled=labelled, unlabelled=unlabelled)
