"""The examples in docstrings and in documents run and print what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("methods", "data", "benchmark", "reports")


def modules_with_examples() -> list[str]:
    """Names of all modules whose text has an example, without those that import ray."""
    found = []
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if ">>>" in text and "import ray" not in text and "from ray" not in text:
            found.append(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    return found


DOCUMENTS = [path for path in sorted((ROOT / "docs").rglob("*.md")) if ">>>" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_examples_in_documents(path):
    result = doctest.testfile(str(path), module_relative=False, encoding="utf-8")
    assert result.attempted > 0 and result.failed == 0


def test_examples_are_found():
    assert {"reports.statistics", "reports.statistics.power"} <= set(modules_with_examples())
    assert ROOT / "docs" / "statistics.md" in DOCUMENTS
