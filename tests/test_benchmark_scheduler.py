"""Ray: how much a trial asks for, and two runs through the command line, one whole and one interrupted."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import yaml
from helpers import tiny

from benchmark.command_line import app
from benchmark.planning.experiment import Execution, ExperimentError
from benchmark.planning.experiment_file import load_experiment

ENTRY = Path(__file__).parents[1] / "run_benchmark.py"


@pytest.fixture(scope="module")
def scheduler():
    from benchmark.cluster import scheduler  # imports ray, which takes seconds

    return scheduler


def states(folder):
    return {path.parent.name: yaml.safe_load(path.read_text())["state"] for path in folder.glob("records/*/trial.yaml")}


@pytest.fixture(scope="module")
def resources(scheduler):
    from benchmark.cluster import resources

    return resources


@pytest.mark.parametrize(
    ("asked", "share"),
    [(0.01, 0.125), (0.125, 0.125), (0.126, 0.25), (0.2, 0.25), (0.3, 0.375), (0.5, 0.5), (0.9, 1), (1, 1), (2, 2)],
)
def test_shares_of_a_gpu_are_rounded_up_to_eighths(resources, asked, share):
    assert resources.gpu_share(Execution(gpus_per_trial=asked), 4) == share


def test_without_a_gpu_none_is_asked_for(resources):
    assert resources.gpu_share(Execution(), 0) == 0
    assert resources.gpu_share(Execution(device="cpu", gpus_per_trial=0.5), 2) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Traceback:\n  File x\nValueError: odd\n", "RuntimeError: ValueError: odd"),
        ("ray::Actor died\nNoneType: None\n", "RuntimeError: ray::Actor died"),
        ("", "RuntimeError"),
    ],
)
def test_the_reason_of_a_lost_trial_is_what_its_error_says(scheduler, text, said):
    assert scheduler.last_line(RuntimeError(text)) == said


@pytest.mark.parametrize(
    ("needed", "there", "share"),
    [(1, 80, 0.125), (10, 80, 0.25), (9, 80, 0.125), (33, 80, 0.5), (79, 80, 1), (90, 80, 1), (0, 0, 1)],
)
def test_a_measured_share_has_a_tenth_to_spare_and_is_at_most_the_whole(resources, needed, there, share):
    assert resources.share_for(needed, there) == share


@pytest.mark.parametrize(
    ("threads", "execution", "message"),
    [
        (3, {}, "training.threads: a trial asks for 3 CPUs, but the largest machine here has 2; lower it"),
        (1, {"device": "auto", "gpus_per_trial": 0.5}, "execution.gpus_per_trial: a trial asks for 0.5 GPUs, but"),
        (1, {"memory_gib": 9}, "execution.memory_gib: a trial asks for 9 GiB of memory, but the largest machine here"),
        (2, {"memory_gib": 7}, "no machine has the CPUs, GPUs and memory of one trial together"),
        (1, {"device": "cuda", "gpus_per_trial": "auto"}, "execution.device is cuda, but there is no GPU"),
    ],
)
def test_a_machine_that_can_never_hold_a_trial_is_one_clear_line(
    scheduler, monkeypatch, tmp_path, threads, execution, message
):
    from benchmark.cluster import connection

    nodes = [{"Alive": True, "Resources": resources} for resources in ({"CPU": 2.0}, {"CPU": 1.0, "memory": 8 * 2**30})]
    monkeypatch.setattr(connection, "_start", lambda *arguments: None)
    monkeypatch.setattr(connection, "_watch", lambda *arguments: None)
    monkeypatch.setattr(scheduler.ray, "cluster_resources", dict)
    monkeypatch.setattr(scheduler.ray, "nodes", lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 99.0}}])
    trial, planned = tiny.one_trial("vnet", training={"threads": threads}, execution=execution)
    with pytest.raises(ExperimentError) as caught:
        scheduler.run_trials([trial], tiny.new_results(tmp_path), planned.execution, print)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def start(folder, path, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, ENTRY, "run", path, "--results", folder, *arguments],
        cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, **options,
    )  # fmt: skip


@pytest.mark.ray
def test_a_whole_run(tmp_path, monkeypatch, capsys, own_registry, no_ray):
    tiny.write_plugin(tmp_path, "outside")
    tiny.write_plugin(tmp_path, "broken", in_step="raise ValueError('broken')")
    folder = tmp_path / "results"
    budgets = {"labelled": [2, 3], "plugins": ["outside.py"]}
    process = start(folder, tiny.write_experiment(tmp_path, methods=["dtml", "outside"], **budgets))
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert "7 cells: 7 not run; 7 to run" in out
    before = states(folder)
    # two methods and the floor at two budgets, and the ceiling
    assert Counter(trial.split("-")[0] for trial in before) == {"dtml": 2, "outside": 2, "vnet": 3}
    assert set(before.values()) == {"done"}
    for trial in before:
        files = {path.name for path in (folder / "records" / trial).iterdir()}
        assert {"trial.yaml", "cases.csv", "history.csv", "provenance.json", "weights.pt", "predictions"} <= files
    assert any((folder / "report").iterdir())
    assert {path.stem for path in (folder / "cases").iterdir()} == {"test-000"}
    assert not [path for path in (folder / "running").iterdir() if path.is_dir()]

    # From here in this process and without Ray: what another run finds to do.
    def again(**changes):
        monkeypatch.setattr(sys, "argv", ["", "run", str(tiny.write_experiment(tmp_path, **budgets | changes)),
                                          "--results", str(folder)])  # fmt: skip
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            app.main()
        return stop.value.code or 0, capsys.readouterr().out

    written = {path: path.stat().st_mtime_ns for path in folder.glob("records/*/*")}
    status, out = again(methods=["dtml", "outside"])
    assert status == 0 and "7 cells: 7 done; 0 to run" in out
    status, out = again(methods=["vnet_sdm", "dtml", "outside"])
    assert status == 0 and "9 cells: 2 not run, 7 done; 2 to run" in out.replace(
        "7 done, 2 not run", "2 not run, 7 done"
    )
    assert set(states(folder).values()) == {"done"} and len(states(folder)) == 9
    assert {path: path.stat().st_mtime_ns for path in written} == written, "what was done is left as it was"


@pytest.mark.ray
def test_trials_start_as_listed_also_if_some_are_done(tmp_path):
    folder = tmp_path / "results"
    given = {"baseline": None, "training": {"threads": os.cpu_count()}, "execution": {"order": "as_listed"}}
    tiny.finish(load_experiment(tiny.write_experiment(tmp_path, methods=["vnet"], seeds=[5], **given)), folder)
    path = tiny.write_experiment(tmp_path, methods=["vnet", "vnet_sdm"], seeds=[5, 4, 3, 2], **given)
    out, _ = start(folder, path).communicate(timeout=300)
    assert len(states(folder)) == 8 and set(states(folder).values()) == {"done"}, out
    started = {}
    for file in folder.glob("records/*/provenance.json"):
        method, _, seed, _ = file.parent.name.split("-")
        started[method, int(seed[1:])] = json.loads(file.read_text())["started"]
    listed = [(method, seed) for seed in (5, 4, 3, 2) for method in ("vnet", "vnet_sdm")]
    assert [started[trial] for trial in listed] == sorted(started.values())


@pytest.mark.ray
def test_an_interrupted_run_saves_its_checkpoints(tmp_path):
    folder = tmp_path / "results"
    path = tiny.write_experiment(tmp_path, methods=["vnet_sdm"], baseline=None, training={"iterations": 10**6})
    process = start(folder, path)
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "training, step" in line:
                os.killpg(process.pid, signal.SIGINT)  # as the terminal does at Ctrl-C
                break
        out, _ = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 1, "".join(lines) + out
    assert "Run the same command again to go on" in out and "Traceback" not in out
    assert list(folder.glob("running/*/checkpoint-*.pt")) and states(folder) == {}


@pytest.mark.ray
def test_a_plug_in_and_its_helper_run_from_their_own_folder(tmp_path):
    plugin = tiny.write_plugin(tmp_path, "mine", in_step="from my_helper import FACTOR; total = FACTOR * total")
    (tmp_path / "my_helper.py").write_text("FACTOR = 2.0")
    path = tiny.write_experiment(tmp_path, methods=["mine"], baseline=None)
    process = start(tmp_path / "results", path, "--plugin", plugin.name)
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out
    assert set(states(tmp_path / "results").values()) == {"done"}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "--address nonsense: write auto, or HOST:PORT of a Ray cluster's head"),
        ("127.0.0.1:1", "--address 127.0.0.1:1: no Ray cluster answers there; start one with `ray start --head`"),
        ("127.0.0.1:99999", "--address 127.0.0.1:99999: no Ray cluster answers there"),
    ],
)
def test_an_address_where_nothing_answers_is_one_clear_line(scheduler, tmp_path, address, message):
    trial, planned = tiny.one_trial("vnet")
    with pytest.raises(ExperimentError) as caught:
        scheduler.run_trials([trial], tiny.new_results(tmp_path), planned.execution, print, address)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def ended(folder, error, text="Failure # 1\nTraceback …\nValueError: from the text"):
    """What Tune hands over of a trial that ended with an error: a file with the error, and one with its text."""
    from ray import cloudpickle

    (folder / "error.pkl").write_bytes(b"damaged" if error is None else cloudpickle.dumps(error))
    (folder / "error.txt").write_text(text)
    return SimpleNamespace(
        config={"trial": "t"}, pickled_error_file=str(folder / "error.pkl"), error_file=str(folder / "error.txt")
    )


def test_the_reason_of_an_error_is_read_where_tune_first_writes_it(scheduler, tmp_path):
    from ray.exceptions import RayTaskError

    wrapped = RayTaskError("train", "Traceback …\nImportError: broken", ImportError("broken"))
    for error in (ImportError("broken"), wrapped.as_instanceof_cause()):
        found = scheduler.error_of(ended(tmp_path, error))
        assert isinstance(found, ImportError) and scheduler.last_line(found) == "ImportError: broken"
    found = scheduler.error_of(ended(tmp_path, None))
    assert scheduler.last_line(found) == "RuntimeError: ValueError: from the text"
    nothing = SimpleNamespace(pickled_error_file=None, error_file=str(tmp_path / "gone"))
    assert "Ray kept no error message" in scheduler.last_line(scheduler.error_of(nothing))


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (
            "The actor died.\nWorker exit type: SYSTEM_ERROR Worker exit detail: End of file.",
            "Ray reports SYSTEM_ERROR",
        ),
        ("DataLoader worker (pid 7) is killed by signal: Killed.", "worker (pid 7) is killed by signal: Killed."),
    ],
)
def test_a_process_that_dies_again_and_again_says_what_is_known(scheduler, tmp_path, error, known):
    [trial] = tiny.trials(tiny.experiment(baseline=None))
    said = scheduler.death_reason(RuntimeError(error), 4, tmp_path / "ray.log", trial)
    assert f"{known}" in said and f"log: {tmp_path / 'ray.log'}" in said and "died 4 times" in said
    assert "os._exit" in said and "raise execution.memory_gib" in said and "\n" not in said


@pytest.mark.parametrize(("nodes", "tries"), [(1, 1), (2, 2), (5, 3)])
def test_an_exception_that_no_record_tells_of_is_tried_on_other_nodes_and_then_the_trials(
    scheduler, tmp_path, nodes, tries
):
    queue = scheduler.TrialQueue(step_of=lambda trial: 0, say=lambda line: None)
    queue.see_nodes({f"n{number}": f"n{number}" for number in range(nodes)})
    queue.add(["t"])
    run = Mock(queue=queue, at={}, probes={}, is_shared=True)
    for number in range(tries):
        assert queue.take() == "t" and not run._write_failure.called
        run.at["t"] = f"n{number}"
        scheduler._Run.on_trial_error(run, 1, [], ended(tmp_path, ImportError("vnet.py is damaged on this node")))
    assert queue.take() is None and queue.is_done
    run._write_failure.assert_called_once()


def test_a_process_that_dies_before_it_trains_is_tried_again_as_any_that_dies(scheduler, tmp_path):
    from ray.exceptions import ActorDiedError

    queue = scheduler.TrialQueue(step_of=lambda trial: 0, say=lambda line: None)
    queue.see_nodes({"n": "n"})
    queue.add(["t"])
    run = Mock(queue=queue, at={"t": "n"}, probes={}, is_shared=True)
    queue.take()
    scheduler._Run.on_trial_error(run, 1, [], ended(tmp_path, ActorDiedError()))
    assert queue.take() == "t" and not run._write_failure.called
