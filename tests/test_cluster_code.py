"""Workers run the code of the run, wherever it is called from, and say so where they would not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import clusters, tiny

from benchmark.cluster import shipped_code
from benchmark.cluster.shipped_code import CodeError

ROOT = Path(__file__).parents[1]
NAMES = ("data", "methods", "benchmark", "reports")


def run(folder, *arguments, **environment):
    """A command of this checkout, called in a folder."""
    return subprocess.run(
        [sys.executable, ROOT / "run_benchmark.py", *map(str, arguments)], cwd=folder, text=True, capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, timeout=500,
    )  # fmt: skip


def write_users_repository(folder):
    """What a user's own repository may hold: each of our names, as a module or a package, and one of Python's."""
    folder.mkdir()
    for name in ("data.py", "reports.py", "random.py", "torch.py"):
        (folder / name).write_text("raise SystemExit('the wrong one')")
    for package in ("benchmark/cluster", "methods"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("raise SystemExit('the wrong one')")
    return folder


def copy_checkout(folder, factor=10):
    """Another checkout, whose losses are larger."""
    for package in NAMES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run_benchmark.py", folder)
    training = folder / "benchmark" / "trial" / "training.py"
    text = training.read_text()
    assert "value.detach().float()" in text
    training.write_text(text.replace("value.detach().float()", f"{factor} * value.detach().float()"))
    return folder


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_from_within_a_users_repository(tmp_path):
    config = tiny.write_experiment(tmp_path, methods=["vnet"], baseline=None)
    expected = tiny.finished(tmp_path / "expected", methods=["vnet"], baseline=None)
    done = run(write_users_repository(tmp_path / "mine"), "run", config, "--results", tmp_path / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    assert clusters.differences(tmp_path / "results", expected) == []


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("safe_path", ["", "1"])  # 1: Python leaves out the folder of the script, but not PYTHONPATH
def test_a_run_a_search_and_scores_from_within_another_checkout(tmp_path, safe_path):
    other = copy_checkout(tmp_path / "other")
    environment = {"PYTHONPATH": str(other), "PYTHONSAFEPATH": safe_path}
    settings = {"methods": ["mean_teacher"], "baseline": None, "data": {"train": 5}}
    expected = tiny.finished(tmp_path / "expected", **settings)
    search = {"tuning": {"settings_per_method": 2, "validation": 1}} if not safe_path else {}
    results, config = tmp_path / "results", tiny.write_experiment(tmp_path, **settings, **search)
    done = run(other, "run", config, "--results", results, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert clusters.differences(results, expected) == []
    histories = [*results.rglob("records/*/history.csv")]
    assert len(histories) >= (4 if search else 1)
    for path in histories:  # the first step's loss is below 3; ten times it is not
        assert 0 < float(path.read_text().splitlines()[1].split(",")[3]) < 3, path.read_text()
    done = run(other, "evaluate", results, "--set", "evaluation.stride=[8, 8, 8]", **environment)
    assert done.returncode == 0 and "1 of 1 cells to score again" in done.stdout, done.stdout + done.stderr
    facts = [json.loads(path.read_text()) for path in results.glob("records/*/provenance.json")]
    assert facts and all(fact["git_revision"] == fact["scored_again"]["git_revision"] for fact in facts)


def test_a_process_that_imports_from_two_places_does_not_start(tmp_path):
    for name in ("reports", "methods"):
        wrong = tmp_path / name
        shutil.copytree(ROOT / name, wrong / name)
        code = f"import benchmark.cluster.shipped_code as s, sys; sys.path.insert(0, {str(wrong)!r}); " + (
            f"[sys.modules.pop(m) for m in [*sys.modules] if m.split('.')[0] == {name!r}]; s.read()"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
        assert f"CodeError: package {name!r} comes from {wrong / name}" in done.stderr


def test_every_file_of_the_packages_is_shipped():
    known = subprocess.run(["git", "ls-files", *NAMES], cwd=ROOT, text=True, capture_output=True).stdout.split()
    there = {path for path in known if (ROOT / path).is_file()}
    assert not there or there <= shipped_code.read().files.keys()
    assert {
        "data/lists/la_train.list",
        "methods/vnet.py",
        "reports/literature/la.yaml",
    } <= shipped_code.read().files.keys()


@pytest.mark.parametrize("change", ["edited", "another file", "one file less"])
def test_a_worker_with_other_code_says_where_it_comes_from(tmp_path, change):
    code = shipped_code.read()
    code.write(tmp_path)
    check = ["-c", f"from benchmark.cluster import shipped_code; shipped_code.check({code.digest!r})"]
    assert subprocess.run([sys.executable, *check], cwd=tmp_path).returncode == 0
    file = tmp_path / "methods" / "vnet.py"
    if change == "edited":
        file.write_text(file.read_text() + "\n# a remark\n")
    elif change == "another file":
        file.with_name("mine.py").write_text("")
    else:
        file.unlink()
    done = subprocess.run([sys.executable, *check], cwd=tmp_path, text=True, capture_output=True)
    assert "imports other code than the run's own" in done.stderr and str(tmp_path) in done.stderr


def test_the_code_is_that_of_the_moment_when_the_command_began(tmp_path):
    other = copy_checkout(tmp_path / "other")
    script = (
        "import pathlib; from benchmark.cluster import shipped_code as s; first = s.read(); "
        "p = pathlib.Path('methods/vnet.py'); p.write_text('changed'); assert s.read() is first; "
        "s.read().write(pathlib.Path('copy')); assert 'changed' != pathlib.Path('copy/methods/vnet.py').read_text()"
    )
    subprocess.run([sys.executable, "-c", script], cwd=other, check=True)


def git(folder, *arguments):
    identity = ["-c", "user.name=tests", "-c", "user.email=tests"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.slow
def test_the_revision_is_that_of_the_code_that_runs(tmp_path):
    """Not of a repository that merely lies around it, or that a git hook has named."""
    outer, code = tmp_path / "outer", tmp_path / "outer" / "copy"
    copy_checkout(code)

    def revision(**environment):
        script = "from benchmark.trial import provenance; print(*provenance.revision().values())"
        environment = {**os.environ, **environment}
        done = subprocess.run([sys.executable, "-c", script], cwd=code, env=environment, text=True, capture_output=True)
        return done.stdout.split()

    git(outer, "init")
    (outer / "paper.txt").touch()
    git(outer, "add", "paper.txt")
    git(outer, "commit", "-m", "a user's own")
    assert revision() == ["None", "None"]  # nobody has committed the copy
    git(code, "init")
    git(code, "add", ".")
    git(code, "commit", "-m", "the benchmark")
    head, dirty = revision(GIT_DIR=str(outer / ".git"), GIT_WORK_TREE=str(outer))
    assert len(head) == 40 and dirty == "False"
    (code / "data" / "notes.txt").touch()
    assert revision() == [head, "False"]
    (code / "methods" / "shared" / "mine.py").touch()
    assert revision() == [head, "True"]


def test_an_error_of_code_is_one_for_the_user():
    with pytest.raises(CodeError, match="other code than the run's own"):
        shipped_code.check("another")
