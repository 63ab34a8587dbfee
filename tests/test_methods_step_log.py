"""Methods report the weights of a step and maps, without waiting for the device."""

import pandas as pd
import pytest
import torch

from benchmark.contract.small_training import SmallTraining
from benchmark.trial.training import totals
from methods.shared import registry
from methods.shared.ema import make_teacher
from methods.shared.step_log import StepLog
from reports.figures import training_curves

CONSTANT = ("cross_match", "fixmatch", "unimatch")  # their weights do not change
ITERATIONS = 200  # the last step has the decay of the settings, and most of the ramp


def last_row(name, **settings):
    small = SmallTraining(name, settings, iterations=ITERATIONS)
    small.state.step = ITERATIONS - 1
    return small.run(), small.history()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"), [*((name, {}) for name in registry.names()), ("tcse", {"second_branch": "ema"})]
)
def test_every_ramp_and_every_teacher_is_a_curve(name, settings):
    small, row = last_row(name, **settings)
    fields = registry.get(name).Settings.model_fields
    ramped = [key for key, field in fields.items() if "of its ramp" in field.description]
    step = int((ITERATIONS - 1) / getattr(small.method.settings, "ramp", 1))  # some ramps end earlier
    expected = {
        f"logged/{key}": getattr(small.method.settings, key) * small.method.schedule.ramp_up(step) for key in ramped
    }
    if hasattr(small.method, "teacher"):
        expected["logged/ema_decay"] = small.method.settings.ema_decay
    assert {key: value for key, value in row.items() if key.startswith("logged/")} == pytest.approx(expected)
    assert bool(expected) == (name not in ("vnet", "vnet_sdm", *CONSTANT)), "all others have a weight that changes"


def test_numbers_of_a_phase_or_an_earlier_step_are_not_kept():
    small = SmallTraining("bcp", {"pretraining": 0.5}, iterations=4).run()
    assert [row["logged/ema_decay"] for row in small.history()] == [0, 0, 0.99, 0.99]
    assert small.method.take_log() == ({}, {})


@pytest.mark.parametrize("value", [torch.tensor(1.0), "1", None, True])
def test_only_plain_numbers_are_curves(value):
    with pytest.raises(TypeError, match=r"log\('weight'\) got \w+: give a plain number"):
        StepLog().log("weight", value)


@pytest.mark.parametrize(
    ("of_map", "of_patch"),
    [((1, 1, 4, 4, 4), (1, 4, 4, 4)), ((1, 4, 4, 4), (1, 4, 4, 5)), ((1, 4, 4), (1, 4, 4, 4))],
)
def test_a_map_has_the_shape_of_its_patch(of_map, of_patch):
    with pytest.raises(ValueError, match="give a map"):  # whether or not pictures are wanted
        StepLog().log_image("map", torch.zeros(of_map), torch.zeros(of_patch))


def test_a_map_is_kept_at_steps_with_pictures_only():
    log, ones = StepLog(), torch.ones(2, 4, 4, 4, requires_grad=True)
    log.log_image("map", ones, torch.zeros(1, 4, 4, 4))
    assert log.take_log() == ({}, {})
    log.want_images(True)
    log.log_image("map", 2 * ones, torch.zeros(1, 4, 4, 4))
    _, images = log.take_log()
    assert images["map"].volume.mean() == 2 and not images["map"].volume.requires_grad
    assert log.take_log() == ({}, {})


def test_a_number_that_is_called_total_is_no_loss():
    row = {"step": 0, "logged/total": float("nan"), "segment/total": 1.0, "segment/supervised": 0.5}
    assert totals(row) == {"segment/total": 1.0}
    history = pd.DataFrame([row | {"seconds": 0.0, "learning_rate_factor": 1.0, "logged/ema_decay": 0.99}])
    assert training_curves._columns_of_totals(history) == ["segment/total"]
    assert training_curves._columns_of_terms(history) == ["segment/supervised"]


def test_what_is_logged_is_no_part_of_the_state():
    log = StepLog()
    log.want_images(True)
    log.log("weight", 1)
    log.log_image("map", torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4))
    assert not log.state_dict() and not list(make_teacher(log).parameters())
