"""The cost that a method declares is what its step computes, counted in FLOP; nothing is timed."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.records.protocol import Training
from benchmark.trial.training import build_method, initial_state, make_stream, train
from data.cache import prepare
from data.sources import PhantomSettings
from methods.shared import registry

CPU = torch.device("cpu")
STEPS = 6000


@pytest.fixture(scope="module")
def step_flop(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMISEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        dataset = prepare(PhantomSettings(source="phantom", train=8, test=1, size=(48, 48, 32)))
    labelled, unlabelled = dataset.train_ids[:4], dataset.train_ids[4:]

    def count(name: str) -> int:
        training = Training(patch=(32, 32, 32), iterations=STEPS, precision="fp32")
        method = build_method(name, registry.settings_of(name, {}), training, 1, 0, CPU)
        state = initial_state(method, training)
        state.step = STEPS // 2  # where every method does all that it ever does
        rest = unlabelled if method.patches(method.settings, training.batch_size)[1] else []
        steps = train(state, make_stream(method, dataset, labelled, rest, training, 0), training, 0, CPU, 0)
        with FlopCounterMode(display=False) as counter:
            next(steps)
        return counter.get_total_flops()

    return count


@pytest.fixture(scope="module")
def of_a_pass(step_flop):
    return step_flop("vnet") / registry.get("vnet").info.passes.total()


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names())
def test_declared_passes_are_those_of_the_step(name, step_flop, of_a_pass):
    passes = registry.get(name).info.passes
    counted = step_flop(name) / of_a_pass
    # Padding lets a discriminator compute more of a small patch than of a large one.
    assert counted == pytest.approx(passes.total(), rel=0.25 if passes.other else 0.02)
