"""Fixtures that all tests share."""

import pytest
from helpers.command_line import command  # noqa: F401
from helpers.tiny import no_ray, own_registry  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """Tests neither fill nor trust the user's cache; processes that they start inherit the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMISEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
