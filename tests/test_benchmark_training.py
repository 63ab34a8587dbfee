"""The training loop: its batches, its learning rate, its checkpoints, and labels that it must not see."""

import io
import random
import zipfile
from collections import Counter

import numpy as np
import pytest
import torch
from helpers import tiny

from benchmark.trial.checkpoints import load_checkpoint, save_checkpoint
from benchmark.trial.finite import DivergedError
from benchmark.trial.training import build_method, initial_state, make_stream, train
from data.cache import prepare
from methods.shared import registry
from methods.shared.signed_distance import distance_to_mask

CPU = torch.device("cpu")
NUMERICS = {"training": 1, "preparation": 1, "method": 1}


def begin(name, dataset=None, labelled=2, settings=None, **training):
    """(state, stream, training) of a fresh trial on four cases, the first `labelled` of them labelled."""
    planned = tiny.experiment(training=training)
    dataset = dataset or prepare(planned.data)
    settings = registry.settings_of(name, settings or {})
    method = build_method(name, settings, planned.training, dataset.classes, 7, CPU)
    unlabelled = dataset.train_ids[labelled:] if method.patches(settings, 4)[1] else []
    stream = make_stream(method, dataset, dataset.train_ids[:labelled], unlabelled, planned.training, 7)
    return initial_state(method, planned.training), stream, planned.training


def steps_of(state, stream, training):
    torch.set_num_threads(1)
    return train(state, stream, training, 7, CPU, 0)


def weights_after(*arguments, **changes):
    state, stream, training = begin(*arguments, **changes)
    assert list(steps_of(state, stream, training)) == list(range(1, training.iterations + 1))
    state.flush()
    return state.method.state_dict(), state.history


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# Momentum before the first step.


def momenta(state):
    sgd = [o for o in state.optimizers.values() if isinstance(o, torch.optim.SGD)]
    return [o.state[p] for o in sgd for group in o.param_groups for p in group["params"]]


def test_in_fp16_momentum_is_zero_before_the_first_step_and_else_not_there():
    state, _, _ = begin("sass", precision="fp16")
    assert momenta(state) and not any(entry["momentum_buffer"].any() for entry in momenta(state))
    state, _, _ = begin("sass")
    assert not any(momenta(state))


def test_a_training_from_a_momentum_of_zero_is_one_from_none():
    plain, _ = weights_after("dtml")
    state, stream, training = begin("dtml")
    for optimizer in state.optimizers.values():
        for p in optimizer.param_groups[0]["params"]:
            optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    list(steps_of(state, stream, training))
    assert equal(state.method.state_dict(), plain)


# Compilation.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vnet", "ua_mt", "sass", "mc_net"])
def test_compiled_networks_train_as_others_do(name, monkeypatch):
    # Captured as for any backend, then run as it is: a machine that only tests may have no C++ compiler.
    original, modes = torch.compile, []

    def compile_without_code(call, mode):
        modes.append(mode)
        return original(call, backend="aot_eager")

    plain, _ = weights_after(name, iterations=2)
    monkeypatch.setattr(torch, "compile", compile_without_code)
    compiled, _ = weights_after(name, iterations=2, compile="reduce-overhead")
    assert set(modes) == {"reduce-overhead"} and len(modes) >= 2
    assert compiled.keys() == plain.keys()
    for key, value in plain.items():
        torch.testing.assert_close(compiled[key], value, rtol=1e-3, atol=1e-4)


# Learning rate.


@pytest.mark.parametrize("name", ["vnet", "sass"])
def test_the_learning_rate_that_the_optimiser_uses(name):
    # As published: a tenth after 2500 and after 5000 of 6000 iterations, here after 5 and 10 of 12.
    state, stream, training = begin(name, iterations=12)
    used = {phase: [] for phase in state.optimizers}
    for phase, optimizer in state.optimizers.items():

        def step(*arguments, phase=phase, optimizer=optimizer, original=optimizer.step):
            used[phase] += [{group["lr"] for group in optimizer.param_groups}]
            return original(*arguments)

        optimizer.step = step
    list(steps_of(state, stream, training))
    published = [0.01] * 5 + [0.001] * 5 + [0.0001] * 2
    first, *others = used.values()
    assert all(len(rates) == 1 for rates in first)
    assert [rates.pop() for rates in first] == pytest.approx(published, rel=1e-12)
    for rates in others:  # the discriminator has an optimiser of its own, which the protocol leaves alone
        assert rates == [{1e-4}] * 12
    state.flush()
    assert [row["learning_rate_factor"] for row in state.history] == pytest.approx([r / 0.01 for r in published])


def test_the_optimiser_is_that_of_the_protocol():
    state, _, _ = begin("vnet", learning_rate=0.02, momentum=0.8, weight_decay=0.003)
    [optimizer] = state.optimizers.values()
    assert type(optimizer) is torch.optim.SGD
    [group] = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.02, 0.8, 0.003, False)
    assert sum(p.numel() for p in group["params"]) == sum(p.numel() for p in state.method.parameters())


# Batches.


class Watched:
    """A data set that notes whose images and labels are opened."""

    def __init__(self, dataset):
        self._dataset = dataset
        self.images, self.labels = [], []

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def image(self, case_id):
        self.images.append(case_id)
        return self._dataset.image(case_id)

    def label(self, case_id):
        self.labels.append(case_id)
        return self._dataset.label(case_id)


def opened_by_step(name, steps, **changes):
    dataset = Watched(prepare(tiny.experiment().data))
    state, stream, training = begin(name, dataset=dataset, iterations=steps, **changes)
    for _ in steps_of(state, stream, training):
        yield tuple(dataset.images), tuple(dataset.labels)
        dataset.images.clear()
        dataset.labels.clear()


@pytest.mark.parametrize("frozen", ["encoder.", "decoders.", "segmentation."])
def test_parameters_that_a_method_froze_stay_as_they_are(frozen):
    state, stream, training = begin("vnet")
    for name, parameter in state.method.network.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    before = {name: p.detach().clone() for name, p in state.method.network.named_parameters()}
    for _ in steps_of(state, stream, training):
        pass
    for name, parameter in state.method.network.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith(frozen), name


@pytest.mark.parametrize("name", ["vnet_sdm", "dtml"])
def test_voxels_without_features_stay_outside_while_the_distance_network_trains(name):
    state, stream, training = begin(name, iterations=4, learning_rate=1.0)  # a rate at which a trained bias moves far
    network = state.method.regressor if name == "dtml" else state.method.network
    for _ in steps_of(state, stream, training):
        assert network.signed_distance[0].bias.item() == 0.25
    features = torch.zeros(1, 2, 4, 4, 4)
    logits = network.signed_distance[0](features, torch.ones(1, 2, 1, 1, 1))
    assert distance_to_mask(torch.tanh(logits)).max() < 1e-6


@pytest.mark.parametrize("name", ["vnet_sdm", "dtml"])
def test_without_a_fixed_bias_it_is_drawn_and_trained_as_in_the_releases(name):
    state, stream, training = begin(name, settings={"distance_bias": None})
    bias = (state.method.regressor if name == "dtml" else state.method.network).signed_distance[0].bias
    drawn = bias.item()
    for _ in steps_of(state, stream, training):
        pass
    assert abs(drawn) < 2**-0.5 and bias.item() != drawn  # torch draws from ±1 / sqrt(channels)


def test_half_of_a_semi_supervised_batch_is_labelled():
    labelled, unlabelled = {"train-000", "train-001"}, {"train-002", "train-003"}
    orders = set()
    for images, labels in opened_by_step("dtml", 6):
        # Two labelled ones are an epoch, so each step has a permutation of both kinds; labelled ones come first.
        assert set(images[:2]) == labelled and set(images[2:]) == unlabelled and len(images) == 4
        assert labels == images[:2]
        orders.add(images)
    assert len(orders) > 1


def test_all_of_a_supervised_batch_is_labelled():
    for images, labels in opened_by_step("vnet", 3, labelled=4):
        assert sorted(images) == ["train-000", "train-001", "train-002", "train-003"] and labels == images
    for images, labels in opened_by_step("vnet", 3, labelled=2):
        assert Counter(images) == {"train-000": 2, "train-001": 2} and labels == images


def test_methods_at_one_seed_see_the_same_labelled_patches():
    streams = [begin(name)[1] for name in ("dtml", "ua_mt")]
    for step in range(3):
        one, other = (stream[step] for stream in streams)
        assert np.array_equal(one["labelled_images"], other["labelled_images"])
        assert np.array_equal(one["unlabelled_images"], other["unlabelled_images"])


# The label firewall.


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory):
    """disturbed(ids): the tiny data set where the labels of these cases are noise."""
    whole = prepare(tiny.experiment().data, tmp_path_factory.mktemp("whole"))

    def make(ids):
        dataset = prepare(tiny.experiment().data, tmp_path_factory.mktemp("disturbed"))
        for case_id in ids:
            mapped = dataset.label(case_id)
            noise = np.random.default_rng(0).integers(0, 2, mapped.shape).astype(np.uint8)
            assert not np.array_equal(noise, mapped)
            np.save(mapped.filename, noise)
            assert np.array_equal(dataset.label(case_id), noise)
        assert np.array_equal(dataset.image("train-003"), whole.image("train-003"))
        return dataset

    return whole, make(["train-002", "train-003", "test-000"]), make(["train-001"])


@pytest.mark.parametrize("name", ["dtml", "sass"])  # the contract holds every method to it, on cases in memory
def test_labels_of_unlabelled_cases_change_nothing(name, disturbed):
    whole, noise_where_unlabelled, noise_where_labelled = disturbed
    expected, history = weights_after(name, dataset=whole, patch=tiny.LARGE)
    found, found_history = weights_after(name, dataset=noise_where_unlabelled, patch=tiny.LARGE)
    assert equal(found, expected)
    # … nor a loss that is only logged
    assert [row | {"seconds": 0} for row in found_history] == [row | {"seconds": 0} for row in history]
    with_other_labels, _ = weights_after(name, dataset=noise_where_labelled, patch=tiny.LARGE)
    assert not equal(with_other_labels, expected), "labels should change something"


# Randomness.


def test_weights_depend_on_the_seed_alone():
    training = tiny.experiment().training
    settings = registry.settings_of("dtml", {})

    def fresh(seed):
        return build_method("dtml", settings, training, 1, seed, CPU).state_dict()

    torch.manual_seed(1)
    one = fresh(7)
    torch.manual_seed(2)
    assert equal(one, fresh(7)) and not equal(one, fresh(8))


def test_a_step_does_not_depend_on_random_numbers_drawn_outside():
    torch.manual_seed(1)
    expected, _ = weights_after("ua_mt")
    state, stream, training = begin("ua_mt")
    for _ in steps_of(state, stream, training):
        torch.rand(13), np.random.rand(5), random.random()
    assert equal(state.method.state_dict(), expected)


# Losses.


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_is_divergence_at_its_step(value):
    state, _, _ = begin("vnet")
    for step, loss in enumerate((1.0, value, 2.0)):
        row = {"step": step, "seconds": 0.0, "learning_rate_factor": 1.0}
        state.pending.append((row, {"total": torch.tensor(loss)}))
    with pytest.raises(DivergedError, match="total is .* at step 1$"):
        state.flush()


def test_a_part_of_the_loss_may_be_undefined():
    state, _, _ = begin("vnet")
    losses = {"part": torch.tensor(float("nan")), "total": torch.tensor(1.0)}
    state.pending.append(({"step": 0, "seconds": 0.0, "learning_rate_factor": 1.0}, losses))
    state.flush()
    assert state.history[0]["total"] == 1 and np.isnan(state.history[0]["part"])


def test_history_is_in_order_though_losses_change_from_step_to_step():
    state, _, _ = begin("vnet")
    for step in range(4):
        losses = {"total": torch.tensor(float(step))} | ({"part": torch.tensor(1.0)} if step % 2 else {})
        state.pending.append(({"step": step, "seconds": 0.0, "learning_rate_factor": 1.0}, losses))
    state.flush()
    assert [row["total"] for row in state.history] == [0, 1, 2, 3]
    assert ["part" in row for row in state.history] == [False, True, False, True]


# Checkpoints.


@pytest.fixture
def stored(tmp_path):
    """A folder with the checkpoints of steps 1 to 3, and the state after step 3."""
    state, stream, training = begin("vnet", iterations=4)
    steps = steps_of(state, stream, training)
    for _ in range(3):
        next(steps)
        save_checkpoint(state, tmp_path, NUMERICS)
    return tmp_path, state


def resumed(folder, numerics=NUMERICS):
    state, _, _ = begin("vnet", iterations=4)
    load_checkpoint(state, folder, numerics)
    return state


def newest_first(folder):
    return sorted(folder.iterdir(), reverse=True)


def test_a_checkpoint_restores_weights_optimiser_history_and_step(stored):
    folder, state = stored
    found = resumed(folder)
    assert found.step == 3 and found.history == state.history and len(found.history) == 3
    assert equal(found.method.state_dict(), state.method.state_dict())
    for phase, optimizer in state.optimizers.items():
        was, now = optimizer.state_dict()["state"], found.optimizers[phase].state_dict()["state"]
        assert was.keys() == now.keys() and was
        assert all(torch.equal(was[key]["momentum_buffer"], now[key]["momentum_buffer"]) for key in was)


def test_two_checkpoints_are_kept_and_nothing_else(stored):
    folder, _ = stored
    assert len(newest_first(folder)) == 2
    assert resumed(folder).step == 3
    newest_first(folder)[0].unlink()
    assert resumed(folder).step == 2


DAMAGES = {
    "empty": lambda whole: b"",
    "cut in half": lambda whole: whole[: len(whole) // 2],
    "without its end": lambda whole: whole[:-1],
    "zeros": lambda whole: bytes(len(whole)),
    "something else": lambda whole: b"\x80\x02K\x01.",
    "text": lambda whole: b"hello world, no checkpoint",
    "noise": lambda whole: random.Random(2).randbytes(400),
    "one bit flipped": lambda whole: one_bit_flipped(whole),
}


def one_bit_flipped(whole):
    """In the middle of the largest tensor: between the entries of a zip file lies padding, which means nothing."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        content = archive.read(max(archive.infolist(), key=lambda entry: entry.file_size))
    place = whole.index(content) + len(content) // 2
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(stored, damage):
    folder, _ = stored
    newest = newest_first(folder)[0]
    newest.write_bytes(damage(newest.read_bytes()))
    assert resumed(folder).step == 2


def test_with_no_readable_checkpoint_training_starts_anew(stored):
    folder, _ = stored
    for path in newest_first(folder):
        path.write_bytes(b"")
    state = resumed(folder)
    assert state.step == 0 and state.history == []
    assert equal(state.method.state_dict(), begin("vnet", iterations=4)[0].method.state_dict())


@pytest.mark.parametrize(
    "numerics",
    [*(NUMERICS | {kind: 2} for kind in NUMERICS), NUMERICS | {"method": {"mine.py": "0"}}],
    ids=str,
)
def test_checkpoints_of_other_numerics_are_passed_over(stored, numerics):
    folder, _ = stored
    state = resumed(folder, numerics)
    assert state.step == 0
    assert equal(state.method.state_dict(), begin("vnet", iterations=4)[0].method.state_dict())


def test_a_failed_save_keeps_the_checkpoints_there_are(stored, monkeypatch):
    folder, state = stored
    before = newest_first(folder)
    state.step += 1

    def full(content, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError):
        save_checkpoint(state, folder, NUMERICS)
    assert newest_first(folder) == before and resumed(folder).step == 3


def test_checkpoints_of_other_numerics_never_crowd_out_new_ones(tmp_path):
    state, stream, training = begin("vnet", iterations=4)
    for step in (700, 800):
        (tmp_path / f"checkpoint-{step:08d}.pt").write_bytes(b"of other numerics")
    steps = steps_of(state, stream, training)
    for _ in range(2):
        next(steps)
        save_checkpoint(state, tmp_path, NUMERICS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-00000001.pt", "checkpoint-00000002.pt"]
    assert resumed(tmp_path).step == 2


# Half precision.


def test_fp16_scales_gradients_and_a_resumed_trial_goes_on_with_the_scale(tmp_path):
    fp16 = {"precision": "fp16", "iterations": 4, "patch": [32, 16, 16]}
    whole, stream, training = begin("sass", **fp16)
    whole.scaler = torch.amp.GradScaler(
        "cpu", init_scale=2.0**30
    )  # too large at first: steps are skipped, it is halved
    for step in steps_of(whole, stream, training):
        if step == 2:
            save_checkpoint(whole, tmp_path, NUMERICS)
    assert 1 <= whole.scaler.get_scale() < 2.0**30
    rest, stream, training = begin("sass", **fp16)
    load_checkpoint(rest, tmp_path, NUMERICS)
    assert rest.step == 2 and list(steps_of(rest, stream, training)) == [3, 4]
    assert rest.scaler.get_scale() == whole.scaler.get_scale()
    assert equal(rest.method.state_dict(), whole.method.state_dict())
    for state in (whole, rest):
        state.flush()
        assert all(row["segment/total"] < 100 for row in state.history), "losses are recorded unscaled"


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_other_precisions_are_not_scaled(precision):
    state, _, _ = begin("vnet", precision=precision)
    assert not state.scaler.is_enabled() and state.scaler.state_dict() == {}
