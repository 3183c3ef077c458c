"""Where the output goes may be anything: an old code page, a full disk, a reader that leaves, a folder that is gone."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.__main__ import main as command

pytestmark = pytest.mark.long


def edgekit(*arguments: str, **how: object) -> "subprocess.CompletedProcess[bytes]":
    path = os.pathsep.join(entry for entry in sys.path if entry)
    variables = {**os.environ, "PYTHONPATH": path, **how.pop("variables", {})}  # type: ignore[dict-item]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    return subprocess.run([sys.executable, "-P", "-m", "edgekit", *arguments], env=variables, **given)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    "encoding", ["ascii", *(pytest.param(name, marks=pytest.mark.slow) for name in ("latin-1", "cp1252"))]
)
def test_a_terminal_of_an_old_code_page(encoding: str) -> None:
    done = edgekit("techniques", "qat", variables={"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    done = edgekit("report", "földer → 語", variables={"PYTHONIOENCODING": encoding})
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_output_without_room() -> None:
    with Path("/dev/full").open("wb") as full:
        done = edgekit("schema", "manifest", stdout=full)
    sentence = "the output cannot be written: No space left on device; free some space, or send it elsewhere"
    assert (done.returncode, done.stderr.decode()) == (2, f"edgekit: {sentence}\n")


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell closes streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed(closed: str, tmp_path: Path) -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = f"'{sys.executable}' -P -m edgekit targets {closed}"
    done = subprocess.run(["sh", "-c", command], env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_cache_that_cannot_be_made_is_one_sentence() -> None:
    done = edgekit("cache", "list", variables={"XDG_CACHE_HOME": "/dev/null"})
    assert done.returncode == 2 and done.stderr.startswith(b"edgekit: there is no cache: ")
    assert done.stderr.count(b"\n") == 1


def test_a_reader_that_leaves() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = edgekit("schema", "manifest", stdout=writer)
    os.close(writer)
    assert b"Traceback" not in done.stderr


def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from edgekit.cli.main import main; main(sys.argv[1:])"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "targets"], cwd=tmp_path / "gone", env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == "edgekit: the current folder was removed; change into one that exists (cd)\n"
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 1, "edgekit: there is too little memory here (MemoryError)\n"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 1, "edgekit: there is too little memory here ([Errno 12] Cannot allocate memory)\n"),
        (ImportError("long\nadvice\nx.so: failed to map segment from shared object"), 1, "edgekit: there is too little memory here (x.so: failed to map segment from shared object)\n"),
        (KeyboardInterrupt(), 130, "edgekit: stopped\n"),
    ],
)  # fmt: skip
def test_what_ends_it_while_it_is_loaded_is_one_sentence(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    def fail() -> None:
        raise error

    monkeypatch.setattr("edgekit.cli.main.main", fail)
    with pytest.raises(SystemExit) as ended:
        command()
    assert (ended.value.code, capsys.readouterr().err) == (code, said)
