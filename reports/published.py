"""Figures from papers (literature/), and whether results here are comparable with them."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from benchmark.records.models import Data, StoredPlan
from benchmark.records.protocol import YOUNGER, Training

FOLDER = Path(__file__).parent / "literature"
SOURCES = "sources.yaml"
CERTAINTY = {
    "read": "read in the full text",
    "readme": "read in the repository",
    "memory": "from memory, not read again",
    "memory, Dice and 95HD confirmed elsewhere": "from memory, Dice and 95HD confirmed elsewhere",
    "third party": "from a third party's table, not read at its source",
}
SURE = ("read", "readme")
# What an entry does not state.
UNSTATED = {
    "variant": None, "jaccard": None, "asd": None, "hd95": None, "headline": False, "repeated_in": [],
    "iterations": None, "checkpoint": "unknown", "largest_component": None, "remark": None,
}  # fmt: skip
# What a paper may leave open, in the words of a verdict; entries have null or "unknown" there.
LEFT_OPEN = {"checkpoint": "checkpoint", "largest_component": "postprocessing", "iterations": "iterations"}
LARGEST_COMPONENT = {True: "largest component kept", False: "no postprocessing", None: "postprocessing not known"}
OTHER_CASES = ", other cases"  # behind a recipe whose lists are not the published ones
CHOSEN_ON = {"best on test": "the test cases", "best on validation": "validation cases"}


@cache
def protocols() -> dict[str, dict]:
    """{id: protocol}, the files of literature/ in the order of ids, LA first. literature/README.txt has the keys.

    Each entry has all its keys, the text of its sources and the id of its protocol.
    """
    texts = yaml.safe_load((FOLDER / SOURCES).read_text(encoding="utf-8"))
    files = sorted(
        (path for path in FOLDER.glob("*.yaml") if path.name != SOURCES), key=lambda path: (path.stem != "la", path)
    )
    return {path.stem: _protocol(path, texts) for path in files}


def _protocol(path: Path, texts: dict[str, str]) -> dict:
    protocol = {"id": path.stem, "cases_each": 1} | yaml.safe_load(path.read_text(encoding="utf-8"))
    entries = [UNSTATED | entry | {"protocol": path.stem} for entry in protocol["entries"]]
    for entry in entries:
        entry["source"] = texts[entry["source"]]
        entry["repeated_in"] = [texts[key] for key in entry["repeated_in"]]
    return protocol | {"entries": entries}


def protocol_of(data: Data) -> dict | None:
    """The published protocol of a plan's data: that of its recipe, else the only one on a data set of that name.

    None where there is none, and where a data set has several protocols and the plan has no recipe.
    """
    if data.recipe:
        return protocols().get(data.recipe.removesuffix(OTHER_CASES))
    of_that_name = [protocol for protocol in protocols().values() if protocol["data"] == data.name]
    return of_that_name[0] if len(of_that_name) == 1 else None


def without_protocol(data: Data) -> str:
    """Why no published figures stand beside results on these data, in one sentence or two."""
    names = list(dict.fromkeys(protocol["data"] for protocol in protocols().values()))
    reason = f"No published figures are shown: they are for {', '.join(names[:-1])} and {names[-1]}."
    ids = [key for key, protocol in protocols().items() if protocol["data"] == data.name]
    if data.recipe or not ids:
        return reason
    return (
        f"No published figures are shown: {data.name} has the protocols {', '.join(ids)}, and no recipe says which is "
        "that of these cases."
    )


def facts(protocol: dict) -> str:
    """What figures of a protocol are of, in a few sentences."""
    validation = f", {protocol['validation']} validation" if protocol["validation"] else ""
    sentences = [
        f"Protocol {protocol['id']}: {protocol['data']}, {protocol['title']}.",
        f"{protocol['train']} training{validation} and {protocol['test']} test {protocol['counted_in']}.",
        f"ASD and 95HD are in {protocol['distances']}.",
        protocol["leaks"],
    ]
    return " ".join(filter(None, sentences))


def find(
    protocol: dict, method: str, variant: str, labelled: int, unlabelled: int, ceiling: bool = False
) -> list[dict]:
    """The entries of a protocol to compare a row with; the first is shown by default.

    Entries of the row's variant come first ("" for a method with only one), then those whose source states none.
    Budgets match if the number of labelled cases is the same and both have unlabelled cases or neither has: a smaller
    data set has fewer unlabelled cases. A ceiling matches if all cases are labelled.
    """
    each = protocol["cases_each"]
    budget = (each * protocol["train"] if ceiling else labelled, unlabelled > 0)
    found = [
        entry
        for entry in protocol["entries"]
        if entry["method"] == method
        and (each * entry["labelled"], entry["unlabelled"] > 0) == budget
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

    Args:
        entry: of the protocol of the plan's data, as of `protocol_of`. Without such a protocol nothing is comparable.
        plan: our experiment.
        cell: of the plan, or a line of `Results.cells`.
    """
    ours, evaluation, theirs = plan.training.model_dump(mode="json"), plan.evaluation, protocols()[entry["protocol"]]
    data = plan.data
    if protocol_of(data) is not theirs:
        return [f"data {data.name}, not of the protocol {theirs['id']}"]
    reasons = _other_cases(data, theirs)
    if plan.tuned:
        reasons.append("settings were tuned here")
    if cell["draw"] != "first":
        reasons.append("labelled cases drawn at random, not the first of the list")
    if not native(data):
        reasons.append(f"trained at {millimetres(data.spacing)} mm, not at the scans' own spacing")
    training = theirs["training"] | ({"iterations": entry["iterations"]} if entry["iterations"] else {})
    for key, value in training.items():
        if ours[key] != value:
            reasons.append(f"{key.replace('_', ' ')} {_words(ours[key])}, not {_words(value)}")
    default = Training().model_dump(mode="json")
    reasons += [
        f"{key.replace('_', ' ')} {_words(ours[key])}, not {_words(default[key])}"
        for key in YOUNGER
        if key not in training and ours[key] != default[key]
    ]
    if theirs["stride"] and list(evaluation.stride) != theirs["stride"]:
        reasons.append(f"stride {times(evaluation.stride)}, not {times(theirs['stride'])}")
    if evaluation.empty != "worst":
        reasons.append(f"empty predictions are left out of distances (evaluation.empty: {evaluation.empty})")
    reasons += [f"setting {setting}" for setting in cell["unpublished"]]
    if chosen_on := CHOSEN_ON.get(entry["checkpoint"]):
        reasons.append(f"theirs is the best checkpoint on {chosen_on}, ours the last")
    return reasons


def _other_cases(data: Data, theirs: dict) -> list[str]:
    """In what our cases are not the published ones: lists, images, or the files under the published names."""
    distributed, reasons = theirs["cases"], []
    if distributed is None:  # then the recipe alone tells whether the cases are the published ones
        recipe = f"recipe {data.recipe}" if data.recipe else "no recipe"
        return [] if data.recipe == theirs["id"] else [f"cases prepared by {recipe}, not by recipe {theirs['id']}"]
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
    theirs = protocols()[entry["protocol"]]
    unknown += ["stride"] * (theirs["stride"] is None) + ["prepared files"] * (theirs["cases"] is None)
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
