"""Figures from papers (published.yaml), and whether results here are comparable with them."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from benchmark.records.models import Data, StoredPlan

CERTAINTY = {
    "read": "read in the full text",
    "readme": "read in the repository",
    "memory": "from memory, not read again",
    "memory, Dice and 95HD confirmed elsewhere": "from memory, Dice and 95HD confirmed elsewhere",
}
LARGEST_COMPONENT = {True: "largest component kept", False: "no postprocessing", None: "postprocessing not known"}


@cache
def literature() -> dict:
    """published.yaml as it stands: data, preparation, train, training, stride, sources, entries."""
    return yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))


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
    `describe` says that it is not stated.
    """
    data, ours, evaluation, theirs = plan.data, plan.training.model_dump(mode="json"), plan.evaluation, literature()
    reasons = []
    if data.split != "official":
        sizes = f"{data.train} training and {data.test} test cases"
        reasons.append(f"{sizes} (split {data.split}), not the official split")
    if (data.preparation or theirs["preparation"]) != theirs["preparation"]:
        reasons.append(f"images {data.preparation}, not {theirs['preparation']}")
    if cell["draw"] != "first":
        reasons.append("labelled cases drawn at random, not the first of the list")
    if not native(data):
        reasons.append(f"trained at {millimetres(data.spacing)} mm, not at the scans' own spacing")
    for key, value in theirs["training"].items():
        if key in ours and ours[key] != value:
            reasons.append(f"{key.replace('_', ' ')} {_words(ours[key])}, not {_words(value)}")
    if list(evaluation.stride) != theirs["stride"]:
        reasons.append(f"stride {times(evaluation.stride)}, not {times(theirs['stride'])}")
    reasons += [f"setting {setting}" for setting in cell["unpublished"]]
    if entry["checkpoint"].startswith("best on test"):
        reasons.append("theirs is the best checkpoint on the test cases, ours the last")
    if entry["iterations"] not in (None, theirs["training"]["iterations"]):
        reasons.append(f"theirs trained for {entry['iterations']} iterations")
    return reasons


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
    return times(value) if isinstance(value, list) else str(value)


def times(sizes) -> str:
    return "×".join(f"{size:g}" for size in sizes)
