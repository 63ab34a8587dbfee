"""The experiment file: what it says, and the one line a user gets for each thing that is wrong with it."""

from pathlib import Path

import pytest
import tiny
import yaml

from benchmark.experiment import ExperimentError, load_experiment
from benchmark.plan import make_plan
from benchmark.records import Results
from methods.registry import MethodError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))


def error_of(call, *arguments, kind=ExperimentError):
    with pytest.raises(kind) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def error_in(folder, **changes):
    path = tiny.write_experiment(folder, **changes)
    message = error_of(load_experiment, path)
    assert message.startswith(f"{path}: "), "the message should name the file"
    return message


def error_of_plan(folder, kind=ExperimentError, **changes):
    planned = load_experiment(tiny.write_experiment(folder, **changes))
    return error_of(make_plan, planned, Results(folder / "results"), kind=kind)


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


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metods": ["dtml"]}, "unknown key 'metods', did you mean 'methods'?"),
        ({"training": {"iteration": 5}}, "unknown key 'training.iteration', did you mean 'iterations'?"),
        ({"evaluation": {"strides": [1, 1, 1]}}, "unknown key 'evaluation.strides', did you mean 'stride'?"),
        ({"data": {"trian": 5}}, "unknown key 'data.trian', did you mean 'train'?"),
        ({"methods": [{"name": "dtml", "setings": {}}]}, "unknown key 'methods.0.setings', did you mean 'settings'?"),
        ({"methods": [{"display": "X"}]}, "key 'methods.0.name' is missing"),
        ({"training": {"iterations": "many"}}, "key 'training.iterations': input should be a valid integer"),
        ({"training": {"iterations": 0}}, "key 'training.iterations': input should be greater than 0, got 0"),
        ({"training": {"learning_rate": float("nan")}}, "key 'training.learning_rate'"),
        ({"training": {"batch_size": 1}}, "key 'training.batch_size'"),
        ({"training": {"precision": "fp16"}}, "key 'training.precision': input should be 'bf16' or 'fp32', got 'fp16'"),
        ({"training": {"patch": [16, 16]}}, "key 'training.patch.2' is missing"),
        ({"training": {"patch": [16, 16, 8]}}, "key 'training.patch': each side must lie between 16"),
        ({"training": {"patch": [16, 1000, 16]}}, "key 'training.patch': each side must lie between 16"),
        ({"training": {"augmentation": "flip"}}, "key 'training.augmentation': must be one of uamt_exact, d4"),
        ({"evaluation": {"empty": "zero"}}, "key 'evaluation.empty': input should be 'worst' or 'exclude', got 'zero'"),
        ({"labelled": 2}, "key 'labelled': input should be a valid list, got 2"),
        ({"labelled": []}, "key 'labelled'"),
        ({"labelled": [0]}, "key 'labelled.0': input should be greater than 0"),
        ({"methods": []}, "key 'methods'"),
        ({"seeds": ["a"]}, "key 'seeds.0': input should be a valid integer"),
        ({"name": "no/folder"}, "key 'name'"),
        ({"data": {"source": "fantom"}}, "key 'data.source': unknown 'fantom', did you mean 'phantom'?"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_key_or_value_is_named_in_one_line(tmp_path, changes, expected):
    assert expected in error_in(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"draws": ["fist"]}, "'draws.0'"), ({"execution": {"gpus_per_trial": "x"}}, "'execution.gpus_per_trial'")],
)
def test_a_wrong_value_of_several_possible_types_is_named_by_its_key(tmp_path, changes, key):
    assert f"key {key}" in error_in(tmp_path, **changes)


def test_a_stride_beyond_the_patch_is_refused(tmp_path):
    message = error_in(tmp_path, evaluation={"stride": [16, 17, 16]})
    assert "evaluation.stride [16, 17, 16] is larger than training.patch [16, 16, 16]" in message


def test_a_missing_key(tmp_path):
    values = {key: value for key, value in tiny.VALUES.items() if key != "labelled"}
    path = tmp_path / "file.yaml"
    path.write_text(yaml.safe_dump(values))
    assert error_of(load_experiment, path) == f"{path}: key 'labelled' is missing"


def test_a_key_that_is_no_text(tmp_path):
    path = tiny.write_experiment(tmp_path)
    path.write_text(path.read_text() + "on: 2\n")  # YAML 1.1 reads `on` as true
    message = error_of(load_experiment, path)
    assert str(path) in message and "key True must be text" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: [1, 2\nb: c: d\n", "is not valid YAML"),
        (b"a: \x00", "is not valid YAML"),
        (b"\xff\xfe\xfa", "cannot be read"),
        (b"- vnet\n- dtml\n", "must be a mapping"),
        (b"just text", "must be a mapping"),
        (b"", "must be a mapping"),
        (b"1: 2\n", "is missing"),
    ],
    ids=["not yaml", "control character", "not utf-8", "list", "text", "empty", "number as key"],
)
def test_a_file_that_is_no_experiment(tmp_path, content, expected):
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    message = error_of(load_experiment, path)
    assert str(path) in message and expected in message


def test_a_file_that_is_not_there_or_no_file(tmp_path):
    missing = tmp_path / "missing.yaml"
    assert error_of(load_experiment, missing) == f"experiment file {missing} does not exist"
    assert f"experiment file {tmp_path} cannot be read" in error_of(load_experiment, tmp_path)


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


def test_an_override_may_begin_a_block(tmp_path):
    path = tmp_path / "least.yaml"
    path.write_text("{name: least, data: {source: phantom}, methods: [dtml], labelled: [8]}")
    assert load_experiment(path, ["training.iterations=12"]).training.iterations == 12


@pytest.mark.parametrize("override", ["training.iterations", "=5", "", "training.iterations 5"])
def test_an_override_without_key_and_value(tmp_path, override):
    message = error_of(load_experiment, tiny.write_experiment(tmp_path), [override])
    assert message == f"--set {override!r}: write key=value, for instance --set training.iterations=1000"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("labelled=[1", "the value is not valid YAML"),
        ("labelled.7=3", "labelled is neither a mapping nor long enough a list"),
        ("labelled.x=3", "labelled is neither a mapping nor long enough a list"),
        ("methods.0.settings.x=3", "there is no 'settings' to set something in"),  # dtml stands there in short form
        ("name.first.second=3", "there is no 'first' to set something in"),
    ],
)
def test_an_override_that_leads_nowhere(tmp_path, override, expected):
    message = error_of(load_experiment, tiny.write_experiment(tmp_path), [override])
    assert message == f"--set {override!r}: {expected}"


def test_an_override_is_checked_as_the_file_is(tmp_path):
    path = tiny.write_experiment(tmp_path)
    message = error_of(load_experiment, path, ["training.itertions=5"])
    assert message == f"{path}: unknown key 'training.itertions', did you mean 'iterations'?"


def test_an_unknown_method(tmp_path):
    message = error_of_plan(tmp_path, MethodError, methods=["ua_tm"])
    assert "unknown method 'ua_tm', did you mean 'ua_mt'?" in message
    assert "unknown method 'vent'" in error_of_plan(tmp_path, MethodError, baseline="vent")


def test_an_unknown_or_wrong_setting(tmp_path):
    entry = {"name": "dtml", "settings": {"consistency_wieght": 1}}
    message = error_of_plan(tmp_path, MethodError, methods=[entry])
    assert message == (
        "settings of method 'dtml': unknown key 'consistency_wieght', did you mean 'consistency_weight'?"
    )
    message = error_of_plan(tmp_path, MethodError, methods=["dtml", {"name": "ua_mt", "settings": {"ema_decay": 1.5}}])
    assert message == "settings of method 'ua_mt': key 'ema_decay': input should be less than 1, got 1.5"


def test_more_labelled_cases_than_there_are(tmp_path):
    assert error_of_plan(tmp_path, labelled=[2, 5]) == "labelled: 5 is more than the 4 training cases of Phantom"


def test_a_patch_far_larger_than_all_cases(tmp_path):
    message = error_of_plan(tmp_path, training={"patch": [16, 16, 48]})
    assert message.startswith("training.patch [16, 16, 48] is more than twice as large as any case of Phantom")


def test_two_methods_with_one_display_name(tmp_path):
    variants = [{"name": "dtml", "settings": {"consistency_weight": w}} for w in (0.5, 1.5)]
    assert "two methods are displayed as 'DTML'" in error_of_plan(tmp_path, methods=variants)
    both = [{"name": name, "display": "Mine"} for name in ("dtml", "ua_mt")]
    assert "two methods are displayed as 'Mine'" in error_of_plan(tmp_path, methods=both)


def test_an_unknown_reference(tmp_path):
    message = error_of_plan(tmp_path, reference="dtml")
    assert message == "reference 'dtml' is not the display name of a planned method: V-Net, DTML"


def test_plug_ins_are_found_beside_the_experiment(tmp_path, own_registry, monkeypatch):
    (tmp_path / "beside").mkdir()
    tiny.write_plugin(tmp_path / "beside", "found_beside")
    elsewhere = tiny.write_plugin(tmp_path, "given_by_option")
    path = tiny.write_experiment(tmp_path, methods=["found_beside"], plugins=["beside/found_beside.py"])
    monkeypatch.chdir("/")
    planned = load_experiment(path, [], [str(elsewhere)])
    # absolute, so that workers in other folders find them
    assert planned.plugins == [str((tmp_path / "beside" / "found_beside.py").resolve()), str(elsewhere.resolve())]


def test_a_plug_in_that_is_not_there(tmp_path):
    path = tiny.write_experiment(tmp_path, plugins=["missing.py"])
    message = error_of(load_experiment, path, kind=MethodError)
    assert message == f"plug-in {(tmp_path / 'missing.py').resolve()} does not exist"
