"""Fixtures that all tests share, and what running them in several processes needs."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread a process, set before anything imports torch: two processes on two cores would else use four.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402
from filelock import FileLock  # noqa: E402
from helpers.command_line import command  # noqa: E402, F401
from helpers.tiny import no_drawing, no_ray, own_registry  # noqa: E402, F401

LONGEST = ("test_benchmark_cluster.py", "test_methods_contract.py")


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(items):
    """Mark the tests that ask for the fixture `browser`, and begin with the files that take longest.

    With those at the end one process would work while the others wait.
    """
    for item in items:
        if "browser" in item.fixturenames:
            item.add_marker("browser")
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def _one_ray_cluster_at_a_time(request):
    """Two clusters are too much for a small machine, and tests stop the processes of one by their names."""
    if request.node.get_closest_marker("ray") is None:
        yield
        return
    # The processes of pytest-xdist have folders of their own in one that they share.
    folder = request.getfixturevalue("tmp_path_factory").getbasetemp().parent
    with FileLock(folder / "ray.lock"):
        yield


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """Tests neither fill nor trust the user's cache; processes that they start inherit the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMISEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
