"""What only a GPU can show; skipped where there is none.

Everything else about devices is tested without one: steps on the meta device, scheduling with declared resources.
"""

import json
import os
import warnings
from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import tiny

from benchmark.contract.small_training import LABELLED, UNLABELLED, phantoms, unseen_images
from benchmark.planning.experiment import Execution
from benchmark.planning.plan import make_plan, write_plan
from benchmark.records.protocol import Evaluation, Training
from benchmark.trial.inference import fold_batch_norm
from benchmark.trial.process_state import configure_torch
from benchmark.trial.run import run_trial
from benchmark.trial.scoring import predict_labels
from benchmark.trial.smoke import NOT_MEASURED, memory_needs
from benchmark.trial.training import build_method, initial_state, make_stream, train
from benchmark.trial.weights import load_weights
from data.cache import prepare
from methods.shared import registry

# As benchmark/cluster/scheduler.py sets it for a run; cuBLAS reads it when it starts. That file is not imported here:
# Ray, once imported, takes no other way of authentication, and tests of clusters ask for one.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SEED, ITERATIONS = 7, 400
MIDDLE = ITERATIONS // 2  # where every method does all that it ever does
# BCP, its ablation and SDCL keep the largest component of their pseudo-labels, which is found on the host, as in their
# releases. In fp16 Adam, which trains the discriminators, waits to learn whether a gradient overflowed.
ON_THE_HOST = {"bcp", "bcp_no_mixing", "sdcl"}
WAITS = {"bf16": ON_THE_HOST, "fp16": ON_THE_HOST | {"asdnet", "sass"}}


def training(name: str, device: torch.device, **changes):
    """The state of a method halfway, and the loop that goes on from there."""
    protocol = Training(**{"iterations": ITERATIONS, "patch": (32, 32, 16), "width": 4, "threads": 1} | changes)
    configure_torch(protocol)
    method = build_method(name, registry.settings_of(name, {}), protocol, 1, SEED, device)
    state = initial_state(method, protocol)
    state.step = MIDDLE
    stream = make_stream(method, phantoms(), LABELLED, UNLABELLED, protocol, SEED)
    return state, train(state, stream, protocol, SEED, device, data_workers=0)


@pytest.fixture
def draws_on_the_cpu(monkeypatch):
    """The same noise and the same dropout on either device."""

    def dropout3d(images, p=0.5, training=True, inplace=False):
        if not training:
            return images
        return images * (torch.rand(*images.shape[:2], 1, 1, 1) >= p).to(images) / (1 - p)

    monkeypatch.setattr(F, "dropout3d", dropout3d)
    monkeypatch.setattr(torch, "randn_like", lambda images: torch.randn(images.shape).to(images))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", registry.names())
def test_the_loop_never_waits_for_the_gpu(name, precision):
    _, steps = training(name, GPU, precision=precision)
    next(steps)  # cuDNN tries its kernels
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        if name in WAITS[precision]:
            with pytest.raises(RuntimeError, match="synchroniz"):
                next(steps)
        else:
            list(islice(steps, 2))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", registry.names())
def test_a_step_has_the_cpu_s_losses_and_gradients(name, draws_on_the_cpu):
    states = []
    for device in (CPU, GPU):
        state, steps = training(name, device, precision="fp32", deterministic=True)
        next(steps)
        state.flush()
        states.append(state)
    host, device = (state.history[-1] for state in states)
    assert host.keys() == device.keys()
    for loss in host.keys() - {"seconds"}:
        # A loss, or a share of voxels above a threshold, of which the last bits may carry a few to the other side.
        assert device[loss] == pytest.approx(host[loss], rel=2e-3, abs=1e-4), loss
    host, device = (
        torch.cat([p.grad.flatten().cpu() for p in state.method.parameters() if p.grad is not None]) for state in states
    )
    # A distance map steepened by 1500 turns the last bits of its voxels into gradients: not closer than this.
    assert (device - host).norm() < 0.05 * host.norm()


@pytest.mark.parametrize("name", registry.names())
def test_predictions_are_the_cpu_s(name):
    images = unseen_images()
    predicted = []
    for device in (CPU, GPU):
        state, _ = training(name, device, precision="fp32")
        with torch.inference_mode():
            predicted.append(fold_batch_norm(state.method).predict(images.to(device)).cpu())
    torch.testing.assert_close(*predicted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("name", registry.names())
def test_it_trains_in_every_precision(name, precision):
    state, steps = training(name, GPU, precision=precision)
    list(islice(steps, 4))
    state.flush()  # raises where a loss is not finite
    assert all(bool(torch.isfinite(p).all()) for p in state.method.parameters())
    if precision == "fp16":
        assert state.scaler.get_scale() > 1


@pytest.mark.parametrize("name", registry.names())
def test_a_deterministic_training_repeats_itself(name):
    weights = []
    for _ in range(2):
        state, steps = training(name, GPU, deterministic=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch warns of an operator that has no deterministic kernel
            list(islice(steps, 3))
        weights.append(state.method.state_dict())
    for key, one in weights[0].items():
        assert torch.equal(one, weights[1][key]), key


@pytest.mark.parametrize("name", ["vnet", "dtml", "ua_mt", "sass"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_resumed_trial_ends_as_one_that_nobody_interrupted(name, precision, tmp_path):
    changes = {
        "data": {"size": list(tiny.LARGE)},
        "training": {"iterations": 6, "patch": list(tiny.LARGE), "precision": precision, "deterministic": True},
        "execution": {"device": "cuda"},
    }
    trial, planned = tiny.one_trial(name, **changes)
    straight, resumed = (tiny.new_results(tmp_path / folder) for folder in ("straight", "resumed"))
    tiny.run(trial, straight, planned)
    every = planned.execution.model_copy(update={"checkpoint_iterations": 3})
    signs = run_trial(trial, resumed, every)
    while next(signs).step < 3:
        pass
    signs.close()
    assert list(resumed.running(trial.id).glob("checkpoint-*.pt"))
    tiny.run(trial, resumed, planned)
    facts = json.loads((resumed.record(trial.id) / "provenance.json").read_text())
    assert facts["resumed_at_step"] > 0
    assert facts["device"] == torch.cuda.get_device_name()
    assert facts["peak_memory_bytes"] > 0
    one, other = (
        torch.load(results.record(trial.id) / "weights.pt", weights_only=True, map_location="cpu")
        for results in (straight, resumed)
    )
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


def test_weights_of_a_gpu_are_scored_on_a_cpu(tmp_path):
    trial, planned = tiny.one_trial("vnet", execution={"device": "cuda"})
    results = tiny.new_results(tmp_path)
    tiny.run(trial, results, planned)
    dataset = prepare(planned.data)
    labels = []
    for device in (CPU, GPU):
        method = build_method("vnet", registry.settings_of("vnet", {}), trial.training, 1, 0, device)
        load_weights(results.record(trial.id), method, device)
        method = fold_batch_norm(method)
        labels.append(
            predict_labels(method, dataset, trial.test[0], trial.training.patch, Evaluation(stride=(16, 16, 16)), 2)
        )
    assert np.mean(np.asarray(labels[0]) != np.asarray(labels[1])) < 1e-3


def test_what_trials_need_is_measured_one_after_the_other():
    trial, planned = tiny.one_trial("vnet", execution={"device": "cuda"})
    large, _ = tiny.one_trial("vnet", training={"width": 16}, execution={"device": "cuda"})
    broken = trial.model_copy(update={"test": ["no such case"]})
    needs = memory_needs([large, broken, trial, large], planned.execution)
    assert needs[1] == NOT_MEASURED
    first, small, again = (needed for needed, there in (needs[0], *needs[2:]))
    assert 0 < small < first
    assert again == pytest.approx(first, rel=0.1)  # nothing of the others is left


def test_trials_share_the_gpu_that_ray_finds(tmp_path):
    from benchmark.cluster import scheduler

    planned = tiny.experiment(
        methods=["vnet", "dtml"], seeds=[1, 2],
        execution={"device": "auto", "gpus_per_trial": "auto"},
    )  # fmt: skip
    results = tiny.new_results(tmp_path)
    plan = make_plan(planned, results)
    write_plan(plan)
    trials = [found.trial for found in plan.trials]
    assert scheduler.run_trials(trials, results, Execution(device="auto"), lambda progress: None)
    for trial in trials:
        assert results.read_record(trial.id).state == "done", results.read_record(trial.id).reason
        facts = json.loads((results.record(trial.id) / "provenance.json").read_text())
        assert facts["device"] == torch.cuda.get_device_name()
        assert facts["trials_sharing_the_machine"] > 1
