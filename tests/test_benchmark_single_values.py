"""A method that would normalise a single value a channel is refused by the plan, and the plan is right about it."""

import re

import pytest
from helpers import tiny

from benchmark.planning import single_values, trials
from benchmark.planning.experiment import ExperimentError
from benchmark.planning.single_values import check_single_values
from benchmark.records.protocol import Training
from methods.shared import registry

CUBE, LONGER = [16, 16, 16], [32, 16, 16]
REFUSED = [("asdnet", 2, 4), ("asdnet", 3, 4), ("mean_teacher", 2, 3), ("ict", 4, 8)]  # the last: a size that would do
TAKEN = [("asdnet", 4), ("mean_teacher", 3), ("ict", 8), ("cps", 2), ("dtml", 2), ("vnet", 2)]


def refusal(name, batch_size, patch=CUBE):
    with pytest.raises(ExperimentError) as caught:
        tiny.one_trial(name, training={"patch": patch, "batch_size": batch_size}, labelled=[2])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "batch_size", "enough"), REFUSED)
def test_the_plan_refuses_and_says_what_would_do(name, batch_size, enough):
    message = refusal(name, batch_size)
    assert message.startswith(f"training.patch {CUBE} with training.batch_size {batch_size}: {name} gives a ")
    found = re.search(r"; raise training.batch_size to (\d+) or training.patch to (\[[\d, ]+\])$", message)
    assert found and (int(found[1]), found[2]) == (enough, str(LONGER))
    for training in ({"patch": CUBE, "batch_size": enough}, {"patch": LONGER, "batch_size": batch_size}):
        assert tiny.one_trial(name, training=training)


@pytest.mark.parametrize(("name", "batch_size"), TAKEN)
def test_the_plan_takes_what_can_be_trained(name, batch_size):
    check_single_values(name, {}, Training(patch=CUBE, batch_size=batch_size), classes=1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "batch_size", "refused"), [(*case[:2], True) for case in REFUSED]
                         + [(*case, False) for case in TAKEN])  # fmt: skip
def test_the_plan_is_right(monkeypatch, tmp_path, name, batch_size, refused):
    monkeypatch.setattr(trials, "check_single_values", lambda *arguments: None)
    training = {"patch": CUBE, "batch_size": batch_size, "iterations": 1}
    trial, planned = tiny.one_trial(name, training=training)
    last = tiny.run(trial, tiny.new_results(tmp_path), planned)[-1]
    assert last.stage == ("failed" if refused else "done"), last.reason
    if refused:
        assert "Expected more than 1 value per channel" in last.reason
        assert last.reason.endswith(
            f"raise training.batch_size (now {batch_size}) or a side of training.patch (now {CUBE})"
        )


def test_every_budget_and_method_is_looked_at():
    with pytest.raises(ExperimentError, match="mean_teacher gives a normalisation layer"):
        tiny.trials(tiny.experiment(methods=["cps", "mean_teacher"], training={"batch_size": 2}))
    with pytest.raises(ExperimentError, match="mean_teacher gives a normalisation layer"):
        tiny.trials(tiny.experiment(methods=["cps"], baseline="mean_teacher", training={"batch_size": 2}))


def test_large_patches_cost_nothing(monkeypatch):
    monkeypatch.setattr(single_values, "_single_value", None)
    check_single_values("mean_teacher", {}, Training(patch=(33, 16, 16), batch_size=2), classes=1)


@pytest.mark.parametrize("layer", ["InstanceNorm3d", "BatchNorm3d"])
def test_a_plug_in_is_not_run_by_the_plan_and_its_trial_says_what_to_do(own_registry, tmp_path, layer):
    normalise = f"torch.nn.{layer}(1)(total.reshape(1, 1, 1, 1, 1))"
    path = tiny.write_plugin(tmp_path, "mine", in_step=f"import torch; total = total + {normalise}.sum()")
    registry.load_plugin(path)
    trial, planned = tiny.one_trial("mine", plugins=[str(path)], baseline=None)
    last = tiny.run(trial, tiny.new_results(tmp_path / "results"), planned)[-1]
    assert last.stage == "failed" and "Expected more than 1 " in last.reason
    assert "; raise training.batch_size (now 4) or a side of training.patch (now [16, 16, 16])" in last.reason
