"""Results folders with runs that diverged or failed, and what their tables say."""

import numpy as np
import pandas as pd
from helpers.results_folder import CASES, cells_of, plan, scored, write_plan, write_record, write_tables_of

SHAPE = [20, 30, 40]
SPACING = [0.5, 1.0, 2.0]
REASONS = {"diverged": "loss total is nan at step 12", "failed": "MemoryError"}


def planned_with(cells, diverged="worst", shapes=CASES, **changes):
    data = {"native_spacing": SPACING} | changes.pop("data", {})
    return plan(cells, shapes={case: SHAPE for case in shapes}, evaluation={"diverged": diverged}, data=data, **changes)


def write(folder, planned, ended=None, dice=None):
    """Every run done but those of `ended`, {trial: state}; Dice of a run from `dice`, {trial: value or values}."""
    write_plan(folder, planned)
    for number, planned_cell in enumerate(planned["cells"]):
        trial = planned_cell["trial"]
        if state := (ended or {}).get(trial):
            write_record(folder, planned, planned_cell, state=state, reason=REASONS[state], test=CASES)
        else:
            table = scored(planned, seed=number, **({"dice": dice[trial]} if trial in (dice or {}) else {}))
            write_record(folder, planned, planned_cell, table)
    return folder


def three_methods(diverged="worst", ended="a-8-2-first", state="diverged", folder=None, **changes):
    """A has Dice of 90, B of 80, C of 70, with three seeds each; one run of A ended without values."""
    planned = planned_with(cells_of("a", "b", "c"), diverged, **changes)
    level = {"a": 0.9, "b": 0.8, "c": 0.7}
    spread = np.linspace(-0.02, 0.02, len(CASES))
    dice = {
        c["trial"]: tuple(level[c["method"]] + 0.001 * c["seed"] + spread * (1 if c["method"] == "b" else 0.7))
        for c in planned["cells"]
    }
    return write(folder, planned, {ended: state}, dice)


def text_of(folder, name="comparison", kind="md"):
    return (write_tables_of(folder) / f"{name}.{kind}").read_text(encoding="utf-8")


def line_of(text, name):
    [line] = [line for line in text.splitlines() if line.startswith(f"| {name}")]
    return [part.strip() for part in line.strip("|").split("|")]


def frame_of(folder, name="comparison"):
    return pd.read_csv(write_tables_of(folder) / f"{name}.csv").set_index("display")
