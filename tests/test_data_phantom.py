"""The synthetic cases: repeatable, plausible, and not to be had by a threshold."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy import ndimage

from data.sources import DataSettings, PhantomSettings, open_source


@pytest.fixture(scope="module")
def cases():
    source = open_source(PhantomSettings(source="phantom", train=8, test=4))
    return [source.read(case_id) for case_id in source.train_ids + source.test_ids]


def test_arrays_are_a_cases(cases):
    for case in cases:
        assert case.image.dtype == np.float32 and case.label.dtype == np.uint8
        assert case.image.shape == case.label.shape
        assert all(s <= n <= s * 9 / 8 for n, s in zip(case.image.shape, (64, 64, 40), strict=True))
        assert set(np.unique(case.label)) == {0, 1}
        assert abs(case.image.mean()) < 1e-3 and abs(case.image.std() - 1) < 1e-3
    assert len({case.image.shape for case in cases}) > 3


def test_the_target_is_one_piece_of_a_plausible_share(cases):
    for case in cases:
        assert 0.05 < case.label.mean() < 0.2
        assert ndimage.label(case.label)[1] == 1


def test_cases_repeat_and_do_not_depend_on_how_many_there_are(cases):
    more = open_source(PhantomSettings(source="phantom", train=30, test=9))
    for case in cases:
        again = more.read(case.id)
        assert np.array_equal(again.image, case.image) and np.array_equal(again.label, case.label)


def test_cases_and_seeds_differ(cases):
    other = open_source(PhantomSettings(source="phantom", seed=1)).read(cases[0].id)
    images = [case.image.tobytes() for case in cases] + [other.image.tobytes()]
    assert len(set(images)) == len(images)


def test_no_threshold_finds_the_target(cases):
    """Even the threshold that is best for each case, on a smoothed image, largest component: below 0.8 Dice."""
    best = []
    for case in cases:
        smoothed = ndimage.gaussian_filter(case.image, 1)
        best.append(max(dice(largest_component(smoothed > t), case.label) for t in np.linspace(0, 2, 11)))
    assert np.mean(best) < 0.8


def test_the_target_is_visible(cases):
    """A threshold finds nearly all of it: what it finds besides is what has to be learned."""
    for case in cases:
        inside = ndimage.gaussian_filter(case.image, 1) > 0.5
        assert inside[case.label > 0].mean() > 0.8


def largest_component(mask):
    components, count = ndimage.label(mask)
    return components == np.bincount(components.flat)[1:].argmax() + 1 if count else mask


def dice(a, b):
    return 2 * np.logical_and(a, b).sum() / (a.sum() + b.sum())


def test_content_key_is_of_what_decides_a_case():
    def key(case_id="train-000", **more):
        return open_source(PhantomSettings(source="phantom", **more)).content_key(case_id)

    assert key() == key(train=3, test=1, spacing=2.0)
    assert len({key(), key("train-001"), key(seed=1), key(size=(48, 64, 40))}) == 4


def test_settings_are_told_apart_by_source_and_refuse_what_they_do_not_know():
    adapter = TypeAdapter(DataSettings)
    assert isinstance(adapter.validate_python({"source": "phantom", "size": [48, 48, 32]}), PhantomSettings)
    assert adapter.validate_python({"source": "la", "root": "x"}).split == "official"
    for wrong in ({"source": "phantom", "sizes": 3}, {"source": "mri"}, {"source": "phantom", "size": [8, 64, 40]}):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


@pytest.mark.parametrize(
    "changes", [{"size": (10**30, 16, 16)}, {"size": (16, 16, 513)}, {"train": 10**9}, {"test": 10**18}, {"train": 0}]
)
def test_sizes_and_counts_that_no_machine_could_hold_are_refused(changes):
    with pytest.raises(ValidationError):
        PhantomSettings(source="phantom", **changes)
