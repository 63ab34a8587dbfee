"""What a machine must have before it gets trials, and whether its data are those of the plan."""

import shutil
import socket
from collections import namedtuple

import pytest
from helpers import tiny

from benchmark.cluster import node_check
from benchmark.cluster.node_check import Demands, UnfitNodeError, find_problem
from benchmark.planning.plan import make_plan, write_plan
from benchmark.trial.setup import check_data
from data.case import DataError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def results(tmp_path):
    folder = tiny.new_results(tmp_path / "results")
    write_plan(make_plan(tiny.experiment(methods=["vnet"]), folder))
    return folder


def demands_of(results, /, **changes):
    demands = Demands.of_this_machine(results, tiny.experiment().data.model_dump(mode="json"))
    return demands.model_copy(update=changes).model_dump_json()


def problem_of(results, /, **changes):
    find_problem.cache_clear()
    return find_problem(demands_of(results, **changes))


def test_a_machine_that_has_everything_is_fit(results):
    assert problem_of(results) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"code": "another"}, "imports other code than the run's own"),
        ({"python": "2.7"}, "the run 2.7: install the same version"),
        ({"torch": "1.0.0"}, "the run 1.0.0: install the same version"),
        ({"results": "/nowhere/results"}, "does not see /nowhere/results: use a results folder that all nodes share"),
        ({"data": {"source": "la", "root": "/nowhere/la"}}, "data.root: there is no folder /nowhere/la"),
        ({"data": {"source": "unknown"}}, "unknown"),
    ],
)
def test_what_a_machine_lacks_is_one_line_that_names_it(results, changes, said):
    problem = problem_of(results, **changes)
    assert said in problem and socket.gethostname() in problem and "\n" not in problem


def test_an_empty_folder_of_data_is_noticed(results, tmp_path):
    (tmp_path / "empty").mkdir()
    problem = problem_of(results, data={"source": "la", "root": str(tmp_path / "empty")})
    assert str(tmp_path / "empty") in problem and "\n" not in problem


def test_a_full_disk_is_noticed(results, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 2**20))
    problem = problem_of(results)
    assert "has only 1 MiB free in " in problem and str(results.folder) in problem


def test_a_results_folder_that_cannot_be_written_is_noticed(results):
    shutil.rmtree(results.folder / "running")
    problem = problem_of(results)
    assert f"cannot write to {results.folder / 'running'}" in problem


def test_the_machine_of_the_command_is_asked_for_its_code_alone(results):
    assert problem_of(results, data=None, results="/nowhere", torch="1.0.0") is None
    assert "other code" in problem_of(results, data=None, code="another")


def test_data_are_those_of_the_plan():
    trial, _ = tiny.one_trial("vnet")
    check_data(trial)
    other = trial.model_copy(update={"data": trial.data | {"seed": 99}})
    with pytest.raises(DataError, match="another content than when the run was planned"):
        check_data(other)
    smaller = trial.model_copy(update={"data": trial.data | {"train": 1}})
    with pytest.raises(DataError, match="lacks .*, which the run was planned with"):
        check_data(smaller)


@pytest.fixture
def actor(monkeypatch, results):
    """actor(trial, is_shared) gives the signs of life of a trial, in this process."""
    from benchmark.cluster import actor as module

    monkeypatch.setattr(module, "node_id", lambda: "this node")
    monkeypatch.setattr(module.Work, "begin", lambda work: None)

    def signs(trial, is_shared):
        made = object.__new__(module.TrialActor)
        work = module.Work(
            demands="{}", is_shared=is_shared, results=str(results.folder), execution=tiny.experiment().execution,
            plugins={}, folder=None, scratch=None,
        )  # fmt: skip
        made.setup({"trial": trial.id}, {trial.id: (trial.model_dump_json(), {})}, work.model_dump_json())
        return made

    return signs


@pytest.mark.parametrize("is_shared", [True, False])
def test_other_data_are_the_nodes_fault_on_a_cluster_alone(actor, results, is_shared):
    trial, _ = tiny.one_trial("vnet")
    signs = actor(trial.model_copy(update={"data": trial.data | {"seed": 99}}), is_shared)
    assert signs.step()["progress"]["stage"] == "started"
    if is_shared:
        with pytest.raises(UnfitNodeError) as caught:
            signs.step()
        assert caught.value.node == "this node" and "another content" in caught.value.problem
        assert not results.has_record(trial.id)
    else:
        result = signs.step()
        assert result["done"] and "another content" in result["progress"]["reason"]
        assert results.read_record(trial.id).state == "failed"


def test_what_fails_before_a_trial_fails_in_its_step(actor, monkeypatch):
    """Tune loses the reason of what fails in a constructor or in a reset, and does not try it again."""
    trial, _ = tiny.one_trial("vnet")
    signs = actor(trial, True)
    assert signs.reset_config({"trial": "a trial that nobody knows"})
    assert signs.step()["progress"]["stage"] == "started"
    with pytest.raises(KeyError, match="a trial that nobody knows"):
        signs.step()


def test_an_unfit_node_survives_its_way_to_the_run():
    import pickle

    error = pickle.loads(pickle.dumps(UnfitNodeError("node", "what is wrong")))
    assert (error.node, error.problem) == ("node", "what is wrong")
    assert node_check.ROOM > 0
