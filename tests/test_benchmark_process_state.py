"""What a method does to its process: it is named, its process is given up, and the next trial is what it would be."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from helpers import tiny
from test_benchmark_trial import assert_same, outcome

from benchmark.records.protocol import Training
from benchmark.trial.process_state import ProcessState, configure_torch
from benchmark.trial.run import run_trial
from benchmark.trial.setup import needed_plugins
from methods.shared import registry

LAST = tiny.VALUES["training"]["iterations"] - 1
PATH = f"sys.path.insert(0, {str(Path(__file__).parent / 'nowhere')!r})"
HOOK = "torch.nn.modules.module.register_module_forward_hook(lambda *a: None)"

# What a training step does; how it is undone; what is said of it. The first ones are set again when a trial starts.
SET_AGAIN = {
    "mkldnn": ("torch.backends.mkldnn.enabled = False", "torch.backends.mkldnn.enabled"),
    "default dtype": ("torch.set_default_dtype(torch.float64)", "torch.get_default_dtype()"),
    "default device": ("torch.set_default_device('meta')", "torch.get_default_device()"),
    "threads": ("torch.set_num_threads(3)", "torch.get_num_threads()"),
    "deterministic": ("torch.use_deterministic_algorithms(True)", "torch.get_deterministic_debug_mode()"),
    "cudnn": ("torch.backends.cudnn.benchmark = False", "torch.backends.cudnn.benchmark"),
    "TF32 of cuDNN": ("torch.backends.cudnn.allow_tf32 = True", "torch.backends.cudnn.allow_tf32"),
    "matmul precision": ("torch.set_float32_matmul_precision('medium')", "torch.get_float32_matmul_precision()"),
    "autocast": ("torch.set_autocast_enabled('cpu', True)", "torch.is_autocast_enabled('cpu')"),
    "anomaly mode": ("torch.autograd.set_detect_anomaly(True)", "torch.is_anomaly_enabled()"),
    "denormals": ("torch.set_flush_denormal(True)", "flushing of denormal numbers"),
    "numpy's errors": ("np.seterr(all='raise')", "numpy.geterr()"),
}
KEPT = {
    "a variable": ("os.environ['OMP_NUM_THREADS'] = '7'", "", "environment variable OMP_NUM_THREADS was changed"),
    "working directory": ("os.chdir('/')", f"os.chdir({os.getcwd()!r})", "the working directory was '"),
    "sys.path": (PATH, "sys.path.pop(0)", "sys.path was ["),
    "numpy's printing": (
        "np.set_printoptions(precision=2)", "np.set_printoptions(precision=8)", "numpy.get_printoptions() was {"
    ),
    "warnings": ("warnings.simplefilter('error')", "warnings.filters.pop(0)", "warnings that are errors was 0, is 1"),
    "garbage": ("gc.disable()", "gc.enable()", "garbage collection was True, is False"),
    "sharing": (
        "torch.multiprocessing.set_sharing_strategy('file_system')",
        "torch.multiprocessing.set_sharing_strategy('file_descriptor')", "get_sharing_strategy() was 'file_desc",
    ),
    "a function of torch": (
        "F.relu6 = F.relu", "F.relu6 = ORIGINAL['relu6']", "torch.nn.functional.relu6 was replaced"
    ),
    "a function of numpy": ("np.sort = np.flip", "np.sort = ORIGINAL['sort']", "numpy.sort was replaced"),
    "a built-in function": ("import builtins; builtins.divmod = max", "import builtins; builtins.divmod = "
                            "ORIGINAL['divmod']", "builtins.divmod was replaced"),
    "a method of torch": ("torch.nn.Conv3d.extra_repr = lambda self: ''", "del torch.nn.Conv3d.extra_repr",
                          "torch.nn.modules.conv.Conv3d.extra_repr was added"),
    "an operator": ("torch.Tensor.__xor__ = lambda a, b: a", "del torch.Tensor.__xor__",
                    "torch.Tensor.__xor__ was added"),
    "hooks": (HOOK, "torch.nn.modules.module._global_forward_hooks.clear()", "_global_forward_hooks was changed"),
    "a shared loss": ("import methods.shared.losses as m; m.dice_loss = m.one_hot", "import methods.shared.losses as m;"
                      " m.dice_loss = ORIGINAL['dice']", "methods.shared.losses.dice_loss was replaced"),
    "a shared constant": ("import methods.shared.networks.vnet as m; m.DROPOUT = 0.25", "import methods.shared.networks"
                          ".vnet as m; m.DROPOUT = 0.5", "methods.shared.networks.vnet.DROPOUT was replaced"),
    "a shared table": ("import benchmark.trial.training as m; m.AMP_DTYPES['fp64'] = 1", "import benchmark.trial."
                       "training as m; del m.AMP_DTYPES['fp64']", "benchmark.trial.training.AMP_DTYPES was changed"),
}  # fmt: skip
IMPORTS = "import os, sys, gc, warnings, numpy as np, torch; import torch.nn.functional as F; "


@pytest.fixture
def undo(monkeypatch):
    """What a test leaves of torch is as it was; `undo(code)` undoes the rest."""
    from methods.shared import losses

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    originals = {"relu6": torch.nn.functional.relu6, "sort": np.sort, "dice": losses.dice_loss, "divmod": divmod}
    todo = []
    yield todo.append
    for code in todo:
        exec(IMPORTS + code, {"ORIGINAL": originals})  # noqa: S102
    configure_torch(Training(threads=threads))


def changing(folder, code):
    """The trial of a method that runs `code` in its last step, and its experiment."""
    path = tiny.write_plugin(folder, "changing", in_step=f"if step == {LAST}: exec({IMPORTS + code!r})")
    registry.load_plugin(path)
    return tiny.one_trial("changing", plugins=[str(path)], baseline=None)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The supervised V-Net, and what it ends with in a process that nobody changed."""
    trial, planned = tiny.one_trial("vnet")
    results = tiny.new_results(tmp_path_factory.mktemp("undisturbed"))
    assert tiny.run(trial, results, planned)[-1].process_changed is False
    assert "process_changed" not in json.loads((results.record(trial.id) / "provenance.json").read_text())
    return trial, planned, outcome(results, trial)


@pytest.mark.slow
@pytest.mark.parametrize(("code", "said"), SET_AGAIN.values(), ids=SET_AGAIN.keys())
def test_a_trial_is_the_same_after_one_that_changed_a_setting(own_registry, undisturbed, undo, tmp_path, code, said):
    trial, planned = changing(tmp_path, code)
    last = tiny.run(trial, tiny.new_results(tmp_path / "results"), planned)[-1]
    assert last.process_changed and len(last.notes) == 1
    assert said in last.notes[0] and last.notes[0].startswith("changing changed its process: ")
    trial, planned, expected = undisturbed
    results = tiny.new_results(tmp_path / "after")
    assert tiny.run(trial, results, planned)[-1].process_changed is False
    assert_same(outcome(results, trial), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("code", "undoing", "said"), KEPT.values(), ids=KEPT.keys())
def test_a_change_is_named_and_the_process_given_up(own_registry, undo, tmp_path, code, undoing, said):
    trial, planned = changing(tmp_path, code)
    results = tiny.new_results(tmp_path / "results")
    undo(undoing)
    last = tiny.run(trial, results, planned)[-1]
    assert last.stage == "done" and last.process_changed
    assert said in last.notes[0] and last.notes[0].endswith("; the process runs no further trial")
    changes = json.loads((results.record(trial.id) / "provenance.json").read_text())["process_changed"]
    assert any(said in change for change in changes)  # modules that import a shared table name it too


def test_a_change_of_a_trial_that_fails_is_noticed_too(own_registry, undo, tmp_path):
    trial, planned = changing(tmp_path, "torch.set_num_threads(3); raise ValueError('no')")
    last = tiny.run(trial, tiny.new_results(tmp_path / "results"), planned)[-1]
    assert last.stage == "failed" and last.process_changed and "torch.get_num_threads()" in last.notes[0]


def test_the_value_of_a_variable_may_be_a_secret(own_registry, undo, tmp_path):
    trial, planned = changing(tmp_path, "os.environ['OMP_NUM_THREADS'] = 'secret'")
    last = tiny.run(trial, tiny.new_results(tmp_path / "results"), planned)[-1]
    assert "secret" not in last.model_dump_json()


def test_many_changes_are_one_line(own_registry, undo, tmp_path):
    code = "; ".join(code for code, _ in list(SET_AGAIN.values())[:6] if "meta" not in code)
    trial, planned = changing(tmp_path, code)
    [note] = tiny.run(trial, tiny.new_results(tmp_path / "results"), planned)[-1].notes
    assert note.count(" was ") == 3 and " and 3 more; the process" in note


def test_generators_outside_the_loop_start_from_the_trials_seed():
    found = []
    for _ in range(2):
        random.seed(), np.random.seed(), torch.seed()
        ProcessState(Training(threads=1), seed=7)
        found.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert found[0] == found[1]
    ProcessState(Training(threads=1), seed=8)
    assert random.random() != found[0][0]


def test_what_a_plug_in_does_as_it_is_imported_touches_no_other_method(own_registry, undo, tmp_path):
    (tmp_path / "harmless").mkdir()
    plugin, other = tiny.write_plugin(tmp_path, "importing"), tiny.write_plugin(tmp_path / "harmless", "harmless")
    paths = [str(plugin), str(other)]
    for path in paths:
        registry.load_plugin(path)
    found = {}
    for name in ("vnet", "importing", "harmless"):
        trial, _ = tiny.one_trial(name, plugins=paths, baseline=None)
        found[name] = needed_plugins(trial)
    assert found == {"vnet": [], "importing": [str(plugin)], "harmless": [str(other)]}


def test_what_a_plug_in_sets_as_it_is_imported_is_set_again(own_registry, undo, tmp_path):
    path = tiny.write_plugin(tmp_path, "importing")
    registry.load_plugin(path)
    clean, planned = tiny.one_trial("importing", plugins=[str(path)], baseline=None)
    tiny.run(clean, tiny.new_results(tmp_path / "clean"), planned)
    expected = outcome(tiny.new_results(tmp_path / "clean"), clean)
    path.write_text("import torch\ntorch.set_default_dtype(torch.float64)\n" + path.read_text())
    registry.load_plugin(path)
    trial, planned = tiny.one_trial("importing", plugins=[str(path)], baseline=None)
    results = tiny.new_results(tmp_path / "results")
    assert tiny.run(trial, results, planned)[-1].stage == "done"
    assert_same(outcome(results, trial), expected)


BUILT_IN = """
import sys
sys.path.insert(0, "tests")
from helpers import tiny
from methods.shared import registry
from pathlib import Path
for name in registry.names():
    for more in ({}, {"precision": "bf16"}):
        training = {"patch": tiny.LARGE, "iterations": 2} | more
        trial, planned = tiny.one_trial(name, training=training, execution={"data_workers": 1, "profile_steps": 1})
        last = tiny.run(trial, tiny.new_results(Path(sys.argv[1]) / f"{name}{len(more)}"), planned)[-1]
        print(name, last.stage, last.notes)
"""


@pytest.mark.slow
def test_no_built_in_method_changes_its_process(tmp_path):
    """In a process of its own, in which nothing was imported before that a trial would import."""
    done = subprocess.run(
        [sys.executable, "-c", BUILT_IN, tmp_path], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} done []" for name in registry.names() for _ in range(2)]


COMPILED = """
import sys
sys.path.insert(0, "tests")
from pathlib import Path
import torch
from helpers import tiny

def compiled(module, mode):  # captured as for any backend, then run as it is: there may be no C++ compiler
    module._compiled_call_impl = torch.compile(module._call_impl, backend="aot_eager")

torch.nn.Module.compile = compiled
trial, planned = tiny.one_trial("vnet", training={"compile": "default", "iterations": 2})
last = tiny.run(trial, tiny.new_results(Path(sys.argv[1])), planned)[-1]
print(last.stage, last.notes)
"""


@pytest.mark.slow
def test_what_torch_replaces_as_it_compiles_is_no_change(tmp_path):
    command = [sys.executable, "-c", COMPILED, tmp_path]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.stdout == "done []\n", done.stderr


def test_a_process_that_was_changed_gets_no_further_trial(own_registry, tmp_path):
    from benchmark.cluster import scheduler

    trial, planned = tiny.one_trial("vnet")
    run = Mock(at={})
    for changed in (False, True):
        progress = next(iter(run_trial(trial, tiny.new_results(tmp_path / str(changed)), planned.execution)))
        progress = progress.model_copy(update={"stage": "done", "process_changed": changed})
        ended = type("Ended", (), {"placement_group_factory": "as asked for"})()
        scheduler._Run.on_trial_result(run, 1, [], ended, {"progress": progress.model_dump(), "node": "a"})
        assert (ended.placement_group_factory == "as asked for") is not changed


@pytest.mark.ray
def test_a_changed_process_runs_no_further_trial(tmp_path):
    ran = tmp_path / "ran.txt"  # one line a trial: its method and its process
    note = f"open({str(ran)!r}, 'a').write(f'{{type(self).__module__}} {{__import__(\"os\").getpid()}}\\n')"
    for name, change in (("tidy", "pass"), ("changing", "torch.set_num_threads(3)")):
        tiny.write_plugin(tmp_path, name, in_step=f"import torch; {change}; step or {note}")
    entries = [{"name": name, "display": name} for name in ("changing", "tidy")]
    plugins = ["changing.py", "tidy.py"]
    path = tiny.write_experiment(tmp_path, methods=entries, plugins=plugins, baseline=None, seeds=[1, 2, 3])
    command = [sys.executable, Path(__file__).parents[1] / "run_benchmark.py", "run", path, "--results", "results"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("changing changed its process: torch.get_num_threads() was 1, is 3") == 3
    trials = [line.split() for line in ran.read_text().splitlines()]
    assert len(trials) == 6
    for number, (method, process) in enumerate(trials):
        if "changing" in method:
            assert process not in [later for _, later in trials[number + 1 :]]
    records = [json.loads(path.read_text()) for path in (tmp_path / "results/records").glob("*/provenance.json")]
    assert sum("process_changed" in facts for facts in records) == 3
