"""Which trial runs next, which is tried again and where, and which nodes get no more trials. No Ray here.

A node that lacks something fails a trial within seconds, so it would take one after another from the nodes that work.
Three rules keep it from that:

- A node that finds itself unfit, or whose probe does, is used no more. What it had runs elsewhere.
- A trial that fails before its first training step is tried on another node. It has failed itself only if it also fails
  on a node that trains other trials, on three nodes, or on all there are.
- A node on which three trials in a row failed so gets no more, until they have failed elsewhere, too.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

RETRIES = 3  # of a trial whose process or machine died, from one checkpoint; its own exceptions are not retried
MOST_NODES = 3  # on which a trial fails at once before it counts as failed
FAILURES_IN_A_ROW = 3  # of trials that fail at once, after which their node gets no more


@dataclass
class _Trial:
    deaths: int = 0  # of its process at one place
    step: int = 0  # where it was at the last of them
    failed_on: set[str] = field(default_factory=set)  # nodes on which it failed at once


@dataclass
class _Node:
    has_trained: bool = False
    failures: set[str] = field(default_factory=set)  # trials that failed at once since one was trained
    unfit: str = ""  # why it is used no more
    is_probed: bool = True

    @property
    def is_proven(self) -> bool:
        """Whether it works, as far as is known: a node may break after hours of work."""
        return self.has_trained and not self.failures


class TrialQueue:
    """The trials of a run that wait, and what is known of its nodes.

    Args:
        step_of: the step that a trial was last seen at.
        say: told in one line of a node that is used no more, or again.
    """

    def __init__(self, step_of: Callable[[str], int], say: Callable[[str], None]):
        self._step_of, self._say = step_of, say
        self._waiting: deque[str] = deque()
        self._trials: dict[str, _Trial] = {}
        self._open: set[str] = set()
        self._nodes: dict[str, _Node] = {}
        self._names: dict[str, str] = {}
        self._alive: set[str] = set()

    def add(self, trials: Iterable[str]) -> None:
        """Trials to run, the first to start first."""
        for trial in trials:
            self._waiting.append(trial)
            self._open.add(trial)
            self._trials[trial] = _Trial(step=self._step_of(trial))

    @property
    def is_done(self) -> bool:
        """Whether every trial has ended, however."""
        return not self._open

    def take(self) -> str | None:
        """The trial to start next; None while none waits."""
        return self._waiting.popleft() if self._waiting else None

    # nodes

    def see_nodes(self, alive: dict[str, str]) -> list[str]:
        """Take note of the nodes that are there.

        Args:
            alive: names of nodes by id.

        Returns:
            Those that are new.
        """
        self._alive = set(alive)
        self._names |= alive
        return [node for node in alive if node not in self._nodes and self._node(node)]

    def probe_begins(self, node: str) -> None:
        self._node(node).is_probed = False

    def probe_ends(self, node: str, problem: str | None) -> None:
        self._node(node).is_probed = True
        if problem:
            self.is_unfit(node, problem)

    def is_unfit(self, node: str, problem: str) -> None:
        """From now on the node gets no trials."""
        if not self._node(node).unfit:
            self._node(node).unfit = problem
            self._say(f"{self._name(node)} gets no more trials: {problem}")

    def avoided(self, trial: str | None = None) -> set[str]:
        """The nodes that get no trials now, or not this one."""
        avoided = {node for node, known in self._nodes.items() if known.unfit or not known.is_probed}
        usable = self._alive - avoided
        if trial is not None and (failed_on := self._trials[trial].failed_on):
            usable = usable - failed_on or usable
        suspended = {node for node in usable if len(self._nodes[node].failures) >= FAILURES_IN_A_ROW}
        usable = usable - suspended or usable  # the last nodes are used, whatever has failed there
        if trial is not None and failed_on:
            usable = {node for node in usable if self._nodes[node].is_proven} or usable
        return avoided | (self._alive - usable)

    def problem(self) -> str | None:
        """Why no node can run anything; None if one can."""
        usable = [node for node in self._alive if not self._node(node).unfit]
        if usable or not self._alive:  # a cluster without nodes may get some
            return None
        return "; ".join(f"{self._name(node)}: {self._node(node).unfit}" for node in sorted(self._alive))

    # trials

    def trains(self, trial: str, node: str) -> None:
        """A trial has reached a training step, or the test of its weights, on a node."""
        known = self._node(node)
        known.has_trained = True
        known.failures.clear()

    def ends(self, trial: str) -> None:
        """A trial has ended for good."""
        self._open.discard(trial)

    def fails_at_once(self, trial: str, node: str) -> bool:
        """A trial has failed, by an exception of its own, before it trained.

        Returns:
            True if it is tried on another node; False if it has failed for good.
        """
        failed_on = self._trials[trial].failed_on
        failed_on.add(node)
        others = {n for n in self._alive - failed_on if self._nodes[n].is_probed and not self._nodes[n].unfit}
        elsewhere = len(failed_on) > 1 and self._node(node).is_proven
        if elsewhere or len(failed_on) >= MOST_NODES or not others:
            for other in failed_on:  # it is not their fault
                self._forgive(other, trial)
            self.ends(trial)
            return False
        self._blame(node, trial)
        self._waiting.appendleft(trial)
        return True

    def comes_back(self, trial: str) -> None:
        """A trial comes from a node that is unfit: it starts again, and that was no attempt of its own."""
        self._waiting.appendleft(trial)

    def dies(self, trial: str) -> bool:
        """The process of a trial has died.

        Returns:
            True if the trial starts again; False if it is given up: it died again and again without getting further.
        """
        known, step = self._trials[trial], self._step_of(trial)
        known.deaths = 1 if step > known.step else known.deaths + 1
        known.step = max(step, known.step)
        if known.deaths > RETRIES:
            self.ends(trial)
            return False
        self._waiting.appendleft(trial)
        return True

    def _node(self, node: str) -> _Node:
        return self._nodes.setdefault(node, _Node())

    def _name(self, node: str) -> str:
        return f"node {self._names.get(node, node[:8])}"

    def _blame(self, node: str, trial: str) -> None:
        failures = self._node(node).failures
        failures.add(trial)
        if len(failures) == FAILURES_IN_A_ROW:
            self._say(f"{self._name(node)} gets no more trials: {FAILURES_IN_A_ROW} in a row failed there at once")

    def _forgive(self, node: str, trial: str) -> None:
        failures = self._node(node).failures
        was_suspended = len(failures) >= FAILURES_IN_A_ROW
        failures.discard(trial)
        if was_suspended and len(failures) < FAILURES_IN_A_ROW:
            self._say(f"{self._name(node)} gets trials again: those that failed there also fail elsewhere")
