"""Event files are read back with TensorBoard's own reader."""

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmark.trial import tensorboard as module
from benchmark.trial.tensorboard import PREDICTION, TRUTH, EventFile, outlined


def rows(first, last):
    return [{"step": step, "seconds": 0.1, "total": 10.0 - step} for step in range(first, last)]


def curves(folder):
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_curves_hold_every_step_once(tmp_path):
    events = EventFile(tmp_path)
    events.add_losses(rows(0, 2))
    events.add_losses(rows(0, 5))
    events.close()
    assert curves(tmp_path) == {"total": [(step, 10.0 - step) for step in range(5)]}


def test_a_resumed_training_replaces_what_was_lost(tmp_path):
    first = EventFile(tmp_path)
    first.add_losses([*rows(0, 3), {"step": 3, "seconds": 0.1, "total": -1.0}])  # killed after its last checkpoint
    first.close()
    second = EventFile(tmp_path)
    second.add_losses(rows(0, 3))
    second.add_losses(rows(0, 6))
    second.close()
    assert curves(tmp_path) == {"total": [(step, 10.0 - step) for step in range(6)]}


def test_a_slice_shows_both_outlines_where_most_of_the_truth_is(tmp_path):
    truth = np.zeros((20, 20, 4), np.uint8)
    truth[4:9, 4:9, 2] = 1
    predicted = np.roll(truth, 8, axis=0)
    events = EventFile(tmp_path)
    events.add_slice("A", np.zeros(truth.shape, np.float32), truth, predicted, step=7)
    events.close()
    (image,) = EventAccumulator(str(tmp_path)).Reload().Images("truth orange, prediction blue/A")
    assert (image.step, image.width, image.height) == (7, 400, 400)
    picture = outlined(np.zeros((20, 20)), truth[..., 2], predicted[..., 2])  # 20 times enlarged: sides of 100 pixels
    coloured = {colour: np.all(picture == colour, axis=2).sum() for colour in (TRUTH, PREDICTION)}
    assert coloured == {TRUTH: 396, PREDICTION: 396} and tuple(picture[80, 80]) == TRUTH and not picture[130, 130].any()


def test_a_slice_is_upright_as_in_the_report(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(module, "outlined", lambda *arrays: shown.extend(arrays) or np.zeros((4, 4, 3), np.uint8))
    image, truth = np.random.default_rng(0).random((5, 7, 2)), np.zeros((5, 7, 2))
    truth[..., 1] = 1
    EventFile(tmp_path).add_slice("A", image, truth, truth, step=0)
    np.testing.assert_array_equal(shown[0], image[..., 1].T)


def test_the_speed_is_a_curve(tmp_path):
    events = EventFile(tmp_path)
    history = [{"step": step, "seconds": seconds, "total": 1.0} for step, seconds in enumerate((1.0, 1.5, 1.5, 3.5))]
    events.add_losses(history[:2])
    events.add_losses(history)
    events.close()
    assert curves(tmp_path)["iterations a second"] == [(1, 2.0), (3, 0.5)]


def test_trials_can_be_compared_by_their_settings(tmp_path):
    events = EventFile(tmp_path)
    events.add_result({"method": "DTML", "labelled": 4, "weights": [1, 2]}, {"test dice": 0.75})
    events.close()
    found = EventAccumulator(str(tmp_path)).Reload()
    assert curves(tmp_path)["test dice"] == [(0, 0.75)]
    assert "_hparams_/session_start_info" in found.PluginTagToContent("hparams")


def test_with_no_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    events = EventFile(None)
    events.add_losses(rows(0, 2))
    events.add_slice("A", np.zeros((4, 4, 4)), np.ones((4, 4, 4)), np.ones((4, 4, 4)), step=0)
    events.close()
    assert not list(tmp_path.iterdir())
