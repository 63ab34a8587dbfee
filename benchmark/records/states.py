"""Where cells stand, from what lies in a results folder alone: neither torch nor the data is needed."""

import time
from pathlib import Path

from benchmark.records.files import ResultsError
from benchmark.records.fingerprint import SCORING, changed_files
from benchmark.records.folder import ResultsFolder
from benchmark.records.locks import SILENCE

INTERRUPTED = "interrupted"
CHANGED = "changed since:"


def cell_state(trial: str, method_file: str, evaluation: dict, results: ResultsFolder) -> tuple[str, str]:
    """(state, reason) of a trial: new, running, interrupted, done, stale, rescore, failed or diverged.

    stale: code that decides weights has changed since. rescore: only the evaluation block or scoring code has, or the
    scores are damaged.
    """
    record = results.read_record(trial)
    if record is None:
        heartbeat = results.heartbeat(trial)
        if heartbeat is None:
            broken = (results.record(trial) / "trial.yaml").exists()
            return "new", "trial.yaml of its record cannot be read: it is trained again" if broken else ""
        where = f"{heartbeat['stage']}, step {heartbeat['step']} of {heartbeat['iterations']}"
        alive = heartbeat["stage"] != INTERRUPTED and time.time() - heartbeat["time"] < SILENCE
        return ("running" if alive else INTERRUPTED), where
    if record["state"] != "done":
        return record["state"], record["reason"] or ""
    if changed := changed_files(record["code"], method_file):
        state = "rescore" if set(changed) <= set(SCORING) else "stale"
        return state, f"{CHANGED} {', '.join(changed)}"
    for_others = any((results.record(trial) / "predictions").glob("*.nii.gz"))  # these are as the headline is scored
    if _scoring(record["evaluation"], for_others) != _scoring(evaluation, for_others):
        return "rescore", "scored under another evaluation block; its weights are kept"
    if not results.has_scores(trial):
        return "rescore", "cases.csv of its record cannot be read; its weights are kept"
    return "done", ""


def write_report(*folders: ResultsFolder, packed_timings: bool = False) -> Path:
    """DIR/report of the first folder, over all of them and what was tuned in them, with the rows marked whose figures
    other code made: only the code can tell, so reports are told.

    Raises ResultsError if a folder has no plan or cannot be written, reports.results.ReportError for a broken plan.
    """
    from reports import report

    parts = {part.folder.resolve(): part for results in folders for part in results.parts()}
    for results in parts.values():
        results.read_plan()  # refuses trials whose names lead out of the folder, which reports take as they are
    try:
        return report.write_report([part.folder for part in parts.values()], _stale, packed_timings)
    except OSError as error:
        raise ResultsError(
            f"{folders[0].folder / 'report'} cannot be written: {error}; records are whole: make room or make it "
            "writable, then `report` the folder again"
        ) from error


def _stale(cell: dict, record: dict) -> str:
    changed = changed_files(record.get("code") or {}, cell["method_file"])
    return f"{CHANGED} {', '.join(changed)}" if changed else ""


def _scoring(evaluation: dict, for_others: bool) -> dict:
    """What decides what a record holds: figures of both postprocessings always, labels for other tools of one alone."""
    return {key: value for key, value in evaluation.items() if for_others or key != "postprocessing"}


def cell_states(results: ResultsFolder) -> list[tuple[dict, str, str]]:
    """Every planned cell with its state and reason. Raises ResultsError if the folder has no plan."""
    plan = results.read_plan()
    return [
        (cell, *cell_state(cell["trial"], cell["method_file"], plan["evaluation"], results)) for cell in plan["cells"]
    ]
