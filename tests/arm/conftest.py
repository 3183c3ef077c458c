"""The emulator and its packages, kept in the checkout between runs: `make test-arm` sets them up once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.arm import guest, userland
from edgekit.arm.userland import Userland
from edgekit.errors import MissingRuntime

KEPT = Path(__file__).parents[2] / ".cache"


@pytest.fixture(scope="session", autouse=True)
def kept_cache(own_cache: None) -> Iterator[None]:
    KEPT.mkdir(exist_ok=True)
    (KEPT / ".gitignore").write_text("*\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(KEPT))
        yield


@pytest.fixture(scope="session")
def here(kept_cache: None) -> Userland:
    try:
        made = userland.prepare(print)
        for runtime in userland.RUNTIMES:
            guest.wheels(runtime)
    except MissingRuntime as error:
        pytest.skip(f"no ARM CPU can be emulated here: {error}")
    return made
