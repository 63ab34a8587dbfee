"""The command `check`: methods and networks held to what every one must do."""

import os
from collections import Counter
from collections.abc import Iterator

from rich.console import Console

from benchmark.contract import checks
from benchmark.contract.checks import Outcome
from methods.shared import registry
from methods.shared.networks.registry import network_names, network_plugin

STYLES = {"broken": "red", "limited": "yellow"}


def check(subject: str, console: Console) -> bool:
    """Check a method or network, or all that a file registers. False if one breaks what every one must do.

    Args:
        subject: a name, or a file.
        console: what the outcomes are printed on.
    """
    methods, networks = _registered(subject)
    outcomes = []
    for name in methods:
        registry.get(name)  # refuses an unknown one before anything is said of it
        outcomes += _printed(name, checks.check(name), console)
    for name in networks:
        outcomes += _printed(f"network {name}", checks.check_network(name), console)
    counts = Counter(outcome.state for outcome in outcomes)
    others = [f"{counts[state]} {state}" for state in ("does not apply", "limited", "broken") if counts[state]]
    console.print(", ".join([f"{counts['ok']} of {len(outcomes)} checks ok", *others]))
    return not counts["broken"]


def _registered(subject: str) -> tuple[list[str], list[str]]:
    """The methods and the networks that a file registers, or the one of that name."""
    if subject in network_names() and subject not in registry.names():
        return [], [subject]
    methods, file = registry.names_in(subject), os.path.realpath(subject)
    plugins = {name: network_plugin(name) for name in network_names()}
    return methods, [name for name, plugin in plugins.items() if plugin and os.path.realpath(plugin) == file]


def _printed(name: str, outcomes: Iterator[Outcome], console: Console) -> Iterator[Outcome]:
    console.print(name)
    first: dict[str, str] = {}  # the check that met a reason first: one fault may break all of them
    for outcome in outcomes:
        reason = f": {outcome.reason}" if outcome.reason else ""
        if outcome.state == "broken" and first.setdefault(outcome.reason, outcome.title) != outcome.title:
            reason = f": as “{first[outcome.reason]}”"
        style = STYLES.get(outcome.state)
        console.print(f"  {outcome.state:<14}  {outcome.title}{reason}", style=style, soft_wrap=True)
        yield outcome
