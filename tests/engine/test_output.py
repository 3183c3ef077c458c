"""Output folders: whole or not at all, and never at the price of what was there."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edgekit.engine import output
from edgekit.engine.output import (
    MARK,
    MOVING,
    OLD,
    PARTIAL,
    check_output,
    copy_content,
    output_folder,
    put_back,
    work_place,
)
from edgekit.engine.output import _publish as publish
from edgekit.errors import UserError

OURS = '{"edgekit_version":"0.1"}'
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextmanager
def opened(out: Path) -> Iterator[Path]:
    """The output folder, with a work folder beside it that is gone afterwards."""
    work = out.absolute().parent / ".work"
    work.mkdir(parents=True)
    try:
        with output_folder(out, work) as partial:
            yield partial
    finally:
        shutil.rmtree(work)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_old(folder: Path) -> Path:
    out = folder / "out"
    (out / "x86").mkdir(parents=True)
    (out / MARK).write_text(OURS)
    (out / "x86" / "old").write_text("old")
    return out


def write_new(partial: Path) -> None:
    (partial / MARK).write_text(OURS)
    (partial / "new").write_text("new")


OLD_TREE = {"out/report.json": OURS, "out/x86/old": "old"}


def test_a_free_place_is_filled_with_its_parents(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "out"
    with opened(out) as partial:
        write_new(partial)
        assert not out.exists()
    assert tree(tmp_path) == {"a/b/out/new": "new", "a/b/out/report.json": OURS}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with opened(tmp_path / "out") as partial:
        write_new(partial)
    assert (tmp_path / "out" / "new").is_file()


def test_our_own_folder_is_replaced_and_nothing_of_it_stays(tmp_path: Path) -> None:
    out = make_old(tmp_path)
    with opened(out) as partial:
        write_new(partial)
        assert tree(out) == {"report.json": OURS, "x86/old": "old"}, "the old one is there until the end"
    assert tree(tmp_path) == {"out/new": "new", "out/report.json": OURS}


def test_the_folder_has_ordinary_rights(tmp_path: Path) -> None:
    """A build server's other users can read it."""
    with opened(tmp_path / "out") as partial:
        write_new(partial)
    (tmp_path / "plain").mkdir()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("out", "plain")}
    assert len(modes) == 1


def test_the_current_folder_by_its_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with opened(Path()) as partial:
        write_new(partial)
    assert tree(tmp_path) == {"here/new": "new", "here/report.json": OURS}


# ---------------------------------------------------------------------------------------------- what is not ours


@pytest.mark.parametrize("content", [{"thesis.tex": ""}, {".hidden": ""}, {MARK: "{}"}, {MARK: ""}])
def test_a_foreign_folder_is_left_alone(tmp_path: Path, content: dict[str, str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, text in content.items():
        (out / name).write_text(text)
    with pytest.raises(UserError) as caught, opened(out):
        pytest.fail("must refuse before any work is done")
    assert str(caught.value) == (
        f"output folder {out} exists and was not written by edgekit; give another -o or empty it"
    )
    assert tree(tmp_path) == {f"out/{name}": text for name, text in content.items()}


def test_a_file_and_links_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    make_old(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "dangling"):
        with pytest.raises(UserError) as caught:
            check_output(tmp_path / name)
        assert str(caught.value) == f"output {tmp_path / name} exists and is not a folder; give another -o"
    assert (tmp_path / "file").read_text() == "mine"


# ---------------------------------------------------------------------------------------------- what can break


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt(), UserError("given wrong")])
def test_an_exception_leaves_the_old_one_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    out = make_old(tmp_path)
    with pytest.raises(type(error)), opened(out) as partial:
        write_new(partial)
        raise error
    assert tree(tmp_path) == OLD_TREE
    assert names(tmp_path) == ["out"]


def test_an_exception_at_a_free_place_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), opened(tmp_path / "out") as partial:
        write_new(partial)
        raise RuntimeError
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence(tmp_path: Path, number: int) -> None:
    out = make_old(tmp_path)
    with pytest.raises(UserError) as caught, opened(out) as partial:
        write_new(partial)
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == f"the disk is full while writing {out}; nothing was changed"
    assert tree(tmp_path) == OLD_TREE


def test_a_full_disk_while_a_package_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Core ML artifact is a folder; copytree would turn ENOSPC into a list of texts."""
    package = tmp_path / "m.mlpackage" / "Data"
    package.mkdir(parents=True)
    (package / "weights").write_text("w")

    def full(*_: object, **__: object) -> None:
        raise FULL

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UserError, match="the disk is full"), opened(tmp_path / "out") as partial:
        copy_content(package.parent, partial / "x" / "m.mlpackage")
    assert names(tmp_path) == ["m.mlpackage"]


def test_another_oserror_is_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), opened(tmp_path / "out"):
        raise PermissionError(errno.EACCES, "no")


def test_the_old_one_is_put_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = make_old(tmp_path)
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name == PARTIAL:
            raise FULL
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(UserError, match="the disk is full"), opened(out) as partial:
        write_new(partial)
    assert tree(tmp_path) == OLD_TREE
    assert names(tmp_path) == ["out"]


def test_an_old_one_that_cannot_be_moved_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = make_old(tmp_path)

    def busy(self: Path, target: Path) -> Path:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(Path, "rename", busy)
    with (
        pytest.raises(UserError, match=r"cannot be put at .*busy; what was there is unchanged"),
        opened(out) as partial,
    ):
        write_new(partial)
    assert tree(tmp_path) == OLD_TREE
    assert names(tmp_path) == ["out"]


def test_a_process_killed_between_the_renames_leaves_what_puts_the_old_one_back(tmp_path: Path) -> None:
    out, work = make_old(tmp_path), tmp_path / ".work"
    work.mkdir()
    out.rename(work / OLD)
    put_back(out, work)
    shutil.rmtree(work)
    assert tree(tmp_path) == OLD_TREE


def test_a_process_killed_after_the_renames_leaves_the_new_one(tmp_path: Path) -> None:
    out, work = make_old(tmp_path), tmp_path / ".work"
    (work / OLD).mkdir(parents=True)
    put_back(out, work)
    assert not (work / OLD).exists()
    assert tree(out) == {"report.json": OURS, "x86/old": "old"}


class Killed(BaseException):
    """Ends everything at once: no `except` of the program sees it."""


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("former", [False, True])
def test_killed_at_each_rename_it_is_whole_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool, former: bool
) -> None:
    """Killed before and after each rename of the publication, and of putting it right, too."""
    real = Path.rename
    left = [0]

    def rename(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        done = real(self, target)
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return done

    monkeypatch.setattr(Path, "rename", rename)
    endings = set()
    for first in range(1, 16):
        for second in range(1, 16):
            place = tmp_path / f"{first}-{second}"
            out, work = place / "out", place / ("out/.edgekit-work" if inside else ".work")
            if former:
                make_old(place)
            work.mkdir(parents=True)
            (work / PARTIAL).mkdir()
            write_new(work / PARTIAL)
            left[0] = first
            with suppress(Killed):
                publish(work / PARTIAL, out, work)
            left[0] = second
            with suppress(Killed):
                put_back(out, work)
            left[0] = 0
            put_back(out, work)
            assert not (work / OLD).exists()
            shutil.rmtree(work)
            found = tuple(tree(out)) if out.exists() else ()
            endings.add(found)
            shutil.rmtree(place)
    old = ("report.json", "x86/old") if former else ()
    assert endings == {old, ("new", "report.json")}


@pytest.mark.parametrize("inside", [False, True])
def test_killed_while_the_former_one_is_removed_the_new_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    out = make_old(tmp_path)
    work = out / ".edgekit-work" if inside else tmp_path / ".work"
    (work / PARTIAL).mkdir(parents=True)
    write_new(work / PARTIAL)

    def half(folder: Path, ignore_errors: bool = False) -> None:
        (folder / MARK).unlink()
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(shutil, "rmtree", half)
        publish(work / PARTIAL, out, work)
    put_back(out, work)
    shutil.rmtree(work)
    assert tree(out) == {"new": "new", MARK: OURS}


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such pipes")
@pytest.mark.parametrize("planted", ["pipe", "device", "folder"])
def test_a_report_that_is_no_file_is_not_ours(tmp_path: Path, planted: str) -> None:
    """A pipe that another user put there would hold edgekit for ever, and a device would fill the memory."""
    mark = tmp_path / "out" / MARK
    mark.parent.mkdir()
    make = {
        "pipe": lambda: os.mkfifo(mark),
        "device": lambda: mark.symlink_to("/dev/zero"),
        "folder": mark.mkdir,
    }
    make[planted]()
    with pytest.raises(UserError, match="was not written by edgekit"):
        check_output(tmp_path / "out")


@pytest.mark.parametrize("moved", [MARK, "x86"])
def test_an_output_whose_entries_were_half_moved_may_be_written(tmp_path: Path, moved: str) -> None:
    """The run that was killed would else never be resumed: without its report a folder is somebody else's."""
    out = make_old(tmp_path)
    work = out / ".edgekit-work"
    (work / MOVING).mkdir(parents=True)
    (out / moved).rename(work / MOVING / moved)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "_is_mount", lambda _: True)
        check_output(out)
        put_back(out, work)
        shutil.rmtree(work)
        assert tree(tmp_path) == OLD_TREE
        (out / MARK).unlink()
        with pytest.raises(UserError, match="was not written by edgekit"):
            check_output(out)


MOUNTED = """
import shutil, subprocess, sys
from pathlib import Path
from edgekit.engine.output import MARK, check_output, output_folder, work_place
out, kind = Path(sys.argv[1]), sys.argv[2]
out.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "none", out] if kind == "tmpfs" else ["mount", "--bind", out, out], check=True)
for text in ("one", "two"):
    check_output(out)
    work = work_place(out)
    work.mkdir()
    with output_folder(out, work) as partial:
        (partial / text).mkdir()
        (partial / text / "file").write_text(text)
        (partial / MARK).write_text('"edgekit_version"')
    shutil.rmtree(work)
print(*sorted(path.relative_to(out) for path in out.rglob("*")))
"""


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_a_mount_point_keeps_its_place(tmp_path: Path, kind: str) -> None:
    """As a volume of a container is: it cannot be renamed, so what is in it is moved."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = ["unshare", "-rm", sys.executable, "-c", MOUNTED, str(tmp_path / "my out"), kind]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert (done.stdout, done.stderr) == ("report.json two two/file\n", "")


def test_a_folder_whose_parent_may_not_be_written_keeps_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert work_place(tmp_path / "out") == tmp_path / "out" / ".edgekit-work"
    (tmp_path / "out" / ".edgekit-work").mkdir()
    check_output(tmp_path / "out")


@pytest.mark.parametrize("name", ["n" * 300, "n" * 250, "a\0b", "o\udcff", "/".join(["n" * 200] * 22)])
def test_a_name_that_no_folder_can_have_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"cannot be the name of a folder: .*; give another -o") as caught:
        check_output(tmp_path / name)
    assert str(caught.value).isprintable()


def test_a_removed_current_folder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    with pytest.raises(
        UserError, match=r"the current folder was removed; change into one that exists \(cd\)"
    ):
        check_output(Path("out"))


def test_copying_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "f").write_text("f")
    copy_content(tmp_path / "a", tmp_path / "x" / "b")
    copy_content(tmp_path / "a" / "deep" / "f", tmp_path / "y" / "g")
    assert tree(tmp_path / "x") == {"b/deep/f": "f"}
    assert tree(tmp_path / "y") == {"g": "f"}


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such folders")
def test_an_output_that_only_its_owner_can_move_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in /tmp: another user made the folder, and all may write in it."""
    out = make_old(tmp_path)
    tmp_path.chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: out.stat().st_uid + 1)
    with pytest.raises(UserError, match="belongs to another user, and only its owner can replace it"):
        check_output(out)
