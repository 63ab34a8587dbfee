"""Finding methods and plug-ins, and what is said where that fails."""

import inspect
import sys
import textwrap

import pytest
import torch

from benchmark.contract.small_training import SmallTraining
from methods.shared import registry
from methods.shared.method import Batch, Info, Method, Passes
from methods.shared.plugin_imports import find_helpers
from methods.shared.registry import MethodError

INFO = Info(title="A", year=2000, source="tests", fidelity="adapted", passes=Passes(train=4))

# Forty lines, as a researcher would write them: a Mean Teacher.
PLUGIN = '''
"""Mean Teacher."""

import torch

from methods.shared.ema import make_teacher, update_teacher
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
        supervised = self.head.segmentation_loss(logits[:labelled], batch.labels)
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
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("semiseg_plugin_", "helper_of_tests")):
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
    assert [row["step"] for row in history] == list(range(trained.training.iterations))
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


@pytest.mark.parametrize("teacher", [False, True])
def test_a_starting_file_is_a_method_that_trains(tmp_path, teacher):
    path = registry.write_starting_file("my_idea", tmp_path, 2026, teacher)
    assert registry.load_plugin(path) == ["my_idea"]
    method = registry.get("my_idea")
    assert (method.info.title, method.info.year, method.__name__) == ("My Idea", 2026, "MyIdea")
    history = SmallTraining("my_idea").run().history()
    assert all(row["consistency"] > 0 for row in history) and ("logged/ema_decay" in history[-1]) == teacher


@pytest.mark.parametrize(
    ("name", "reason"), [("Bad-Name", "lower-case"), ("dtml", "is taken"), ("there_already", "exists already")]
)
def test_a_starting_file_that_cannot_be(tmp_path, name, reason):
    (tmp_path / "there_already.py").write_text("mine")
    assert reason in error_of(registry.write_starting_file, name, tmp_path, 2026)
    assert (tmp_path / "there_already.py").read_text() == "mine"


# Plug-ins written for an earlier layout.


@pytest.mark.parametrize(
    ("statement", "now"),
    [
        ("from methods.method import Method", "methods.shared.method"),
        ("import methods.registry", "methods.shared.registry"),
        ("from methods import losses", "methods.shared.losses"),
        ("from methods.schedules import Schedule", "methods.shared.schedules"),
        ("from methods.ema import make_teacher", "methods.shared.ema"),
        ("from methods.noise import add_noise", "methods.shared.noise"),
        ("from methods.signed_distance import distance_loss", "methods.shared.signed_distance"),
        ("from methods.networks.vnet import VNet", "methods.shared.networks"),
    ],
)
def test_an_import_of_a_module_that_moved_names_its_place(tmp_path, statement, now):
    path = write(tmp_path / "old.py", statement)
    message = error_of(registry.load_plugin, path)
    assert str(path) in message and f"is now {now}: change the import" in message


def test_an_import_of_a_module_that_never_was_is_not_said_to_have_moved(tmp_path):
    message = error_of(registry.load_plugin, write(tmp_path / "old.py", "import methods.magic"))
    assert "methods.magic" in message and "is now" not in message


def test_a_method_with_views_is_told_their_new_name(tmp_path):
    text = SMALL.format(name="old", title="old") + "    def views(self):\n        return {}\n"
    message = error_of(registry.load_plugin, write(tmp_path / "old.py", text))
    assert "'old'" in message and "views()" in message and "extra_arrays()" in message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("views", "extra_arrays"),
        ("labeled_images", "labelled_images"),
        ("unlabeled_images", "unlabelled_images"),
    ],
)
def test_an_old_name_of_a_batch_is_told_its_new_one(old, new):
    batch = Batch(torch.zeros(1), torch.zeros(1), torch.zeros(1))
    with pytest.raises(AttributeError, match=f"'{old}': it is called batch.{new} now"):
        getattr(batch, old)
    with pytest.raises(AttributeError, match="no attribute 'image'$"):
        batch.image  # noqa: B018


# Modules beside a plug-in.


def helped(statement, title, name="mine"):
    return f"{statement}\n" + SMALL.format(name=name, title="").replace("title=''", f"title={title}")


def test_a_plug_in_imports_modules_and_packages_beside_it(tmp_path):
    write(tmp_path / "helper_of_tests.py", "from helper_of_tests_2.deep import WORD\ndef word(): return WORD\n")
    write(tmp_path / "helper_of_tests_2" / "__init__.py", "")
    write(tmp_path / "helper_of_tests_2" / "deep.py", "WORD = 'from afar'")
    path = write(tmp_path / "mine.py", helped("from helper_of_tests import word", "word()"))
    assert registry.load_plugin(path) == ["mine"]
    assert registry.get("mine").info.title == "from afar"
    assert set(find_helpers(path)) == {"helper_of_tests", "helper_of_tests_2"}


def test_a_helper_may_be_imported_when_the_method_runs(tmp_path):
    write(tmp_path / "helper_of_tests.py", "WORD = 'late'")
    text = SMALL.format(name="mine", title="mine")
    text += "    def variant(settings):\n        from helper_of_tests import WORD\n        return WORD\n"
    registry.load_plugin(write(tmp_path / "mine.py", text))
    assert registry.get("mine").variant({}) == "late"


def test_a_helper_that_changed_is_loaded_again_with_its_plug_in(tmp_path):
    path = write(tmp_path / "mine.py", helped("from helper_of_tests import WORD", "WORD"))
    for word in ("first", "the second"):
        write(tmp_path / "helper_of_tests.py", f"WORD = '{word}'")
        registry.load_plugin(path)
        assert registry.get("mine").info.title == word


def test_a_helper_may_register_methods(tmp_path):
    write(tmp_path / "helper_of_tests.py", SMALL.format(name="mine", title="mine"))
    path = write(tmp_path / "plugin.py", "import helper_of_tests")
    assert registry.load_plugin(path) == registry.load_plugin(path) == ["mine"]


@pytest.mark.parametrize("statement", ["from helper_of_tests import WORD", "def f():\n    import helper_of_tests"])
def test_helpers_of_one_name_in_two_folders_clash(tmp_path, statement):
    for folder in ("a", "b"):
        write(tmp_path / folder / "helper_of_tests.py", f"WORD = '{folder}'")
    first = write(tmp_path / "a" / "one.py", helped(statement, "'one'", "one"))
    second = write(tmp_path / "b" / "two.py", helped(statement, "'two'", "two"))
    registry.load_plugin(first)
    message = error_of(registry.load_plugin, second)
    for folder in ("a", "b"):
        assert str(tmp_path / folder / "helper_of_tests.py") in message
    assert "rename the helper" in message and "two" not in registry.names() and str(tmp_path / "b") not in sys.path
    assert registry.get("one").info.title == "one"


def test_packages_without_init_in_two_folders_clash(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "helper_of_tests" / "words.py", f"WORD = '{folder}'")
        write(tmp_path / folder / "mine.py", helped("from helper_of_tests.words import WORD", "WORD", f"mine_{folder}"))
    registry.load_plugin(tmp_path / "a" / "mine.py")
    assert registry.get("mine_a").info.title == "a"
    message = error_of(registry.load_plugin, tmp_path / "b" / "mine.py")
    assert str(tmp_path / "a" / "helper_of_tests") in message and str(tmp_path / "b" / "helper_of_tests") in message


def test_a_module_that_the_plug_in_does_not_import_is_no_clash(tmp_path):
    write(tmp_path / "json.py", "1 / 0")
    registry.load_plugin(write(tmp_path / "mine.py", SMALL.format(name="mine", title="mine")))
    assert registry.get("mine").info.title == "mine"


def test_packages_of_the_benchmark_win_over_the_folder(tmp_path):
    write(tmp_path / "data" / "__init__.py", "1 / 0")
    path = write(tmp_path / "mine.py", helped("from data.masks import bounding_box", "bounding_box.__module__"))
    registry.load_plugin(path)
    assert registry.get("mine").info.title == "data.masks"


@pytest.mark.parametrize("statement", ["from data.loaders import load", "from data import load", "import data.loaders"])
def test_a_name_that_only_the_hidden_package_has_is_a_clash(tmp_path, statement):
    write(tmp_path / "data" / "loaders.py", "def load(): pass")
    message = error_of(registry.load_plugin, write(tmp_path / "mine.py", statement))
    assert "data is a package of this benchmark" in message and str(tmp_path / "data") in message
    assert "rename yours" in message


@pytest.mark.parametrize(
    ("beside", "statement"),
    [
        ("data/deep/er/mine.py", "import data.deep.er.mine"),
        ("methods/mine.py", "def step():\n    from methods.mine import f"),
        ("benchmark/mine.py", "try:\n    import benchmark.mine\nexcept ImportError:\n    pass"),
        ("reports/__init__.py", "from reports import anything"),
        ("reports.py", "from reports import anything"),
        ("data.py", "import data"),
        ("data/masks.py", "import data.masks"),  # both have it
    ],
)
@pytest.mark.parametrize("in_helper", [False, True])
def test_a_package_of_its_own_with_a_name_of_ours_is_one_line(tmp_path, beside, statement, in_helper):
    (tmp_path / beside).parent.mkdir(parents=True, exist_ok=True)
    write(tmp_path / beside, "def f(): pass")
    path = write(tmp_path / "mine.py", SMALL.format(name="mine", title="mine"))
    changed = path
    if in_helper:
        changed = write(tmp_path / "helper_of_tests.py", "")
        path.write_text(f"import helper_of_tests\n{path.read_text()}")
    changed.write_text(f"{changed.read_text()}\n{statement}\n")
    message = error_of(registry.load_plugin, path)
    package = beside.split("/")[0].removesuffix(".py")
    assert f"{package} is a package of this benchmark" in message and str(tmp_path / package) in message
    assert changed.name in message and "rename yours" in message and "mine" not in registry.names()


def test_without_a_package_of_its_own_the_missing_name_is_said(tmp_path):
    (tmp_path / "data").mkdir()  # scans, say
    message = error_of(registry.load_plugin, write(tmp_path / "mine.py", "from data.loaders import load"))
    assert "No module named 'data.loaders'" in message and "rename" not in message


def test_a_relative_import_is_told_how_to_be_written(tmp_path):
    write(tmp_path / "helper_of_tests.py", "WORD = 1")
    message = error_of(registry.load_plugin, write(tmp_path / "mine.py", "from .helper_of_tests import WORD"))
    assert "without the dot" in message


def test_a_plug_in_that_fails_leaves_nothing_behind(tmp_path):
    write(tmp_path / "helper_of_tests.py", SMALL.format(name="half", title="half"))
    path = write(tmp_path / "mine.py", "import helper_of_tests\n1 / 0\n")
    before = list(sys.path)
    assert "ZeroDivisionError" in error_of(registry.load_plugin, path)
    assert sys.path == before and "half" not in registry.names() and "helper_of_tests" not in sys.modules


@pytest.mark.parametrize("wrong", ["'share'", "{'share': 'low'}", "{1: 0.5}", "['share']"])
def test_a_method_that_declares_dead_networks_otherwise_is_refused(tmp_path, wrong):
    text = SMALL.format(name="dying", title="Dying") + f"    dead_below = {wrong}\n"
    message = error_of(registry.load_plugin, write(tmp_path / "dying.py", text))
    assert "dead_below of method 'dying'" in message and '{"active_fraction": 0.0001}' in message
