"""Event files are read back with TensorBoard's own reader."""

import dataclasses

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmark.trial import pictures
from benchmark.trial.loggers.protocol import Run
from benchmark.trial.loggers.tensorboard import TensorBoard
from benchmark.trial.pictures import PREDICTION, TRUTH, largest_slice, outlined
from benchmark.trial.trial_log import TrialLog

RUN = Run("trial", "tiny", "/results")
BLACK = np.zeros((4, 4, 3), np.uint8)


def rows(first, last):
    return [{"step": step, "seconds": 0.1, "total": 10.0 - step} for step in range(first, last)]


def log(folder, **changes):
    opened = TrialLog([TensorBoard(folder)], iterations=7)
    opened.start(dataclasses.replace(RUN, **changes))
    return opened


def stored(folder):
    return EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()


def curves(folder):
    events = stored(folder)
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_curves_hold_every_step_once(tmp_path):
    events = log(tmp_path)
    events.add_losses(rows(0, 2))
    events.add_losses(rows(0, 5))
    events.close()
    assert curves(tmp_path) == {"total": [(step, 10.0 - step) for step in range(5)]}


@pytest.mark.parametrize("is_there", [True, False], ids=["", "the earlier session's files are lost"])
def test_a_resumed_training_replaces_what_was_lost_and_keeps_pictures(tmp_path, is_there):
    if is_there:
        board = TensorBoard(tmp_path)
        board.start(RUN)
        for step in range(4):
            board.scalars(step, {"total": -1.0 if step == 3 else 10.0 - step})  # killed after its last checkpoint
        for step in (0, 2, 3):
            board.image(step, "picture", BLACK)
        board.end(4, {})
    second = log(tmp_path if is_there else tmp_path / "new", first_step=3)
    second.add_losses(rows(0, 3))
    second.add_losses(rows(0, 6))
    second._add_picture(3, "picture", BLACK)
    second.close()
    folder = tmp_path if is_there else tmp_path / "new"
    assert curves(folder) == {"total": [(step, 10.0 - step) for step in range(6)]}
    assert [image.step for image in stored(folder).Images("picture")] == ([0, 2, 3] if is_there else [3])


def test_a_slice_shows_both_outlines_where_most_of_the_truth_is(tmp_path):
    truth = np.zeros((20, 20, 4), np.uint8)
    truth[4:9, 4:9, 2] = 1
    predicted = np.roll(truth, 8, axis=0)
    events = log(tmp_path)
    events.add_slice("A", np.zeros(truth.shape, np.float32), truth, predicted)
    events.close()
    (image,) = stored(tmp_path).Images("truth orange, prediction blue/A")
    assert (image.step, image.width, image.height) == (7, 800, 400)
    picture = outlined(np.zeros((20, 20)), truth[..., 2], predicted[..., 2])  # 20 times enlarged: sides of 100 pixels
    coloured = {colour: np.all(picture == colour, axis=2).sum() for colour in (TRUTH, PREDICTION)}
    assert coloured == {TRUTH: 396, PREDICTION: 396} and tuple(picture[80, 80]) == TRUTH and not picture[130, 130].any()


def test_a_slice_is_upright_as_in_the_report(monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "outlined", lambda *arrays: shown.extend(arrays) or pictures.grey(arrays[0]))
    image, truth = np.random.default_rng(0).random((5, 7, 2)), np.zeros((5, 7, 2))
    truth[..., 1] = 1
    largest_slice(image, truth, truth)
    np.testing.assert_array_equal(shown[0], image[..., 1].T)


def test_the_speed_is_a_curve(tmp_path):
    events = log(tmp_path)
    history = [{"step": step, "seconds": seconds, "total": 1.0} for step, seconds in enumerate((1.0, 1.5, 1.5, 3.5))]
    events.add_losses(history[:2])
    events.add_losses(history)
    events.close()
    assert curves(tmp_path)["iterations a second"] == [(1, 2.0), (3, 0.5)]


def test_trials_can_be_compared_by_their_settings(tmp_path):
    events = log(tmp_path, settings={"method": "DTML", "labelled": 4, "weights": [1, 2]})
    events.add_result({"test dice": 0.75})
    events.close()
    assert curves(tmp_path)["test dice"] == [(7, 0.75)]
    assert "_hparams_/session_start_info" in stored(tmp_path).PluginTagToContent("hparams")


def test_with_no_logger_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    events = TrialLog([], iterations=7)
    events.start(RUN)
    events.add_losses(rows(0, 2))
    events.add_slice("A", np.zeros((4, 4, 4)), np.ones((4, 4, 4)), np.ones((4, 4, 4)))
    events.close()
    assert not list(tmp_path.iterdir())
