"""An export tells nothing of who made it: a team publishes the folder as it is."""

import getpass
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from commands import TASKS

from edgekit.package import anonymous, folder
from edgekit.package.anonymous import Anonymous

pytestmark = pytest.mark.long

USER, HOST = "zedquux", "zedboard"
NAMED = f"import os, socket, sys; socket.sethostname({HOST!r}); os.execv(sys.argv[1], sys.argv[1:])"


def test_every_file_of_an_export(tmp_path: Path) -> None:
    """A run of a user whose names and folders appear nowhere else, in one attempt that is refused and one that is not."""
    home = tmp_path / USER
    (home / "checkout").mkdir(parents=True)
    task = home / "checkout" / "mine.py"
    task.write_text(
        f"""
import logging, os, sys
sys.path.insert(0, {str(TASKS)!r})
from small import make
def task():
    logging.warning("from %s of %s on %s", __file__, os.environ["USER"], os.uname().nodename)
    print(os.path.expanduser("~/data"), os.getcwd())
    return make()
"""
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    variables = {**os.environ, "HOME": str(home), "USER": USER, "LOGNAME": USER, "PYTHONPATH": path}
    variables.pop("XDG_CACHE_HOME", None)
    apart = ["unshare", "-ru", sys.executable, "-c", NAMED]
    command = [
        *(apart if not subprocess.run([*apart, "/bin/true"], capture_output=True).returncode else []),
        sys.executable, "-m", "edgekit", "export", f"{task}:task", "-t", "arm-mobile", "-t", "coreml-fp16", "--recipe", "ptq",
        "--recipe", "fp16", "-o", home / "out",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=home / "checkout", env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = [file for file in (home / "out").rglob("*") if file.is_file()]
    assert any("logs" in file.parts and b"from " in file.read_bytes() for file in files)
    checkout = Path(anonymous.__file__).parents[2]
    names = [USER, HOST, str(home), str(checkout), sys.prefix, str(Path.home())]
    found = [(str(file), name) for file in files for name in names if name.encode() in file.read_bytes()]
    assert found == []


def test_paths_and_names_come_to_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "bob"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(getpass, "getuser", lambda: "bob")
    monkeypatch.setattr(socket, "gethostname", lambda: "board-7")
    shorten = Anonymous(home / ".out.edgekit-work", home / "out")
    text = f"File {home}/.out.edgekit-work/x86/log.txt, {home}/a.py:3, '{home}/out', by bob@board-7; bobbin, board-77"
    assert shorten.text(text) == "File WORK/x86/log.txt, ~/a.py:3, 'OUT', by USER@HOST; bobbin, board-77"
    data = {"bob": [f"{home}/x", 1, None], "why": {"reason": "on board-7"}}
    assert shorten.data(data) == {"bob": ["~/x", 1, None], "why": {"reason": "on board-7"}}


def test_a_user_whose_name_is_a_word_is_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    assert Anonymous(tmp_path, tmp_path).text("the root of the graph") == "the root of the graph"


def test_a_log_that_the_tasks_code_filled_keeps_both_ends(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"begin" + b"x" * 3 * folder.MOST_LOG_BYTES + b"end")
    folder._keep_logs([("01-trace.txt", log), ("02-gone.txt", tmp_path / "gone")], tmp_path / "logs")
    (kept,) = (tmp_path / "logs").iterdir()
    said = kept.read_bytes()
    assert said.startswith(b"begin") and said.endswith(b"end")
    assert b"bytes left out" in said and len(said) < 1.1 * folder.MOST_LOG_BYTES
