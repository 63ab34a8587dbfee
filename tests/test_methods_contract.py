"""What every registered method must do, whatever it is: a new file in `methods/` is tested without test code."""

import dataclasses
import typing

import pytest
import torch
from tiny_methods import CPU, make_batch, run

from benchmark.experiment import Training
from benchmark.training import build_method
from methods import registry
from methods.method import Batch, Info, MethodSettings

NAMES = registry.names()
every_method = pytest.mark.parametrize("name", NAMES)
one_and_two_classes = pytest.mark.parametrize("classes", [1, 2], ids=["C=1", "C=2"])
TINY = Training(iterations=3, patch=(32, 16, 16), width=2)


@pytest.fixture(autouse=True)
def _small(small_discriminators):
    """What is tested here does not depend on the discriminators' width."""


def build(name, classes=1, seed=0, **settings):
    return build_method(name, registry.settings_of(name, settings), TINY, classes, seed, CPU)


def choices():
    """Every choice of every setting that has choices: (method, key, value)."""
    for name in NAMES:
        for key, field in registry.get(name).Settings.model_fields.items():
            values = (True, False) if field.annotation is bool else typing.get_args(field.annotation)
            if field.annotation is bool or typing.get_origin(field.annotation) is typing.Literal:
                yield from ((name, key, value) for value in values if value != field.default)


def images(size, seed=0):
    return torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(seed))


def predict(method, x):
    with torch.no_grad():
        return method.eval().predict(x)


def weights(method):
    return {name: p.detach() for name, p in method.named_parameters()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_batch_has_no_room_for_labels_of_unlabelled_images():
    assert [f.name for f in dataclasses.fields(Batch)] == ["labeled_images", "labels", "unlabeled_images", "views"]


@every_method
def test_it_says_what_it_is(name):
    method = registry.get(name)
    assert isinstance(method.info, Info) and issubclass(method.Settings, MethodSettings)
    assert method.__doc__ and method.info.title and method.info.source and 1990 < method.info.year < 2100
    assert method.info.fidelity in ("faithful", "adapted", "reconstruction")
    assert method.info.passes.train > 0 and method.info.networks > 0
    assert isinstance(method.variant(method.Settings()), str)


@every_method
def test_its_settings_are_described_and_searched_around_their_defaults(name):
    for key, field in registry.get(name).Settings.model_fields.items():
        assert field.description and "\n" not in field.description, key
        search = (field.json_schema_extra or {}).get("search")
        if search and isinstance(field.default, int | float):
            assert search[0] <= field.default <= search[-1], key
            for value in search:
                registry.settings_of(name, {key: value})


@every_method
@one_and_two_classes
def test_it_trains_and_every_parameter_gets_a_gradient(name, classes):
    reached = {}

    def note(method):
        for key, p in method.named_parameters():
            if p.requires_grad:
                # A bias before batch norm has no effect: its gradient is rounding noise, or exactly zero.
                got = p.grad is not None and (key.endswith("bias") or bool(p.grad.any()))
                reached[key] = reached.get(key, False) or got
                assert p.grad is None or p.grad.isfinite().all(), key

    state = run(name, classes, steps=3, after_step=note)
    assert [row["step"] for row in state.history] == [0, 1, 2]
    for row in state.history:
        assert any(key.endswith("total") for key in row)
        assert all(value - value == 0 for value in row.values()), row
    assert reached and all(reached.values()), [key for key, value in reached.items() if not value]
    start = weights(build_method(name, state.method.settings, TINY, classes, 0, CPU))
    moved = {key for key, value in weights(state.method).items() if not torch.equal(value, start[key])}
    assert {key for key, p in state.method.named_parameters() if p.requires_grad} <= moved


@every_method
@one_and_two_classes
def test_its_losses_are_scalars_and_the_total_of_each_phase_has_a_gradient(name, classes):
    method = build(name, classes)
    batch = make_batch(method)
    for phase in method.phases:
        method.train()
        losses = method.training_step(batch, 0, phase)
        assert all(isinstance(v, torch.Tensor) and v.shape == () for v in losses.values()), losses
        assert losses["total"].requires_grad and losses["total"].dtype == torch.float32


@every_method
@one_and_two_classes
def test_it_predicts_probabilities_of_any_size(name, classes):
    method = build(name, classes)
    for size in ((16, 16, 16), (17, 21, 30)):
        p = predict(method, images(size))
        assert p.shape == (2, classes, *size) and p.dtype == torch.float32
        assert p.min() >= 0 and p.max() <= 1 and p.std() > 0


@every_method
def test_a_prediction_changes_nothing_and_does_not_depend_on_the_batch(name):
    method = run(name, steps=2, precision="fp32").method
    before = {key: value.clone() for key, value in method.state_dict().items()}
    x = images((16, 16, 16))
    p = predict(method, x)
    assert equal(before, method.state_dict()) and torch.equal(p, predict(method, x))
    torch.testing.assert_close(predict(method, x[:1]), p[:1], rtol=1e-3, atol=1e-3)


@every_method
@one_and_two_classes
def test_its_state_dict_is_the_whole_model(name, classes, tmp_path):
    trained = run(name, classes, steps=2).method
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    other = build(name, classes, seed=1)
    x = images((16, 16, 16))
    assert not torch.equal(predict(other, x), predict(trained, x))
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(predict(other, x), predict(trained, x))


@every_method
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(name, precision):
    def trained(seed):
        torch.manual_seed(torch.seed())  # whatever was drawn before must not matter
        state = run(name, steps=3, seed=seed, precision=precision)
        timeless = [{key: v for key, v in row.items() if key != "seconds"} for row in state.history]
        return state.method.state_dict(), timeless

    (a, history_a), (b, history_b), (c, history_c) = trained(3), trained(3), trained(4)
    assert equal(a, b) and history_a == history_b
    assert not equal(a, c) and history_a != history_c


@every_method
def test_unlabelled_images_matter_where_a_method_gets_any(name):
    method = build(name)
    labelled, unlabelled = method.patches(method.settings, 4)
    assert labelled > 0 and labelled + unlabelled in (2, 4)
    one, other = (run(name, steps=2, change_unlabelled=change).method for change in (False, True))
    assert equal(weights(one), weights(other)) is (unlabelled == 0)


@every_method
def test_views_are_named_and_do_not_shadow_the_batch(name):
    views = build(name).views()
    assert isinstance(views, dict) and all(callable(view) for view in views.values())
    assert not set(views) & {"labeled_images", "labels", "unlabeled_images"}


@pytest.mark.parametrize(("name", "key", "value"), list(choices()))
def test_every_choice_of_every_setting_trains_and_predicts(name, key, value):
    state = run(name, steps=1, settings={key: value})
    p = predict(state.method, images((16, 16, 16)))
    assert p.shape == (2, 1, 16, 16, 16) and p.isfinite().all()
