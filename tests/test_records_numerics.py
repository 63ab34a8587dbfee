"""Which version of the numbers a record was made by, where today's is found, and what is said of a difference."""

import inspect
import re
from pathlib import Path

import pytest
import yaml
from helpers import records, tiny

from benchmark.records import numerics, source_code
from benchmark.records.files import ResultsError
from benchmark.records.models import EXTERNAL
from benchmark.records.numerics import Numerics, changed, current
from benchmark.records.source_code import CHECKOUT, source_hash
from methods.shared import registry

# Where today's version is found.


def test_a_method_has_the_version_that_its_class_states():
    for name in filter(registry.is_built_in, registry.names()):
        method = registry.get(name)
        file = Path(inspect.getsourcefile(method)).relative_to(CHECKOUT).as_posix()
        assert current(name, file).method == method.info.numerics


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of its own, so that files of methods may be written."""
    (tmp_path / "methods").mkdir()
    for module in (numerics, source_code):
        monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    return tmp_path


def test_the_version_is_found_in_the_text_of_every_method(checkout):
    for name in registry.names():
        source = Path(inspect.getsourcefile(registry.get(name)))
        text = re.sub(r"numerics=\d+,?", "", source.read_text(encoding="utf-8"))
        assert "    info = Info(" in text
        (checkout / "methods" / source.name).write_text(
            text.replace("    info = Info(", "    info = Info(numerics=7, ")
        )
        assert current(name, f"methods/{source.name}").method == 7


TWO = """
@register("plain")
class Plain(Method):
    info = Info(title="Plain")

@register("raised")
class Raised(Method):
    '''numerics=9'''
    SETTINGS = dict(passes=3)
    info = Info(title="Raised", numerics=3)

class Unregistered(Method):
    info = Info(title="None", numerics=4)
"""


def test_each_method_of_a_file_has_a_version_of_its_own_and_1_where_none_is_stated(checkout):
    (checkout / "methods" / "two.py").write_text(TWO)
    assert [current(name, "methods/two.py").method for name in ("plain", "raised", "unknown")] == [1, 3, 1]


def test_a_version_that_is_raised_is_seen_at_once(checkout):
    path = checkout / "methods" / "two.py"
    path.write_text(TWO)
    assert current("raised", "methods/two.py").method == 3
    path.write_text(TWO.replace("numerics=3", "numerics=12"))
    assert current("raised", "methods/two.py").method == 12


def test_a_plug_in_has_its_source_and_that_of_its_local_modules(tmp_path):
    plugin = tiny.write_plugin(tmp_path, "mine", in_step="import ramps, math")
    (tmp_path / "ramps.py").write_text("A = 1")
    expected = {"mine.py": source_hash(plugin), "ramps.py": source_hash(tmp_path / "ramps.py")}
    today = current("mine", str(plugin))
    assert today.method == expected
    (tmp_path / "ramps.py").write_text("A = 11")
    assert changed(today, current("mine", str(plugin)), "method") == ["source of the plug-in: ramps.py"]
    plugin.unlink()
    assert current("mine", str(plugin)).method == {"mine.py": "missing"}


def test_masks_of_another_tool_are_only_scored():
    assert current(EXTERNAL, "") == Numerics(training=None, scoring=numerics.SCORING, preparation=None, method=None)


def test_a_checkpoint_depends_on_all_versions_but_that_of_scoring():
    versions = Numerics(training=2, scoring=3, preparation=4, method={"mine.py": "0"})
    assert versions.of_weights() == {"training": 2, "preparation": 4, "method": {"mine.py": "0"}}


# What is said of a difference.

ALL = ("training", "preparation", "method", "scoring")


@pytest.mark.parametrize(
    ("recorded", "today", "said"),
    [
        ({}, {}, []),
        ({"training": 1}, {"training": 2}, ["numerics of training: version 1, now version 2"]),
        ({"scoring": 2}, {"scoring": 1}, ["numerics of scoring: version 2, now version 1"]),
        ({"preparation": 1}, {"preparation": 2}, ["numerics of preparation: version 1, now version 2"]),
        ({"training": 1, "method": 1}, {"training": 2, "method": 3},
         ["numerics of training: version 1, now version 2", "numerics of method: version 1, now version 3"]),
        ({"training": None}, {"training": 2}, []),  # what plays no part cannot change
        ({"method": 2}, {"method": None}, []),
        ({"method": {"a.py": "0"}}, {"method": {"a.py": "0"}}, []),
        ({"method": {"a.py": "0", "b.py": "0", "c.py": "0"}}, {"method": {"a.py": "0", "b.py": "1", "d.py": "0"}},
         ["source of the plug-in: b.py, c.py, d.py"]),
        ({"method": 1}, {"method": {"a.py": "0"}}, ["numerics of method: version 1, now a plug-in's source"]),
        ({"method": {"a.py": "0"}}, {"method": 1}, ["numerics of method: a plug-in's source, now version 1"]),
    ],
)  # fmt: skip
def test_what_has_changed_is_said_in_short_phrases(recorded, today, said):
    assert changed(Numerics(**recorded), Numerics(**today), *ALL) == said


def test_only_the_kinds_that_are_asked_for_are_compared():
    recorded, today = Numerics(), Numerics(training=2, scoring=2)
    assert changed(recorded, today, "preparation", "method") == []
    assert changed(recorded, today, "scoring") == ["numerics of scoring: version 1, now version 2"]


# Records of format 1, which hold hashes of source files.


def read_with(folder, **changes):
    """The record after these changes of its file; None takes a key out."""
    results, plan = records.finished(folder)
    [cell] = plan.cells
    path = results.record(cell.trial) / "trial.yaml"
    stored = yaml.safe_load(path.read_text()) | {"format": 1} | changes
    stored.pop("numerics")
    path.write_text(yaml.safe_dump({key: value for key, value in stored.items() if value is not None}))
    return results.read_record(cell.trial)


def test_a_record_of_format_1_is_of_version_1(tmp_path):
    code = {"methods/vnet.py": "0123456789ab", "benchmark/trial/metrics.py": "0123456789ab"}
    record = read_with(tmp_path, code=code)
    assert record.numerics == Numerics(training=1, scoring=1, preparation=1, method=1)
    assert not hasattr(record, "code"), "hashes of files decide nothing any more"


def test_a_plug_in_s_record_of_format_1_keeps_the_hash_of_its_file(tmp_path):
    code = {"/somewhere/mine.py": "0123456789ab", "benchmark/trial/metrics.py": "ba9876543210"}
    assert read_with(tmp_path, code=code).numerics == Numerics(method={"mine.py": "0123456789ab"})


def test_masks_of_another_tool_of_format_1_were_not_trained_here(tmp_path):
    record = read_with(tmp_path, code={"benchmark/trial/metrics.py": "ba9876543210"}, training=None)
    assert record.numerics == current(EXTERNAL, "") == Numerics(training=None, preparation=None, method=None)


def test_versions_of_the_wrong_type_are_one_line(tmp_path):
    results, plan = records.finished(tmp_path)
    path = results.record(plan.cells[0].trial) / "trial.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"numerics": {"training": "new"}}))
    with pytest.raises(ResultsError, match=r"^trial.yaml numerics.training: input should be a valid integer"):
        results.read_record(plan.cells[0].trial)
