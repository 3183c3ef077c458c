"""Before anything else: threads that wait without spinning, Keras on torch, and torch ahead of every converter.

A background job of a shell ignores Ctrl-C, and so would every program that these tests start and interrupt.
"""

import os
import signal
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KERAS_BACKEND", "torch")  # a converter in the same process imports keras with its own

import torch  # noqa: F401
import torchvision  # noqa: F401  a converter imported before it crashes the process

signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take long first, so that no process is left with one of them while the others have ended."""
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests of one run share finished stages, those of all its processes; none reads or leaves any in the user's cache."""
    place = tmp_path_factory.getbasetemp()
    shared = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared / "shared-cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_runtime_a_file() -> Iterator[None]:
    """Exports of tests try no second runtime, which takes seconds of each; what tests that looks for it itself."""
    from importlib.util import find_spec

    from edgekit import requirements

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requirements, "find_spec", lambda name: None if name == "openvino" else find_spec(name))
        yield


@pytest.fixture(scope="session", autouse=True)
def warm_servers() -> Iterator[None]:
    """Stages of all tests of this process are forked from the same servers, as those of one run are."""
    from edgekit.engine import warm

    with warm.servers():
        yield
