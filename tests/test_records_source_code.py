"""Hashes of source code see what may decide numbers, and neither comments nor formatting; a plug-in's local modules."""

import pytest

from benchmark.records import source_code
from benchmark.records.source_code import CHECKOUT, name_of, path_of, plugin_files, source_hash

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


def hash_of(folder, code):
    path = folder / "method.py"
    path.write_text(code)
    source_code._source_hash.cache_clear()  # two versions may be written within one tick of the file system's clock
    return source_hash(path)


@pytest.mark.parametrize("code", SAME.values(), ids=SAME.keys())
def test_what_does_not_change_it(tmp_path, code):
    assert code != CODE and hash_of(tmp_path, code) == hash_of(tmp_path, CODE)


@pytest.mark.parametrize("code", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_changes_it(tmp_path, code):
    assert hash_of(tmp_path, code) != hash_of(tmp_path, CODE)


def test_every_version_of_python_gives_the_same(tmp_path):
    """As 3.11.7, 3.12.1 and 3.13.0 gave it: records are passed on, and none must be stale where they arrive."""
    assert hash_of(tmp_path, CODE) == "ebf88d7ec00a"


def test_a_file_that_is_gone_or_broken_has_a_hash_too(tmp_path):
    assert source_hash(tmp_path / "gone.py") == "missing"
    broken = [hash_of(tmp_path, text) for text in ("def (", "def (  # a remark")]
    assert len({*broken, "missing"}) == 3, "what cannot be parsed is compared by its bytes"


def test_a_built_in_method_is_named_relative_to_the_checkout_and_a_plug_in_by_its_path(tmp_path):
    assert name_of(CHECKOUT / "methods" / "vnet.py") == "methods/vnet.py"
    assert name_of(tmp_path / "mine.py") == str(tmp_path / "mine.py")
    for path in (CHECKOUT / "methods" / "vnet.py", tmp_path / "mine.py"):
        assert path_of(name_of(path)) == path


# Local modules of a plug-in.


def write(folder, **texts):
    """Files by their path, with __ for a slash; returns the plug-in, mine.py."""
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "mine.py"


def names(plugin):
    return list(plugin_files(plugin))


@pytest.mark.parametrize(
    "statement",
    ["import ramps", "import ramps as r", "import math, ramps", "from ramps import ramp", "def f():\n    import ramps"],
)
def test_a_module_beside_a_plug_in_that_it_imports(tmp_path, statement):
    plugin = write(tmp_path, mine=statement, ramps="", unused="")
    assert plugin_files(plugin) == {"mine.py": plugin, "ramps.py": tmp_path / "ramps.py"}


def test_modules_that_are_imported_through_another_and_in_a_circle(tmp_path):
    plugin = write(tmp_path, mine="import a", a="import b", b="import a, mine")
    assert names(plugin) == ["mine.py", "a.py", "b.py"]


@pytest.mark.parametrize("statement", ["import parts", "from parts import losses", "from parts.deep.more import f"])
def test_a_package_beside_a_plug_in_counts_with_all_its_modules(tmp_path, statement):
    """Which of them run is not known from the text alone."""
    plugin = write(tmp_path, mine=statement, parts__losses="import ramps", parts__deep__more="", ramps="", unused="")
    (tmp_path / "parts/__init__.py").write_text("")
    assert sorted(names(plugin)) == [
        "mine.py",
        "parts/__init__.py",
        "parts/deep/more.py",
        "parts/losses.py",
        "ramps.py",
    ]


def test_neither_installed_packages_nor_those_of_this_project_are_local(tmp_path):
    plugin = write(
        tmp_path, mine="import math, json, torch\nfrom methods.shared import registry\nimport data, benchmark, reports"
    )
    for package in ("methods", "data", "benchmark", "reports"):  # a plug-in may lie in a checkout
        write(tmp_path, **{package: "", f"{package}__shared": ""})
    assert names(plugin) == ["mine.py"]


def test_a_plug_in_that_cannot_be_read_has_itself_alone(tmp_path):
    assert names(write(tmp_path, mine="import (", ramps="")) == ["mine.py"]
    assert names(tmp_path / "gone.py") == ["gone.py"]
    plugin = write(tmp_path, mine="from ......... import x\nfrom .ramps import ramp\nimport ramps", ramps="import (")
    assert names(plugin) == ["mine.py", "ramps.py"]
