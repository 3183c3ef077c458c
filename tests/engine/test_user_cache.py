"""The cache of a user: its own folder in all that frameworks and edgekit load programs from."""

import os
import stat
from pathlib import Path

import pytest

from edgekit.engine.environment import environment
from edgekit.engine.user_cache import private_folder
from edgekit.errors import UserError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has neither these rights nor these links")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("TORCHINDUCTOR_CACHE_DIR", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "edgekit"


def test_it_is_made_for_its_user_alone_whatever_the_mask(cache: Path) -> None:
    former = os.umask(0)
    try:
        folder = private_folder("stages")
    finally:
        os.umask(former)
    assert [stat.S_IMODE(place.stat().st_mode) for place in (cache, folder)] == [0o700, 0o700]


def test_one_that_a_group_may_write_becomes_private(cache: Path) -> None:
    cache.mkdir(mode=0o775)
    cache.chmod(0o775)
    private_folder("stages")
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["", "torchinductor", "stages"])
def test_a_link_in_its_place_is_refused(cache: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (cache / name).parent.mkdir(exist_ok=True)
    (cache / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link"):
        private_folder(name or "stages")


def test_what_frameworks_compile_goes_there_or_where_the_user_says(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment(tuned=True)["TORCHINDUCTOR_CACHE_DIR"] == str(cache / "torchinductor")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/own")
    assert environment(tuned=True)["TORCHINDUCTOR_CACHE_DIR"] == "/own"


def test_a_file_in_its_place_is_refused(cache: Path) -> None:
    cache.write_text("a letter")
    with pytest.raises(UserError, match="is no folder"):
        environment(tuned=True)
