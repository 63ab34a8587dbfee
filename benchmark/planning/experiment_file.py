"""Reads an experiment file and applies overrides; error messages say which key is wrong."""

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from benchmark.planning.experiment import Experiment, ExperimentError
from methods.shared import registry
from methods.shared.validation import describe

RENAMED = {"tuning.draws": "tuning.settings_per_method"}  # keys of earlier versions


def load_experiment(path: str | Path, overrides: list[str] = (), plugins: list[str] = ()) -> Experiment:
    """Read an experiment file, apply `key=value` overrides, load its plug-ins.

    Raises ExperimentError, or registry.MethodError for a plug-in, with one line that names the file and the key.
    """
    path = Path(path)
    try:
        values = _read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExperimentError(f"experiment file {path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(f"experiment file {path} cannot be read: {error}") from error
    except NOT_YAML as error:
        raise ExperimentError(f"experiment file {path} is not valid YAML: {_where(error)}") from error
    if not isinstance(values, dict):
        raise ExperimentError(f"experiment file {path} must be a mapping of keys, see configs/demo.yaml")
    for override in overrides:
        _override(values, override)
    try:
        experiment = Experiment.model_validate(values)
    except ValidationError as error:
        changed = "".join(f" --set {override}" for override in overrides)
        raise ExperimentError(f"{path}{changed}: {_renamed(error) or describe(error, Experiment)}") from error
    files = [str((path.parent / os.path.expanduser(p)).resolve()) for p in experiment.plugins]
    files += [str(Path(os.path.expanduser(p)).resolve()) for p in plugins]
    for file in files:
        registry.load_plugin(file)
    return experiment.model_copy(update={"plugins": files})


def _renamed(error: ValidationError) -> str:
    """What to write instead of a key that earlier versions knew under another name."""
    unknown = {".".join(map(str, e["loc"])) for e in error.errors() if e["type"] == "extra_forbidden"}
    return "; ".join(f"{old!r} is now called {new!r}" for old, new in RENAMED.items() if old in unknown)


def _where(error: Exception) -> str:
    return " ".join(str(error).split()).replace('in "<unicode string>", ', "")


# What yaml raises: ValueError for 2024-13-45, a date to it, and RecursionError for brackets nested a thousand deep.
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)


def _read_yaml(text: str) -> Any:
    """What the text holds. A key given twice is refused: yaml would take the last one without a word."""
    _refuse_keys_given_twice(yaml.compose(text, yaml.SafeLoader), seen=set())
    return yaml.safe_load(text)


def _refuse_keys_given_twice(node: yaml.Node | None, seen: set[int]) -> None:
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):  # an alias may lead to its own beginning
        return
    seen.add(id(node))
    children = node.value
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if repeated := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(
                f"key {repeated[0]!r} is given twice, below line {node.start_mark.line + 1}: remove one"
            )
        children = [value for _, value in node.value]
    for child in children:
        _refuse_keys_given_twice(child, seen)


def _override(values: dict, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise ExperimentError(f"--set {override!r}: write key=value, for instance --set training.iterations=1000")
    try:
        value = _read_yaml(text)
    except NOT_YAML as error:
        raise ExperimentError(f"--set {override!r}: the value is not valid YAML") from error
    key, adds = key.removesuffix("+"), key.endswith("+")
    *parents, last = key.split(".")
    target: Any = values
    for part in parents:
        if isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        elif isinstance(target, dict):
            target = target.setdefault(part, {})
        else:
            raise ExperimentError(f"--set {override!r}: there is no {part!r} to set something in")
    if adds:
        earlier = target.get(last) if isinstance(target, dict) else None
        if not isinstance(earlier, list) or not isinstance(value, list):
            raise ExperimentError(f"--set {override!r}: += adds a list to a list, as in --set 'methods+=[my_method]'")
        value = earlier + value
    if isinstance(target, dict):
        target[last] = value
    elif isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    else:
        raise ExperimentError(f"--set {override!r}: {'.'.join(parents)} is neither a mapping nor long enough a list")
