"""The fingerprint of code: it sees what decides numbers, and neither comments nor formatting."""

import pkgutil

import pytest
from benchmark.records.fingerprint import SAME_NUMBERS, SCORING, TRAINING, changed_files, code_fingerprint, path_of
from helpers import tiny

import methods
import methods.shared.networks
from benchmark.planning.plan import make_trials
from benchmark.records import fingerprint
from data.cache import prepare
from methods.shared import registry

CODE = '''"""What this file is for."""
import math


class Ramp:
    """A ramp."""

    def value(self, step):
        """Its value."""
        return math.exp(-5 * (1 - step) ** 2)  # from the paper


async def other():
    """Nothing else."""
'''

SAME = {
    "comments": CODE.replace("  # from the paper", "").replace("import math", "# a remark\nimport math"),
    "docstrings": CODE.replace("A ramp", "Another description\n\n    of two paragraphs").replace(
        '"""Its value."""', '"x"'
    ),
    "no docstring of a file": CODE.split("\n", 1)[1],
    "formatting": CODE.replace("\n\n\n", "\n").replace("-5 * (1 - step) ** 2", "(-5*\n            ((1-step)**2))"),
}
DIFFERENT = {
    "number": CODE.replace("-5", "-4"),
    "name": CODE.replace("value", "worth"),
    "statement": CODE.replace("import math", "import math, os"),
    "grouping": CODE.replace("(1 - step) ** 2", "1 - step**2"),
    "decorator": CODE.replace("class Ramp", "@register('ramp')\nclass Ramp"),
    "a string that is no docstring": CODE + 'NAME = "one"\n',
}  # fmt: skip


def fingerprint_of(folder, code):
    path = folder / "method.py"
    path.write_text(code)
    fingerprint._hash.cache_clear()
    return code_fingerprint(str(path))[str(path)]


@pytest.mark.parametrize("code", SAME.values(), ids=SAME.keys())
def test_what_does_not_change_it(tmp_path, code):
    assert code != CODE and fingerprint_of(tmp_path, code) == fingerprint_of(tmp_path, CODE)


@pytest.mark.parametrize("code", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_changes_it(tmp_path, code):
    assert fingerprint_of(tmp_path, code) != fingerprint_of(tmp_path, CODE)


def test_every_version_of_python_gives_the_same(tmp_path):
    """As 3.11.7, 3.12.1 and 3.13.0 gave it: records are passed on, and none must be stale where they arrive."""
    assert fingerprint_of(tmp_path, CODE) == "ebf88d7ec00a"


def test_all_number_deciding_files_exist():
    assert [file for file in TRAINING + SCORING if not (path_of(file)).is_file()] == []


def test_every_file_that_methods_share_decides_numbers():
    # A new method is one file. What it shares with others must not change unseen.
    own = {
        trial.method_file
        for trial in make_trials(tiny.experiment(methods=registry.names()), prepare(tiny.experiment().data))
    }
    shared = {f"methods/{module.name}.py" for module in pkgutil.iter_modules(methods.__path__) if not module.ispkg}
    shared |= {
        f"methods/shared/networks/{module.name}.py" for module in pkgutil.iter_modules(methods.shared.networks.__path__)
    }
    assert shared - own - set(TRAINING) == {"methods/shared/registry.py", "methods/shared/validation.py"}


def test_changed_files_are_named(tmp_path):
    path = tmp_path / "method.py"
    fingerprint_of(tmp_path, CODE)
    recorded = code_fingerprint(str(path))
    assert set(recorded) == {*TRAINING, *SCORING, str(path)}
    assert changed_files(recorded, str(path)) == []
    assert changed_files(recorded | {"benchmark/trial/metrics.py": "0"}, str(path)) == ["benchmark/trial/metrics.py"]
    assert changed_files(recorded | {"methods/gone.py": "0"}, str(path)) == ["methods/gone.py"]
    without = {file: hash_ for file, hash_ in recorded.items() if file != "data/augment.py"}
    assert changed_files(without, str(path)) == ["data/augment.py"]
    fingerprint_of(tmp_path, DIFFERENT["number"])
    assert changed_files(recorded, str(path)) == [str(path)]


def test_a_change_that_leaves_all_numbers_leaves_records_current_until_the_next(tmp_path, monkeypatch):
    path = tmp_path / "method.py"
    old, new = fingerprint_of(tmp_path, CODE), fingerprint_of(tmp_path, DIFFERENT["name"])
    recorded = code_fingerprint(str(path)) | {str(path): old}
    assert changed_files(recorded, str(path)) == [str(path)]
    monkeypatch.setattr(fingerprint, "SAME_NUMBERS", {(str(path), old, new): "a name"})
    assert changed_files(recorded, str(path)) == []
    fingerprint_of(tmp_path, DIFFERENT["number"])
    assert changed_files(recorded, str(path)) == [str(path)]


def test_what_is_said_to_leave_all_numbers_is_todays_code():
    # An entry of an older version says nothing any more: it is to be removed.
    assert [key for key in SAME_NUMBERS if fingerprint._hash(path_of(key[0])) != key[2]] == []


def test_a_vanished_method_file_has_changed(tmp_path):
    path = tmp_path / "method.py"
    fingerprint_of(tmp_path, CODE)
    recorded = code_fingerprint(str(path))
    path.unlink()
    fingerprint._hash.cache_clear()
    assert changed_files(recorded, str(path)) == [str(path)]
