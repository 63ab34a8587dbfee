"""Each check of the contract catches the method that breaks it, names the fault, and lets sound methods be."""

import gc
import json
import random
import subprocess
from functools import cache
from typing import Literal

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmark.contract.checks import CHECKS, SETTINGS, Outcome, check, describe
from benchmark.contract.small_training import ContractError, Subject
from data.batches import PatchStream
from data.cache import Dataset, cache_folder
from methods.shared import registry
from methods.shared.ema import make_teacher, update_teacher
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.signed_distance import distance_to_mask

pytestmark = pytest.mark.usefixtures("own_registry")

(
    DESCRIBES,
    FIREWALL,
    LABELS,
    UNLABELLED,
    PARAMETERS,
    STEP,
    SEED,
    CHECKPOINT,
    SIZES,
    CLASSES,
    CHOICES,
    FINITE,
    PREDICTS,
    BF16,
) = CHECKS


class Sound(Method):
    """A V-Net whose predictions are to be sure: it keeps the contract."""

    info = Info(title="Sound", year=2000, source="tests", fidelity="adapted", passes=Passes(train=4))

    class Settings(MethodSettings):
        weight: float = setting(1.0, "weight of the unlabelled loss", search=(0.1, 2.0), ge=0)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone()

    def training_step(self, batch, step, phase):
        logits = self.network(batch.images).logits
        labelled = len(batch.labelled_images)
        supervised = self.head.segmentation_loss(logits[:labelled], batch.labels)
        weight = self.settings.weight * self.schedule.ramp_up(step)
        return {"total": supervised + weight * self.unlabelled_loss(logits[labelled:].sigmoid())}

    def unlabelled_loss(self, probabilities):
        return (probabilities * (1 - probabilities)).mean()

    def predict(self, images):
        return self.network(images).logits.sigmoid()


def registered(method):
    registry._METHODS["mine"] = method  # register() would refuse most of the methods of these tests
    return Subject("mine")


@cache
def fifty_steps_of(method):
    return registered(method).longer


def subject_of(method, trains_like=None):
    """`method` as checks get it; its fifty steps are taken over from one that trains to the same weights, if given."""
    longer = trains_like and fifty_steps_of(trains_like)
    subject = registered(method)
    if longer:
        subject.longer = longer
    return subject


def result(title, method, trains_like=None):
    """What the check says of a method that keeps the contract."""
    return CHECKS[title](subject_of(method, trains_like))


def breaks(title, method, *words, trains_like=None):
    """What the check says of a method that breaks the contract, in one line that has these words in it."""
    subject = subject_of(method, trains_like)
    with pytest.raises(Exception) as caught:
        CHECKS[title](subject)
    message = describe(caught.value, method)
    assert "\n" not in message and all(word in message for word in words), message
    return message


@pytest.mark.slow
@pytest.mark.parametrize("title", CHECKS)
def test_a_sound_method_passes(title):
    assert result(title, Sound, trains_like=Sound) is None


# It describes itself.


class Undescribed(MethodSettings):
    weight: float = 1.0


class TwoLines(MethodSettings):
    weight: float = setting(1.0, "a weight\nof something")


class SearchedElsewhere(MethodSettings):
    weight: float = setting(1.0, "a weight", search=(2.0, 3.0))


class SearchedWhereItCannotBe(MethodSettings):
    weight: float = setting(1.0, "a weight", search=(-1.0, 3.0), ge=0)


class WithoutTheDefault(MethodSettings):
    kind: str = setting("a", "a kind", search=("b", "c"))


class WithoutDefaults(MethodSettings):
    weight: float


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("__doc__", None, ["no docstring"]),
        ("info", "Sound", ["`info` is no Info"]),
        ("info", Info("", 2000, "tests", "adapted", Passes(4)), ["title or source", "empty"]),
        ("info", Info("Sound", 20, "tests", "adapted", Passes(4)), ["year", "20"]),
        ("info", Info("Sound", 2000, "tests", "loose", Passes(4)), ["'loose'", "faithful"]),
        ("info", Info("Sound", 2000, "tests", "adapted", Passes(0)), ["passes"]),
        ("phases", "train", ["`phases` is 'train'", "tuple"]),
        ("phases", ("train", "train"), ["`phases`", "different"]),
        ("phases", ("train", "judge"), ["one optimiser for each of the phases train, judge"]),
        ("training_step", Method.training_step, ["training_step() is missing"]),
        ("predict", Method.predict, ["predict() is missing"]),
        ("Settings", object, ["Settings is no MethodSettings"]),
        ("Settings", Undescribed, ["setting weight", "not described"]),
        ("Settings", TwoLines, ["setting weight", "one line"]),
        ("Settings", SearchedElsewhere, ["setting weight", "default 1.0"]),
        ("Settings", SearchedWhereItCannotBe, ["'weight'", "greater than or equal to 0", "-1.0"]),
        ("Settings", WithoutTheDefault, ["setting kind", "default 'a'"]),
        ("Settings", WithoutDefaults, ["'weight' is missing"]),
        ("patches", lambda settings, size: (0, size), ["0 labelled"]),
        ("variant", lambda settings: None, ["variant()"]),
        ("extra_arrays", lambda self: ("noisy",), ["extra_arrays()", "dict"]),
        ("extra_arrays", lambda self: {"labels": np.copy}, ["extra_arrays() has labels"]),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, list) else None,  # pytest's own, for what is no list
)
def test_what_is_said_of_a_description(attribute, value, words):
    breaks(DESCRIBES, type("Faulty", (Sound,), {"__doc__": "Faulty.", attribute: value}), *words)


# It never sees the labels of unlabelled cases.


def truth_of_unlabelled(stream, step):
    return np.stack([stream.dataset.label(case_id)[:32, :16, :16] for case_id in stream.cases(step)[1]])


def leak(monkeypatch, add):
    batch_of = PatchStream.__getitem__
    monkeypatch.setattr(PatchStream, "__getitem__", lambda stream, step: batch_of(stream, step) | add(stream, step))


def test_labels_of_unlabelled_cases_among_the_labels(monkeypatch):
    leak(monkeypatch, lambda stream, step: {"labels": truth_of_unlabelled(stream, step)})
    breaks(FIREWALL, Sound, "loss total of step 0", "labels of unlabelled cases")


def test_labels_of_unlabelled_cases_in_a_view_that_is_only_logged(monkeypatch):
    class Peeping(Sound):
        def training_step(self, batch, step, phase):
            return super().training_step(batch, step, phase) | {"peek": batch.extra_arrays["truth"].float().mean()}

    leak(monkeypatch, lambda stream, step: {"truth": truth_of_unlabelled(stream, step)})
    breaks(FIREWALL, Peeping, "loss peek of step 0", "labels of unlabelled cases")
    assert result(FIREWALL, Sound) is None, "a view that nobody looks at"


def test_labels_that_are_not_used():
    class Unsupervised(Sound):
        def training_step(self, batch, step, phase):
            return {"total": self.unlabelled_loss(self.network(batch.images).logits.sigmoid())}

    breaks(FIREWALL, Unsupervised, "batch.labels")


# It opens no label on the disk that is not its own.


class ThroughGc(Sound):
    def training_step(self, batch, step, phase):
        for found in gc.get_objects():
            if type(found) is Dataset and "train-002" in found.train_ids:
                found.label("train-002")
        return super().training_step(batch, step, phase)


class LookedUp(Sound):
    def predict(self, images):
        list(map(np.load, cache_folder().glob("*/label.npy")))
        return super().predict(images)


class InAProgram(Sound):
    """Another program reads the labels, which no hook sees."""

    case_id = "train-002"

    def mean(self):
        for entry in cache_folder().glob("*/entry.json"):
            if json.loads(entry.read_text())["case"] == self.case_id:
                text = subprocess.run(["cat", entry.with_name("label.npy")], capture_output=True, check=True).stdout
                return float(np.frombuffer(text, np.uint8).mean())

    def training_step(self, batch, step, phase):
        losses = super().training_step(batch, step, phase)
        return losses | {"total": losses["total"] * (1 + self.mean())}


class InAProgramAsItPredicts(InAProgram):
    case_id = "test-001"

    def training_step(self, batch, step, phase):
        return Sound.training_step(self, batch, step, phase)

    def predict(self, images):
        return (super().predict(images) + self.mean()).clamp(0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cheat", "words"),
    [
        (ThroughGc, ["train-002", "it opened labels", "training_step"]),
        (LookedUp, ["test-000", "test-001", "it opened labels", "predict"]),
        (InAProgram, ["loss total of step 0 changes", "scrambled"]),
        (InAProgramAsItPredicts, ["what predict() gives changes", "scrambled"]),
    ],
)
def test_labels_that_a_method_finds_on_the_disk(cheat, words):
    breaks(LABELS, cheat, *words)


# It learns from unlabelled images.


class TargetIsPrediction(Sound):
    def unlabelled_loss(self, probabilities):
        return (probabilities - probabilities.detach()).square().mean()  # the target is the prediction itself


class Detached(Sound):
    def unlabelled_loss(self, probabilities):
        return super().unlabelled_loss(probabilities.detach())


class NeverRising(Sound):
    def unlabelled_loss(self, probabilities):
        return 0.0 * super().unlabelled_loss(probabilities)


class StatisticsAlone(Sound):
    """Unlabelled images reach batch norm and nothing else."""

    def unlabelled_loss(self, probabilities):
        return 0.0


class IntoAnother(Sound):
    """The unlabelled loss trains a network that predicts nothing."""

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.other = backbone()

    def training_step(self, batch, step, phase):
        logits = self.network(batch.labelled_images).logits
        other = self.other(batch.unlabelled_images).logits.sigmoid()
        return {"total": self.head.segmentation_loss(logits, batch.labels) + super().unlabelled_loss(other)}


@pytest.mark.slow
@pytest.mark.parametrize("method", [TargetIsPrediction, Detached, NeverRising, StatisticsAlone, IntoAnother])
def test_an_unlabelled_loss_that_does_nothing(method):
    breaks(UNLABELLED, method, "unlabelled images have no effect", "step 60 of 80")


def test_a_batch_norm_that_is_put_into_train_mode_within_a_step_hides_nothing():
    class Stubborn(TargetIsPrediction):
        def training_step(self, batch, step, phase):
            self.network.train()
            return super().training_step(batch, step, phase)

    breaks(UNLABELLED, Stubborn, "unlabelled images have no effect")


class Supervised(Sound):
    @classmethod
    def patches(cls, settings, batch_size):
        return batch_size, 0

    def unlabelled_loss(self, probabilities):
        return 0.0


def test_a_supervised_method_need_not_learn_from_unlabelled_images():
    assert result(UNLABELLED, Supervised) == "gets no unlabelled patches"


class PredictingTeacher(Sound):
    """What predicts has no gradient."""

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.teacher = make_teacher(self.network)

    def after_step(self, step):
        update_teacher(self.teacher, self.network, step, 0.9)

    def predict(self, images):
        return self.teacher(images).logits.sigmoid()


class LeavingTorch(Sound):
    def predict(self, images):
        return torch.from_numpy(super().predict(images).numpy().clip(0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("method", [PredictingTeacher, LeavingTorch])
def test_a_prediction_may_be_without_gradient(method):
    assert result(UNLABELLED, method) is None


# It trains every parameter.


class Headless(Sound):
    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.unused = torch.nn.Conv3d(1, 1, 1)


class Frozen(Headless):
    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.unused.requires_grad_(False)


class Hidden(Sound):
    def __init__(self, settings, backbone, schedule):
        Method.__init__(self, settings, backbone, schedule)
        self.networks = [backbone()]
        self.network = self.networks[0].encoder  # what is left of it

    def configure_optimizers(self, sgd):
        return {"train": sgd(self.networks[0].parameters())}


class Forgotten(Headless):
    def configure_optimizers(self, sgd):
        return {"train": sgd(self.network.parameters())}


class InTwoOptimisers(Sound):
    phases = ("train", "again")

    def configure_optimizers(self, sgd):
        return {"train": sgd(self.parameters()), "again": sgd(self.network.encoder.parameters())}


class TrainedTeacher(PredictingTeacher):
    def configure_optimizers(self, sgd):
        return {"train": torch.optim.Adam(self.parameters())}


class Resetting(Sound):
    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.start = make_teacher(self.network)

    def after_step(self, step):
        self.network.load_state_dict(self.start.state_dict())


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Headless, ["parameter unused.weight gets no gradient"]),
        (Hidden, ["the optimiser of phase train", "not the method's", "attribute"]),
        (Forgotten, ["parameter unused.weight is in no optimiser"]),
        (InTwoOptimisers, ["network.encoder", "optimisers of train and again"]),
        (TrainedTeacher, ["parameter teacher.", "requires no gradient"]),
        (Resetting, ["parameter network.", "the same after 4 steps"]),
        (type("Stone", (Sound,), {"configure_optimizers": lambda self, sgd: self.requires_grad_(False)}), []),
    ],
)
def test_a_parameter_that_does_not_train(method, words):
    breaks(PARAMETERS, method, *words)


@pytest.mark.parametrize("method", [Frozen, PredictingTeacher])
def test_a_parameter_that_is_not_to_train(method):
    assert result(PARAMETERS, method) is None


# It computes losses and leaves the rest to the loop.


class Backwards(Sound):
    def training_step(self, batch, step, phase):
        super().training_step(batch, step, phase)["total"].backward()
        return super().training_step(batch, step, phase)


class Clearing(Sound):
    def training_step(self, batch, step, phase):
        self.zero_grad()
        return super().training_step(batch, step, phase)


class Shrinking(Sound):
    @torch.no_grad()
    def _shrink(self):
        for p in self.parameters():
            p.mul_(0.9)

    def training_step(self, batch, step, phase):
        self._shrink()
        return super().training_step(batch, step, phase)


class JudgeTouchingNetwork(Sound):
    """The second phase changes the first one's network."""

    phases = ("train", "judge")

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.judge = backbone()

    def configure_optimizers(self, sgd):
        return {"train": sgd(self.network.parameters()), "judge": sgd(self.judge.parameters())}

    def training_step(self, batch, step, phase):
        if phase == "train":
            return super().training_step(batch, step, phase)
        total = self.judge(batch.images * self.network(batch.images).logits.sigmoid()).logits.square().mean()
        if step == 1:
            total.backward(retain_graph=True)
        return {"total": total}


def losses(**found):
    """A method whose losses are these functions of the true total."""

    def training_step(self, batch, step, phase):
        total = Sound.training_step(self, batch, step, phase)["total"]
        return {name: value(total) for name, value in found.items()}

    return type("Faulty", (Sound,), {"training_step": training_step})


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Backwards, ["phase train changes parameter network.", "or its gradient", "backward()"]),
        (Clearing, ["phase train changes parameter network.", "zero_grad()"]),
        (Shrinking, ["phase train changes parameter network."]),
        (JudgeTouchingNetwork, ["phase judge changes parameter network."]),
        (losses(loss=lambda total: total), ["no dict with 'total'"]),
        (losses(total=lambda total: total, part=lambda total: 0.0), ["'part'", "a float"]),
        (losses(total=lambda total: total, part=lambda total: total[None]), ["'part'", "shape (1,)"]),
        (losses(total=lambda total: total.detach()), ["'total'", "no gradient"]),
        (losses(total=lambda total: total.bfloat16()), ["'total'", "torch.bfloat16"]),
    ],
)
def test_a_step_that_does_more_or_less_than_losses(method, words):
    breaks(STEP, method, *words)


class TurningOffMkldnn(Sound):
    def training_step(self, batch, step, phase):
        torch.backends.mkldnn.enabled = False
        return super().training_step(batch, step, phase)


class ReplacingAFunction(Sound):
    def predict(self, images):
        F.relu6 = F.relu
        return super().predict(images)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (TurningOffMkldnn, ["torch.backends.mkldnn.enabled was True, is False", "the trials after it"]),
        (ReplacingAFunction, ["torch.nn.functional.relu6 was replaced", "undo that in training_step() and predict()"]),
    ],
)
def test_a_method_that_changes_its_process(monkeypatch, method, words):
    monkeypatch.setattr(F, "relu6", F.relu6)
    breaks(STEP, method, *words)
    assert result(STEP, Sound) is None, "what was set is set again for the next training"


# It depends on the seed alone.


def noisy(draw):
    def training_step(self, batch, step, phase):
        total = Sound.training_step(self, batch, step, phase)["total"]
        return {"total": total * (1 + draw())}

    return type("Faulty", (Sound,), {"training_step": training_step})


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["random", "numpy"])
def test_random_numbers_that_no_seed_decides(draw):
    breaks(SEED, noisy(draw), "loss total of step 0", "one seed differ", "draw random numbers from torch")


def test_random_numbers_of_torch_are_decided_by_the_seed():
    assert result(SEED, noisy(lambda: torch.rand(()))) is None


def test_initial_weights_that_the_seed_does_not_decide():
    class SeedingItself(Sound):
        def __init__(self, settings, backbone, schedule):
            torch.manual_seed(0)
            super().__init__(settings, backbone, schedule)

    breaks(SEED, SeedingItself, "another seed", "__init__")


# It goes on from a checkpoint.


class Counting(Sound):
    calls = 0

    def unlabelled_loss(self, probabilities):
        self.calls += 1
        return self.calls * super().unlabelled_loss(probabilities)


class PlainTensor(Sound):
    """Its scale is drawn with the weights, and is not part of them."""

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.scale = 1 + torch.rand(())

    def predict(self, images):
        return (self.scale * self.network(images).logits).sigmoid()


class Weightless(Sound):
    def predict(self, images):
        return images.sigmoid()


class UnreadableState(Sound):
    def get_extra_state(self):
        return random.Random(0)

    def set_extra_state(self, state):
        pass


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Counting, ["2 steps, a checkpoint and 2 more", "loss total of step 2", "register_buffer"]),
        (PlainTensor, ["another build", "register_buffer"]),
        (Weightless, ["whatever the weights are"]),
        (UnreadableState, ["cannot be read back", "state_dict()"]),
    ],
)
def test_state_that_is_not_in_the_state_dict(method, words):
    breaks(CHECKPOINT, method, *words)


# It takes what it is given.


class Cropping(Sound):
    def predict(self, images):
        size = [n // 16 * 16 for n in images.shape[2:]]
        return super().predict(images)[..., : size[0], : size[1], : size[2]]


class Pooling(Sound):
    def unlabelled_loss(self, probabilities):
        coarse = F.interpolate(F.avg_pool3d(probabilities, 2), scale_factor=2)
        return (coarse - probabilities).square().mean()


class OneClass(Sound):
    def __init__(self, settings, backbone, schedule):
        Method.__init__(self, settings, backbone, schedule)
        self.network = type(backbone)(1, backbone.width, backbone.amp_dtype)()


class OneClassLoss(Sound):
    def training_step(self, batch, step, phase):
        logits = self.network(batch.images).logits[: len(batch.labels)]
        return {"total": F.binary_cross_entropy_with_logits(logits, (batch.labels[:, None] == 1).float())}


class Choosing(Sound):
    class Settings(Sound.Settings):
        power: Literal["square", "cube"] = setting("square", "power of the unlabelled loss")
        mild: bool = setting(False, "whether the root of the unlabelled loss is taken")

    def unlabelled_loss(self, probabilities):
        return (probabilities ** {"square": 2}[self.settings.power]).mean()


class ChoosingNaN(Choosing):
    def unlabelled_loss(self, probabilities):
        loss = probabilities.square().mean()
        return (-loss).sqrt() if self.settings.mild else loss


class SearchedChoice(Sound):
    class Settings(Sound.Settings):
        power: int = setting(2, "power of the unlabelled loss", search=(0, 2, 4))

    def unlabelled_loss(self, probabilities):
        if not self.settings.power:
            raise ValueError("no power")
        return super().unlabelled_loss(probabilities) ** self.settings.power


def test_sizes_that_do_not_fit():
    breaks(SIZES, Cropping, "shape (2, 1, 32, 32, 32), not (2, 1, 40, 40, 32)")
    breaks(SIZES, Pooling, "RuntimeError", "test_benchmark_contract.py:")


def test_classes_that_are_not_counted():
    breaks(CLASSES, OneClass, "Target size (torch.Size([2, 2, 32, 16, 16])) must be the same as input size")
    breaks(CLASSES, OneClassLoss, "ValueError", "test_benchmark_contract.py:")


def test_a_choice_that_does_not_run():
    breaks(CHOICES, Choosing, "with power='cube': KeyError: 'cube' (", "test_benchmark_contract.py:")
    breaks(CHOICES, ChoosingNaN, "with mild=True: loss total is nan (step 0 of 1")


def test_a_searched_choice_that_does_not_run():
    breaks(CHOICES, SearchedChoice, "with power=0: ValueError: no power (", "test_benchmark_contract.py:")


# What comes out.


def nan_after_step_30(name):
    def training_step(self, batch, step, phase):
        total = Sound.training_step(self, batch, step, phase)["total"]
        return {"total": total, "part": total.detach()} | ({name: total * float("nan")} if step > 30 else {})

    return type("Faulty", (Sound,), {"training_step": training_step})


def predicting(change):
    """A method whose prediction is this function of the method, the logits and the images."""

    def predict(self, images):
        return change(self, self.network(images).logits, images)

    return type("Faulty", (Sound,), {"predict": predict})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["total", "part"])
def test_a_loss_that_becomes_infinite(name):
    breaks(FINITE, nan_after_step_30(name), f"loss {name} is nan (step 31 of 50, learning rate 0.4)")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda self, z, x: z, ["values from -", "sigmoids"]),
        (lambda self, z, x: z.sigmoid().double(), ["torch.float64"]),
        (lambda self, z, x: z.sigmoid().mean(1), ["returns shape", "not (2, 1, 40, 40, 32)"]),
        (lambda self, z, x: [z.sigmoid()], ["returns a list"]),
        (lambda self, z, x: 0 * z + 0.5, ["the same value everywhere"]),
        (lambda self, z, x: self.train().network(x).logits.sigmoid(), ["changes network.", "state_dict"]),
        (lambda self, z, x: (z + torch.randn_like(z)).sigmoid(), ["something else each time"]),
        (lambda self, z, x: z.softmax(0), ["others are in the batch"]),
    ],
)
def test_predictions_that_are_no_probabilities_of_each_image(change, words):
    breaks(PREDICTS, predicting(change), *words)


class Distances(Sound):
    """Predicts through the steep map, in which bf16 shows."""

    def __init__(self, settings, backbone, schedule):
        Method.__init__(self, settings, backbone, schedule)
        self.network = backbone(segmentation=False, signed_distance=True)

    def training_step(self, batch, step, phase):
        target = 0.5 - batch.labels[:, None].float()
        return {"total": (self.network(batch.labelled_images).signed_distance - target).square().mean()}

    def predict(self, images):
        return distance_to_mask(self.network(images).signed_distance)


class InexactDistances(Distances):
    def predict(self, images):
        return super().predict(images if self.backbone.amp_dtype is None else images + 1)


@pytest.mark.slow
def test_predictions_that_bf16_changes():
    def rounded(self, logits, images):
        return ((logits.to(self.backbone.amp_dtype or torch.float32) + 1e4) - 1e4).float().sigmoid()

    def flipped(self, logits, images):
        return 0.5 + (1e-3 if self.backbone.amp_dtype is None else -1e-3) * logits.tanh()

    breaks(BF16, predicting(rounded), "probabilities in bf16", "float32", trains_like=Sound)
    breaks(BF16, predicting(flipped), "Dice", "0.000", trains_like=Sound)


@pytest.mark.slow
def test_signed_distances_are_compared_before_the_steep_map():
    assert result(BF16, Distances, trains_like=Distances) is None
    breaks(BF16, InexactDistances, "signed distances in bf16", trains_like=Distances)


@pytest.mark.slow
def test_an_empty_mask_is_said():
    empty = predicting(lambda self, logits, images: 0.4 * logits.sigmoid())
    assert "empty" in result(BF16, empty, trains_like=Sound)


# All checks together.


@pytest.mark.slow
def test_the_starting_file_keeps_the_contract(tmp_path):
    registry.load_plugin(registry.write_starting_file("my_idea", tmp_path, 2026))
    assert list(check("my_idea")) == [Outcome(title, "ok") for title in CHECKS | SETTINGS]


def test_what_the_methods_code_raises_is_told_with_its_line(tmp_path):
    path = registry.write_starting_file("my_idea", tmp_path, 2026)
    text = path.read_text().replace(".square().mean()", ".square().meen()")
    path.write_text(text)
    line = 1 + text[: text.index("meen")].count("\n")
    registry.load_plugin(path)
    outcomes = list(check("my_idea"))
    assert [outcome.title for outcome in outcomes] == list(CHECKS | SETTINGS)
    broken = [outcome for outcome in outcomes if outcome.state in ("broken", "limited")]
    assert len(broken) > 12
    for outcome in broken:
        assert outcome.reason == f"AttributeError: 'Tensor' object has no attribute 'meen' ({path}:{line})"


def test_a_broken_contract_is_a_failed_assertion():
    assert issubclass(ContractError, AssertionError)
