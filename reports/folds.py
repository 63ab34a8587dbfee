"""The folds of one cross-validation as one experiment, in which every case is a test case once."""

import hashlib
import json
from pathlib import Path

import pandas as pd
from pandas.api.types import is_number

from benchmark.records.models import Cell, Data
from benchmark.records.states import NOT_RUN, PROGRESS
from reports.published import spacing_of
from reports.results import CELL_KEYS, Results, cells_frame
from reports.timings import TIMES
from reports.worst import WITHOUT_VALUES

# Blocks of a plan that folders which are reported on as one must share.
MEANING = {"experiment", "data", "training", "evaluation", "report"}
# What of a plan's data block differs from fold to fold.
DIFFERING = (
    "fingerprint", "stored_fingerprints", "split", "split_hash", "recipe", "train", "with_label", "test",
    "native_spacing", "other_spacings", "folds",
)  # fmt: skip
IDENTITY = ("role", "method", "display", "settings", "draw", "seed")

Folders = tuple[Path, ...]


def pooled(experiments: dict[Folders, Results]) -> dict[Folders, Results]:
    """Experiments by their folders; those that differ in nothing but the fold become one, others stay as they are.

    A run of the pooled experiment is one network a fold, all of one seed and draw; it is done when all of them are. Its
    facts are means over the folds, of labels it names the first fold's counts (those of unlabelled cases may differ by
    one). It has neither records nor pictures: these are the folds' own. Experiments stay apart whose settings were
    tuned, each fold having chosen its own, or that have tested a case twice.
    """
    validations: dict[str, dict[int, Folders]] = {}
    for folders, results in experiments.items():
        plan = results.plan
        folds = plan.data.folds
        if folds and not plan.tuned:
            shared = plan.model_dump(mode="json", include=MEANING)
            shared["data"] = {key: value for key, value in shared["data"].items() if key not in DIFFERING}
            meaning = [shared, folds["folds"], folds["seed"]]
            validations.setdefault(json.dumps(meaning, sort_keys=True), {})[folds["fold"]] = folders
    together = {
        folders: folds
        for folds in validations.values()
        if _tests_each_case_once([experiments[of_fold] for of_fold in folds.values()])
        for folders in folds.values()
    }
    joined: dict[Folders, Results] = {}
    for folders, results in experiments.items():
        folds = together.get(folders, {})
        whole = tuple(folder for of_fold in folds.values() for folder in of_fold) or folders
        if whole not in joined:
            parts = {fold: experiments[of_fold] for fold, of_fold in sorted(folds.items())}
            joined[whole] = _pool(parts) if len(parts) > 1 else results
    return joined


def _tests_each_case_once(parts: list[Results]) -> bool:
    tested = [set(part.cases["case"]) for part in parts]
    return sum(map(len, tested)) == len(set.union(*tested))


def _pool(parts: dict[int, Results]) -> Results:
    """`parts`: each fold's results."""
    first = next(iter(parts.values()))
    cells: dict[str, dict[int, dict]] = {}
    for fold, part in parts.items():
        for cell in part.cells.to_dict("records"):
            cells.setdefault(_identity(cell), {})[fold] = cell
    planned, lines, cases, left_out, facts = [], [], [], [], {}
    for of in cells.values():
        line = _least(of, list(parts))
        lines.append(line)
        planned.append(Cell(**{key: line[key] for key in CELL_KEYS}))
        if line["scored"] or line["state"] in WITHOUT_VALUES:
            into = cases if line["scored"] else left_out
            for fold, cell in of.items():
                for values in (parts[fold].cases, parts[fold].left_out):
                    into.append(values[values["trial"] == cell["trial"]].assign(trial=line["trial"]))
        known = [parts[fold].provenance.loc[cell["trial"]] for fold, cell in of.items()
                 if cell["trial"] in parts[fold].provenance.index]  # fmt: skip
        if known:
            facts[line["trial"]] = _facts(known)
    return Results(
        plan=first.plan.model_copy(update={"data": _data(parts), "cells": planned}),
        cells=cells_frame(lines),
        cases=pd.concat(cases, ignore_index=True) if cases else first.cases.iloc[:0],
        left_out=pd.concat(left_out, ignore_index=True) if left_out else first.cases.iloc[:0],
        provenance=pd.DataFrame.from_dict(facts, orient="index"),
        unplanned=sorted({trial for part in parts.values() for trial in part.unplanned}),
        records={},
        pictures={},
    )


def _identity(cell: dict) -> str:
    """What is the same of a cell in every fold; with every label there are as many as the fold leaves."""
    labelled = None if cell["role"] == "ceiling" else cell["labelled"]
    return json.dumps([labelled, *(cell[key] for key in IDENTITY)], sort_keys=True)


def _least(of: dict[int, dict], folds: list[int]) -> dict:
    """The pooled cell: it has the state of the fold that got least far, and says which one that is."""
    missing = [fold for fold in folds if fold not in of]
    cell = next(iter(of.values()))
    known = {
        "worst": all(found["worst"] for found in of.values()),
        "stale": next((found["stale"] for found in of.values() if found["stale"]), ""),
        "peeked": next((found["peeked"] for found in of.values() if found["peeked"]), ""),
        "collapsed": next(
            (f"fold {fold}: {found['collapsed']}" for fold, found in of.items() if found["collapsed"]), ""
        ),
    }
    if missing:
        reason = f"not planned in fold {missing[0]}"
        return cell | known | {"state": NOT_RUN, "reason": reason, "scored": False, "worst": False}
    fold, least = min(of.items(), key=lambda item: (item[1]["scored"], PROGRESS.index(item[1]["state"])))
    scored = least["scored"]
    done = scored and not least["worst"]
    reason = least["reason"] if done else f"fold {fold}{': ' * bool(least['reason'])}{least['reason']}"
    return cell | known | {"state": least["state"], "reason": reason, "scored": scored}


def _facts(known: list[pd.Series]) -> dict:
    """Means of times, the largest of other numbers, and of what is no number all there is."""
    found = {}
    for name, values in pd.DataFrame(known).items():
        values = list(values.dropna())
        distinct = list({str(value): value for value in values}.values())
        if not values:
            found[name] = None
        elif all(map(is_number, values)):
            found[name] = float(sum(values) / len(values) if name in TIMES else max(values))
        else:
            found[name] = distinct[0] if len(distinct) == 1 else "; ".join(map(str, distinct))
    return found


def _data(parts: dict[int, Results]) -> Data:
    blocks = [part.plan.data for part in parts.values()]
    folds, first = blocks[0].folds, blocks[0]
    spacings = {
        case: spacing_of(part.plan.data, case) for part in parts.values() for case in part.cases["case"].unique()
    }
    smallest, largest = (end(block.train for block in blocks) for end in (min, max))
    sizes = f"{largest}" if smallest == largest else f"{smallest} to {largest}"
    which = "" if len(parts) == folds["folds"] else f" (only folds {', '.join(map(str, parts))})"
    return first.model_copy(update={
        "fingerprint": _hash([block.fingerprint for block in blocks]),
        "stored_fingerprints": {},
        "split": f"{folds['folds']} folds{which}, seed {folds['seed']}, {sizes} training cases in each",
        "split_hash": _hash([block.split_hash for block in blocks]),
        "train": largest,
        "with_label": first.with_label if len({block.with_label for block in blocks}) == 1 else None,
        "test": sum(block.test for block in blocks),
        "other_spacings": {case: mm for case, mm in spacings.items() if mm != first.native_spacing},
        "folds": {"folds": folds["folds"], "seed": folds["seed"], "pooled": len(parts)},
    })  # fmt: skip


def _hash(texts: list[str]) -> str:
    return hashlib.sha256(" ".join(texts).encode()).hexdigest()[:12]
