"""Ray clusters of several nodes, processes and nodes that are killed: the same records in the end."""

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from helpers import clusters, tiny

from benchmark.cluster import plugin_files
from benchmark.planning.experiment_file import load_experiment

# Slow enough to be killed on the way, where SLOW is set; its code must be what the run has shipped.
SLOW = "import os, time, benchmark; time.sleep(float(os.environ.get('SLOW', 0)));"
SHIPPED = (
    SLOW + "assert not os.environ.get('SHIPPED') or 'py_modules_files' in benchmark.__path__[0], benchmark.__path__"
)
STEPS = {"iterations": 12}
OFTEN = tiny.VALUES["execution"] | {"checkpoint_iterations": 1, "tensorboard": False}


def undisturbed(config, folder):
    """The experiment's records, one trial after the other in this process, without Ray."""
    tiny.finish(load_experiment(config), folder)


def wait_for(condition, process, seconds=400):
    """Until condition() gives something, which is returned."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited in vain; the run says: {process.stdout.read() if process.poll() is not None else ''}")


def steps_of(folder):
    """{trial: step} of those that are in training."""
    beats = [json.loads(path.read_text()) for path in folder.glob("running/*/heartbeat.json")]
    return {beat["trial"]: beat["step"] for beat in beats if beat["stage"] == "training"}


def command(process):
    """The first two words of its command line; none where it has just ended."""
    try:
        return process.cmdline()[:2]
    except psutil.Error:
        return []


@pytest.mark.ray
def test_a_cluster_runs_shipped_code_and_survives_the_loss_of_a_node(tmp_path, monkeypatch, own_registry):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    plugin = tiny.write_plugin(outside, "outside", in_step=SHIPPED)
    config = tiny.write_experiment(
        tmp_path, methods=["outside"], baseline=None, seeds=[1, 2, 3, 4, 5, 6], training=STEPS,
        execution=OFTEN, plugins=[str(plugin)],
    )  # fmt: skip
    undisturbed(config, tmp_path / "undisturbed")
    monkeypatch.setenv("SLOW", "0.3")
    monkeypatch.setenv("SHIPPED", "1")
    folder, copy = tmp_path / "results", ("--set", f"execution.copy_to=file://{tmp_path / 'copy'}")
    with clusters.cluster(nodes=3, cpus=1) as cluster:
        process = clusters.start(config, folder, *copy, "--address", cluster.address)
        wait_for(lambda: sum(step > 2 for step in steps_of(folder).values()) >= 3, process)
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert clusters.differences(folder, tmp_path / "undisturbed") == []
    resumed = [json.loads(path.read_text())["resumed_at_step"] for path in folder.glob("records/*/provenance.json")]
    assert len(resumed) == 6 and max(resumed) > 0, "the node's trial went on from its checkpoint"
    # the copy is a results folder of its own, from which a lost one is fetched
    assert clusters.differences(tmp_path / "copy", folder) == []
    again = clusters.start(config, tmp_path / "lost", *copy)
    out, _ = again.communicate(timeout=300)
    assert again.returncode == 0 and "6 records fetched" in out and "6 done; 0 to run" in out, out


@pytest.mark.ray
def test_a_run_whose_processes_are_killed_ends_with_the_same_records(tmp_path, monkeypatch, own_registry):
    plugin = tiny.write_plugin(tmp_path, "slow", in_step=SLOW)
    config = tiny.write_experiment(
        tmp_path, methods=["slow"], baseline=None, seeds=[1, 2, 3, 4], training=STEPS, execution=OFTEN,
        plugins=[str(plugin)],
    )  # fmt: skip
    undisturbed(config, tmp_path / "undisturbed")
    monkeypatch.setenv("SLOW", "0.3")
    folder = tmp_path / "results"
    process = clusters.start(config, folder)
    for victim, survived in (("ray::_Inner.train", True), ("raylet", False), ("run_benchmark.py", False)):
        wait_for(lambda: any(step > 2 for step in steps_of(folder).values()), process)
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        killed = [one for one in tree if any(word.endswith(victim) for word in command(one))]
        killed[0].send_signal(signal.SIGKILL)
        if not survived:  # without its raylet or itself the run is over
            process.wait(timeout=300)
            process = clusters.start(config, folder)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert clusters.differences(folder, tmp_path / "undisturbed") == []


@pytest.mark.ray
@pytest.mark.slow
def test_bad_nodes_cost_no_trial(tmp_path, own_registry):
    """One fails all it gets at once; one, which joins late, cannot import torch. One that joins late works."""
    fails = "import os; assert os.environ.get('BAD') != '1', 'this node is bad'; " + SLOW
    plugin = tiny.write_plugin(tmp_path, "mine", in_step=fails)
    config = tiny.write_experiment(
        tmp_path, methods=["mine"], baseline=None, seeds=list(range(10)), training=STEPS, execution=OFTEN,
        plugins=[str(plugin)],
    )  # fmt: skip
    undisturbed(config, tmp_path / "undisturbed")
    broken, folder = tmp_path / "broken", tmp_path / "results"
    broken.mkdir()
    (broken / "torch.py").write_text("raise ImportError('libtorch is missing')")
    with clusters.cluster(nodes=1, cpus=1) as cluster:
        clusters.add_node(cluster, BAD="1")
        process = clusters.start(config, folder, "--address", cluster.address, env={**os.environ, "SLOW": "0.3"})
        wait_for(lambda: steps_of(folder), process)
        clusters.add_node(cluster, PYTHONPATH=str(broken))
        clusters.add_node(cluster)
        out, _ = process.communicate(timeout=500)
    assert process.returncode == 0, out
    assert clusters.differences(folder, tmp_path / "undisturbed") == []
    assert "gets no more trials: 3 in a row failed there at once" in out
    assert "NoneType" not in out and "Traceback" not in out


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_without_a_fit_node_is_one_line(tmp_path):
    config = tiny.write_experiment(tmp_path, methods=["vnet"], baseline=None)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torch.py").write_text("raise ImportError('libtorch is missing')")
    with clusters.cluster(nodes=0, cpus=1) as cluster:
        clusters.add_node(cluster, PYTHONPATH=str(tmp_path / "broken"))
        cluster.wait_for_nodes()
        process = clusters.start(config, tmp_path / "results", "--address", cluster.address)
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 2, out
    *_, last = out.strip().splitlines()
    assert last.startswith("error: no node can run trials: node ") and "libtorch is missing" in last
    assert "Traceback" not in out and clusters.states(tmp_path / "results") == {}


@pytest.mark.ray
def test_trials_share_declared_gpus_and_never_more_than_fit(tmp_path, own_registry):
    log = tmp_path / "log"
    log.mkdir()
    begin_and_end = (
        f"import os, time; p = r'{log}/%d-%d' % (os.getpid(), time.time_ns()); t = time.time(); time.sleep(4);"
    )
    plugin = tiny.write_plugin(tmp_path, "logged", in_step=begin_and_end + "open(p, 'w').write(f'{t} {time.time()}')")
    config = tiny.write_experiment(
        tmp_path, methods=["logged"], baseline=None, seeds=list(range(12)), training={"iterations": 1},
        execution=OFTEN | {"device": "auto", "gpus_per_trial": 0.25}, plugins=[str(plugin)],
    )  # fmt: skip
    with clusters.cluster(nodes=1, cpus=16, gpus=2) as cluster:
        process = clusters.start(config, tmp_path / "results", "--address", cluster.address, env=os.environ)
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    spans = [tuple(map(float, path.read_text().split())) for path in log.iterdir()]
    assert len(spans) == 12
    together = [sum(begin <= moment < end for begin, end in spans) for moment, _ in spans]
    assert max(together) == 8
    facts = [json.loads(path.read_text()) for path in (tmp_path / "results").glob("records/*/provenance.json")]
    assert {fact["trials_sharing_the_machine"] for fact in facts} == {4}


@pytest.mark.ray
def test_what_trials_need_of_a_gpu_is_measured_again_alone_where_the_process_died(tmp_path, own_registry):
    log = tmp_path / "log"
    log.mkdir()
    die_twice = (
        f"import os, pathlib; k = len(list(pathlib.Path(r'{log}').iterdir())); "
        f"k < 2 and (pathlib.Path(r'{log}', str(k)).touch(), os._exit(1))"
    )
    plugin = tiny.write_plugin(tmp_path, "dying", in_step=die_twice)
    config = tiny.write_experiment(
        tmp_path, methods=["vnet", "dying"], baseline=None, training={"iterations": 1},
        execution=OFTEN | {"device": "auto", "gpus_per_trial": "auto"}, plugins=[str(plugin)],
    )  # fmt: skip
    with clusters.cluster(nodes=1, cpus=4, gpus=1) as cluster:
        process = clusters.start(config, tmp_path / "results", "--address", cluster.address, env=os.environ)
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert "measuring what 2 of the trials need of a GPU" in out
    assert "measuring what 1 of the trials need of a GPU" in out
    assert len(list(log.iterdir())) == 2  # both times while it was measured, not in its trial
    facts = [json.loads(path.read_text()) for path in (tmp_path / "results").glob("records/*/provenance.json")]
    assert [fact["trials_sharing_the_machine"] for fact in facts] == [1, 1]  # no CUDA to measure: a GPU each


def test_a_plug_in_goes_to_a_worker_with_the_local_modules_that_it_imports(tmp_path):
    plugin = tiny.write_plugin(tmp_path, "mine", in_step="import ramps; from parts import losses")
    (tmp_path / "parts").mkdir()
    for name in ("ramps", "parts/losses", "unused"):
        (tmp_path / f"{name}.py").write_text(f"NAME = {name!r}")
    texts = plugin_files.read([str(plugin)])
    assert texts[str(plugin)].keys() == {"mine.py", "ramps.py", "parts/losses.py"}
    plugin.write_text("changed since")
    plugin_files.unpack(texts)
    there = plugin_files.location(str(plugin))
    assert there != plugin and there.read_text() == texts[str(plugin)]["mine.py"]
    assert (there.parent / "parts" / "losses.py").read_text() == "NAME = 'parts/losses'"
    plugin_files.unpack(texts)
    assert plugin_files.location(str(plugin)) == there, "all trials of a run use one copy"
    assert plugin_files.location("/not/unpacked.py") == Path("/not/unpacked.py")
