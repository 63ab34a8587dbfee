"""Every experiment that is shipped can be planned."""

import json
import tarfile
from pathlib import Path

import pytest

from benchmark.planning.experiment_file import load_experiment
from data.splits import ListFiles, read_lists, split_hash
from methods.shared import registry

CONFIGS = sorted(p for p in (Path(__file__).parents[1] / "configs").rglob("*.yaml") if p.parent.name != "recipes")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_methods_settings_and_reference_exist(path):
    experiment = load_experiment(path)
    displays = set()
    for entry in [*experiment.methods, experiment.baseline]:
        registry.settings_of(entry.name, entry.settings)
        displays.add(entry.display or registry.get(entry.name).info.title)
    assert len(displays) >= len(experiment.methods)  # no two rows of one name
    assert experiment.reference in displays


@pytest.mark.parametrize("table", ["table1", "table2", "table3", "label_sweep"])
def test_the_papers_tables_follow_the_published_protocol(table):
    experiment = load_experiment(next(p for p in CONFIGS if (p.parent.name, p.stem) == ("la", table)))
    training, evaluation = experiment.training, experiment.evaluation
    assert (training.iterations, training.patch, training.width) == (6000, (112, 112, 80), 16)
    assert (training.batch_size, training.learning_rate, training.augmentation) == (4, 0.01, "uamt_exact")
    assert (training.precision, evaluation.stride, experiment.data.split) == ("fp32", (18, 18, 4), "official")


def test_half_resolution_has_the_same_cells():
    for table in ("table1", "table2", "table3", "label_sweep"):
        full, half = (load_experiment(p) for p in CONFIGS if p.stem == table and p.parent.name.startswith("la"))
        assert (full.methods, full.labelled, full.seeds) == (half.methods, half.labelled, half.seeds)
        assert half.data.spacing == 1.25 and full.data.spacing is None


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("all_methods", set()),
        ("every_method_4", set()),
        ("demo", {"caml", "cross_match", "dual_fete", "mcf", "ss_net"}),
    ],
)
def test_every_method_is_in(name, without):
    (path,) = [p for p in CONFIGS if p.stem == name]
    assert {entry.name for entry in load_experiment(path).methods} == set(registry.names()) - without


def test_the_shipped_lists_are_those_of_the_study():
    archive = "la_half_dev"
    folder = Path(__file__).parents[1]
    with tarfile.open(folder / f"docs/results/{archive}.tar.xz") as files:
        plan = json.load(files.extractfile(f"{archive}/plan.json"))
    lists = read_lists(folder / "configs/la_half", ListFiles(train="train.list", test="test.list"), "/mri_norm2.h5")
    assert split_hash(*lists) == plan["data"]["split_hash"] and tuple(map(len, lists)) == (28, 12)
