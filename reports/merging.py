"""Several results folders as one: parts of an experiment, and the folds of a cross-validation."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmark.records.states import PROGRESS
from reports.collapsed import with_runs_far_below
from reports.folds import MEANING, pooled
from reports.results import Results, read_results


def read_folders(folders: Sequence[Path | str]) -> list[Results]:
    """Read several results folders; parts of one experiment, on the same data under the same protocol, become one, and
    so do the folds of one cross-validation (see `folds.pooled`). Runs far below the others of their row are marked.

    Others stay apart, in the order given: no table mixes protocols or data sets. Those of one title get their folders'
    names into it.
    """
    experiments: dict[str, dict[Path, Results]] = {}
    for folder in dict.fromkeys(Path(folder) for folder in folders):
        results = read_results(folder)
        meaning = results.plan.model_dump(mode="json", include=MEANING)
        del meaning["data"]["recipe"]  # older plans lack it, and the cases tell protocols apart
        experiments.setdefault(json.dumps(meaning, sort_keys=True), {})[folder] = results
    merged = pooled({tuple(parts): _merge(list(parts.values())) for parts in experiments.values()})
    titles = Counter(results.plan.title for results in merged.values())
    for parts, results in merged.items():
        if titles[results.plan.title] > 1:
            title = f"{results.plan.title} ({', '.join(map(str, parts))})"
            merged[parts] = replace(results, plan=results.plan.model_copy(update={"title": title}))
    return [with_runs_far_below(results) for results in merged.values()]


def _merge(parts: list[Results]) -> Results:
    """One experiment from its parts; of a cell that several planned, the one that got furthest stays."""
    if len(parts) == 1:
        return parts[0]
    chosen: dict[str, tuple[Results, dict]] = {}
    for part in parts:
        for cell in part.cells.to_dict("records"):
            earlier = chosen.get(cell["trial"])
            if earlier is None or _progress(cell) > _progress(earlier[1]):
                chosen[cell["trial"]] = (part, cell)
    taken = [[trial for trial, (of, _) in chosen.items() if of is part] for part in parts]
    cases, left_out = (
        _joined([of[of["trial"].isin(ids)] for of, ids in zip(frames, taken, strict=True)])
        for frames in ([part.cases for part in parts], [part.left_out for part in parts])
    )
    facts = [part.provenance[part.provenance.index.isin(ids)] for part, ids in zip(parts, taken, strict=True)]
    planned = {cell.trial: cell for part in reversed(parts) for cell in part.plan.cells}
    return Results(
        plan=parts[0].plan.model_copy(update={"cells": [planned[trial] for trial in chosen]}),
        cells=pd.DataFrame([cell for _, cell in chosen.values()], columns=parts[0].cells.columns, dtype=object),
        cases=cases,
        left_out=left_out,
        provenance=_joined(facts, ignore_index=False),
        unplanned=sorted({trial for part in parts for trial in part.unplanned} - set(chosen)),
        records={trial: of.records[trial] for trial, (of, _) in chosen.items() if trial in of.records},
        pictures={case: path for part in reversed(parts) for case, path in part.pictures.items()},
        curves={trial: of.curves[trial] for trial, (of, _) in chosen.items() if trial in of.curves},
    )


def _progress(cell: dict) -> tuple[bool, int]:
    return cell["scored"] and not cell["worst"], PROGRESS.index(cell["state"])


def _joined(frames: list[pd.DataFrame], ignore_index: bool = True) -> pd.DataFrame:
    """As pd.concat; the types of frames without rows do not count."""
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=ignore_index)
