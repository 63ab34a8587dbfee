"""Ray Tune runs the trials; this is the only file that knows of Ray.

The plan decides what is to run and records hold what was reached, so Tune's own storage is scratch: it gets the trials
that are left, in order, and reports signs of life back.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Callable

# Ray reads these when it is imported. No result files of its own, no change of directory, no experiment snapshots.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it `deterministic: true` is not, in cuBLAS
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a trial that asks for no GPU sees none

import logging  # noqa: E402

import ray  # noqa: E402
from ray import tune  # noqa: E402

from benchmark.experiment import Execution, ExperimentError  # noqa: E402
from benchmark.records import Results, ResultsError  # noqa: E402
from benchmark.trial import Progress, Trial, run_trial, write_failure  # noqa: E402

RETRIES = 3  # of a trial whose process or machine died; its own exceptions are not retried
FINAL = {"done", "failed", "diverged"}


def run_trials(
    trials: list[Trial], results: Results, execution: Execution, on_progress: Callable[[Progress], None]
) -> bool:
    """Run trials to records on this machine, as many at a time as its CPUs or GPUs hold, the longest first.

    All trials must ask for the same threads (they share one protocol). Returns False if interrupted with Ctrl-C, after
    the running trials have saved their checkpoints. Raises ExperimentError if the machine can never hold a trial.
    """
    threads = trials[0].training.threads
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    scratch = tempfile.mkdtemp(prefix="semiseg-tune-")
    try:
        gpus = gpu_share(execution, ray.cluster_resources().get("GPU", 0))
        slots = _slots(execution, threads, gpus)
        actor = tune.with_parameters(
            _TrialActor,
            trials={trial.id: trial.model_dump_json() for trial in trials},
            results=str(results.folder),
            execution=execution.model_dump_json(),
            sharing=min(slots, len(trials)),
        )
        listener = _Listener(on_progress)
        tune.Tuner(
            tune.with_resources(actor, {"cpu": threads, "gpu": gpus}),
            param_space={"trial": tune.grid_search([trial.id for trial in _longest_first(trials)])},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=scratch, verbose=0, callbacks=[listener],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()  # fmt: skip
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
    by_id = {trial.id: trial for trial in trials}
    for trial_id, reason in listener.lost.items():
        try:
            on_progress(write_failure(by_id[trial_id], results, "failed", reason))
        except OSError as error:  # the disk is full, say: the trial counts as interrupted, and why is said here
            raise ResultsError(f"{results.folder} cannot be written ({error.strerror}): {reason}") from error
    return len(listener.finished | listener.lost.keys()) == len(trials)


def gpu_share(execution: Execution, available: float) -> float:
    """GPUs a trial asks for, in eighths or whole ones: actors are reused only between equal requests."""
    if execution.device == "cpu" or (execution.gpus_per_trial == "auto" and not available):
        return 0.0
    if execution.gpus_per_trial == "auto":
        return 1.0
    asked = execution.gpus_per_trial
    return math.ceil(8 * asked) / 8 if asked <= 1 else math.ceil(asked)


def _slots(execution: Execution, threads: int, gpus: float) -> int:
    have = ray.cluster_resources()
    if execution.device == "cuda" and not gpus:
        raise ExperimentError("execution.device is cuda, but this machine has no GPU or gpus_per_trial is 0: use auto")
    for name, asked, key in (("CPU", threads, "training.threads"), ("GPU", gpus, "execution.gpus_per_trial")):
        if asked > have.get(name, 0):
            raise ExperimentError(
                f"{key}: a trial asks for {asked:g} {name}s, but this machine has {have.get(name, 0):g}; lower it"
            )
    return int(min(have["CPU"] // threads, have["GPU"] // gpus if gpus else math.inf))


def _longest_first(trials: list[Trial]) -> list[Trial]:
    """So that no long trial starts last and leaves the other devices idle. All have the same iterations."""
    return sorted(trials, key=lambda trial: -trial.cost)


class _TrialActor(tune.Trainable):
    """One process that runs trial after trial: a new one would import torch again."""

    def setup(self, config: dict, trials: dict[str, str], results: str, execution: str, sharing: int) -> None:
        self._trials, self._results, self._sharing = trials, Results(results), sharing
        self._execution = Execution.model_validate_json(execution)
        self._start(config)

    def _start(self, config: dict) -> None:
        trial = Trial.model_validate_json(self._trials[config["trial"]])
        self._steps = run_trial(trial, self._results, self._execution, self._sharing)

    def reset_config(self, new_config: dict) -> bool:
        self._steps.close()
        self._start(new_config)
        return True

    def step(self) -> dict:
        progress = next(self._steps)
        return {"progress": progress.model_dump(), "done": progress.stage in FINAL}

    def cleanup(self) -> None:
        self._steps.close()  # an interrupted trial saves its checkpoint


class _Listener(tune.Callback):
    def __init__(self, on_progress: Callable[[Progress], None]):
        self._on_progress = on_progress
        self.finished: set[str] = set()
        self.lost: dict[str, str] = {}

    def __getstate__(self) -> dict:
        return {}  # Tune pickles its callbacks into the scratch folder, and a live display cannot be pickled

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        progress = Progress(**result["progress"])
        if progress.stage in FINAL:
            self.finished.add(progress.trial)
        self._on_progress(progress)

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        error = trial.get_error()
        if isinstance(error, ray.exceptions.RayActorError):
            reason = (f"its process died {RETRIES + 1} times, most likely for lack of memory: lower training.patch, "
                      "training.batch_size or the number of trials at a time")  # fmt: skip
        else:
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        self.lost[trial.config["trial"]] = reason
