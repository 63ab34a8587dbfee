"""One trial from first step to record: train, predict, score. No Ray here: a generator that anything can drive."""

import json
import math
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmark.cluster import plugin_files
from benchmark.planning.experiment import Execution
from benchmark.planning.pretrained import load_pretrained
from benchmark.records import collapse, remote_copies
from benchmark.records.case_values import mean_score, read_case_values
from benchmark.records.files import ResultsError, csv_text, storage_error, write_text
from benchmark.records.locks import trial_lock
from benchmark.records.models import FORMAT, SHARING, Record
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import DONE, INTERRUPTED, RESCORE, cell_state
from benchmark.trial import provenance
from benchmark.trial.checkpoints import load_checkpoint, save_checkpoint
from benchmark.trial.failures import failure_reason, is_killed_worker
from benchmark.trial.finite import DivergedError
from benchmark.trial.label_watch import LabelWatch, install, peeked
from benchmark.trial.process_state import ProcessState, changed_process
from benchmark.trial.profiling import traced
from benchmark.trial.setup import data_workers, dataset_of, set_up
from benchmark.trial.specification import Progress, Trial
from benchmark.trial.tensorboard import EventFile
from benchmark.trial.testing import predict_cases, score_cases
from benchmark.trial.training import TrainingState, initial_state, make_stream, train
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
        if state == DONE:
            results.clear(trial.id)
        else:
            folder = results.tensorboard(trial.id) if execution.tensorboard else None
            with closing(EventFile(folder)) as events:
                yield from _run(session, events, trained=state == RESCORE)
        reason = None
        if execution.copy_to:
            try:
                remote_copies.send(results, trial.id, execution.copy_to)
            except ResultsError as error:  # the record is there; the end of the run tries once more
                reason = f"done, but {error}"
        return _progress(trial, DONE, trial.training.iterations, reason=reason, dice=_dice(results, trial))
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


def _run(session: _Session, events: EventFile, trained: bool) -> Iterator[Progress]:
    """`trained`: stored weights are only to be scored again."""
    trial, results = session.trial, session.results
    dataset = dataset_of(trial)  # which opens labels where the cache lacks cases
    with session.labels.watching(dataset, trial.labelled):
        folder, history, facts = yield from _watched(session, dataset, events, trained)
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
    session: _Session, dataset: Dataset, events: EventFile, trained: bool
) -> Generator[Progress, None, tuple[Path, str, dict]]:
    """All that runs code of the method. Returns the folder of the record, the text of history.csv and provenance."""
    trial, results, execution, run_facts = session.trial, session.results, session.execution, session.run_facts
    device, _, method = set_up(trial, execution)
    provenance.reset_peak_memory(device)
    begin = time.perf_counter()
    if trained:
        session.labels.forget_earlier_sessions()
        history, facts = load_record(results.record(trial.id), method, device)
        facts["scored_again"] = {
            **run_facts, "device": provenance.describe_device(device), "host": provenance.environment()["host"]
        }  # fmt: skip
    else:
        state = initial_state(method, trial.training)
        load_checkpoint(state, results.running(trial.id), trial.numerics.of_weights())
        if state.step == 0:
            session.labels.forget_earlier_sessions()
            loaded = load_pretrained(method, trial.training.pretrained, results, execution)
            session.notes.extend([loaded] * bool(loaded))
        sessions = _Sessions(results, trial, begun=state.step > 0)
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
        yield from _train(session, dataset, state, device, events)
        sessions.note(MEMORY, provenance.peak_memory(device))
        history = csv_text(state.history)
        seconds = state.history[-1]["seconds"]  # of all its sessions
        facts |= {"seconds_training": seconds, "iterations_per_second": round(trial.training.iterations / seconds, 4)}

    # From here to `publish` everything is written to a folder of its own, which becomes the record in one move.
    folder = results.unpublished(trial.id)
    seconds = yield from _test(session, dataset, method, folder, events)
    facts["inference_seconds_per_case"] = round(seconds / len(trial.test), 3)
    if not trained:  # weights that are only scored again have cost what they cost
        sessions.note(MEMORY, provenance.peak_memory(device))
        facts |= {"seconds_this_session": round(time.perf_counter() - begin, 3)} | sessions.most
    torch.save(method.state_dict(), folder / "weights.pt")
    return folder, history, facts


class _Sessions:
    """The most that any session of a trial had, of what its record has one number of: the trials that shared the
    machine, the memory. A session alone must not pass for a training that was packed for most of its time.

    `begun`: this session goes on from a checkpoint; else what an earlier one left says nothing of this training.
    """

    def __init__(self, results: ResultsFolder, trial: Trial, begun: bool):
        self._path = results.running(trial.id) / "sessions.json"
        self.most: dict[str, int | None] = {}
        if begun:
            with suppress(OSError, ValueError, TypeError, RecursionError):
                stored = dict(json.loads(self._path.read_text(encoding="utf-8")))
                self.most = {name: number for name, number in stored.items() if isinstance(number, int)}

    def note(self, name: str, value: int | None) -> None:
        self.most[name] = max((number for number in (self.most.get(name), value) if number is not None), default=None)
        write_text(self._path, json.dumps(self.most))


def _train(
    session: _Session, dataset: Dataset, state: TrainingState, device: torch.device, events: EventFile
) -> Iterator[Progress]:
    trial, results, execution = session.trial, session.results, session.execution
    training, folder = trial.training, results.running(trial.id)
    numerics = trial.numerics.of_weights()
    stream = make_stream(state.method, dataset, trial.labelled, trial.unlabelled, training, trial.seed)
    last_report = last_checkpoint = time.monotonic()
    workers = data_workers(execution, state.method, device)
    said, sharing, dead = 0, session.run_facts[SHARING], ""
    steps = train(state, stream, training, trial.seed, device, workers, session.notes.append, sharing)
    trace = ExitStack()
    try:
        step_is_over = trace.enter_context(traced(results.trace(trial.id), execution.profile_steps))
        for step in steps:
            step_is_over()
            session.watch.alive(step)
            now = time.monotonic()
            every = execution.checkpoint_iterations
            if now - last_checkpoint >= 60 * execution.checkpoint_minutes or (every and step % every == 0):
                save_checkpoint(state, folder, numerics)
                last_checkpoint = now
            if now - last_report >= REPORT_SECONDS or step == training.iterations:
                state.flush()
                events.add_losses(state.history)
                last_report = now
                if not dead and (
                    dead := collapse.dead(state.history, type(state.method).dead_below, training.iterations)
                ):
                    session.notes.append(f"{dead}, after step {step}. The training goes on; {MARKED}")
                news, said = session.notes[said:], len(session.notes)
                yield _report(results, _progress(trial, "training", step, loss=_last_total(state), notes=news))
        save_checkpoint(state, folder, numerics)
    except GeneratorExit:
        with suppress(OSError, RuntimeError):  # a generator that is being closed has nobody to tell
            save_checkpoint(state, folder, numerics)
        _report(results, _progress(trial, INTERRUPTED, state.step))
        raise
    finally:
        trace.close()
        steps.close()  # ends the data workers now, not at some collection of garbage


def _test(
    session: _Session, dataset: Dataset, method: Method, folder: Path, events: EventFile
) -> Generator[Progress, None, float]:
    """Predict every test case, then score all: predictions/ and cases.csv. Returns the seconds of predicting alone."""
    trial, results, watch = session.trial, session.results, session.watch

    def say(stage: str) -> Progress:
        return _report(results, _progress(trial, stage, trial.training.iterations))

    window_batch = session.execution.window_batch
    seconds = yield from predict_cases(method, dataset, trial, folder, window_batch, watch.alive, say)
    with session.labels.scoring():
        yield from score_cases(dataset, trial, folder, results, events, say)
    return seconds


def _record(trial: Trial, state: str, reason: str | None, **marks: str) -> Record:
    return Record(
        format=FORMAT, trial=trial.id, state=state, reason=reason, **marks, cell=trial.cell,
        data=trial.data_summary,
        labelled=trial.labelled, unlabelled=trial.unlabelled, test=trial.test,
        training=trial.training.model_dump(), evaluation=trial.evaluation, numerics=trial.numerics,
    )  # fmt: skip


def _last_total(state: TrainingState) -> float:
    """What the first phase minimised in the last step."""
    return next(value for name, value in state.history[-1].items() if name.endswith("total"))


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
