"""One trial from first step to record: train, predict, score. No Ray here: a generator that anything can drive."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

import torch
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from benchmark import provenance, records
from benchmark.experiment import Evaluation, Execution, Training
from benchmark.fingerprint import code_fingerprint
from benchmark.records import Results
from benchmark.scoring import predict_labels, score
from benchmark.training import (
    DivergedError,
    TrainingState,
    build_method,
    initial_state,
    load_checkpoint,
    make_stream,
    save_checkpoint,
    train,
)
from data.cache import Dataset, prepare
from data.sources import DataSettings
from methods import registry

REPORT_SECONDS = 1.0  # between two signs of life


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
        """Patch passes of the whole training; a forward pass costs about a third of one with gradient."""
        passes = registry.get(self.method).info.passes
        return self.training.iterations * (passes.train + passes.extra / 3)


class Progress(BaseModel):
    """A sign of life. stage: training, testing, done, failed or diverged."""

    trial: str
    stage: str
    step: int
    iterations: int
    loss: float | None = None
    reason: str | None = None


@lru_cache(maxsize=2)
def _dataset(settings: str) -> Dataset:
    return prepare(TypeAdapter(DataSettings).validate_json(settings))


def choose_device(name: str) -> torch.device:
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu"))


def run_trial(trial: Trial, results: Results, execution: Execution, sharing: int = 1) -> Iterator[Progress]:
    """Run a trial, or what is left of it, to a record; yields signs of life, the last one with stage "done".

    An exception of the trial's own ends in a record that says why (stage "failed" or "diverged"), not in a traceback.
    Closing the generator saves a checkpoint first. `sharing`: how many trials may share the machine, for provenance.
    """
    results.running(trial.id).mkdir(parents=True, exist_ok=True)
    if results.publish(trial.id):  # stopped between finishing a record and moving it to its place
        yield Progress(
            trial=trial.id, stage="done", step=trial.training.iterations, iterations=trial.training.iterations
        )
        return
    try:
        yield from _run(trial, results, execution, sharing)
    except DivergedError as error:
        yield write_failure(trial, results, "diverged", str(error))
    except Exception as error:
        yield write_failure(trial, results, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}")


def _run(trial: Trial, results: Results, execution: Execution, sharing: int) -> Iterator[Progress]:
    for plugin in trial.plugins:
        registry.load_plugin(plugin)
    device = choose_device(execution.device)
    torch.set_num_threads(trial.training.threads)
    provenance.reset_peak_memory(device)
    started, begin = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    dataset = _dataset(json.dumps(trial.data, sort_keys=True))
    training = trial.training
    settings = registry.settings_of(trial.method, trial.settings)
    method = build_method(trial.method, settings, training, dataset.classes, trial.seed, device)

    record = results.read_record(trial.id)
    if record is not None and record["state"] == "done" and record["code"] == code_fingerprint(trial.method_file):
        # Trained already and with the same code: only the evaluation differs.
        stored = results.record(trial.id)
        method.load_state_dict(torch.load(stored / "weights.pt", map_location=device, weights_only=True))
        history = (stored / "history.csv").read_text(encoding="utf-8")
        facts = json.loads((stored / "provenance.json").read_text(encoding="utf-8"))
    else:
        state = initial_state(method, training)
        load_checkpoint(state, results.running(trial.id), device, code_fingerprint(trial.method_file))
        first_step, first_time = state.step, time.perf_counter()
        yield from _train(trial, results, execution, dataset, state, device)
        seconds = time.perf_counter() - first_time
        done_here = training.iterations - first_step
        history = state.history
        facts = {
            **provenance.environment(),
            "device": provenance.describe_device(device),
            "threads": training.threads,
            "started": started,
            "seconds_training": history[-1]["seconds"],
            "iterations_per_second": round(done_here / seconds, 4) if done_here else None,
            "resumed_at_step": first_step,
            "trials_sharing_the_machine": sharing,
        }

    folder = results.unpublished(trial.id)
    (folder / "predictions").mkdir()
    rows: list[dict] = []
    test_begin = time.perf_counter()
    method.eval()
    for done, case_id in enumerate(trial.test):
        yield _alive(results, trial, Progress(
            trial=trial.id, stage=f"testing {done + 1}/{len(trial.test)}", step=training.iterations,
            iterations=training.iterations))  # fmt: skip
        native = dataset.native(case_id)
        labels = predict_labels(method, dataset, case_id, training.patch, trial.evaluation, execution.window_batch)
        rows += score(labels, native, dataset.classes, trial.evaluation)
        records.write_prediction(folder / "predictions" / f"{case_id}.npz", labels, dataset.classes)
        records.write_case(results, case_id, native.image, native.label)
    seconds = time.perf_counter() - test_begin
    facts |= {
        "inference_seconds_per_case": round(seconds / len(trial.test), 3),
        "seconds_total": round(time.perf_counter() - begin, 3),
        "peak_memory_bytes": provenance.peak_memory(device),
    }
    records.write_csv(folder / "cases.csv", rows)
    if isinstance(history, str):
        (folder / "history.csv").write_text(history, encoding="utf-8")
    else:
        records.write_csv(folder / "history.csv", history)
    (folder / "provenance.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    torch.save(method.state_dict(), folder / "weights.pt")
    _write_trial_yaml(folder, trial, "done", None)
    results.publish(trial.id)
    yield Progress(trial=trial.id, stage="done", step=training.iterations, iterations=training.iterations)


def _train(
    trial: Trial, results: Results, execution: Execution, dataset: Dataset, state: TrainingState, device: torch.device
) -> Iterator[Progress]:
    training, folder = trial.training, results.running(trial.id)
    code = code_fingerprint(trial.method_file)
    stream = make_stream(state.method, dataset, trial.labelled, trial.unlabelled, training, trial.seed)
    last_sign = last_checkpoint = time.monotonic()
    steps = train(state, stream, training, trial.seed, device, execution.data_workers)
    try:
        for step in steps:
            now = time.monotonic()
            if now - last_checkpoint >= 60 * execution.checkpoint_minutes:
                save_checkpoint(state, folder, code)
                last_checkpoint = now
            if now - last_sign >= REPORT_SECONDS or step == training.iterations:
                state.flush()
                loss = next(value for name, value in state.history[-1].items() if name.endswith("total"))
                yield _alive(results, trial, Progress(
                    trial=trial.id, stage="training", step=step, iterations=training.iterations, loss=loss))  # fmt: skip
                last_sign = now
    except GeneratorExit:
        save_checkpoint(state, folder, code)
        raise
    finally:
        steps.close()  # ends the data workers now, not at some collection of garbage
    save_checkpoint(state, folder, code)


def smoke_test(trial: Trial, execution: Execution) -> float:
    """Two training steps and one window of inference, leaving nothing; returns the seconds of the second step."""
    for plugin in trial.plugins:
        registry.load_plugin(plugin)
    device = choose_device(execution.device)
    torch.set_num_threads(trial.training.threads)
    dataset = _dataset(json.dumps(trial.data, sort_keys=True))
    training = trial.training
    settings = registry.settings_of(trial.method, trial.settings)
    method = build_method(trial.method, settings, training, dataset.classes, trial.seed, device)
    state = initial_state(method, training)
    stream = make_stream(method, dataset, trial.labelled, trial.unlabelled, training, trial.seed)
    steps = train(state, stream, training, trial.seed, device, data_workers=0)
    next(steps)
    begin = time.perf_counter()
    next(steps)
    state.flush()
    seconds = time.perf_counter() - begin
    steps.close()
    method.eval()
    case_id = trial.test[0]
    labels = predict_labels(method, dataset, case_id, training.patch, trial.evaluation, 1, max_windows=1)
    score(labels, dataset.native(case_id), dataset.classes, trial.evaluation)
    return seconds


def write_failure(trial: Trial, results: Results, state: str, reason: str) -> Progress:
    """Leave a record that says why a trial has no figures."""
    earlier = results.read_record(trial.id)
    if earlier is None or earlier["state"] != "done":  # a failed second try never replaces what was achieved
        _write_trial_yaml(results.unpublished(trial.id), trial, state, reason)
        results.publish(trial.id)
    return Progress(trial=trial.id, stage=state, step=0, iterations=trial.training.iterations, reason=reason)


def _write_trial_yaml(folder, trial: Trial, state: str, reason: str | None) -> None:
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


def _alive(results: Results, trial: Trial, progress: Progress) -> Progress:
    records.write_heartbeat(results, trial.id, progress.model_dump())
    return progress
