"""Every registered network is held to the contract that `check` holds anybody's to."""

from functools import cache

import pytest

from benchmark.contract.network_checks import CHECKS, NetworkSubject
from methods.shared.networks.registry import network_names

subject = cache(NetworkSubject)


@pytest.mark.slow
@pytest.mark.parametrize("title", CHECKS)
@pytest.mark.parametrize("name", network_names())
def test_every_network(name, title):
    assert CHECKS[title](subject(name)) in (None, "is one piece, with one decoder")
