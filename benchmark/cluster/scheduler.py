"""Ray Tune runs the trials; this is the only file that knows of Ray.

The plan decides what is to run and records hold what was reached, so Tune's own storage is scratch: it gets the trials
that are left, in order, and reports signs of life back.
"""

import logging
import math
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmark.trial import allocator

# Ray reads these when it is imported, and workers need some of them, too. No result files of its own, no change of
# directory, no experiment snapshots.
ENVIRONMENT = allocator.SETTINGS | {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "RAY_AIR_NEW_OUTPUT": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it `deterministic: true` is not, in cuBLAS
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that asks for no GPU sees none
}
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import FIFOScheduler  # noqa: E402

from benchmark.cluster import plugin_files, token_file  # noqa: E402
from benchmark.planning.experiment import Execution, ExperimentError  # noqa: E402
from benchmark.records.files import ResultsError, StorageError  # noqa: E402
from benchmark.records.results_folder import ResultsFolder  # noqa: E402
from benchmark.records.source_code import CHECKOUT  # noqa: E402
from benchmark.trial import provenance  # noqa: E402
from benchmark.trial.failures import is_killed_worker, less_memory  # noqa: E402
from benchmark.trial.run import SHARING, run_trial, write_failure  # noqa: E402
from benchmark.trial.smoke import NOT_MEASURED, memory_needs  # noqa: E402
from benchmark.trial.specification import Progress, Trial  # noqa: E402
from benchmark.trial.watch import SilentTrials  # noqa: E402

LOCAL = "local"
RETRIES = 3  # of a trial whose process or machine died, from one checkpoint; its own exceptions are not retried
_NO_CLUSTER = (
    "no Ray cluster answers there; start one with `ray start --head`, or leave --address out to use this machine alone"
)
FINAL = {"done", "failed", "diverged", "stopped"}
WAITING = ("PENDING", "PAUSED")
EIGHTHS = 8  # actors are reused only between equal requests, so shares of a GPU are rounded
NOT_REUSED = tune.PlacementGroupFactory([{"CPU": 1, "of a changed process": 1}])  # a request that no trial makes


def run_trials(
    trials: list[Trial],
    results: ResultsFolder,
    execution: Execution,
    on_progress: Callable[[Progress], None],
    address: str = LOCAL,
) -> bool:
    """Run trials to records, as many at a time as CPUs, GPUs and memory hold, the longest first.

    `address`: "local", this machine alone; "auto" or HOST:PORT, a Ray cluster that runs. All trials must ask for the
    same threads (they share one protocol). Returns False if interrupted with Ctrl-C, after the running trials have
    saved their checkpoints. Raises ExperimentError if no machine can ever hold a trial, or there is no cluster.
    """
    plugins = plugin_files.read(sorted({path for trial in trials for path in trial.plugins}))
    _connect(address)
    try:
        return _Run(trials, results, execution, on_progress, plugins).run_all()
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    """Start Ray on this machine, or join a cluster and ship the packages, never the checkout with its results."""
    if address == LOCAL:
        token_file.make_private()
        ray.init(address=LOCAL, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        return
    _check_reachable(address)
    passed_on = {name: os.environ[name] for name in ("SEMISEG_CACHE",) if name in os.environ}
    shipped = {
        "py_modules": [str(CHECKOUT / package) for package in ("methods", "data", "benchmark")],
        "excludes": ["__pycache__"],
        "env_vars": ENVIRONMENT | passed_on,
    }
    try:
        with tempfile.TemporaryDirectory() as nothing:
            # Without a working directory of its own, a node would import from the path of this checkout where it has
            # one, of whatever revision.
            shipped["working_dir"] = nothing
            ray.init(address=address, runtime_env=shipped, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ExperimentError(f"--address {address}: {_NO_CLUSTER} ({reason})") from error


def _check_reachable(address: str) -> None:
    """Raises ExperimentError where nothing answers at HOST:PORT: Ray itself would try for many minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ExperimentError(f"--address {address}: write auto, or HOST:PORT of a Ray cluster's head")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ExperimentError(f"--address {address}: {_NO_CLUSTER} ({error})") from error


class _Run:
    """One run of trials over Ray, from the measuring of what they need to the last record."""

    def __init__(self, trials, results, execution, on_progress, plugins):
        self.trials, self.results, self.execution = {trial.id: trial for trial in trials}, results, execution
        self.on_progress, self.plugins = on_progress, plugins
        self.threads = trials[0].training.threads
        self.most_cpus = max(node.get("CPU", 0) for node in _nodes())
        self.gpus = self._gpu_shares()
        for share in set(self.gpus.values()):
            _check_size(execution, self.threads, share)

    def run_all(self) -> bool:
        """Rounds of Tune: a trial whose process died again and again, but got further, is worth another round."""
        left = list(self.trials)
        while left:
            before = {trial: self._step(trial) for trial in left}
            listener = self._round(left)
            if listener.stopped is not None:
                raise StorageError(listener.stopped)
            for trial, reason in listener.failed_elsewhere.items():
                self._write_failure(trial, reason)
            if len(listener.finished | listener.lost.keys()) < len(left):
                return False
            left = [trial for trial in listener.lost if self._step(trial) > before[trial]]
            for trial in listener.lost.keys() - left:
                self._write_failure(trial, listener.lost[trial])
        return True

    def _round(self, left: list[str]) -> "_Listener":
        scratch = tempfile.mkdtemp(prefix="semiseg-tune-")
        listener = _Listener(self.on_progress, self.results, self.trials)
        actor = tune.with_parameters(
            _TrialActor,
            trials={trial: (self.trials[trial].model_dump_json(), self._run_facts(trial)) for trial in left},
            results=str(self.results.folder),
            execution=self.execution.model_dump_json(),
            plugins=self.plugins,
        )
        memory = {"memory": int(self.execution.memory_gib * 2**30)} if self.execution.memory_gib else {}
        threads, gpus = self.threads, self.gpus
        # Tune queues 200 and looks at all of them at every step: what every CPU could take and some to spare will do.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(16 + int(ray.cluster_resources()["CPU"]))
        order = iter(sorted(left, key=self._longest_first))  # a grid search would copy the whole list for each trial
        try:
            tune.Tuner(
                tune.with_resources(actor, lambda config: {"cpu": threads, "gpu": gpus[config["trial"]], **memory}),
                param_space={"trial": tune.sample_from(lambda _: next(order))},
                tune_config=tune.TuneConfig(num_samples=len(left), reuse_actors=True, scheduler=_InOrder()),
                run_config=tune.RunConfig(
                    storage_path=scratch, verbose=0, callbacks=[listener], stop=listener,
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            ).fit()  # fmt: skip
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return listener

    def _longest_first(self, trial: str) -> tuple[float, float]:
        """So that no long trial starts last and leaves the other devices idle; equal requests side by side."""
        return -self.trials[trial].cost, -self.gpus[trial]

    def _gpu_shares(self) -> dict[str, float]:
        """GPUs that each trial asks for; with `auto` measured, once a method and its settings."""
        execution, available = self.execution, ray.cluster_resources().get("GPU", 0)
        if execution.gpus_per_trial != "auto" or execution.device == "cpu" or not available:
            return dict.fromkeys(self.trials, gpu_share(execution, available))
        kinds: dict[tuple, list[str]] = {}
        for trial in self.trials.values():
            kinds.setdefault((trial.method, str(trial.settings)), []).append(trial.id)
        firsts = [ids[0] for ids in kinds.values()]
        needs = self._needs(firsts, min(int(available), len(firsts)))
        return {trial: share_for(*needs[ids[0]]) for ids in kinds.values() for trial in ids}

    def _needs(self, trials: list[str], gpus: int) -> dict[str, tuple[int, int]]:
        """Bytes that each trial needs of a GPU, and those there are.

        Each process imports torch anew, so one a GPU measures its part of the trials in turn; where it dies, each of
        them gets a process of its own.
        """
        measure = ray.remote(num_cpus=self.threads, num_gpus=1, max_retries=0)(_measure)
        groups = [trials[i::gpus] for i in range(gpus)]
        asked = []
        for group in groups:
            first = self.trials[group[0]]
            sign = f"measuring what {len(group)} of the trials need of a GPU"
            self.on_progress(Progress(trial=first.id, stage=sign, step=0, iterations=first.training.iterations))
            texts = [self.trials[trial].model_dump_json() for trial in group]
            asked.append(measure.remote(texts, self.execution.model_dump_json(), self.plugins))
        needs = {}
        for group, future in zip(groups, asked, strict=True):
            try:
                needs |= dict(zip(group, ray.get(future), strict=True))
            except ray.exceptions.RayError:
                needs |= self._needs(group, len(group)) if len(group) > 1 else {group[0]: NOT_MEASURED}
        return needs

    def _run_facts(self, trial: str) -> dict:
        """What the trial's worker cannot know, for its record."""
        share = self.gpus[trial]
        together = int(1 / min(share, 1) if share else self.most_cpus // self.threads)
        return {**provenance.revision(), SHARING: min(together, len(self.trials))}

    def _step(self, trial: str) -> int:
        return self.results.last_step(trial)

    def _write_failure(self, trial: str, reason: str) -> None:
        try:
            self.on_progress(write_failure(self.trials[trial], self.results, "failed", reason))
        except OSError as error:  # the disk is full, say: the trial counts as interrupted, and why is said here
            folder = self.results.folder
            raise ResultsError(f"{folder} cannot be written ({error.strerror}): {reason}") from error


def _measure(trials: list[str], execution: str, plugins: plugin_files.Texts) -> list[tuple[int, int]]:
    plugin_files.unpack(plugins)
    return memory_needs([Trial.model_validate_json(t) for t in trials], Execution.model_validate_json(execution))


def share_for(needed: int, available: int) -> float:
    """Share of a GPU, in eighths, for a trial that needs so many of its bytes, with a tenth to spare."""
    return min(1.0, math.ceil(EIGHTHS * 1.1 * needed / available) / EIGHTHS) if available else 1.0


def gpu_share(execution: Execution, available: float) -> float:
    """GPUs a trial asks for, where that need not be measured: in eighths, or whole ones."""
    if execution.device == "cpu" or execution.gpus_per_trial == "auto" and not available:
        return 0.0
    asked = execution.gpus_per_trial
    return math.ceil(EIGHTHS * asked) / EIGHTHS if asked <= 1 else math.ceil(asked)


def _nodes() -> list[dict[str, float]]:
    """What each machine of the cluster has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _check_size(execution: Execution, threads: int, gpus: float) -> None:
    """Raises ExperimentError where no node can hold a trial: Ray would wait for ever."""
    if execution.device == "cuda" and not gpus:
        raise ExperimentError("execution.device is cuda, but there is no GPU or gpus_per_trial is 0: use auto")
    nodes = _nodes()
    memory = (execution.memory_gib or 0) * 2**30
    asked = {"CPU": (threads, "training.threads"), "GPU": (gpus, "execution.gpus_per_trial"),
             "memory": (memory, "execution.memory_gib")}  # fmt: skip
    for name, (amount, key) in asked.items():
        most = max(node.get(name, 0) for node in nodes)
        if amount > most:
            unit, scale = ("GiB of memory", 2**30) if name == "memory" else (f"{name}s", 1)
            raise ExperimentError(
                f"{key}: a trial asks for {amount / scale:g} {unit}, but the largest machine here has "
                f"{most / scale:.4g}; lower it"
            )
    if not any(all(node.get(name, 0) >= amount for name, (amount, _) in asked.items()) for node in nodes):
        raise ExperimentError("no machine has the CPUs, GPUs and memory of one trial together: lower training.threads")


class _InOrder(FIFOScheduler):
    """The oldest trial that waits. Tune's own looks through all that have ended, at every step: thousands, in time."""

    def choose_trial_to_run(self, tune_controller):
        waiting = (trial for trial in tune_controller.get_live_trials() if trial.status in WAITING)
        return min(waiting, key=lambda trial: trial.trial_id, default=None)


class _TrialActor(tune.Trainable):
    """One process that runs trial after trial: a new one would import torch again."""

    def setup(self, config: dict, trials: dict[str, tuple], results: str, execution: str, plugins: dict) -> None:
        self._trials, self._results = trials, ResultsFolder(results)
        self._execution = Execution.model_validate_json(execution)
        plugin_files.unpack(plugins)
        self._start(config)

    def _start(self, config: dict) -> None:
        trial, run_facts = self._trials[config["trial"]]
        trial = Trial.model_validate_json(trial)
        if self._results.plan_file.exists():
            self._steps = run_trial(trial, self._results, self._execution, run_facts)
        else:
            self._steps = (sign for sign in [_folder_not_visible(trial, self._results.folder)])

    def reset_config(self, new_config: dict) -> bool:
        self._steps.close()
        self._start(new_config)
        return True

    def step(self) -> dict:
        try:
            progress = next(self._steps)
        except StorageError as error:
            progress = Progress(trial=self.config["trial"], stage="stopped", step=0, iterations=0, reason=str(error))
        return {"progress": progress.model_dump(), "done": progress.stage in FINAL}

    def cleanup(self) -> None:
        self._steps.close()  # an interrupted trial saves its checkpoint


def _folder_not_visible(trial: Trial, folder: Path) -> Progress:
    """What a worker can say, but not write, where it does not see the results folder."""
    reason = f"{socket.gethostname()} does not see {folder}: use a results folder that all nodes share (--results)"
    return Progress(trial=trial.id, stage="failed", step=0, iterations=trial.training.iterations, reason=reason)


def last_line(error: Exception) -> str:
    """What an error says, without the traceback that Ray puts before it and what Python puts after one it has lost."""
    lines = [line for line in str(error).splitlines() if line.strip() not in ("", "NoneType: None")]
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__


class _Listener(tune.Callback, tune.Stopper):
    """Takes what Tune reports. finished: trials that ended, however; lost: why the others' processes died; stopped: why
    none can go on, because the disk is full, say."""

    def __init__(self, on_progress: Callable[[Progress], None], results: ResultsFolder, trials: dict[str, Trial]):
        self._on_progress, self._results, self._trials = on_progress, results, trials
        self._silent = SilentTrials(results)
        self.finished: set[str] = set()
        self.lost: dict[str, str] = {}
        self.failed_elsewhere: dict[str, str] = {}  # on a machine that could not write why
        self.stopped: str | None = None

    def __getstate__(self) -> dict:
        return {}  # Tune pickles its callbacks into the scratch folder, and a live display cannot be pickled

    def __call__(self, trial_id: str, result: dict) -> bool:
        return False  # each trial says itself when it is done

    def stop_all(self) -> bool:
        return self.stopped is not None

    def on_trial_start(self, iteration, trials, trial, **info) -> None:
        self._silent.heard(trial.config["trial"])

    def on_step_end(self, iteration, trials, **info) -> None:
        for progress in self._silent.news():
            self._on_progress(progress)

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        progress = Progress(**result["progress"])
        self._silent.heard(progress.trial)
        if progress.stage == "stopped":
            self.stopped = self.stopped or progress.reason
            return
        if progress.stage in FINAL:
            self._silent.ended(progress.trial)
            self.finished.add(progress.trial)
        if progress.process_changed:
            trial.placement_group_factory = NOT_REUSED
        if progress.stage == "failed" and not self._results.has_record(progress.trial):
            self.failed_elsewhere[progress.trial] = progress.reason
        else:
            self._on_progress(progress)

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        error, name = trial.get_error(), trial.config["trial"]
        self._silent.ended(name)
        if isinstance(error, ray.exceptions.RayActorError) or is_killed_worker(error):
            advice = less_memory("execution.memory_gib", self._trials[name])
            reason = f"its process died {RETRIES + 1} times at one place, most likely for lack of memory: {advice}"
        else:
            reason = last_line(error)
        self.lost[name] = reason
