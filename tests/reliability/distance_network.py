"""`make distance-network`: does DTML's distance network survive its first steps? 20 seeds of each variant, on the LA
folder's official split at the published learning rate.

The network learns from the voxels with |1500 z| < 7 alone. It is dead where fewer than one in 10,000 are left. Needs
SEMISEG_LA. Appends one JSON line for each run to results/distance_network.jsonl, skips runs that stand there, and
prints the table of docs/methods/vnet_sdm.md. With --cosine it prints how far gradients in bf16 and fp32 agree instead.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmark.planning.experiment import Experiment  # noqa: E402
from benchmark.planning.experiment_file import load_experiment  # noqa: E402
from benchmark.planning.plan import make_plan  # noqa: E402
from benchmark.records.results_folder import ResultsFolder  # noqa: E402
from benchmark.trial.setup import set_up  # noqa: E402
from benchmark.trial.training import initial_state, make_stream, train  # noqa: E402
from methods.shared.signed_distance import DEAD_FRACTION  # noqa: E402

DEAD = 1e-4  # share of voxels that still pass a gradient
LAST = 8  # steps over which it is averaged
PROTOCOL = (
    "methods=[dtml]", "baseline=null", "reference=null", "labelled=[16]", "training.iterations=1000",
    "training.patch=[64, 64, 48]", "training.threads=1", "execution.device=cpu",
)  # fmt: skip


def official_split(seed: int, width: int, precision: str, bias: str) -> Experiment:
    """DTML on the official split at half resolution, as the official study trains it."""
    overrides = [f"seeds=[{seed}]", f"training.width={width}", f"training.precision={precision}"]
    methods = json.dumps([{"name": "dtml", "settings": {"distance_bias": None if bias == "null" else float(bias)}}])
    return load_experiment(ROOT / "configs/la_half/table3.yaml", [*PROTOCOL, *overrides, f"methods={methods}"])


def prepare(experiment: Experiment):
    """The state before the first step, the batches and the settings of the experiment's only trial."""
    with tempfile.TemporaryDirectory() as folder:
        trial = make_plan(experiment, ResultsFolder(folder)).trials[0].trial
    device, dataset, method = set_up(trial, experiment.execution)
    state = initial_state(method, trial.training)
    stream = make_stream(method, dataset, trial.labelled, trial.unlabelled, trial.training, trial.seed)
    return state, stream, trial, device


def distance_network(state) -> nn.Module:
    method = state.method
    return method.regressor if hasattr(method, "regressor") else method.network


def first_steps(experiment: Experiment, steps: int) -> dict[str, list[float]]:
    """Train the experiment's only trial for some steps.

    Args:
        experiment: with one trial of a method that logs `active_fraction`.
        steps: how many.

    Returns:
        The bias of the distance head and the active fraction after each step.
    """
    state, stream, trial, device = prepare(experiment)
    network = distance_network(state)
    biases = []
    for done in train(state, stream, trial.training, trial.seed, device, 0):
        biases.append(network.signed_distance[0].bias.detach().mean().item())
        if done >= steps:
            break
    state.flush()
    return {"bias": biases, "active": [row["active_fraction"] for row in state.history]}


def is_dead(run: dict[str, list[float]]) -> bool:
    return statistics.mean(run["active"][-LAST:]) < DEAD_FRACTION


def gradient_cosines(seed: int, width: int, bias: str) -> tuple[float, float]:
    """The cosine between the first step's gradients in bf16 and in fp32, of M_s and of M_d."""
    gradients = {}
    for precision in ("bf16", "fp32"):
        state, stream, trial, device = prepare(official_split(seed, width, precision, bias))
        next(iter(train(state, stream, trial.training, trial.seed, device, 0)))
        gradients[precision] = [
            torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
            for network in (state.method.segmenter, state.method.regressor)
        ]
    return tuple(
        nn.functional.cosine_similarity(a, b, dim=0).item()
        for a, b in zip(gradients["bf16"], gradients["fp32"], strict=True)
    )


def table(runs: list[dict]) -> str:
    """One line for each variant, as Markdown."""
    lines = [
        "| Filters | Precision | Bias | Seeds | Dead | Bias crossed 0 | Smallest distance of the "
        "bias from 0 | Active fraction at the end: median (smallest) |",
        "|---:|---|---|---:|---:|---:|---:|---|",
    ]
    for key in sorted({(r["width"], r["precision"], r["distance_bias"]) for r in runs}):
        group = [r for r in runs if (r["width"], r["precision"], r["distance_bias"]) == key]
        ends = [statistics.mean(r["active"][-LAST:]) for r in group]
        crossed = sum(min(r["bias"]) < 0 < max(r["bias"]) for r in group)
        lines.append(
            f"| {key[0]} | {key[1]} | {'trained' if key[2] == 'null' else 'fixed at ' + key[2]} | "
            f"{len(group)} | {sum(map(is_dead, group))} | {crossed} | "
            f"{min(min(map(abs, r['bias'])) for r in group):.3f} | {statistics.median(ends):.4f} ({min(ends):.4f}) |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="1337, 1338, ...")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--width", type=int, default=8, help="filters of the first level")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--bias", default="0.25", help="fixed bias of the distance head; null trains it")
    parser.add_argument("--cosine", action="store_true", help="compare gradients of the first step instead")
    parser.add_argument("--runs", type=Path, default=ROOT / "results/distance_network.jsonl")
    options = parser.parse_args()
    if options.cosine:
        for seed in range(1337, 1337 + options.seeds):
            print(seed, "M_s {:.3f}, M_d {:.3f}".format(*gradient_cosines(seed, options.width, options.bias)))
        return 0
    options.runs.parent.mkdir(parents=True, exist_ok=True)
    runs = [json.loads(line) for line in options.runs.read_text().splitlines()] if options.runs.exists() else []
    variant = {"width": options.width, "precision": options.precision, "distance_bias": options.bias}
    for seed in range(1337, 1337 + options.seeds):
        wanted = {**variant, "seed": seed, "steps": options.steps}
        if any(wanted.items() <= run.items() for run in runs):
            continue
        experiment = official_split(seed, options.width, options.precision, options.bias)
        runs.append({**wanted, **first_steps(experiment, options.steps)})
        with options.runs.open("a") as file:
            file.write(json.dumps(runs[-1]) + "\n")
    print(table(runs))
    return int(any(is_dead(run) for run in runs if variant.items() <= run.items()))


if __name__ == "__main__":
    sys.exit(main())
