"""Figures from papers (published.yaml), and whether results here are comparable with them."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from benchmark.records.models import Data, StoredPlan
from benchmark.records.protocol import YOUNGER, Training

CERTAINTY = {
    "read": "read in the full text",
    "readme": "read in the repository",
    "memory": "from memory, not read again",
    "memory, Dice and 95HD confirmed elsewhere": "from memory, Dice and 95HD confirmed elsewhere",
}
# What a paper may leave open, in the words of a verdict; entries have null or "unknown" there.
LEFT_OPEN = {"checkpoint": "checkpoint", "largest_component": "postprocessing", "iterations": "iterations"}
LARGEST_COMPONENT = {True: "largest component kept", False: "no postprocessing", None: "postprocessing not known"}


@cache
def literature() -> dict:
    """published.yaml as it stands: data, reading, preparation, train, training, stride, sources, entries."""
    return _read("published.yaml")


@cache
def distributed_cases() -> dict:
    """published_cases.yaml: hash of the published split, and fingerprints of its training and test cases."""
    return _read("published_cases.yaml")


def _read(name: str) -> dict:
    return yaml.safe_load((Path(__file__).parent / name).read_text(encoding="utf-8"))


def find(method: str, variant: str, labelled: int, unlabelled: int, ceiling: bool = False) -> list[dict]:
    """The entries to compare a row with; the first is shown by default.

    Entries of the row's variant come first ("" for a method with only one), then those whose source states none.
    Budgets match if the number of labelled cases is the same and both have unlabelled cases or neither has: a smaller
    data set has fewer unlabelled cases. A ceiling matches if all cases are labelled.
    """
    budget = (literature()["train"] if ceiling else labelled, unlabelled > 0)
    found = [
        entry
        for entry in literature()["entries"]
        if entry["method"] == method
        and (entry["labelled"], entry["unlabelled"] > 0) == budget
        and entry["variant"] in (variant or None, None)
    ]
    return sorted(found, key=lambda entry: (entry["variant"] is None, not entry["headline"]))


def postprocessing(entry: dict, default: str) -> str:
    """The postprocessing under which results are compared with an entry: the entry's if it is known, else `default`."""
    return {True: "largest_component", False: "none", None: default}[entry["largest_component"]]


def differences(entry: dict, plan: StoredPlan, cell: Mapping) -> list[str]:
    """Why a planned cell is not comparable with a published entry: one phrase for each reason, none if it is.

    Postprocessing is no reason, because results exist under both. What a paper does not state is no reason either;
    `left_open` says what that is.
    """
    ours, evaluation, theirs = plan.training.model_dump(mode="json"), plan.evaluation, literature()
    data = plan.data
    reasons = _other_cases(data)
    if plan.tuned:
        reasons.append("settings were tuned here")
    if cell["draw"] != "first":
        reasons.append("labelled cases drawn at random, not the first of the list")
    if not native(data):
        reasons.append(f"trained at {millimetres(data.spacing)} mm, not at the scans' own spacing")
    iterations = entry["iterations"] or theirs["training"]["iterations"]
    for key, value in (theirs["training"] | {"iterations": iterations}).items():
        if ours[key] != value:
            reasons.append(f"{key.replace('_', ' ')} {_words(ours[key])}, not {_words(value)}")
    default = Training().model_dump(mode="json")
    reasons += [
        f"{key.replace('_', ' ')} {_words(ours[key])}, not {_words(default[key])}"
        for key in YOUNGER
        if ours[key] != default[key]
    ]
    if list(evaluation.stride) != theirs["stride"]:
        reasons.append(f"stride {times(evaluation.stride)}, not {times(theirs['stride'])}")
    if evaluation.empty != "worst":
        reasons.append(f"empty predictions are left out of distances (evaluation.empty: {evaluation.empty})")
    reasons += [f"setting {setting}" for setting in cell["unpublished"]]
    if entry["checkpoint"].startswith("best on test"):
        reasons.append("theirs is the best checkpoint on the test cases, ours the last")
    return reasons


def _other_cases(data: Data) -> list[str]:
    """In what our cases are not the published ones: lists, images, or the files under the published names."""
    theirs, distributed, reasons = literature(), distributed_cases(), []
    if data.split_hash != distributed["split"]:
        sizes = f"{data.train} training and {data.test} test cases"
        reasons.append(f"{sizes} (split {data.split}), not the official split")
    for key, value in theirs["reading"].items():
        if data.reading.get(key, value) != value:
            reasons.append(f"images read with {key} {_words(data.reading[key])}, not {value}")
    if (data.preparation or theirs["preparation"]) != theirs["preparation"]:
        reasons.append(f"images {data.preparation}, not {theirs['preparation']}")
    if reasons:  # the files differ then, and these say why
        return reasons
    if not data.stored_fingerprints:
        return ["which files the cases are was not recorded (`run` the experiment again: it records that)"]
    others = [side for side, hash_ in data.stored_fingerprints.items() if hash_ != distributed[side]]
    names = {"train": "training", "test": "test"}
    return [f"other files than the distributed ones under the names of the {names[side]} cases" for side in others]


def left_open(entry: dict, variant: str) -> list[str]:
    """What is not known of the run behind a published figure, one word each.

    Args:
        entry: the published figures.
        variant: of the method, in the row that is compared with them; "" where it has one only.
    """
    unknown = [word for key, word in LEFT_OPEN.items() if entry[key] in (None, "unknown")]
    return unknown + ["variant"] * (variant != "" and entry["variant"] is None)


def describe(entry: dict) -> str:
    """An entry's source, certainty and protocol in one line."""
    parts = [
        CERTAINTY[entry["certainty"]],
        f"{entry['iterations']} iterations" if entry["iterations"] else "iterations not stated",
        f"checkpoint: {entry['checkpoint']}",
        LARGEST_COMPONENT[entry["largest_component"]],
    ]
    return f"{entry['source']} ({', '.join(parts)})" + (f": {entry['remark']}" if entry["remark"] else "")


def native(data: Data) -> bool:
    """Whether a plan's data are used at the spacing they are stored at."""
    return data.spacing is None or np.allclose(data.native_spacing, data.spacing)


def spacing_of(data: Data, case: str) -> list[float]:
    """The size in mm of a voxel of a test case's own grid."""
    return data.other_spacings.get(case, data.native_spacing)


def own_grid(data: Data) -> str:
    """The voxels of the test cases' own grids, "of 1 mm" or "of 1×1×2 to 1×1×5 mm"."""
    spacings = [data.native_spacing, *data.other_spacings.values()]
    ends = dict.fromkeys(millimetres([pick(sides) for sides in zip(*spacings, strict=True)]) for pick in (min, max))
    return f"of {' to '.join(ends)} mm"


def millimetres(spacing: float | Sequence[float]) -> str:
    """A voxel's size, which is one number where its sides are equal."""
    sides = [spacing] if isinstance(spacing, int | float) else list(spacing)
    return f"{sides[0]:g}" if len(set(sides)) == 1 else times(sides)


def _words(value) -> str:
    if isinstance(value, dict):  # a network, or the strengths of an augmentation
        return " ".join(f"{key} {part}" for key, part in value.items() if part)
    return times(value) if isinstance(value, list) else str(value)


def times(sizes) -> str:
    return "×".join(f"{size:g}" for size in sizes)
