"""The methods of docs/guides/method.md are files that work as they stand."""

import re
from pathlib import Path

import pytest
import yaml
from helpers import tiny

from benchmark.contract.checks import CHECKS, SETTINGS
from benchmark.contract.small_training import Subject
from benchmark.planning.experiment import Experiment
from methods.shared import registry

GUIDE = (Path(__file__).parents[1] / "docs" / "guides" / "method.md").read_text(encoding="utf-8")
BLOCKS = {
    re.search(r'@register\("(\w+)"\)', block)[1]: block for block in re.findall(r"```python\n(.*?)```", GUIDE, re.S)
}
QUICK = [title for title in CHECKS if "choice" not in title]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("guide")
    for name, block in BLOCKS.items():
        (place / f"{name}.py").write_text(block)
        registry.load_plugin(place / f"{name}.py")
    return place


def test_there_are_two_and_the_longer_one_has_fewer_than_100_lines():
    assert {"pi_model", "memory_match"} == set(BLOCKS)
    assert max(block.count("\n") for block in BLOCKS.values()) < 100


@pytest.mark.slow
@pytest.mark.parametrize("title", [*QUICK, *SETTINGS])
@pytest.mark.parametrize("name", BLOCKS)
def test_each_keeps_the_contract(folder, name, title):
    assert (CHECKS | SETTINGS)[title](Subject(name)) is None


def test_the_longer_one_runs_with_the_settings_beside_it(folder, tmp_path):
    beside = yaml.safe_load(re.search(r"```yaml\n(methods: \[memory_match\].*?)```", GUIDE, re.S)[1])
    values = tiny.merged(
        methods=beside["methods"], plugins=[str(folder / "memory_match.py")], labelled=beside["labelled"],
        training=beside["training"] | {"patch": [16, 16, 16], "iterations": 4},
        data={"train": 5} | {key: value for key, value in beside["data"].items() if key != "source"},
        evaluation={"checkpoints": 2},
    )  # fmt: skip
    experiment = Experiment.model_validate(values)
    trial = next(trial for trial in tiny.trials(experiment) if trial.method == "memory_match")
    results = tiny.new_results(tmp_path / "results")
    assert list(tiny.run(trial, results, experiment))[-1].stage == "done"
