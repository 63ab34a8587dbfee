"""The experiment file: what it says, and the one line a user gets for each thing that is wrong with it."""

from pathlib import Path

import pytest
from helpers import tiny

from benchmark.planning.experiment import ExperimentError
from benchmark.planning.experiment_file import load_experiment

CONFIGS = sorted(p for p in (Path(__file__).parents[1] / "configs").rglob("*.yaml") if p.parent.name != "recipes")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_experiments_of_the_project_are_valid(path):
    assert load_experiment(path).methods


def test_defaults_are_the_published_protocol(tmp_path):
    path = tmp_path / "least.yaml"
    path.write_text("{name: least, data: {source: phantom}, methods: [dtml], labelled: [8]}")
    planned = load_experiment(path)
    training, evaluation = planned.training, planned.evaluation
    assert (training.iterations, training.batch_size, training.patch, training.width) == (6000, 4, (112, 112, 80), 16)
    assert (training.learning_rate, training.momentum, training.weight_decay) == (0.01, 0.9, 1e-4)
    assert training.augmentation == "uamt_exact"
    assert evaluation.stride == (18, 18, 4) and evaluation.empty == "worst"
    assert (planned.draws, planned.seeds, planned.baseline.name) == (["first"], [1337], "vnet")


def test_methods_in_their_short_and_their_long_form(tmp_path):
    path = tiny.write_experiment(
        tmp_path, methods=["vnet", {"name": "dtml", "display": "X", "settings": {"consistency_weight": 2}}]
    )
    short, long = load_experiment(path).methods
    assert (short.name, short.display, short.settings) == ("vnet", None, {})
    assert (long.name, long.display, long.settings) == ("dtml", "X", {"consistency_weight": 2})


def test_overrides_reach_into_blocks_and_lists(tmp_path):
    path = tiny.write_experiment(tmp_path, methods=["vnet", {"name": "dtml"}])
    planned = load_experiment(
        path,
        ["training.iterations=12", "evaluation.stride.2=4", "data.train=6", "labelled=[2, 3]", "title=a=b",
         "methods.1.settings.consistency_weight=0.5", "methods.0=ua_mt", "baseline=null", "training.threads=1"],
    )  # fmt: skip
    assert planned.training.iterations == 12 and planned.training.width == tiny.VALUES["training"]["width"]
    assert planned.evaluation.stride == (16, 16, 4)
    assert planned.data.train == 6 and planned.labelled == [2, 3] and planned.title == "a=b"
    assert [entry.name for entry in planned.methods] == ["ua_mt", "dtml"]
    assert planned.methods[1].settings == {"consistency_weight": 0.5}
    assert planned.baseline is None


def test_an_override_may_make_a_list_longer(tmp_path):
    path = tiny.write_experiment(tmp_path, methods=["vnet"], labelled=[2])
    planned = load_experiment(path, ["methods+=[dtml, {name: ua_mt, display: X}]", "labelled+=[3]"])
    assert [entry.name for entry in planned.methods] == ["vnet", "dtml", "ua_mt"] and planned.labelled == [2, 3]
    for wrong in ("methods+=dtml", "title+=[x]", "baseline+=[x]", "evaluation.stride.0+=[1]", "methods+"):
        with pytest.raises(ExperimentError, match=r"adds a list to a list|write key=value"):
            load_experiment(path, [wrong])


def test_an_override_may_make_a_list_shorter(tmp_path):
    methods = ["vnet", "dtml", {"name": "ua_mt", "display": "X"}, {"name": "dtc"}]
    path = tiny.write_experiment(tmp_path, methods=methods, labelled=[2, 3])
    planned = load_experiment(path, ["methods-=[dtml, X, dtc]", "labelled-=[3]"])
    assert [entry.name for entry in planned.methods] == ["vnet"] and planned.labelled == [2]
    for wrong, said in (
        ("methods-=[ua_mt]", "'ua_mt' is none of vnet, dtml, X, dtc"),
        ("methods-=dtml", "takes entries out of a list"),
        ("title-=[x]", "takes entries out of a list"),
    ):
        with pytest.raises(ExperimentError, match=said):
            load_experiment(path, [wrong])


def test_an_override_may_begin_a_block(tmp_path):
    path = tmp_path / "least.yaml"
    path.write_text("{name: least, data: {source: phantom}, methods: [dtml], labelled: [8]}")
    assert load_experiment(path, ["training.iterations=12"]).training.iterations == 12


def test_plug_ins_are_found_beside_the_experiment(tmp_path, own_registry, monkeypatch):
    (tmp_path / "beside").mkdir()
    tiny.write_plugin(tmp_path / "beside", "found_beside")
    elsewhere = tiny.write_plugin(tmp_path, "given_by_option")
    path = tiny.write_experiment(tmp_path, methods=["found_beside"], plugins=["beside/found_beside.py"])
    monkeypatch.chdir("/")
    planned = load_experiment(path, [], [str(elsewhere)])
    # absolute, so that workers in other folders find them
    assert planned.plugins == [str((tmp_path / "beside" / "found_beside.py").resolve()), str(elsewhere.resolve())]
