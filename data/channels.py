"""Images of several channels. Files <case>_0000, <case>_0001, … are the channels of one case, as nnU-Net names them."""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from data.case import DataError, collect_problems, raise_problems, shorten_list
from data.geometry import Geometry
from data.reading import Reading
from data.scans import read_image

CHANNEL = re.compile(r"(.+)_(\d{4})")


def found_channels(stems: Collection[str]) -> list[int]:
    """The channels that names of files state, sorted.

    Example:
        >>> found_channels(["p1_0001", "p1_0000", "p2_0000", "p3"])
        [0, 1]
    """
    return sorted({int(match[2]) for stem in stems if (match := CHANNEL.fullmatch(stem))})


def choose_channels(reading: Reading, found: list[int], names: Mapping[int, str], root: Path) -> Reading:
    """The reading with numbers of channels: those of `data.channel`, or the only one that there is.

    Args:
        reading: as an experiment gives it.
        found: the channels of the folder; none if names of files have no numbers.
        names: of channels, as far as they are known.
        root: of the folder, for messages.

    Raises:
        DataError: no such channel, several of which the settings choose none, or normalisations for another number of
            channels.
    """
    channel, has = reading.channel, shorten_list([channel_title(number, names) for number in found])
    if channel == "all" or (channel is None and len(found) == 1):
        channel = (found if len(found) > 1 else found[0]) if found else None
    chosen = reading.model_copy(update={"channel": channel})
    if channel is None and found:
        raise DataError(
            f"{root} has the channels {has}: set data.channel to all, to a list such as {found[:2]}, or to one number"
        )
    if isinstance(channel, list) and not found:
        raise DataError(
            f"data.channel {channel}: files in {root} are not named <case>_0000, <case>_0001: rename them, or remove "
            "the key"
        )
    if missing := [number for number in chosen.channel_numbers if found and number not in found]:
        raise DataError(f"data.channel {missing[0]}: {root} has {has}; choose among these")
    if (count := len(chosen.of_channels())) != chosen.channels:
        channels = f"{chosen.channels} channel{'s' * (chosen.channels > 1)}"
        raise DataError(
            f"data.normalise lists {count} normalisations, but images have {channels}: give one for each channel, or "
            "one for all"
        )
    return chosen


def group_channels(files: Mapping[str, Path], numbers: list[int]) -> tuple[dict[str, list[Path]], str]:
    """The files of each case that has all channels, in the order of the channels.

    Args:
        files: by name without ending. Names without a channel are passed over.
        numbers: of the channels.

    Returns:
        The files by case, and which cases lack channels; "" if none does.

    Example:
        >>> group_channels({name: Path(name) for name in ("a_0000", "a_0001", "b_0000")}, [0, 1])[1]
        'b: no channel 0001'
    """
    cases: dict[str, dict[int, Path]] = {}
    for stem, path in files.items():
        if match := CHANNEL.fullmatch(stem):
            cases.setdefault(match[1], {})[int(match[2])] = path
    lacking: dict[tuple[int, ...], list[str]] = {}
    for case_id, paths in cases.items():
        if missing := tuple(number for number in numbers if number not in paths):
            lacking.setdefault(missing, []).append(case_id)
    without = set(chain(*lacking.values()))
    whole = {case: [paths[number] for number in numbers] for case, paths in cases.items() if case not in without}
    return whole, "; ".join(
        f"{shorten_list(sorted(case_ids))}: no channel {', '.join(f'{number:04d}' for number in missing)}"
        for missing, case_ids in sorted(lacking.items())
    )


def channel_title(number: int, names: Mapping[int, str]) -> str:
    """A channel for a message: its four digits, and its name if it has one.

    Example:
        >>> channel_title(1, {0: "T1", 1: "FLAIR"}), channel_title(1, {})
        ('0001 (FLAIR)', '0001')
    """
    return f"{number:04d} ({names[number]})" if number in names else f"{number:04d}"


def read_channels(paths: Sequence[Path], reading: Reading) -> tuple[np.ndarray, Geometry]:
    """Read an image, each of its channels normalised by itself.

    Args:
        paths: a file for each channel.
        reading: of the image.

    Returns:
        The image, (H, W, D) with one channel and (H, W, D, M) with several, float32, and the geometry of its first
        file.

    Raises:
        DataError, DataProblems: a file cannot be read, or is not on the grid of the first one.
    """
    if len(paths) == 1:
        return read_image(paths[0], reading)
    problems: list[str] = []
    images, geometry = [], None
    for path, of_channel in zip(paths, reading.of_channels(), strict=True):
        with collect_problems(problems):
            image, grid = read_image(path, of_channel)
            images.append(image)
            geometry = geometry or grid
            if mismatch := grid.mismatch(geometry, reading.grid_tolerance):
                problems.append(f"{path}: not on the grid of {paths[0].name}: {mismatch}")
    raise_problems(problems)
    return np.stack(images, axis=-1), geometry
