"""One trial from first step to record: train, predict, score. No Ray here: a generator that anything can drive."""

import gc
import json
import textwrap
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path

import torch
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from benchmark import copies, provenance, records, shipping
from benchmark.experiment import Evaluation, Execution, ExperimentError, Training
from benchmark.fingerprint import code_fingerprint, path_of, training_fingerprint
from benchmark.inference import fold_batch_norm
from benchmark.locks import trial_lock
from benchmark.profiling import traced
from benchmark.records import Results
from benchmark.scoring import postprocessed, predict_labels, score
from benchmark.status import INTERRUPTED, standing
from benchmark.tensorboard import SLICES, EventFile
from benchmark.training import (
    DivergedError,
    TrainingState,
    build_method,
    configure_torch,
    initial_state,
    load_checkpoint,
    make_stream,
    save_checkpoint,
    train,
)
from data import scans
from data.cache import Dataset, prepare
from data.sources import DataSettings
from methods import registry
from methods.method import Method

REPORT_SECONDS = 1.0  # between two signs of life
VIEWS_FOR_A_GPU = 4  # data workers of a method that has views, on a GPU
NOT_MEASURED = (0, 0)  # bytes that a trial needs of a GPU, and those there are
SHARING, MEMORY = "trials_sharing_the_machine", "peak_memory_bytes"  # facts of a record's provenance


class Trial(BaseModel):
    """Everything a worker needs to run one trial: its cell of the plan, cases, protocol. Small, and plain JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    cell: dict  # what tables show: method, display, labelled, draw, seed, …
    method: str
    method_file: str
    settings: dict
    labelled: list[str]
    unlabelled: list[str]
    test: list[str]
    seed: int
    data: dict  # the experiment's data block
    data_summary: dict  # name, fingerprint, split: what a record says of its data
    training: Training
    evaluation: Evaluation
    plugins: list[str] = []

    @property
    def cost(self) -> float:
        """Patch passes with gradient of the whole training, or what costs as much."""
        passes = registry.get(self.method).info.passes  # at the protocol's batch of 4
        return self.training.iterations * passes.total() * self.training.batch_size / 4


class Progress(BaseModel):
    """A sign of life. stage: training, testing i/n, interrupted, done, failed, diverged or stopped (by the disk)."""

    trial: str
    stage: str
    step: int
    iterations: int
    loss: float | None = None
    reason: str | None = None


def run_trial(
    trial: Trial, results: Results, execution: Execution, circumstances: dict | None = None
) -> Iterator[Progress]:
    """Run a trial, or what is left of it, to a record; yields signs of life, the last one with stage "done".

    An exception of the trial's own ends in a record that says why (stage "failed" or "diverged"), not in a traceback.
    Those that say nothing about the trial are raised and leave it as a killed process would: StorageError where the
    disk is full or read-only, RuntimeError where somebody killed a data worker.
    Closing the generator saves a checkpoint first. `circumstances`: what the record's provenance says besides what this
    process can tell, such as the revision of the code and how many trials share the machine.
    """
    circumstances = circumstances or {**provenance.revision(), SHARING: 1}
    try:
        with trial_lock(results, trial.id):
            yield from _run_to_record(trial, results, execution, circumstances)
    except (OSError, RuntimeError) as error:
        if (full := records.storage_error(results.folder, error)) is None:
            raise
        raise full from error


def _run_to_record(trial: Trial, results: Results, execution: Execution, circumstances: dict) -> Iterator[Progress]:
    results.running(trial.id).mkdir(parents=True, exist_ok=True)
    try:
        results.publish(trial.id)  # if an earlier run stopped between finishing a record and moving it to its place
        evaluation = trial.evaluation.model_dump(mode="json")
        state, _ = standing(trial.id, trial.method_file, evaluation, results)
        if state == "done":
            results.clear(trial.id)
        else:
            folder = results.tensorboard(trial.id) if execution.tensorboard else None
            with closing(EventFile(folder)) as events:
                yield from _run(trial, results, execution, circumstances, events, trained=state == "rescore")
        reason = None
        if execution.copy_to:
            try:
                copies.send(results, trial.id, execution.copy_to)
            except records.ResultsError as error:  # the record is there; the end of the run tries once more
                reason = f"done, but {error}"
        yield _sign(trial, "done", trial.training.iterations, reason=reason)
    except DivergedError as error:
        yield write_failure(trial, results, "diverged", str(error))
    except Exception as error:
        if records.storage_error(results.folder, error) or is_killed_worker(error):
            raise
        yield write_failure(trial, results, "failed", _reason(error, trial))


def is_killed_worker(error: Exception) -> bool:
    """Whether a process that prepares batches was killed, for lack of memory perhaps; not an exception in one."""
    return "DataLoader worker (pid" in str(error)


def _reason(error: Exception, trial: Trial) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return f"the GPU's memory is too small: {less_memory('execution.gpus_per_trial', trial)}"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return f"the machine's memory is too small: {less_memory('execution.memory_gib', trial)}"
    line = last_line_in(path_of(trial.method_file), error)
    return _one_line(error) + (f" ({trial.method_file}:{line})" if line else "")


def last_line_in(file: Path, error: Exception) -> int | None:
    """The line of a file that an error came through last; None if it did not."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if Path(f.filename).resolve() == file.resolve()), None)


def less_memory(share: str, trial: Trial) -> str:
    """What to do about too little memory: `share`, the setting that packs fewer trials, then those of the trial."""
    training = trial.training
    return (
        f"raise {share}, so that fewer trials run at a time, or lower execution.window_batch, training.patch "
        f"(now {list(training.patch)}), training.batch_size (now {training.batch_size}) or training.width "
        f"(now {training.width}); those of training change the protocol"
    )


def _one_line(error: Exception) -> str:
    """The error in one line; of one that a data worker passes on with its whole traceback, the last line."""
    text = str(error)
    if "Original Traceback" in text:
        return text.strip().splitlines()[-1]
    return f"{type(error).__name__}: {' '.join(text.split())}"


def write_failure(trial: Trial, results: Results, state: str, reason: str) -> Progress:
    """Leave a record that says why a trial has no figures; one that has figures is never replaced."""
    earlier = results.read_record(trial.id)
    if earlier is None or earlier["state"] != "done":
        _write_trial_yaml(results.unpublished(trial.id), trial, state, reason)
        results.publish(trial.id)
    return _sign(trial, state, 0, reason=reason)


def _run(
    trial: Trial, results: Results, execution: Execution, circumstances: dict, events: EventFile, trained: bool
) -> Iterator[Progress]:
    """`trained`: stored weights are only to be scored again."""
    device, dataset, method = _set_up(trial, execution)
    provenance.reset_peak_memory(device)
    begin = time.perf_counter()
    if trained:
        history, facts = _load_record(results.record(trial.id), method, device)
        facts["scored_again"] = {
            **circumstances, "device": provenance.describe_device(device), "host": provenance.environment()["host"]
        }  # fmt: skip
    else:
        state = initial_state(method, trial.training)
        load_checkpoint(state, results.running(trial.id), training_fingerprint(trial.method_file))
        sessions = _Sessions(results, trial, begun=state.step > 0)
        sessions.note(SHARING, circumstances[SHARING])
        facts = {
            **provenance.environment(),
            **circumstances,
            "device": provenance.describe_device(device),
            "threads": trial.training.threads,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "resumed_at_step": state.step,
        }
        yield from _train(trial, results, execution, dataset, state, device, events)
        sessions.note(MEMORY, provenance.peak_memory(device))
        history = records.csv_text(state.history)
        seconds = state.history[-1]["seconds"]  # of all its sessions
        facts |= {"seconds_training": seconds, "iterations_per_second": round(trial.training.iterations / seconds, 4)}

    # From here to `publish` everything is written to a folder of its own, which becomes the record in one move.
    folder = results.unpublished(trial.id)
    seconds = yield from _test(trial, results, execution, dataset, method, folder, events)
    facts["inference_seconds_per_case"] = round(seconds / len(trial.test), 3)
    if not trained:  # weights that are only scored again have cost what they cost
        sessions.note(MEMORY, provenance.peak_memory(device))
        facts |= {"seconds_this_session": round(time.perf_counter() - begin, 3)} | sessions.most
    (folder / "history.csv").write_text(history, encoding="utf-8")
    (folder / "provenance.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    torch.save(method.state_dict(), folder / "weights.pt")
    _write_trial_yaml(folder, trial, "done", None)
    results.publish(trial.id)


class _Sessions:
    """The most that any session of a trial had, of what its record has one number of: the trials that shared the
    machine, the memory. A session alone must not pass for a training that was packed for most of its time.

    `begun`: this session goes on from a checkpoint; else what an earlier one left says nothing of this training.
    """

    def __init__(self, results: Results, trial: Trial, begun: bool):
        self._path = results.running(trial.id) / "sessions.json"
        self.most: dict[str, int | None] = {}
        if begun:
            with suppress(OSError, ValueError):
                self.most = dict(json.loads(self._path.read_text(encoding="utf-8")))

    def note(self, name: str, value: int | None) -> None:
        self.most[name] = max((each for each in (self.most.get(name), value) if each is not None), default=None)
        records.write_text(self._path, json.dumps(self.most))


def _load_record(record: Path, method: Method, device: torch.device) -> tuple[str, dict]:
    """Give `method` the weights of a record; returns its history and provenance."""
    load_weights(record, method, device)
    try:
        history = (record / "history.csv").read_text(encoding="utf-8")
        return history, json.loads((record / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(record, error) from error


def load_weights(record: Path, method: Method, device: torch.device) -> None:
    """Give `method` the weights of a record. Raises ResultsError."""
    try:
        # weights_only: a pickle can run anything, and records are passed on
        method.load_state_dict(torch.load(record / "weights.pt", map_location=device, weights_only=True))
    except Exception as error:  # garbage makes torch.load raise nearly anything
        raise _unreadable(record, error) from error


def _unreadable(record: Path, error: Exception) -> records.ResultsError:
    reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
    return records.ResultsError(f"{record} cannot be read, remove it to train the trial again ({reason})")


def _set_up(trial: Trial, execution: Execution) -> tuple[torch.device, Dataset, Method]:
    for plugin in trial.plugins:
        _load_plugin(plugin)
    configure_torch(trial.training)
    device = choose_device(execution.device)
    if trial.training.precision == "fp16" and device.type == "cpu":
        raise ExperimentError("training.precision fp16 is for GPUs, and this trial has none: use bf16 or fp32")
    dataset = _dataset(json.dumps(trial.data, sort_keys=True))
    settings = registry.settings_of(trial.method, trial.settings)
    return device, dataset, build_method(trial.method, settings, trial.training, dataset.classes, trial.seed, device)


@cache
def _load_plugin(path: str) -> None:
    """Once a process, as every other module: its code must stay the code that the record's fingerprint is of."""
    registry.load_plugin(shipping.here(path))


@lru_cache(maxsize=2)
def _dataset(settings: str) -> Dataset:
    return prepare(TypeAdapter(DataSettings).validate_json(settings))


def choose_device(name: str) -> torch.device:
    """The device that execution.device names; auto is the GPU where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ExperimentError("execution.device is cuda, but torch finds no CUDA device here: use auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def data_workers(execution: Execution, method: Method, device: torch.device) -> int:
    """Processes that prepare a trial's batches. One keeps a CPU busy, and a GPU where it only cuts out patches; for
    views, such as distance maps, a GPU would wait for it most of the time."""
    if execution.data_workers != "auto":
        return execution.data_workers
    return VIEWS_FOR_A_GPU if device.type == "cuda" and method.views() else 1


def _train(
    trial: Trial, results: Results, execution: Execution, dataset: Dataset, state: TrainingState,
    device: torch.device, events: EventFile,
) -> Iterator[Progress]:  # fmt: skip
    training, folder = trial.training, results.running(trial.id)
    code = training_fingerprint(trial.method_file)
    stream = make_stream(state.method, dataset, trial.labelled, trial.unlabelled, training, trial.seed)
    last_sign = last_checkpoint = time.monotonic()
    workers = data_workers(execution, state.method, device)
    steps = train(state, stream, training, trial.seed, device, workers)
    trace = ExitStack()
    try:
        step_is_over = trace.enter_context(traced(results.trace(trial.id), execution.profile_steps))
        for step in steps:
            step_is_over()
            now = time.monotonic()
            every = execution.checkpoint_iterations
            if now - last_checkpoint >= 60 * execution.checkpoint_minutes or (every and step % every == 0):
                save_checkpoint(state, folder, code)
                last_checkpoint = now
            if now - last_sign >= REPORT_SECONDS or step == training.iterations:
                state.flush()
                events.add_losses(state.history)
                last_sign = now
                yield _alive(results, _sign(trial, "training", step, loss=_last_total(state)))
        save_checkpoint(state, folder, code)
    except GeneratorExit:
        with suppress(OSError, RuntimeError):  # a generator that is being closed has nobody to tell
            save_checkpoint(state, folder, code)
        _alive(results, _sign(trial, INTERRUPTED, state.step))
        raise
    finally:
        trace.close()
        steps.close()  # ends the data workers now, not at some collection of garbage


def _test(
    trial: Trial, results: Results, execution: Execution, dataset: Dataset, method: Method, folder: Path,
    events: EventFile,
) -> Generator[Progress, None, float]:  # fmt: skip
    """Predict and score every test case: predictions/ and cases.csv. Returns the seconds of predicting alone."""
    (folder / "predictions").mkdir()
    method = fold_batch_norm(method)
    rows: list[dict] = []
    seconds = 0.0
    for number, case_id in enumerate(trial.test, start=1):
        yield _alive(results, _sign(trial, f"testing {number}/{len(trial.test)}", trial.training.iterations))
        native = dataset.native(case_id)
        begin = time.perf_counter()
        labels = predict_labels(
            method, dataset, case_id, trial.training.patch, trial.evaluation, execution.window_batch
        )
        seconds += time.perf_counter() - begin
        rows += score(labels, native, dataset.classes, trial.evaluation)
        if number <= SLICES:
            events.add_slice(case_id, native.image, native.label, labels, trial.training.iterations)
        records.write_prediction(folder / "predictions" / f"{case_id}.npz", labels, dataset.classes)
        if (geometry := dataset.source.geometry(case_id)) is not None:  # for other tools: as the headline is scored
            masks = postprocessed(labels, dataset.classes, trial.evaluation)
            values = list(dataset.source.class_names.values())
            scans.write_labels(folder / "predictions" / f"{case_id}.nii.gz", masks, geometry, values)
        records.write_case(results, case_id, native.image, native.label, dataset.fingerprint([case_id]))
    (folder / "cases.csv").write_text(records.csv_text(rows), encoding="utf-8")
    return seconds


def smoke_test(trial: Trial, execution: Execution) -> float:
    """Two training steps and one window of inference, leaving nothing; returns the seconds of the second step."""
    device, dataset, method = _set_up(trial, execution)
    training = trial.training
    state = initial_state(method, training)
    stream = make_stream(method, dataset, trial.labelled, trial.unlabelled, training, trial.seed)
    steps = train(state, stream, training, trial.seed, device, data_workers=0)
    next(steps)
    begin = time.perf_counter()
    next(steps, None)
    state.flush()
    seconds = time.perf_counter() - begin
    steps.close()
    method.eval()
    case_id = trial.test[0]
    labels = predict_labels(method, dataset, case_id, training.patch, trial.evaluation, window_batch=1, max_windows=1)
    score(labels, dataset.native(case_id), dataset.classes, trial.evaluation)
    return seconds


def memory_needs(trials: list[Trial], execution: Execution) -> list[tuple[int, int]]:
    """For each trial the bytes of the GPU that are taken after two steps and one window, CUDA's own included, and those
    it has; NOT_MEASURED where there is no CUDA, or the trial does not run: it will say why itself."""
    needs = []
    for trial in trials:
        try:
            smoke_test(trial, execution)
            # The allocator gives nothing back meanwhile, so that what is taken now was taken at the peak, too.
            free, there = torch.cuda.mem_get_info() if torch.cuda.is_available() else NOT_MEASURED
            needs.append((there - free, there))
        except Exception:
            needs.append(NOT_MEASURED)
        gc.collect()
        torch.cuda.empty_cache()
    return needs


def _write_trial_yaml(folder: Path, trial: Trial, state: str, reason: str | None) -> None:
    """The record's own description, written last: without it there is no record."""
    content = {
        "format": records.FORMAT,
        "trial": trial.id,
        "state": state,
        "reason": reason,
        "cell": trial.cell,
        "data": trial.data_summary,
        "labelled": trial.labelled,
        "unlabelled": trial.unlabelled,
        "test": trial.test,
        "training": trial.training.model_dump(mode="json"),
        "evaluation": trial.evaluation.model_dump(mode="json"),
        "code": code_fingerprint(trial.method_file),
    }
    records.write_text(folder / "trial.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _last_total(state: TrainingState) -> float:
    """What the first phase minimised in the last step."""
    return next(value for name, value in state.history[-1].items() if name.endswith("total"))


def _sign(trial: Trial, stage: str, step: int, **more) -> Progress:
    return Progress(trial=trial.id, stage=stage, step=step, iterations=trial.training.iterations, **more)


def _alive(results: Results, progress: Progress) -> Progress:
    records.write_heartbeat(results, progress.trial, progress.model_dump())
    return progress
