"""How much of a machine a trial asks for, and whether any machine has it."""

import math
from collections.abc import Callable

from benchmark.cluster.actor import Work
from benchmark.cluster.connection import ray
from benchmark.planning.experiment import Execution, ExperimentError
from benchmark.trial.smoke import NOT_MEASURED, memory_needs
from benchmark.trial.specification import Progress, Trial

EIGHTHS = 8  # actors are reused only between equal requests, so shares of a GPU are rounded


def gpu_shares(
    trials: dict[str, Trial], execution: Execution, work: str, on_progress: Callable[[Progress], None],
    labels: dict[str, str],
) -> dict[str, float]:  # fmt: skip
    """GPUs that each trial asks for; with `auto` measured, once a method and its settings.

    Args:
        trials: by their id.
        execution: how they are run.
        work: `Work` as JSON.
        on_progress: is told of the measuring.
        labels: of the nodes that may measure, a selector of Ray.
    """
    available = ray.cluster_resources().get("GPU", 0)
    if execution.gpus_per_trial != "auto" or execution.device == "cpu" or not available:
        return dict.fromkeys(trials, gpu_share(execution, available))
    kinds: dict[tuple, list[str]] = {}
    for trial in trials.values():
        kinds.setdefault((trial.method, str(trial.settings)), []).append(trial.id)
    firsts = [trials[ids[0]] for ids in kinds.values()]
    needs = _needs(firsts, min(int(available), len(firsts)), work, on_progress, labels)
    return {trial: share_for(*needs[ids[0]]) for ids in kinds.values() for trial in ids}


def _needs(
    trials: list[Trial], gpus: int, work: str, on_progress: Callable[[Progress], None], labels: dict[str, str]
) -> dict[str, tuple[int, int]]:
    """Bytes that each trial needs of a GPU, and those there are.

    Each process imports torch anew, so one a GPU measures its part of the trials in turn; where it dies, each of them
    gets a process of its own.
    """
    threads = trials[0].training.threads
    measure = ray.remote(num_cpus=threads, num_gpus=1, max_retries=0, label_selector=labels)(_measure)
    groups = [trials[i::gpus] for i in range(gpus)]
    asked = []
    for group in groups:
        sign = f"measuring what {len(group)} of the trials need of a GPU"
        on_progress(Progress(trial=group[0].id, stage=sign, step=0, iterations=group[0].training.iterations))
        asked.append(measure.remote([trial.model_dump_json() for trial in group], work))
    needs = {}
    for group, future in zip(groups, asked, strict=True):
        try:
            needs |= dict(zip([trial.id for trial in group], ray.get(future), strict=True))
        except ray.exceptions.RayError:
            alone = len(group) == 1
            needs |= {group[0].id: NOT_MEASURED} if alone else _needs(group, len(group), work, on_progress, labels)
    return needs


def _measure(trials: list[str], work: str) -> list[tuple[int, int]]:
    told = Work.model_validate_json(work)
    told.begin()
    return memory_needs([Trial.model_validate_json(text) for text in trials], told.execution)


def share_for(needed: int, available: int) -> float:
    """Share of a GPU, in eighths, for a trial that needs so many of its bytes, with a tenth to spare."""
    return min(1.0, math.ceil(EIGHTHS * 1.1 * needed / available) / EIGHTHS) if available else 1.0


def gpu_share(execution: Execution, available: float) -> float:
    """GPUs a trial asks for, where that need not be measured: in eighths, or whole ones."""
    if execution.device == "cpu" or execution.gpus_per_trial == "auto" and not available:
        return 0.0
    asked = execution.gpus_per_trial
    return math.ceil(EIGHTHS * asked) / EIGHTHS if asked <= 1 else math.ceil(asked)


def alive_nodes() -> list[dict]:
    """The machines of the cluster, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def check_size(execution: Execution, threads: int, gpus: float) -> None:
    """Raises ExperimentError where no node can hold a trial: Ray would wait for ever."""
    if execution.device == "cuda" and not gpus:
        raise ExperimentError("execution.device is cuda, but there is no GPU or gpus_per_trial is 0: use auto")
    nodes = [node["Resources"] for node in alive_nodes()]
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
