"""Random patches against a brute-force rotation, flip, padding and crop of the whole volume."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy import stats

from data.augment import AUGMENTATIONS, crop_patch
from data.randomness import generator

SYMMETRIES = [(turns, flip) for turns in range(4) for flip in (False, True)]
REFLECTIONS = {(turns, True) for turns in range(4)}


def turned(volume, symmetry):
    """A symmetry of the square, each of the eight exactly once: turn, then perhaps mirror x."""
    turns, flip = symmetry
    volume = np.rot90(volume, turns)
    return volume[::-1] if flip else volume


def numbered(shape):
    """A volume in which every voxel has a value of its own, none of them 0."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def which_symmetry(image, augmentation, rng):
    patch, _ = crop_patch(image, None, image.shape, augmentation, rng)
    return next(s for s in SYMMETRIES if np.array_equal(turned(image, s), patch))


@pytest.mark.parametrize(("augmentation", "allowed"), [("uamt_exact", REFLECTIONS), ("d4", set(SYMMETRIES))])
def test_symmetries_are_the_documented_ones_and_uniform(augmentation, allowed):
    image = numbered((3, 3, 2))
    counts = Counter(which_symmetry(image, augmentation, generator(0, "test", i)) for i in range(2000))
    assert set(counts) == allowed
    assert stats.chisquare(list(counts.values())).pvalue > 0.001


def windows_of(image, size):
    """{symmetry: every patch of the volume that is turned by it, and padded where it is smaller than the patch}."""
    windows = {}
    for symmetry in SYMMETRIES:
        volume = turned(image, symmetry)
        padding = [((p - d) // 2 + 3,) * 2 if d < p else (0, 0) for d, p in zip(volume.shape, size, strict=True)]
        windows[symmetry] = sliding_window_view(np.pad(volume, padding), size)
    return windows


def locate(windows, patch):
    """Where a patch was cut out: every (symmetry, start in the padded volume) at which it is found."""
    for symmetry, patches in windows.items():
        for start in np.argwhere((patches == patch).all((-1, -2, -3))):
            yield symmetry, tuple(int(s) for s in start)


# volume and patch: inside; not square, so that x and y differ after a turn; volume smaller than the patch
@pytest.mark.parametrize(
    ("shape", "size"), [((7, 6, 5), (4, 4, 3)), ((6, 8, 4), (5, 3, 4)), ((6, 6, 4), (4, 5, 5)), ((3, 3, 5), (4, 3, 2))]
)
@pytest.mark.parametrize("augmentation", ["uamt_exact", "d4", "crop"])
def test_patches_are_those_of_brute_force_and_every_start_occurs(shape, size, augmentation):
    image = numbered(shape)
    label = (image % 251).astype(np.uint8)
    windows, seen = windows_of(image, size), set()
    for i in range(1500):
        patch, label_patch = crop_patch(image, label, size, augmentation, generator(1, "test", i))
        assert patch.dtype == np.float32 and label_patch.dtype == np.uint8
        assert patch.flags.c_contiguous and label_patch.flags.c_contiguous
        assert np.array_equal(label_patch, (patch % 251).astype(np.uint8))
        if patch.any():  # a patch that lies in the padding altogether could be from anywhere
            found = list(locate(windows, patch))
            assert found
            seen.update(found if len(found) == 1 else [])

    for symmetry in {symmetry for symmetry, _ in seen}:
        dims = turned(image, symmetry).shape
        rooms = [d + 2 * ((p - d) // 2 + 3) - p if d < p else d - p for d, p in zip(dims, size, strict=True)]
        starts = [start for s, start in seen if s == symmetry]
        for axis, room in enumerate(rooms):
            last = max(room - 1, 0) if AUGMENTATIONS[augmentation].skips_last_start else room
            assert {start[axis] for start in starts} == set(range(last + 1))


def test_an_image_without_a_label_is_cropped_alike():
    image = numbered((7, 6, 5))
    both, _ = crop_patch(image, image.astype(np.uint8), (4, 4, 3), "d4", generator(0, "test"))
    alone, none = crop_patch(image, None, (4, 4, 3), "d4", generator(0, "test"))
    assert none is None and np.array_equal(both, alone)


def test_only_the_patch_of_a_memory_map_is_copied(tmp_path):
    np.save(tmp_path / "image.npy", np.zeros((200, 140, 88), np.float32))  # 9.9 MB
    np.save(tmp_path / "label.npy", np.zeros((200, 140, 88), np.uint8))  # 2.5 MB
    image, label = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("image", "label"))
    tracemalloc.start()
    patch, label_patch = crop_patch(image, label, (32, 32, 32), "uamt_exact", generator(0, "test"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not isinstance(patch, np.memmap) and not isinstance(label_patch, np.memmap)
    assert patch.nbytes <= peak < 4 * patch.nbytes
