"""Ray Tune runs the trials.

The plan decides what is to run and records hold what was reached, so Tune's own storage is scratch: it gets one trial
after another from the queue and reports signs of life back.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmark.cluster.connection import LOCAL, connected, ray  # first, as it sets what Ray reads when it is imported

# isort: split
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmark.cluster import node_check, plugin_files, stop_signals
from benchmark.cluster.actor import FINAL, STARTED, TrialActor, Work
from benchmark.cluster.node_check import Demands, UnfitNodeError
from benchmark.cluster.resources import alive_nodes, check_size, gpu_shares
from benchmark.cluster.trial_errors import cause, death_reason, error_of, in_creation, is_death, last_line
from benchmark.cluster.trial_queue import RETRIES, TrialQueue
from benchmark.planning.experiment import Execution, ExperimentError
from benchmark.records.files import ResultsError, StorageError
from benchmark.records.results_folder import ResultsFolder
from benchmark.trial import provenance
from benchmark.trial.run import SHARING, write_failure
from benchmark.trial.specification import Progress, Trial
from benchmark.trial.watch import SilentTrials

LOG = "running/ray.log"  # below the results folder: what Ray prints
WAITING = ("PENDING", "PAUSED")
PROBE_SECONDS = 120  # that a run waits for the first answers of its nodes; the others join when they have answered
LOOK_SECONDS = 5  # between two looks at which nodes there are
NOT_REUSED = tune.PlacementGroupFactory([{"CPU": 1, "of a changed process": 1}])  # a request that no trial makes


def run_trials(
    trials: list[Trial],
    results: ResultsFolder,
    execution: Execution,
    on_progress: Callable[[Progress], None],
    address: str = LOCAL,
    say: Callable[[str], None] = lambda line: None,
) -> bool:
    """Run trials to records, as many at a time as CPUs, GPUs and memory hold, in the order that `execution` asks for.

    Args:
        trials: what is to run, in the order of "as_listed". All ask for the same threads, as they share a protocol.
        results: their results folder.
        execution: how they are run.
        on_progress: gets each sign of life.
        address: "local", this machine alone; "auto" or HOST:PORT, a Ray cluster that runs.
        say: gets one line about a node that is used no more.

    Returns:
        False if interrupted, after the running trials have saved their checkpoints.

    Raises:
        ExperimentError: no machine can ever hold a trial, none is fit for them, or there is no cluster.
        StorageError: the disk is full, say.
    """
    plugins = plugin_files.read(sorted({path for trial in trials for path in trial.plugins}))
    with connected(address, results.folder / LOG) as scratch:
        return _Run(trials, results, execution, on_progress, say, plugins, address, scratch).run_all()


class _Run(tune.Callback, tune.Stopper):
    """One run of trials over Ray, from the measuring of what they need to the last record. Tune reports to it."""

    def __init__(self, trials, results, execution, on_progress, say, plugins, address, scratch):
        self.trials, self.results, self.execution = {trial.id: trial for trial in trials}, results, execution
        self.on_progress, self.is_shared, self.scratch = on_progress, address != LOCAL, scratch
        demands = Demands.of_this_machine(results, trials[0].data if self.is_shared else None)
        folder = None if self.is_shared else _working_directory()
        self.work = Work(
            demands=demands.model_dump_json(), is_shared=self.is_shared, results=str(results.folder),
            execution=execution, plugins=plugins, folder=folder, scratch=None if self.is_shared else str(scratch),
        ).model_dump_json()  # fmt: skip
        self.threads = trials[0].training.threads
        self.most_cpus = max(node["Resources"].get("CPU", 0) for node in alive_nodes())
        self.queue = TrialQueue(results.last_step, say)
        self.silent = SilentTrials(results)
        self.at: dict[str, str] = {}  # the node of each trial that has started and not trained yet
        self.probes: dict = {}  # the node that each unanswered probe is of
        self.looked = 0.0
        self.problem: Exception | None = None  # why nothing can go on
        self._look_at_nodes(wait=PROBE_SECONDS)
        if self.problem is not None:
            raise self.problem
        self.gpus = gpu_shares(self.trials, execution, self.work, on_progress, _labels(self.queue.avoided()))
        for share in set(self.gpus.values()):
            check_size(execution, self.threads, share)
        self.order = list(self.trials)
        if execution.order == "longest_first":
            self.order.sort(key=self._longest_first)
        self.queue.add(self.order)

    def __getstate__(self) -> dict:
        return {}  # Tune pickles its callbacks into the scratch folder, and a live display cannot be pickled

    def run_all(self) -> bool:
        """Until every trial has ended, or the run is interrupted."""
        with stop_signals.given_back() as interrupted:
            self._tune()
        if self.problem is not None:
            raise self.problem
        return self.queue.is_done and not any(interrupted)

    def _tune(self) -> None:
        actor = tune.with_parameters(
            TrialActor,
            trials={name: (trial.model_dump_json(), self._run_facts(name)) for name, trial in self.trials.items()},
            work=self.work,
        )
        # Tune queues 200 and looks at all of them at every step: what every CPU could take and some to spare will do.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(16 + int(ray.cluster_resources()["CPU"]))
        tune.Tuner(
            actor,
            tune_config=tune.TuneConfig(
                num_samples=-1, search_alg=_Trials(self.queue, self._request), reuse_actors=True,
                scheduler=_InOrder(self.order),
            ),
            run_config=tune.RunConfig(
                storage_path=str(self.scratch / "tune"), verbose=0, callbacks=[self], stop=self,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()  # fmt: skip

    def _longest_first(self, trial: str) -> tuple[float, float]:
        """So that no long trial starts last and leaves the other devices idle; equal requests side by side."""
        return -self.trials[trial].cost, -self.gpus[trial]

    def _request(self, trial: str) -> dict:
        """What a trial asks for, and which nodes it must not get now."""
        memory = {"memory": int(self.execution.memory_gib * 2**30)} if self.execution.memory_gib else {}
        bundle = {"CPU": self.threads, "GPU": self.gpus[trial], **memory}
        return {"trial": trial, "bundle": bundle, "labels": _labels(self.queue.avoided(trial))}

    def _run_facts(self, trial: str) -> dict:
        """What the trial's worker cannot know, for its record."""
        share = self.gpus[trial]
        together = int(1 / min(share, 1) if share else self.most_cpus // self.threads)
        return {**provenance.revision(), SHARING: min(together, len(self.trials))}

    # nodes

    def on_step_begin(self, iteration, trials, **info) -> None:
        if time.monotonic() - self.looked > LOOK_SECONDS:
            self._look_at_nodes()

    def _look_at_nodes(self, wait: float = 0) -> None:
        """Probe nodes that are new, take what probes have found, and stop where no node is left."""
        if not self.is_shared:
            return
        names = {
            node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:6]})"
            for node in alive_nodes()
            if node["Resources"].get("CPU")
        }
        demands = Work.model_validate_json(self.work).demands
        for node in self.queue.see_nodes(names):
            here = NodeAffinitySchedulingStrategy(node, soft=False)
            probe = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=here)(_probe)
            self.probes[probe.remote(demands)] = node
            self.queue.probe_begins(node)
        done, _ = ray.wait([*self.probes], num_returns=len(self.probes), timeout=wait) if self.probes else ([], [])
        for probe in done:
            self.queue.probe_ends(self.probes.pop(probe), _answer(probe))
        if problem := self.queue.problem():
            self.problem = ExperimentError(f"no node can run trials: {problem}")
        self.looked = time.monotonic()

    # what Tune reports

    def __call__(self, trial_id: str, result: dict) -> bool:
        return False  # each trial says itself when it is done

    def stop_all(self) -> bool:
        return self.problem is not None

    def on_trial_start(self, iteration, trials, trial, **info) -> None:
        self.silent.heard(trial.config["trial"])

    def on_step_end(self, iteration, trials, **info) -> None:
        for progress in self.silent.news():
            self.on_progress(progress)

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        progress, node = Progress(**result["progress"]), result["node"]
        name = progress.trial
        self.silent.heard(name)
        if progress.stage in FINAL:
            self.silent.ended(name)
        if progress.process_changed:
            trial.placement_group_factory = NOT_REUSED
        if progress.stage == STARTED:
            self.at[name] = node
            return
        if progress.stage == "stopped":
            self.problem = self.problem or StorageError(progress.reason)
            return
        at_once = self.at.pop(name, None) is not None
        if at_once and progress.stage == "failed" and self.queue.fails_at_once(name, node):
            self._withdraw(name)
            return
        if at_once and progress.stage != "failed":
            self.queue.trains(name, node)
        if progress.stage in FINAL:
            self.queue.ends(name)
        self.on_progress(progress)

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        name, error = trial.config["trial"], error_of(trial)
        self.silent.ended(name)
        node = self.at.pop(name, None)
        if isinstance(error, UnfitNodeError):
            if self.is_shared:
                self.queue.is_unfit(error.node, error.problem)
                self.queue.comes_back(name)
            else:
                self.problem = self.problem or ExperimentError(error.problem)
        elif in_creation(error) and self.probes:  # on a node that has joined and cannot run trials, most likely
            self.queue.comes_back(name)
        elif node is not None and not is_death(error):  # an exception that the trial could not make a record of
            if self.queue.fails_at_once(name, node):
                self._withdraw(name)
            else:
                self._write_failure(name, self._reason(error, name))
        elif not self.queue.dies(name):
            self._write_failure(name, self._reason(error, name))

    def _reason(self, error: Exception, trial: str) -> str:
        log = self.results.folder / LOG
        if is_death(error):
            return death_reason(error, RETRIES + 1, log, self.trials[trial])
        print(error, file=sys.stderr)  # which is the log
        return f"{last_line(error)} (more in {log})"

    def _withdraw(self, trial: str) -> None:
        """Take away the record of a failure that may be the node's."""
        if self.results.finished_record(trial) is None:
            shutil.rmtree(self.results.record(trial), ignore_errors=True)

    def _write_failure(self, trial: str, reason: str) -> None:
        try:
            self.on_progress(write_failure(self.trials[trial], self.results, "failed", reason))
        except OSError as error:  # the disk is full, say: the trial counts as interrupted, and why is said here
            folder = self.results.folder
            self.problem = ResultsError(f"{folder} cannot be written ({error.strerror}): {reason}")


def _labels(avoided: set[str]) -> dict[str, str]:
    """Ray's selector of every node but these."""
    return {"ray.io/node-id": f"!in({','.join(sorted(avoided))})"} if avoided else {}


def _working_directory() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return None


def _probe(demands: str) -> str | None:
    return node_check.find_problem(demands)


def _answer(probe) -> str | None:
    """What a probe found; a process that cannot even be started is a problem, too."""
    try:
        return ray.get(probe)
    except ray.exceptions.RayError as error:
        return f"it cannot run the benchmark ({last_line(cause(error))})"


class _Trials(Searcher):
    """Tune asks this for the next trial, whose request says which nodes it may use at that moment."""

    def __init__(self, queue: TrialQueue, request: Callable[[str], dict]):
        super().__init__()
        self._queue, self._request = queue, request

    def __getstate__(self) -> dict:
        return {}

    def suggest(self, trial_id: str):
        if self._queue.is_done:
            return Searcher.FINISHED
        trial = self._queue.take()
        return None if trial is None else self._request(trial)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        pass  # the run has heard of it

    def save(self, checkpoint_path: str) -> None:
        pass  # the records are the state

    def restore(self, checkpoint_path: str) -> None:
        pass


class _InOrder(FIFOScheduler):
    """The first trial that waits. Tune's own looks through all that have ended, at every step: thousands, in time."""

    def __init__(self, order: list[str]):
        super().__init__()
        self._place = {trial: number for number, trial in enumerate(order)}

    def choose_trial_to_run(self, tune_controller):
        waiting = (trial for trial in tune_controller.get_live_trials() if trial.status in WAITING)
        return min(waiting, key=lambda trial: self._place[trial.config["trial"]], default=None)
