"""The folder of an unfinished run: one owner at a time, kept after a stop, dropped when what it rests on changed."""

import json
import os
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from edgekit.engine.output import OLD
from edgekit.engine.workspace import FINGERPRINT, KEPT, LOCK, invalidate_if_changed, work_folder
from edgekit.errors import ConversionError, DiskFull, UserError

PRINT = {"the model's weights": "1", "the seed": "0"}


def finish(work: Path, stage: str = "ptq-0123", owner: str = "x86", answer: str = '{"result": 1}') -> Path:
    folder = work / owner / stage
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(answer)
    return folder


def stopped(out: Path, fingerprint: dict[str, str] = PRINT) -> Path:
    """What a run leaves that was stopped after one stage."""
    with pytest.raises(KeyboardInterrupt), work_folder(out, False, print) as work:
        finish(work, "trace", "shared")
        invalidate_if_changed(work, fingerprint, print)
        finish(work)
        raise KeyboardInterrupt
    return work


def test_a_normal_end_leaves_nothing(tmp_path: Path) -> None:
    with work_folder(tmp_path / "deep" / "out", False, print) as work:
        assert work == tmp_path / "deep" / ".out.edgekit-work"
        finish(work)
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("wrong"), RuntimeError("bug")])
def test_a_stop_keeps_finished_stages_and_says_so(tmp_path: Path, error: BaseException) -> None:
    said: list[str] = []
    with pytest.raises(type(error)) as caught, work_folder(tmp_path / "out", False, said.append) as work:
        stage = finish(work)
        raise error
    assert stage.is_dir()
    assert said == caught.value.__notes__ == [KEPT]


@pytest.mark.parametrize(
    ("owner", "stage", "answer"),
    [("shared", "trace", '{"result": 1}'), ("x86", "ptq-01", '{"error": {}}'), ("x86", "ptq-01", '{"resu')],
)
def test_without_a_finished_stage_nothing_is_kept(
    tmp_path: Path, owner: str, stage: str, answer: str
) -> None:
    with pytest.raises(RuntimeError), work_folder(tmp_path / "out", False, print) as work:
        finish(work, stage, owner, answer)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [DiskFull("full"), ConversionError("nothing takes it")])
def test_what_no_resuming_mends_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)), work_folder(tmp_path / "out", False, print) as work:
        finish(work)
        raise error
    assert list(tmp_path.iterdir()) == []


# -- the next run


def test_resuming_finds_the_stages(tmp_path: Path) -> None:
    stopped(tmp_path / "out")
    said: list[str] = []
    with work_folder(tmp_path / "out", True, said.append) as work:
        invalidate_if_changed(work, PRINT, said.append)
        assert (work / "x86" / "ptq-0123").is_dir()
    assert said == []


def test_not_resuming_removes_them_and_says_so(tmp_path: Path) -> None:
    stopped(tmp_path / "out")
    said: list[str] = []
    with work_folder(tmp_path / "out", False, said.append) as work:
        assert [p.name for p in work.iterdir()] == [LOCK]
    assert said == [
        "removed 1 finished stages of a run that was stopped; --resume would have continued with them"
    ]


def test_resuming_nothing_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    with work_folder(tmp_path / "out", True, said.append):
        pass
    assert said == ["nothing to resume: no finished stage was left; everything starts from the beginning"]


@pytest.mark.parametrize(
    ("now", "named"),
    [
        ({**PRINT, "the model's weights": "2"}, "the model's weights"),
        ({**PRINT, "the seed": "1", "the model's weights": "2"}, "the model's weights, the seed"),
        ({"the model's weights": "1"}, "the seed"),
        ({**PRINT, "the version of torch": "3"}, "the version of torch"),
    ],
)
def test_stages_of_another_fingerprint_are_ignored(tmp_path: Path, now: dict[str, str], named: str) -> None:
    stopped(tmp_path / "out")
    said: list[str] = []
    with work_folder(tmp_path / "out", True, said.append) as work:
        invalidate_if_changed(work, now, said.append)
        assert not (work / "x86" / "ptq-0123").exists()
        assert (work / "shared" / "trace").is_dir(), "it was just made"
        assert json.loads((work / FINGERPRINT).read_text()) == now
    assert said == [f"cached stages ignored, changed: {named}"]


@pytest.mark.parametrize("text", [None, "", "{", "[1]"])
def test_stages_without_a_readable_fingerprint_belong_to_nobody(tmp_path: Path, text: str | None) -> None:
    left = stopped(tmp_path / "out") / FINGERPRINT
    left.unlink() if text is None else left.write_text(text)
    with work_folder(tmp_path / "out", True, print) as work:
        invalidate_if_changed(work, PRINT, print)
        assert not (work / "x86" / "ptq-0123").exists()


def test_the_former_output_comes_back_after_a_kill_between_two_renames(tmp_path: Path) -> None:
    work = stopped(tmp_path / "out")
    (work / OLD).mkdir()
    (work / OLD / "report.json").write_text("old")
    with pytest.raises(RuntimeError), work_folder(tmp_path / "out", False, print):
        raise RuntimeError
    assert (tmp_path / "out" / "report.json").read_text() == "old"


# -- its user's alone


def test_nobody_else_may_look_into_it(tmp_path: Path) -> None:
    with work_folder(tmp_path / "out", False, print) as work:
        finish(work)
        assert stat.S_IMODE(work.stat().st_mode) == 0o700
        assert stat.S_IMODE((work / LOCK).stat().st_mode) == 0o600


def test_one_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / ".out.edgekit-work").mkdir(mode=0o755)
    with work_folder(tmp_path / "out", False, print) as work:
        assert stat.S_IMODE(work.stat().st_mode) == 0o700


def test_one_that_others_could_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".out.edgekit-work").mkdir()
    (tmp_path / ".out.edgekit-work").chmod(0o775)
    refused(tmp_path / "out", "may be written by others, who could have put code there")


def refused(out: Path, why: str) -> None:
    with pytest.raises(UserError, match=why), work_folder(out, True, print):
        pytest.fail("must refuse before anything is read or removed")


def test_a_link_in_its_place_is_refused_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "thesis.txt").write_text("mine")
    (tmp_path / ".out.edgekit-work").symlink_to(tmp_path / "victim")
    refused(tmp_path / "out", "is a link, and edgekit keeps its own files there; remove it, then run again")
    assert [p.name for p in (tmp_path / "victim").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("kind", ["link", "dangling", "hard link", "folder", "pipe"])
def test_a_lock_that_is_no_plain_file_is_refused_and_what_it_points_to_stays(
    tmp_path: Path, kind: str
) -> None:
    victim, lock = tmp_path / "bashrc", tmp_path / ".out.edgekit-work" / LOCK
    victim.write_text("mine")
    lock.parent.mkdir()
    {
        "link": lambda: lock.symlink_to(victim),
        "dangling": lambda: lock.symlink_to(tmp_path / "nowhere"),
        "hard link": lambda: lock.hardlink_to(victim),
        "folder": lock.mkdir,
        "pipe": lambda: os.mkfifo(lock),
    }[kind]()
    refused(tmp_path / "out", "remove it, then run again")
    assert victim.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("whose", ["folder", "lock"])
def test_what_another_user_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    work = tmp_path / ".out.edgekit-work"
    finish(work)
    (work / LOCK).touch()
    real = os.geteuid()
    if whose == "folder":
        monkeypatch.setattr(os, "geteuid", lambda: real + 1)
    elif real == 0:
        os.chown(work / LOCK, 65534, 65534)
    else:
        answers = iter([real])
        monkeypatch.setattr(os, "geteuid", lambda: next(answers, real + 1))
    refused(tmp_path / "out", "belongs to another user")
    assert (work / "x86" / "ptq-0123" / "result.json").is_file()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_place_where_no_folder_can_be_made_is_refused_at_once() -> None:
    refused(Path("/proc/out"), "cannot write beside /proc/out: No such file or directory")


# -- two at once


def test_the_second_of_two_runs_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with work_folder(out, False, print) as work:
        stage = finish(work)
        with pytest.raises(UserError) as caught, work_folder(out, False, print):
            pytest.fail("two at once")
        assert stage.is_dir()
    assert str(caught.value) == (
        f"another run (process {os.getpid()}) is writing {out}; wait until it ends, or give another -o"
    )
    with work_folder(out, False, print):
        pass


HOLD = """
import sys, time
from pathlib import Path
from edgekit.engine.workspace import work_folder
with work_folder(Path(sys.argv[1]), False, print):
    print("mine", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-c", HOLD, str(out)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
    assert owner.stdout is not None and owner.stdout.readline() == b"mine\n"
    refused = pytest.raises(UserError, match=f"another run \\(process {owner.pid}\\) is writing")
    with refused, work_folder(out, False, print):
        pytest.fail("two at once")
    owner.kill()
    owner.wait()
    owner.stdout.close()
    with work_folder(out, False, print) as work:
        assert (work / LOCK).read_text() == str(os.getpid())


def test_no_two_of_many_ever_own_it_together(tmp_path: Path) -> None:
    """Owners come and go and remove the folder; each newcomer locks the file that is there now."""
    program = f"""
import sys, time
from pathlib import Path
from edgekit.errors import UserError
from edgekit.engine.workspace import work_folder
out, inside = Path({str(tmp_path / "out")!r}), Path({str(tmp_path / "inside")!r})
end, owned = time.monotonic() + 3, 0
while time.monotonic() < end:
    try:
        with work_folder(out, False, lambda text: None):
            inside.mkdir()
            time.sleep(0.001)
            inside.rmdir()
            owned += 1
    except UserError:
        pass
print(owned)
"""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    many = [
        subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
        )
        for _ in range(3)
    ]
    counts = [process.communicate(timeout=60)[0] for process in many]
    assert [process.returncode for process in many] == [0, 0, 0], (
        "inside.mkdir fails where two are in at once"
    )
    assert sum(int(count) for count in counts) > 3


def test_waiting_for_nothing(tmp_path: Path) -> None:
    """A second run is refused at once: it does not hang until the first ends."""
    with work_folder(tmp_path / "out", False, print):
        started = time.monotonic()
        with suppress(UserError), work_folder(tmp_path / "out", False, print):
            pass
        assert time.monotonic() - started < 5


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of files there")
def test_a_lock_that_cannot_be_signed_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """As under `ulimit -f 0`, or on a disk that has room for a name and no more."""
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom edgekit.errors import UserError\n"
        "from edgekit.engine.workspace import work_folder\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try:\n    work_folder(Path(sys.argv[1]), False, print).__enter__()\nexcept UserError as error:\n    print(error)"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert (
        done.stdout
        == f"cannot write beside {tmp_path / 'out'}: File too large; give another -o, or make room\n"
    ), done.stderr
    assert list(tmp_path.iterdir()) == []
