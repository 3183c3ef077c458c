"""What a stranger's export names does not become code: not in a shell script, and not behind the end of a comment."""

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from edgekit.package.bundle.templating import fill

NAMES = ("a'$(touch was-run)'b", "a; touch was-run;", "`touch was-run`", "a\ntouch was-run\n", "-n", "ä b")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_the_name_of_a_file_is_none_of_the_shells(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_text("content")
    wanted = [(name, sha256(b"content").hexdigest()) for name in NAMES]
    script = tmp_path / "verify.sh"
    script.write_text(fill("verify.sh", sums=wanted, name="net", version="1.0.0"), encoding="utf-8")
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "edgekit: net 1.0.0 ok\n"), done.stderr
    assert not (tmp_path / "was-run").exists()
    (tmp_path / NAMES[0]).write_text("other")
    assert subprocess.run(["sh", str(script)], capture_output=True).returncode == 1


def test_a_name_in_a_comment_does_not_end_it() -> None:
    text = fill("tflite.ts", npm="net", file="m*/evil()\n//\\u002a\\u002f.tflite")
    assert '/** Runs the model of loadTensorflowModel(require("net/m??evil()'.replace("()", "??") in text
    assert "evil()" not in text and "\\u002a" not in text
