"""Reads an experiment file and applies overrides; error messages say which key is wrong."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from benchmark.planning import pretrained
from benchmark.planning.experiment import LOGGERS, Experiment, ExperimentError
from data.recipes.recipe import read_recipe
from data.scan_files import scan_files
from data.sources import DataSettings
from methods.shared import registry
from methods.shared.networks.registry import network_function, network_names
from methods.shared.validation import describe

RENAMED = {"tuning.draws": "tuning.settings_per_method"}  # keys of earlier versions


def load_experiment(path: str | Path, overrides: list[str] = (), plugins: list[str] = ()) -> Experiment:
    """Read an experiment file of the user's own, apply `key=value` overrides, import its plug-ins and `plugins`.

    The experiment of a results folder is for `load_stored_experiment`: somebody else may have written it.
    Raises ExperimentError, or registry.MethodError for a plug-in, with one line that names the file and the key.
    """
    experiment = read_experiment(path, overrides)
    if experiment.data.validation_cases and experiment.evaluation.checkpoints is None:
        raise ExperimentError(
            f"{path}: data.validation_cases choose a checkpoint, but evaluation.checkpoints is null: say every how "
            "many iterations weights are stored, or leave the cases out"
        )
    files = [*experiment.plugins, *_absolute(plugins)]
    for file in files:
        registry.load_plugin(file)
    return experiment.model_copy(update={"plugins": files})


def load_stored_experiment(
    path: str | Path,
    overrides: list[str] = (),
    plugins: list[str] = (),
    trust: bool = False,
    methods: Collection[str] | None = None,
) -> Experiment:
    """Read the experiment of a results folder. A plug-in is code, so one that it names runs only if the user agrees.

    Args:
        path: experiment.yaml of a results folder.
        overrides: `key=value`.
        plugins: files that the user gave on the command line. They run, and count before those of the folder.
        trust: whether the plug-ins and loggers that the folder names may run.
        methods: names of the methods that are needed; None: all of the experiment.

    Returns:
        The experiment. Its `plugins` are those that were imported: none where the methods are built in.

    Raises:
        ExperimentError: a method needs a plug-in that was neither given nor trusted, a logger is a file that is not
            trusted, or the file cannot be used.
        MethodError: a plug-in cannot be imported.
    """
    experiment = read_experiment(path, overrides)
    if (loggers := _files(experiment.execution.log_to)) and methods is None and not trust:
        raise ExperimentError(
            f"{path} asks to run {' and '.join(loggers)} (execution.log_to): code of a results folder runs only with "
            "--trust"
        )
    given = _absolute(plugins)
    known = {name for file in given for name in registry.load_plugin(file)}
    entries = [*experiment.methods, *([experiment.baseline] if experiment.baseline else [])]
    needed = {entry.name for entry in entries} if methods is None else set(methods)
    unknown = sorted(name for name in needed - known if not registry.is_built_in(name))
    network = experiment.training.network.name
    unknown += [f"(network) {network}"] * (network not in network_names())
    stored = [file for file in experiment.plugins if file not in given] if unknown else []
    if stored and not trust:
        raise ExperimentError(
            f"{path} asks to run {' and '.join(stored)} for method {', '.join(unknown)}: code of a results folder runs "
            "only with --trust. Or give your own copy of the file with --plugin FILE"
        )
    for file in stored:
        registry.load_plugin(file)
    network_function(experiment.training.network.name)
    for name in sorted(needed):
        try:
            registry.get(name)
        except registry.MethodError as error:
            raise ExperimentError(f"{path}: {error}") from error
    return experiment.model_copy(update={"plugins": [*given, *stored]})


def read_experiment(path: str | Path, overrides: list[str] = ()) -> Experiment:
    """Read an experiment file and apply `key=value` overrides. Nothing is imported; `plugins` become absolute paths.

    Raises ExperimentError with one line that names the file and the key.
    """
    path = Path(path)
    try:
        values = _read_yaml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ExperimentError(f"experiment file {path} does not exist") from error
    except UnicodeDecodeError as error:
        raise ExperimentError(f"experiment file {path} cannot be read ({error}): save it as UTF-8") from error
    except OSError as error:
        raise ExperimentError(f"experiment file {path} cannot be read: {error}") from error
    except NOT_YAML as error:
        raise ExperimentError(f"experiment file {path} is not valid YAML: {_where(error)}") from error
    if not isinstance(values, dict):
        raise ExperimentError(f"experiment file {path} must be a mapping of keys, see configs/demo.yaml")
    return _with_absolute_paths(_experiment(path, values, overrides), path.parent)


def data_of(path: Path, overrides: list[str] = ()) -> DataSettings:
    """The data block of an experiment file, or that of a folder of scans as `source: folder` reads it.

    Without test scans in the folder, a quarter of the labelled scans is for testing.
    """
    if not os.path.isdir(path):
        return read_experiment(path, overrides).data
    data = {"source": "folder", "root": str(path)}
    if not scan_files(path / "imagesTs").scans:
        data["split"] = {"test": 0.25, "seed": 0}
    values = {"name": "experiment", "methods": [registry.BASELINE], "labelled": [1], "data": data}
    return _experiment(path, values, overrides).data


def _experiment(path: Path, values: dict, overrides: list[str]) -> Experiment:
    for override in overrides:
        _override(values, override)
    if (recipe := values.pop("recipe", None)) is not None:  # records name it by what their data folder says
        own = path.parent / str(recipe)
        values = _beneath(read_recipe(own if own.is_file() else str(recipe)).experiment, values)
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        changed = "".join(f" --set {override}" for override in overrides)
        raise ExperimentError(f"{path}{changed}: {_renamed(error) or describe(error, Experiment)}") from error


def _beneath(defaults: dict, values: dict) -> dict:
    """The values, with defaults for keys that they lack. Blocks are filled key by key."""
    both = defaults.keys() & values.keys()
    blocks = {key for key in both if isinstance(defaults[key], dict) and isinstance(values[key], dict)}
    return defaults | values | {key: _beneath(defaults[key], values[key]) for key in blocks}


def _with_absolute_paths(experiment: Experiment, folder: Path) -> Experiment:
    log_to = experiment.execution.log_to
    log_to = [*(name for name in log_to if name in LOGGERS), *_absolute(_files(log_to), folder)]
    execution = experiment.execution.model_copy(update={"log_to": log_to})
    plugins = _absolute(experiment.plugins, folder)
    return pretrained.resolved(experiment.model_copy(update={"plugins": plugins, "execution": execution}), folder)


def _files(log_to: list[str]) -> list[str]:
    return [name for name in log_to if name not in LOGGERS]


def _absolute(plugins: Iterable[str], folder: Path = Path()) -> list[str]:
    return [os.path.realpath(folder / os.path.expanduser(plugin)) for plugin in plugins]


def _renamed(error: ValidationError) -> str:
    """What to write instead of a key that earlier versions knew under another name."""
    unknown = {".".join(map(str, e["loc"])) for e in error.errors() if e["type"] == "extra_forbidden"}
    return "; ".join(f"{old!r} is now called {new!r}" for old, new in RENAMED.items() if old in unknown)


def _where(error: Exception) -> str:
    return " ".join(str(error).split()).replace('in "<unicode string>", ', "")


# What yaml raises: ValueError for 2024-13-45, a date to it, and RecursionError for brackets nested a thousand deep.
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)


def _read_yaml(text: str) -> Any:
    """What the text holds. A key given twice is refused: yaml would silently take the last one."""
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


def _without(entries: list, unwanted: list, override: str) -> list:
    """The entries but the unwanted. Entries that are mappings go by their `display`, else by their `name`."""
    names = [entry.get("display", entry.get("name")) if isinstance(entry, dict) else entry for entry in entries]
    if unknown := [name for name in unwanted if name not in names]:
        raise ExperimentError(f"--set {override!r}: {unknown[0]!r} is none of {', '.join(map(str, names))}")
    return [entry for entry, name in zip(entries, names, strict=True) if name not in unwanted]


def _override(values: dict, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise ExperimentError(f"--set {override!r}: write key=value, for instance --set training.iterations=1000")
    try:
        value = _read_yaml(text)
    except NOT_YAML as error:
        raise ExperimentError(f"--set {override!r}: the value is not valid YAML") from error
    sign = key[-1] if key[-1] in "+-" else ""
    key = key.removesuffix(sign)
    *parents, last = key.split(".")
    target: Any = values
    for part in parents:
        if isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        elif isinstance(target, dict):
            target = target.setdefault(part, {})
        else:
            raise ExperimentError(f"--set {override!r}: there is no {part!r} to set something in")
    if sign:
        earlier = target.get(last) if isinstance(target, dict) else None
        if not isinstance(earlier, list) or not isinstance(value, list):
            what = "+= adds a list to a list" if sign == "+" else "-= takes entries out of a list"
            raise ExperimentError(f"--set {override!r}: {what}, as in --set 'methods{sign}=[my_method]'")
        value = earlier + value if sign == "+" else _without(earlier, value, override)
    if isinstance(target, dict):
        target[last] = value
    elif isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    else:
        raise ExperimentError(f"--set {override!r}: {'.'.join(parents)} is neither a mapping nor long enough a list")
