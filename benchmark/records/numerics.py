"""Numerics versions: which version of the numbers a record was made by.

A version is a small integer. It rises when a change of the code changes numbers, and only then: renaming or moving code
leaves every record valid. `tests/test_golden.py` decides. It trains every method for a few steps, compares losses,
weights and scores with stored ones, and names the version to raise.

| version | stands in | a record of another version is |
|---|---|---|
| TRAINING | this file | stale: trained again by `run --rerun stale` |
| SCORING | this file | scored again, without training |
| PREPARATION | data/version.py | stale; the cache prepares its cases again |
| of a method | `info = Info(…, numerics=2)` in its file; 1 where left out | stale |

A plug-in has no golden test. Its version is a hash of its source and of the local modules that it imports.
"""

import ast
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmark.records.source_code import CHECKOUT, is_file, path_of, plugin_files, source_hash
from data.version import PREPARATION

TRAINING = 1
SCORING = 1


class Numerics(BaseModel):
    """The versions that made a record. None: plays no part, as training does for masks of another tool."""

    model_config = ConfigDict(frozen=True)

    training: int | None = 1
    scoring: int | None = 1
    preparation: int | None = 1
    method: int | dict[str, str] | None = 1
    network: dict[str, str] | None = None  # of a plug-in; built-in networks are part of training

    def of_weights(self) -> dict:
        """The versions that decide weights: a checkpoint of others is not continued."""
        versions = {"training": self.training, "preparation": self.preparation, "method": self.method}
        return versions if self.network is None else versions | {"network": self.network}


def current(method: str, method_file: str, network_file: str = "") -> Numerics:
    """The versions of today's code for a method, and for the network of a plug-in.

    Without a method's file nothing was trained here.

    Reads source files as text, so that `status` and `report` need not import torch.
    """
    if not method_file:
        return Numerics(training=None, scoring=SCORING, preparation=None, method=None)
    path = path_of(method_file)
    version = (
        _version_in(path, path.stat().st_mtime_ns, method)
        if is_file(path) and path.is_relative_to(CHECKOUT / "methods")
        else plugin_version(path)
    )
    network = plugin_version(path_of(network_file)) if network_file else None
    return Numerics(training=TRAINING, scoring=SCORING, preparation=PREPARATION, method=version, network=network)


def plugin_version(plugin: Path) -> dict[str, str]:
    """The version of a plug-in: hashes of its source and of its helper modules, by path relative to the plug-in."""
    return {name: source_hash(file) for name, file in plugin_files(plugin).items()}


def changed(recorded: Numerics, today: Numerics, *kinds: str) -> list[str]:
    """What differs between the versions of a record and today's, a short phrase each.

    Args:
        recorded: the versions in the record.
        today: the versions of today's code, from `current`.
        kinds: which versions to compare: training, scoring, preparation, method, network.

    Example:
        >>> changed(Numerics(training=1), Numerics(training=2), "training", "method")
        ['numerics of training: version 1, now version 2']
    """
    found = []
    for kind in kinds:
        old, new = getattr(recorded, kind), getattr(today, kind)
        if old is None or new is None or old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            files = [name for name in old | new if old.get(name) != new.get(name)]
            missing = [name for name in files if new.get(name) == "missing"]
            found.append(f"{missing[0]} is missing here" if missing else f"source of the plug-in: {', '.join(files)}")
        else:
            found.append(f"numerics of {kind}: {_named(old)}, now {_named(new)}")
    return found


def _named(version: int | dict[str, str]) -> str:
    if isinstance(version, dict):
        return "its file is missing" if "missing" in version.values() else "a plug-in's source"
    return f"version {version}"


@cache
def _version_in(path: Path, modified: int, method: str) -> int | dict[str, str]:
    """`numerics=…` in the `info` of the class that registers this method in a file; 1 where it is left out.

    A file that is being edited and has a syntax error counts as other source.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return {path.name: source_hash(path)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(_registers(decorator, method) for decorator in node.decorator_list):
            for statement in node.body:
                if isinstance(statement, ast.Assign | ast.AnnAssign) and _is_info(statement):
                    given = {keyword.arg: keyword.value for keyword in getattr(statement.value, "keywords", ())}
                    return ast.literal_eval(given["numerics"]) if "numerics" in given else 1
    return 1


def _is_info(statement: ast.Assign | ast.AnnAssign) -> bool:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return any(isinstance(target, ast.Name) and target.id == "info" for target in targets)


def _registers(decorator: ast.expr, method: str) -> bool:
    return (
        isinstance(decorator, ast.Call)
        and getattr(decorator.func, "id", getattr(decorator.func, "attr", "")) == "register"
        and [argument.value for argument in decorator.args if isinstance(argument, ast.Constant)] == [method]
    )
