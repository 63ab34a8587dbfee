"""What the file dataset.json of nnU-Net and the Medical Segmentation Decathlon says of a folder."""

import json
import re
from pathlib import Path
from typing import Any

from data.case import DataError

MAX_VALUE = 65535  # of a structure, in files
MAX_STRUCTURES = 255  # label arrays are uint8


def read_description(root: Path) -> dict:
    """What the file of a folder holds; nothing if there is none. Raises DataError if it cannot be read."""
    path = root / "dataset.json"
    if not path.exists() and not path.is_symlink():
        return {}
    try:
        description = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}; correct it, or remove it and set data.labels") from error
    return description if isinstance(description, dict) else {}


def structures(description: dict, root: Path) -> dict[str, int]:
    """The structures and their values: nnU-Net has {"liver": 1}, the Decathlon {"1": "liver"}.

    Args:
        description: as `read_description` returns it.
        root: the folder, for messages.

    Raises:
        DataError: there are none, or they are not what they should be.

    Example:
        >>> structures({"labels": {"background": 0, "liver": 1}}, Path())
        {'liver': 1}
    """
    path, labels = root / "dataset.json", description.get("labels")
    if not labels:
        raise DataError(f"{path} names no structure: set data.labels, for instance {{atrium: 1}}, or add the file")
    if not isinstance(labels, dict):
        raise DataError(f'{path}: labels must be pairs such as {{"liver": 1}}: correct them, or set data.labels')
    pairs = [(value, key) if _to_integer(key) is not None else (key, value) for key, value in labels.items()]
    if ignored := [f"{key!r}: {value!r}" for key, value in labels.items() if "ignore" in (key, value)]:
        raise DataError(f"{path}: label {ignored[0]}: voxels to be ignored are not supported; set data.labels")
    values = [(str(name), _to_integer(number)) for name, number in pairs]
    if unreadable := [pair for pair, (_, value) in zip(pairs, values, strict=True) if value is None]:
        raise DataError(
            f"{path}: label {unreadable[0][0]!r} is {unreadable[0][1]!r}, which is no whole number (nnU-Net's regions "
            "are not supported): correct it, or set data.labels"
        )
    values = [(name, value) for name, value in values if value != 0]
    problem = "names a structure twice" if len(dict(values)) < len(values) else problem_of_labels(dict(values))
    if problem:
        raise DataError(f"{path}: labels {problem}: correct it, or set data.labels")
    return dict(values)


def channel_names(description: dict) -> dict[int, str]:
    """The names of channels by number: `channel_names` of nnU-Net, `modality` of the Decathlon.

    Example:
        >>> channel_names({"modality": {"0": "FLAIR", "1": "T1w"}})
        {0: 'FLAIR', 1: 'T1w'}
    """
    names = description.get("channel_names") or description.get("modality")
    pairs = names.items() if isinstance(names, dict) else ()
    return {number: str(name) for key, name in pairs if (number := _to_integer(key)) is not None}


def _to_integer(number: Any) -> int | None:
    """An integer, also if it is written as text; None for anything else."""
    if isinstance(number, str):
        return int(number) if re.fullmatch("[0-9]+", number) else None
    return number if type(number) is int else None


def problem_of_labels(labels: dict[str, int]) -> str | None:
    """Why structures with these values cannot be; None if they can."""
    if not labels or min(labels.values()) < 1 or max(labels.values()) > MAX_VALUE:
        return f"must name at least one structure, each with a value from 1 to {MAX_VALUE}; 0 is background"
    if len(labels) > MAX_STRUCTURES:
        return f"names {len(labels)} structures, where at most {MAX_STRUCTURES} are possible"
    return "gives two structures the same value" if len(set(labels.values())) < len(labels) else None
