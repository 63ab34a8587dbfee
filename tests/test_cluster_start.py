"""Ray starts whatever the folder for temporary files and the home are like, or says in one line why it cannot."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import yaml
from helpers import clusters, tiny
from helpers.command_line import one_line_error

from benchmark.cluster import scratch
from benchmark.planning.experiment import ExperimentError
from benchmark.planning.experiment_file import load_experiment
from data.cache import cache_folder
from data.case import DataError

ENTRY = Path(__file__).parents[1] / "run_benchmark.py"
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """places(usual) sets the user's folder for temporary files; two short ones are there beside it."""
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    monkeypatch.setattr(scratch, "PLACES", (str(first), str(second)))
    monkeypatch.setattr(scratch, "LONGEST", len(str(tmp_path)) + 5)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)

    def use(usual):
        monkeypatch.setattr(scratch, "_usual", lambda: [str(usual)] if usual else [])
        return first, second

    return use


def place_of():
    with scratch.scratch_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and not any(folder.iterdir())
        (folder / "ray").mkdir()
    assert not folder.exists()
    return folder.parent


def test_the_users_own_folder_is_used_where_it_does(tmp_path, places):
    usual = tmp_path / "t"
    usual.mkdir()
    places(usual)
    assert place_of() == usual


@pytest.mark.parametrize("problem", ["none", "absent", "too long", "full", "a file", "full by quota"])
def test_another_place_is_found(tmp_path, places, monkeypatch, problem):
    usual = tmp_path / ("t" * (60 if problem == "too long" else 1))
    if problem == "a file":
        usual.touch()
    elif problem != "absent":
        usual.mkdir()
    first, second = places(None if problem == "none" else usual)
    measured, written = shutil.disk_usage, Path.write_bytes
    if problem == "full":
        monkeypatch.setattr(
            shutil, "disk_usage", lambda place: Usage(9, 9, 0) if Path(place) in (usual, first) else measured(place)
        )
    if problem == "full by quota":

        def write(path, content):
            if usual in path.parents:
                raise OSError(122, "Disk quota exceeded")
            return written(path, content)

        monkeypatch.setattr(Path, "write_bytes", write)
    assert place_of() == (second if problem == "full" else first)
    assert problem not in ("full", "full by quota") or not any(usual.iterdir())


def test_where_no_place_will_do_each_is_named(tmp_path, places, monkeypatch):
    first, second = places(tmp_path / ("t" * 60))
    first.rmdir()
    second.rmdir()
    second.touch()
    with pytest.raises(ExperimentError) as caught, scratch.scratch_folder():
        pass
    message = str(caught.value)
    assert "\n" not in message and message.startswith("no folder will do for Ray's sockets")
    for place in (tmp_path / ("t" * 60), first, second):
        assert f"{place}: " in message
    assert "No such file" in message and "set TMPDIR" in message


def test_paths_of_sockets_fit():
    """Ray's own names are added: session_<date>_<time>_<microseconds>_<process>/sockets/plasma_store."""
    ours = f"{'x' * scratch.LONGEST}/semiseg-12345678/ray/"
    assert len(f"{ours}session_2026-11-28_02-50-52_697336_4194304/sockets/plasma_store") <= 107


@pytest.fixture
def no_home(monkeypatch):
    def unknown(user):
        raise KeyError(user)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


def test_without_a_home_the_cache_wants_a_folder(no_home, monkeypatch, tmp_path):
    assert cache_folder() == Path(os.environ["SEMISEG_CACHE"])
    monkeypatch.delenv("SEMISEG_CACHE")
    with pytest.raises(DataError, match="no home directory is known for the cache ~/.cache/semiseg-bench: set SEM"):
        cache_folder()
    monkeypatch.setenv("SEMISEG_CACHE", "~nobody_of_that_name/cache")
    with pytest.raises(DataError, match="~nobody_of_that_name/cache: set SEMISEG_CACHE"):
        cache_folder()


@pytest.mark.parametrize("where", ["plugins", "--plugin", "data.root"])
def test_a_path_in_nobodys_home_is_one_line(tmp_path, command, where):
    path = "~nobody_of_that_name/x.py"
    changes = {"plugins": [path]} if where == "plugins" else {}
    if where == "data.root":
        changes["data"] = {"source": "la", "root": path}
    options = ["--plugin", path] if where == "--plugin" else []
    config = tmp_path / "tiny.yaml"
    values = tiny.merged(**changes)
    if where == "data.root":
        values["data"] = changes["data"]
    config.write_text(yaml.safe_dump(values))
    said = one_line_error(command("run", config, "--results", tmp_path / "results", *options))
    assert "~nobody_of_that_name" in said


def run(folder, threads=1, **environment):
    config = tiny.write_experiment(folder, methods=["vnet"], baseline=None, training={"threads": threads})
    environment = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    return subprocess.run(
        [sys.executable, ENTRY, "run", config, "--results", folder / "results"], cwd=folder, text=True,
        capture_output=True, env=environment, timeout=300,
    )  # fmt: skip


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_in_a_job_with_a_long_folder_and_without_a_home(tmp_path):
    """As SLURM sets TMPDIR; HOME cannot be written."""
    long = tmp_path / "a_folder_of_a_job_with_a_name_that_no_socket_can_have"
    long.mkdir()
    done = run(tmp_path, TMPDIR=str(long), HOME="/proc/nowhere", RAY_AUTH_TOKEN=None, RAY_AUTH_TOKEN_PATH=None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(clusters.states(tmp_path / "results").values()) == {"done"}
    assert "Traceback" not in done.stderr and "ray" not in done.stderr.lower()
    assert not [*long.glob("ray*"), *long.glob("semiseg*")]


@pytest.mark.ray
@pytest.mark.slow
def test_ray_that_cannot_start_is_one_line_and_a_log(tmp_path):
    done = run(tmp_path, RAY_AUTH_TOKEN_PATH=str(tmp_path / "none"), RAY_AUTH_TOKEN=None)
    assert done.returncode == 2, done.stdout + done.stderr
    log = tmp_path / "results" / "running" / "ray.log"
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: Ray cannot start ("), done.stderr
    assert str(log) in done.stderr and log.stat().st_size > 0


@pytest.mark.ray
@pytest.mark.slow
def test_ray_has_the_cpus_that_the_run_may_use(tmp_path):
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        done = run(tmp_path, threads=2)
    finally:
        os.sched_setaffinity(0, allowed)
    assert "a trial asks for 2 CPUs, but the largest machine here has 1; lower it" in done.stderr, done.stderr


def test_an_experiment_with_a_home_is_read(tmp_path, monkeypatch, own_registry):
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny.write_plugin(tmp_path, "mine")
    config = tiny.write_experiment(tmp_path, methods=["mine"], plugins=["~/mine.py"])
    assert load_experiment(config).plugins == [str(tmp_path / "mine.py")]
