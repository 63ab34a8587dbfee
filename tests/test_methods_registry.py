"""Finding methods and plug-ins, and what is said where that fails."""

import inspect
import sys
import textwrap

import pytest
import torch

from benchmark.contract.small_training import SmallTraining
from methods.shared import registry
from methods.shared.method import Info, Method, Passes
from methods.shared.registry import MethodError

INFO = Info(title="A", year=2000, source="tests", fidelity="adapted", passes=Passes(train=4))

# Forty lines, as a researcher would write them: a Mean Teacher.
PLUGIN = '''
"""Mean Teacher."""

import torch

from methods.shared.ema import make_teacher, update_teacher
from methods.shared.losses import segmentation_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.noise import add_noise
from methods.shared.registry import register


@register("my_mean_teacher")
class MyMeanTeacher(Method):
    """The student follows an average of its own past."""

    info = Info(title="MT", year=2017, source="here", fidelity="adapted", passes=Passes(train=4, extra=2), networks=2)

    class Settings(MethodSettings):
        consistency_weight: float = setting(0.1, "weight of the consistency loss", search=(0.01, 1.0), ge=0)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.student = backbone()
        self.teacher = make_teacher(self.student)

    def training_step(self, batch, step, phase):
        logits = self.student(batch.images).logits
        labelled = len(batch.labels)
        supervised = segmentation_loss(logits[:labelled], batch.labels)
        with torch.no_grad():
            target = self.teacher(add_noise(batch.unlabelled_images)).logits.sigmoid()
        consistency = (logits[labelled:].sigmoid() - target).square().mean()
        weight = self.settings.consistency_weight * self.schedule.ramp_up(step)
        return {"supervised": supervised, "consistency": consistency, "total": supervised + weight * consistency}

    def after_step(self, step):
        update_teacher(self.teacher, self.student, step, 0.99)

    def predict(self, images):
        return self.student(images).logits.sigmoid()
'''

SMALL = """
from methods.shared.method import Info, Method, Passes
from methods.shared.registry import register

@register({name!r})
class Plugin(Method):
    info = Info(title={title!r}, year=2000, source="tests", fidelity="adapted", passes=Passes(train=4))
"""


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """What a test registers or imports is forgotten after it."""
    registry.names()
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("semiseg_plugin_"):
            del sys.modules[name]


def error_of(call, *arguments):
    with pytest.raises(MethodError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def test_the_methods_of_the_table_are_there_and_sorted():
    names = registry.names()
    assert names == sorted(names) and {"vnet", "vnet_sdm", "dtml", "ua_mt", "sass"} <= set(names)
    assert registry.BASELINE in names


def test_an_unknown_method_names_the_nearest():
    message = error_of(registry.get, "vent")
    assert "'vent'" in message and "did you mean 'vnet'?" in message
    assert "did you mean 'ua_mt'?" in error_of(registry.settings_of, "uamt", {})


def test_a_method_unlike_any_other_names_them_all():
    message = error_of(registry.get, "zzzzzz")
    assert all(name in message for name in registry.names())


def test_an_unknown_setting_names_method_key_and_the_nearest():
    message = error_of(registry.settings_of, "dtml", {"consistency_wieght": 2})
    assert "'dtml'" in message and "'consistency_wieght'" in message and "did you mean 'consistency_weight'?" in message


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        ("dtml", "consistency_weight", -1), ("dtml", "supervision", "maks"), ("ua_mt", "ema_decay", 1),
        ("ua_mt", "monte_carlo_passes", 7), ("ua_mt", "monte_carlo_passes", 0), ("vnet", "labelled_patches", 3),
        ("sass", "discriminator_learning_rate", 0), ("sass", "adversarial_weight", "much"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_named(method, key, value):
    message = error_of(registry.settings_of, method, {key: value})
    assert repr(method) in message and repr(key) in message and repr(value) in message


def test_settings_are_the_defaults_with_values_over_them_and_frozen():
    settings = registry.settings_of("dtml", {"consistency_weight": 0.5})
    assert settings.consistency_weight == 0.5 and settings.supervision == "mask"
    with pytest.raises(ValueError, match="frozen"):
        settings.consistency_weight = 1


def test_a_plug_in_of_forty_lines_trains_and_predicts(tmp_path):
    assert len(PLUGIN.strip().splitlines()) <= 40
    path = write(tmp_path / "my_method.py", PLUGIN)
    assert registry.load_plugin(path) == ["my_mean_teacher"]
    assert "my_mean_teacher" in registry.names()
    trained = SmallTraining("my_mean_teacher", {"consistency_weight": 1.0}).run()
    history = trained.history()
    assert [row["step"] for row in history] == [0, 1, 2, 3]
    assert set(history[0]) >= {"supervised", "consistency", "total"}
    assert trained.predict(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 1, 16, 16, 16)


def test_a_plug_in_may_be_loaded_again_and_changed(tmp_path):
    path = write(tmp_path / "my_method.py", SMALL.format(name="mine", title="first"))
    assert registry.load_plugin(path) == registry.load_plugin(str(path)) == ["mine"]
    write(path, SMALL.format(name="mine", title="the second"))
    registry.load_plugin(path)
    assert registry.get("mine").info.title == "the second"


def test_a_plug_in_that_is_missing(tmp_path):
    message = error_of(registry.load_plugin, tmp_path / "nowhere.py")
    assert str(tmp_path / "nowhere.py") in message and "does not exist" in message
    assert "is a folder" in error_of(registry.load_plugin, tmp_path)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import a_package_that_is_not_there", "a_package_that_is_not_there"),
        ("def broken(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise OSError('two\\nlines')", "OSError"),
    ],
)
def test_a_plug_in_that_fails_to_import(tmp_path, text, cause):
    path = write(tmp_path / "broken.py", text)
    message = error_of(registry.load_plugin, path)
    assert str(path) in message and cause in message


def test_a_plug_in_that_registers_nothing(tmp_path):
    path = write(tmp_path / "empty.py", "from methods.shared.method import Method\nclass Forgotten(Method): pass\n")
    message = error_of(registry.load_plugin, path)
    assert str(path) in message and "@register" in message


def test_a_plug_in_whose_name_is_taken(tmp_path):
    before = registry.get("vnet")
    path = write(tmp_path / "mine.py", SMALL.format(name="vnet", title="mine"))
    message = error_of(registry.load_plugin, path)
    assert "'vnet'" in message and str(path) in message and "taken" in message and "vnet.py" in message
    assert registry.get("vnet") is before


def test_two_plug_ins_cannot_take_the_same_name(tmp_path):
    registry.load_plugin(write(tmp_path / "one.py", SMALL.format(name="mine", title="one")))
    path = write(tmp_path / "two.py", SMALL.format(name="mine", title="two"))
    assert "taken" in error_of(registry.load_plugin, path)
    assert registry.get("mine").info.title == "one"


def test_two_plug_ins_of_the_same_file_name_cannot_take_the_same_name(tmp_path):
    registry.load_plugin(write(tmp_path / "a" / "mine.py", SMALL.format(name="mine", title="one")))
    path = write(tmp_path / "b" / "mine.py", SMALL.format(name="mine", title="two"))
    assert "taken" in error_of(registry.load_plugin, path)


def test_plug_ins_of_the_same_file_name_are_told_apart(tmp_path):
    first = write(tmp_path / "a" / "mine.py", SMALL.format(name="one", title="one"))
    second = write(tmp_path / "b" / "mine.py", SMALL.format(name="two", title="two"))
    assert registry.load_plugin(first) == ["one"]
    assert registry.load_plugin(second) == ["two"]
    # What a trial's record hashes as the method's code.
    assert inspect.getsourcefile(registry.get("one")) == str(first)
    assert inspect.getsourcefile(registry.get("two")) == str(second)


def test_a_plug_in_that_is_no_python_file(tmp_path):
    path = write(tmp_path / "method.txt", SMALL.format(name="mine", title="mine"))
    assert str(path) in error_of(registry.load_plugin, path)


def test_two_classes_of_one_file_cannot_take_the_same_name(tmp_path):
    text = SMALL.format(name="mine", title="one") + SMALL.format(name="mine", title="two").replace("Plugin", "Other")
    assert "taken" in error_of(registry.load_plugin, write(tmp_path / "mine.py", text))


@pytest.mark.parametrize("name", ["My-Method", "", "2nd", "mean teacher", "Mt", "../up"])
def test_a_name_that_is_no_folder_name_is_refused(name):
    assert repr(name) in error_of(registry.register(name), type("Plugin", (Method,), {"info": INFO}))
    assert name not in registry.names()


def test_a_class_without_information_is_refused():
    assert "info" in error_of(registry.register("plain"), type("Plugin", (Method,), {}))
    assert "plain" not in registry.names()


def test_a_starting_file_is_a_method_that_trains(tmp_path):
    path = registry.write_starting_file("my_idea", tmp_path, 2026)
    assert registry.load_plugin(path) == ["my_idea"]
    method = registry.get("my_idea")
    assert (method.info.title, method.info.year, method.__name__) == ("My Idea", 2026, "MyIdea")
    assert all(row["consistency"] > 0 for row in SmallTraining("my_idea").run().history())


@pytest.mark.parametrize(
    ("name", "reason"), [("Bad-Name", "lower-case"), ("dtml", "is taken"), ("there_already", "exists already")]
)
def test_a_starting_file_that_cannot_be(tmp_path, name, reason):
    (tmp_path / "there_already.py").write_text("mine")
    assert reason in error_of(registry.write_starting_file, name, tmp_path, 2026)
    assert (tmp_path / "there_already.py").read_text() == "mine"
