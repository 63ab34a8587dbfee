"""Experiment files: their values, their YAML, and overrides of the command line."""

import random
from collections.abc import Callable
from pathlib import Path

import yaml
from helpers import scan_folder, tiny
from reliability.fuzz.inputs import Input
from reliability.fuzz.mutations import hostile, mutated, mutated_bytes, mutated_text

from benchmark.planning.experiment import Experiment
from benchmark.planning.experiment_file import load_experiment
from benchmark.planning.plan import make_plan, write_plan
from benchmark.records.results_folder import ResultsFolder
from data.cache import prepare
from data.sources import FolderSettings
from methods.shared import registry

CONFIG = "experiment.yaml"
EVERY_KEY = {
    "title": "Every key",
    "methods": [{"name": "dtml", "display": "Mine", "settings": {"supervision": "mask"}}, "ua_mt", "vnet"],
    "baseline": {"name": "vnet", "settings": {"labelled_patches": "half"}},
    "labelled": [1, 2],
    "draws": ["first", 3],
    "seeds": {1: [7, 8], 2: [7]},
    "reference": "Mine",
    "plugins": [],
}
TUNING = {"tuning": {"settings_per_method": 3, "search": "random", "validation": 1, "seed": 4}}
CUSTOM_YAML = {  # what a parser of YAML may stumble over, in front of the experiment or behind it
    "bomb of aliases": "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)),
    "bomb in a key": "title: &a [x, x]\nplugins: [" + "*a, " * 5 + "]\n",
    "an alias of itself": "title: &a [*a]\n",
    "a mapping that holds itself": "execution: &a {device: *a}\n",
    "merged keys": "training: &t {iterations: 3}\nevaluation: {<<: *t, empty: worst}\n",
    "merged lists": "execution: {<<: [{device: cpu}, {device: cuda}]}\n",
    "merged with a number": "execution: {<<: 3}\n",
    "a tag of Python": "title: !!python/object/apply:os.getcwd []\n",
    "a tag of one's own": "title: !mine x\n",
    "binary": "title: !!binary Zm9v\n",
    "damaged binary": "title: !!binary é\n",
    "a set": "labelled: !!set {1, 2}\n",
    "ordered pairs": "training: !!omap [iterations: 3]\n",
    "a list for a key": "? [a, b]\n: c\n",
    "a mapping for a key": "? {a: b}\n: c\n",
    "a time": "title: 2024-02-29 12:30:60\n",
    "sexagesimal": "labelled: [1:30]\n",
    "a number of 10,000 digits": "labelled: [" + "9" * 10000 + "]\n",
    "a float as text": "training: {learning_rate: 1e-2}\n",
    "two documents": "---\n",
    "a directive": "%YAML 3.0\n---\n",
    "nested lists": "title: " + "[" * 3000 + "]" * 3000 + "\n",
    "nested mappings": "title: " + "{a: " * 500 + "1" + "}" * 500 + "\n",
    "nested blocks": "".join(f"{' ' * i}a:\n" for i in range(1500)),
    "many keys": "".join(f"k{i}: {i}\n" for i in range(3000)),
    "a null for a key": "~: 3\n",
    "anchors without end": "title: &\n",
    "a null": "labelled: ~\n",
}  # fmt: skip


def make_examples(folder: Path) -> None:
    """Experiments on phantoms, on a folder of scans and of every method with all its settings."""
    scans = folder / "scans"
    for number, name in enumerate("ABCDEF"):
        side = "Ts" if name == "F" else "Tr"
        image = scan_folder.scan(number).repeat(3, 0).repeat(2, 1).repeat(3, 2)
        scan_folder.write(scans / f"images{side}" / f"{name}.nii.gz", image)
        scan_folder.write(scans / f"labels{side}" / f"{name}.nii.gz", (image > 1).astype("uint8"))
    of_folder = {"source": "folder", "root": str(scans), "name": "Mine", "labels": {"organ": 1}, "split": "given"}
    of_folder |= {"orientation": "RAS", "normalise": "zscore", "patients": "(.)", "spacing": [1.0, 1.5, 2.0]}
    prepare(FolderSettings(**of_folder))
    examples = [tiny.VALUES, tiny.merged(**EVERY_KEY), tiny.merged(**EVERY_KEY | TUNING)]
    examples += [tiny.merged(**EVERY_KEY) | {"data": of_folder | split} for split in (
        {}, {"split": {"test": 0.25, "seed": 1}}, {"split": {"folds": 3, "fold": 1}, "normalise": [-1, 2]},
        {"validation": ["A"], "spacing": None, "voxel": [1.0, 1.0, 1.0], "channel": None},
    )]  # fmt: skip
    for method in registry.names():
        settings = registry.get(method).Settings().model_dump(mode="json")
        examples.append(tiny.merged(methods=[{"name": method, "settings": settings}]))
    whole = [Experiment(**values).model_dump(mode="json") for values in examples]  # with every default
    tiny_plan = Experiment(**examples[0])
    make_plan(tiny_plan, ResultsFolder(folder / "none"))
    for number, values in enumerate(examples + whole):
        (folder / f"{number:03d}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def make_input(chance: random.Random, examples: Path, folder: Path) -> Input:
    text = chance.choice(sorted(examples.glob("*.yaml"))).read_text()
    kind, overrides = chance.random(), []
    if kind < 0.65:
        tree, mutation = mutated(chance, yaml.safe_load(text))
        content = yaml.safe_dump(tree, sort_keys=False, allow_unicode=chance.random() < 0.5).encode("utf-8", "replace")
    elif kind < 0.75:
        mutation = chance.choice(list(CUSTOM_YAML))
        key = CUSTOM_YAML[mutation].partition(":")[0]
        others = {name: value for name, value in yaml.safe_load(text).items() if name != key}
        parts = [CUSTOM_YAML[mutation], yaml.safe_dump(others, sort_keys=False)]
        content = "".join(parts if chance.random() < 0.5 else reversed(parts)).encode()
    elif kind < 0.85:
        content, mutation = mutated_text(chance, text)
    elif kind < 0.9:
        content, mutation = mutated_bytes(chance, text.encode())
    else:
        content = text.encode()
        overrides = [_override(chance, yaml.safe_load(text)) for _ in range(chance.choice((1, 1, 2)))]
        mutation = f"--set {overrides}"
    (folder / CONFIG).write_bytes(content)
    options = [option for override in overrides for option in ("--set", override)]
    command = ["run", CONFIG, "--dry-run", "--results", "results"]
    if chance.random() < 0.1:
        command = ["data", "info", CONFIG, "--picture", "picture.png"]
    keys = [*Experiment.model_fields, "patch", "settings of method"]
    return Input(mutation, [[*command, *options]], [CONFIG, "--set", *keys], further=[_comes_back(folder, overrides)])


def _override(chance: random.Random, tree: dict) -> str:
    """A `key=value` whose key exists, nearly exists, or leads elsewhere."""
    parts, node = [], tree
    while isinstance(node, dict | list) and node and (not parts or chance.random() < 0.7):
        key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
        parts, node = [*parts, str(key)], node[key]
    if chance.random() < 0.2:
        parts.append(chance.choice(("0", "99999999999", "-1", "x", "٣", "", " ", "+")))
    value = chance.choice((str(hostile(chance)), yaml.safe_dump(hostile(chance)), "[1, 2]", "{a: 1}", "&a [*a]", "*a"))
    return f"{'.'.join(parts)}{chance.choice(('=', '=', '=', '+=', ''))}{value}".replace("\0", "")


def _comes_back(folder: Path, overrides: list[str]) -> Callable[[], None]:
    def check() -> None:
        """what `run` writes into a results folder is the experiment, and can be read again"""
        experiment = load_experiment(folder / CONFIG, overrides)
        results = ResultsFolder(folder / "results")
        plan = make_plan(experiment, results)
        results.create()
        write_plan(plan)
        again = make_plan(load_experiment(results.experiment_file), results)
        planned = [cell.trial for cell in results.read_plan().cells]
        assert planned == [found.trial.id for found in again.trials], "the written experiment plans other trials"

    return check
