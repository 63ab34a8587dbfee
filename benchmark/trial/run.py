"""One trial from first step to record: train, predict, score. No Ray here: a generator that anything can drive."""

import json
import math
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmark.cluster import plugin_files
from benchmark.planning.experiment import Execution
from benchmark.planning.pretrained import load_pretrained
from benchmark.records import collapse, remote_copies
from benchmark.records.case_values import mean_score, read_case_values
from benchmark.records.files import ResultsError, csv_text, remove, storage_error
from benchmark.records.locks import trial_lock
from benchmark.records.models import FORMAT, SHARING, Record
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.selection import keep_weights
from benchmark.records.states import DONE, INTERRUPTED, RESCORE, cell_state
from benchmark.trial import provenance
from benchmark.trial.checkpoints import load_checkpoint, save_checkpoint
from benchmark.trial.failures import failure_reason, is_killed_worker
from benchmark.trial.finite import DivergedError
from benchmark.trial.label_watch import LabelWatch, install, peeked
from benchmark.trial.process_state import ProcessState, changed_process
from benchmark.trial.profiling import traced
from benchmark.trial.selection import predict_checkpoints, scorable, score_checkpoints, store_weights
from benchmark.trial.sessions import Sessions
from benchmark.trial.setup import data_workers, dataset_of, set_up
from benchmark.trial.specification import Progress, Trial
from benchmark.trial.testing import predict_cases, score_cases
from benchmark.trial.training import TrainingState, initial_state, make_stream, totals, train
from benchmark.trial.trial_log import TrialLog, open_log, run_of
from benchmark.trial.watch import Watch
from benchmark.trial.weights import load_record
from data.cache import Dataset
from methods.shared import registry
from methods.shared.method import Method

REPORT_SECONDS = 1.0  # between two signs of life
MEMORY = "peak_memory_bytes"  # a fact of provenance.json
OPENINGS = "labels_opened"  # another
MARKED = "if that is so at its end, its record and tables are marked"


def run_trial(
    trial: Trial, results: ResultsFolder, execution: Execution, run_facts: dict | None = None
) -> Iterator[Progress]:
    """Run a trial, or what is left of it, to a record; yields its progress, the last one with stage "done".

    An exception of the trial's own ends in a record that says why (stage "failed" or "diverged"), not in a traceback.
    Those that say nothing about the trial are raised and leave it as a killed process would: StorageError where the
    disk is full or read-only, RuntimeError where somebody killed a data worker.
    Closing the generator saves a checkpoint first. `run_facts`: what the record's provenance says besides what this
    process can tell, such as the revision of the code and how many trials share the machine.
    """
    run_facts = run_facts or {**provenance.revision(), SHARING: 1}
    folders = {str(plugin_files.location(plugin).resolve().parent) for plugin in trial.plugins}
    install()
    process = ProcessState(trial.training, trial.seed, folders)
    watch = Watch(results, trial)
    labels = LabelWatch(results.running(trial.id) / "labels_opened.jsonl", watch.place)
    session = _Session(trial, results, execution, run_facts, process, watch, labels)
    try:
        with trial_lock(results, trial.id):
            last = yield from session.watch.watched(_run_to_record(session))
            if changes := process.changes():
                last.notes.append(changed_process(trial.method, changes))
            if labels.openings:
                last.notes.append(f"{trial.method}: {peeked(labels.openings)}; tables mark it")
            yield last.model_copy(update={"process_changed": bool(changes or labels.openings)})
    except (OSError, RuntimeError) as error:
        if (full := storage_error(results.folder, error)) is None:
            raise
        raise full from error


@dataclass(frozen=True)
class _Session:
    """What belongs to one run of a trial, from its start or from a checkpoint."""

    trial: Trial
    results: ResultsFolder
    execution: Execution
    run_facts: dict
    process: ProcessState
    watch: Watch
    labels: LabelWatch
    notes: list[str] = field(default_factory=list)  # what a user should hear of, for the record


def _run_to_record(session: _Session) -> Generator[Progress, None, Progress]:
    """Yields the signs of life before the last one, which it returns."""
    trial, results, execution = session.trial, session.results, session.execution
    results.start(trial.id)
    try:
        results.publish(trial.id)  # if an earlier run stopped between finishing a record and moving it to its place
        state = cell_state(results, trial.id, trial.wanted).state
        notes = []
        if state == DONE:
            results.clear(trial.id)
        else:
            trained = state == RESCORE
            with closing(open_log(trial, results, execution, trained)) as log:
                yield from _run(session, log, trained)
            notes = log.problems
        reason = None
        if execution.copy_to:
            try:
                remote_copies.send(results, trial.id, execution.copy_to)
            except ResultsError as error:  # the record is there; the end of the run tries once more
                reason = f"done, but {error}"
        steps, dice = trial.training.iterations, _dice(results, trial)
        return _progress(trial, DONE, steps, reason=reason, dice=dice, notes=notes)
    except DivergedError as error:
        return write_failure(trial, results, "diverged", str(error))
    except Exception as error:
        if storage_error(results.folder, error) or is_killed_worker(error):
            raise
        return write_failure(trial, results, "failed", failure_reason(error, trial))


def write_failure(trial: Trial, results: ResultsFolder, state: str, reason: str) -> Progress:
    """Leave a record that says why a trial has no figures; one that has figures is never replaced."""
    if results.finished_record(trial.id) is None:
        results.write_record(results.unpublished(trial.id), _record(trial, state, reason))
        results.publish(trial.id)
    return _progress(trial, state, 0, reason=reason)


def _run(session: _Session, log: TrialLog, trained: bool) -> Iterator[Progress]:
    """`trained`: stored weights are only to be scored again."""
    if trained:
        session = replace(session, trial=scorable(session.trial, session.results, session.notes.append))
    trial, results = session.trial, session.results
    dataset = dataset_of(trial)  # which opens labels where the cache lacks cases
    with session.labels.watching(dataset, trial.labelled):
        folder, history, facts = yield from _watched(session, dataset, log, trained)
    if changes := session.process.changes():
        facts["process_changed"] = changes
    if session.notes:
        facts["notes"] = session.notes
    openings = [*facts.get(OPENINGS, ()), *session.labels.openings]  # those of a training that is only scored again
    if openings:
        facts[OPENINGS] = openings
    (folder / "history.csv").write_text(history, encoding="utf-8")
    (folder / "provenance.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    collapsed = collapse.dead_in_history(history, registry.get(trial.method).dead_below)
    results.write_record(folder, _record(trial, DONE, None, collapsed=collapsed, peeked=peeked(openings)))
    results.publish(trial.id)


def _watched(
    session: _Session, dataset: Dataset, log: TrialLog, trained: bool
) -> Generator[Progress, None, tuple[Path, str, dict]]:
    """All that runs code of the method. Returns the folder of the record, the text of history.csv and provenance."""
    trial, results, execution, run_facts = session.trial, session.results, session.execution, session.run_facts
    device, _, method = set_up(trial, execution)
    provenance.reset_peak_memory(device)
    begin = time.perf_counter()
    if trained:
        log.start(run_of(trial, results, None))
        session.labels.forget_earlier_sessions()
        history, facts = load_record(results.record(trial.id), method, device)
        facts["scored_again"] = {
            **run_facts, "device": provenance.describe_device(device), "host": provenance.environment()["host"]
        }  # fmt: skip
    else:
        state = initial_state(method, trial.training)
        load_checkpoint(state, results.running(trial.id), trial.numerics.of_weights(), trial.evaluation.checkpoints)
        if state.step == 0:
            session.labels.forget_earlier_sessions()
            remove(results.running(trial.id) / "checkpoints")
            loaded = load_pretrained(method, trial.training.pretrained, results, execution)
            session.notes.extend([loaded] * bool(loaded))
        log.start(run_of(trial, results, state.step))
        sessions = Sessions(results, trial, begun=state.step > 0)
        sessions.note(SHARING, run_facts[SHARING])
        facts = {
            **provenance.environment(),
            **run_facts,
            "source": provenance.source_hashes(trial.cell.method_file),
            "device": provenance.describe_device(device),
            "threads": trial.training.threads,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "resumed_at_step": state.step,
        }
        yield from _train(session, dataset, state, device, log)
        sessions.note(MEMORY, provenance.peak_memory(device))
        history = csv_text(state.history)
        seconds = state.history[-1]["seconds"]  # of all its sessions
        facts |= {"seconds_training": seconds, "iterations_per_second": round(trial.training.iterations / seconds, 4)}

    # From here to `publish` everything is written to a folder of its own, which becomes the record in one move.
    folder = results.unpublished(trial.id)
    weights_of = results.record(trial.id) if trained else results.running(trial.id)
    seconds = yield from _test(session, dataset, method, weights_of, folder, log)
    facts["inference_seconds_per_case"] = round(seconds / len(trial.test), 3)
    if not trained:  # weights that are only scored again have cost what they cost
        sessions.note(MEMORY, provenance.peak_memory(device))
        facts |= {"seconds_this_session": round(time.perf_counter() - begin, 3)} | sessions.most
    return folder, history, facts


def _train(
    session: _Session, dataset: Dataset, state: TrainingState, device: torch.device, log: TrialLog
) -> Iterator[Progress]:
    trial, results, execution = session.trial, session.results, session.execution
    training, folder, stored_every = trial.training, results.running(trial.id), trial.evaluation.checkpoints
    numerics = trial.numerics.of_weights()
    stream = make_stream(state.method, dataset, trial.labelled, trial.unlabelled, training, trial.seed)
    last_report = last_checkpoint = time.monotonic()
    workers = data_workers(execution, state.method, device)
    said, sharing, dead = 0, session.run_facts[SHARING], ""
    steps = train(state, stream, training, trial.seed, device, workers, session.notes.append, sharing)
    trace = ExitStack()

    def checkpoint() -> None:
        state.flush()
        log.add_losses(state.history)
        log.flush()  # first: a session that goes on from the checkpoint does not write these steps again
        save_checkpoint(state, folder, numerics)

    try:
        log.add_pictures(state, trial, dataset)
        step_is_over = trace.enter_context(traced(results.trace(trial.id), execution.profile_steps))
        for step in steps:
            step_is_over()
            session.watch.alive(step)
            if stored_every and step % stored_every == 0 and step < training.iterations:
                store_weights(state.method, folder, step)  # before a checkpoint that lies behind it
            log.add_pictures(state, trial, dataset)
            now = time.monotonic()
            every = execution.checkpoint_iterations
            if now - last_checkpoint >= 60 * execution.checkpoint_minutes or (every and step % every == 0):
                checkpoint()
                last_checkpoint = now
            if now - last_report >= REPORT_SECONDS or step == training.iterations:
                state.flush()
                log.add_losses(state.history)
                last_report = now
                if not dead and (
                    dead := collapse.dead(state.history, type(state.method).dead_below, training.iterations)
                ):
                    session.notes.append(f"{dead}, after step {step}. The training goes on; {MARKED}")
                news, said = session.notes[said:], len(session.notes)
                yield _report(results, _progress(trial, "training", step, loss=_last_total(state), notes=news))
        checkpoint()
    except GeneratorExit:
        with suppress(OSError, RuntimeError):  # a generator that is being closed has nobody to tell
            checkpoint()
        _report(results, _progress(trial, INTERRUPTED, state.step))
        raise
    finally:
        trace.close()
        steps.close()  # ends the data workers now, not at some collection of garbage


def _test(
    session: _Session, dataset: Dataset, method: Method, weights_of: Path, folder: Path, log: TrialLog
) -> Generator[Progress, None, float]:
    """Predict every test case, then score all: predictions/, weights.pt and cases.csv; of stored checkpoints, too.

    `weights_of`: the folder that has these. Returns the seconds of predicting the test cases with the last weights.
    """
    trial, results, watch = session.trial, session.results, session.watch

    def say(stage: str) -> Progress:
        return _report(results, _progress(trial, stage, trial.training.iterations))

    window_batch = session.execution.window_batch
    seconds = yield from predict_cases(method, dataset, trial, folder, window_batch, watch.alive, say)
    torch.save(method.state_dict(), folder / "weights.pt")
    keep_weights(weights_of, folder)
    selects = trial.evaluation.checkpoints is not None
    if selects:
        yield from predict_checkpoints(
            method, dataset, trial, folder, window_batch, watch.alive, say, session.notes.append
        )
    with session.labels.scoring():
        rows = yield from score_cases(dataset, trial, folder, results, log, say)
        if selects:
            yield from score_checkpoints(dataset, trial, folder, rows, say)
    return seconds


def _record(trial: Trial, state: str, reason: str | None, **marks: str) -> Record:
    return Record(
        format=FORMAT, trial=trial.id, state=state, reason=reason, **marks, cell=trial.cell,
        data=trial.data_summary,
        labelled=trial.labelled, unlabelled=trial.unlabelled, test=trial.test, validation=trial.validation,
        training=trial.training.model_dump(), evaluation=trial.evaluation, numerics=trial.numerics,
    )  # fmt: skip


def _last_total(state: TrainingState) -> float:
    """What the first phase minimised in the last step."""
    return next(iter(totals(state.history[-1]).values()))


def _progress(trial: Trial, stage: str, step: int, **more) -> Progress:
    return Progress(trial=trial.id, stage=stage, step=step, iterations=trial.training.iterations, **more)


def _dice(results: ResultsFolder, trial: Trial) -> float | None:
    """What the record says, as the headline counts it; None if no case has a Dice."""
    values = read_case_values(results.record(trial.id) / "cases.csv", len(trial.test), trial.data_summary.classes)
    dice = mean_score(values, "dice", trial.evaluation.postprocessing)
    return None if math.isnan(dice) else dice


def _report(results: ResultsFolder, progress: Progress) -> Progress:
    results.write_heartbeat(progress.trial, progress.model_dump())
    return progress
