"""SHA256SUMS: whatever happens to whatever file of an export, it is named."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from edgekit_runner.cli import bundle
from edgekit_runner.errors import RunnerError
from exported_net import write_export

from edgekit.errors import EdgekitError, UserError, VerificationError
from edgekit.package.sums import check_whole, seal

Damage = Callable[[Path], object]


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export with a file of each kind; none of them is read here."""
    out = tmp_path / "out"
    for name in (
        "report.json", "report.html", "baselines/model.onnx", "x86-server/manifest.json", "x86-server/golden.npz",
        "x86-server/logs/trace.txt", "x86-server/log.jsonl", "x86-server/m.mlpackage/Manifest.json", "x86-server/ä b.onnx",
    ):  # fmt: skip
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(f"what is in {name}")
    seal(out / "x86-server")
    seal(out)
    return out


FILES = (
    "report.json", "report.html", "baselines/model.onnx", "x86-server/manifest.json", "x86-server/golden.npz",
    "x86-server/logs/trace.txt", "x86-server/log.jsonl", "x86-server/m.mlpackage/Manifest.json", "x86-server/ä b.onnx",
    "x86-server/SHA256SUMS",
)  # fmt: skip


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


DAMAGES: dict[str, Damage] = {
    "altered after export": flip,
    "altered after export ": cut,
    "altered after export  ": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
    "a link": linked,
}


def test_a_whole_export_and_what_sha256sum_says_of_it(export: Path) -> None:
    check_whole(export)
    check_whole(export / "x86-server")
    said = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
        cwd=export,
        capture_output=True,
        text=True,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_a_folder_that_was_moved_is_whole(export: Path, tmp_path: Path) -> None:
    shutil.copytree(export / "x86-server", tmp_path / "app" / "model")
    check_whole(tmp_path / "app" / "model")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("what", DAMAGES)
def test_what_differs_is_named(export: Path, name: str, what: str) -> None:
    DAMAGES[what](export / name)
    with pytest.raises(VerificationError, match=f"{name} (is|was) {what.strip()}"):
        check_whole(export)


def test_what_was_added_is_named_but_for_pages_at_the_top(export: Path) -> None:
    (export / "notes.html").write_text("mine")
    check_whole(export)
    (export / "x86-server" / "m.mlpackage" / "more").write_text("")
    with pytest.raises(VerificationError, match=r"x86-server/m\.mlpackage/more was added after export"):
        check_whole(export)
    with pytest.raises(VerificationError, match=r": m\.mlpackage/more was added after export"):
        check_whole(export / "x86-server")


def test_many_are_counted(export: Path) -> None:
    for number in range(20):
        (export / "baselines" / f"{number:02}").write_text("")
    with pytest.raises(
        VerificationError, match=r"baselines/07 was added after export, and 12 more; restore it"
    ):
        check_whole(export)


LISTS: dict[str, str | bytes] = {
    "no hash": "x  report.json\n",
    "an absolute path": f"{'0' * 64}  /etc/passwd\n",
    "a path outside": f"{'0' * 64}  a/../../b\n",
    "a control character": f"{'0' * 64}  \x1b]0;x\n",
    "twice": f"{'0' * 64}  a\n{'0' * 64}  a\n",
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("what", LISTS)
def test_a_list_that_is_none(export: Path, what: str) -> None:
    text = LISTS[what]
    (export / "SHA256SUMS").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"SHA256SUMS.*export again") as caught:
        check_whole(export)
    assert str(caught.value).isprintable()


def test_without_a_list(export: Path) -> None:
    (export / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="holds no readable SHA256SUMS"):
        check_whole(export)
    (export / "SHA256SUMS").symlink_to("report.json")
    with pytest.raises(UserError, match="is a link"):
        check_whole(export)


def test_the_selftest_of_a_device_reads_it_too(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export")
    (found,) = bundle.run(folder)
    assert found["status"] == "ok"
    flip(folder / "manifest.json")
    with pytest.raises((RunnerError, EdgekitError)):
        bundle.run(folder)
