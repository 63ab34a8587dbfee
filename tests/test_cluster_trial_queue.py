"""Which trial runs next, is tried again, and on which nodes: rules alone, without Ray."""

import random
from collections import Counter

import pytest

from benchmark.cluster.trial_queue import FAILURES_IN_A_ROW, RETRIES, TrialQueue

NAMES = {"a": "alpha", "b": "beta", "c": "gamma", "d": "delta"}


def queue_of(trials, nodes="ab", steps=None):
    said = []
    queue = TrialQueue((steps or {}).get, said.append) if steps else TrialQueue(lambda trial: 0, said.append)
    queue.add(trials)
    queue.see_nodes({node: NAMES[node] for node in nodes})
    return queue, said


def simulate(nodes, broken_methods=(), bad_nodes=(), trials=24, seed=0, slow=20, slots=2):
    """What becomes of each trial where good work takes long and failing takes a moment."""
    names = [f"{'broken' if n in broken_methods else 'good'}-{n}" for n in range(trials)]
    queue, said = queue_of(names, nodes)
    chance, ended, running = random.Random(seed), {}, []
    clock = 0
    while not queue.is_done:
        free = Counter({node: slots for node in nodes})
        free.subtract(node for _, node, _, _ in running)
        waiting, held = [], []
        while (trial := queue.take()) is not None:
            waiting.append(trial)
        for trial in waiting:
            usable = [node for node in nodes if free[node] > 0 and node not in queue.avoided(trial)]
            if not usable:
                held.append(trial)
                continue
            node = chance.choice(usable)
            free[node] -= 1
            fails = trial.startswith("broken") or node in bad_nodes
            if not fails:
                queue.trains(trial, node)
            running.append((clock + (1 if fails else slow), node, trial, fails))
        for trial in reversed(held):
            queue._waiting.appendleft(trial)
        assert running, "nothing runs and nothing may start"
        running.sort()
        clock, node, trial, fails = running.pop(0)
        if not fails:
            queue.ends(trial)
            ended[trial] = "done"
        elif not queue.fails_at_once(trial, node):
            ended[trial] = "failed"
    return ended, said


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("nodes", "bad"), [("ab", "a"), ("abc", "a"), ("abcd", "a"), ("abcd", "ab"), ("abc", ""), ("a", ""), ("abcd", "d")]
)
@pytest.mark.parametrize("broken", [(), (0, 1, 2, 3), (3, 9, 17), range(12)])
def test_trials_fail_by_their_own_fault_alone(nodes, bad, broken, seed):
    ended, _ = simulate(nodes, broken, bad, seed=seed)
    assert len(ended) == 24
    assert {trial for trial, state in ended.items() if state == "failed"} == {f"broken-{n}" for n in broken}


def test_a_bad_node_takes_few_trials_and_is_said():
    attempts = []
    queue, said = queue_of([f"t{n}" for n in range(100)], "abc")
    queue.trains(queue.take(), "b")
    for _ in range(50):
        trial = queue.take()
        if "a" in queue.avoided(trial):
            break
        attempts.append(trial)
        assert queue.fails_at_once(trial, "a")
        queue.trains(queue.take(), "b")  # the same trial, which works elsewhere
    assert len(attempts) == FAILURES_IN_A_ROW
    assert said == ["node alpha gets no more trials: 3 in a row failed there at once"]


def test_a_node_is_used_again_once_what_failed_there_also_fails_elsewhere():
    queue, said = queue_of(["x", "y", "z", "good"], "abc")
    queue.trains("good", "b")
    for trial in ("x", "y", "z"):
        assert queue.fails_at_once(trial, "a")
    assert queue.avoided() == {"a"}
    assert not queue.fails_at_once("x", "b")
    assert queue.avoided() == set() and "gets trials again" in said[-1]


def test_a_node_that_breaks_after_it_has_worked_is_left_too():
    queue, _ = queue_of([f"t{n}" for n in range(9)], "ab")
    queue.trains("t0", "a")
    queue.trains("t1", "b")
    for trial in ("t2", "t3", "t4"):
        assert queue.fails_at_once(trial, "a"), "it may be the node's fault"
        assert "a" in queue.avoided(trial)
    assert queue.avoided() == {"a"}
    queue.trains("t2", "a")
    assert queue.avoided() == set()


def test_an_unfit_node_costs_a_trial_nothing():
    queue, said = queue_of(["x"], "ab")
    for _ in range(10):
        trial = queue.take()
        queue.is_unfit("a", "no such folder")
        queue.comes_back(trial)
    assert queue.avoided() == {"a"} and queue.problem() is None and not queue.is_done
    assert said == ["node alpha gets no more trials: no such folder"]
    queue.is_unfit("b", "no room")
    assert queue.problem() == "node alpha: no such folder; node beta: no room"


def test_a_node_gets_no_trials_before_it_has_answered():
    queue, said = queue_of(["x"], "ab")
    queue.probe_begins("b")
    assert queue.avoided() == {"b"}
    queue.probe_ends("b", None)
    assert queue.avoided() == set() and said == []
    assert queue.see_nodes(NAMES) == ["c", "d"] and queue.see_nodes(NAMES) == []
    queue.probe_begins("c")
    queue.probe_ends("c", "no torch")
    assert queue.avoided() == {"c"} and said == ["node gamma gets no more trials: no torch"]


def test_a_trial_whose_process_dies_is_given_up_only_where_it_gets_no_further():
    steps = {"x": 0}
    queue, _ = queue_of(["x"], steps=steps)
    for step in (0, 0, 0, 5, 5, 5, 9, 9, 9):
        assert queue.take() == "x"
        steps["x"] = step
        assert queue.dies("x"), step
    assert queue.take() == "x" and not queue.is_done
    assert RETRIES == 3 and not queue.dies("x") and queue.is_done and queue.take() is None


def test_what_is_tried_again_comes_first():
    queue, _ = queue_of(["x", "y", "z"])
    assert queue.take() == "x"
    assert queue.dies("x")
    assert [queue.take() for _ in range(4)] == ["x", "y", "z", None]
