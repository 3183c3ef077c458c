"""Driving a device: what is sent and what is not, what is left behind, and each way it can fail, one sentence each.

The stand-ins for ssh and adb run their commands in a folder of this machine.
"""

import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import Fakes
from edgekit_runner import artifact
from edgekit_runner import record as records
from edgekit_runner.spec import SCHEMA_VERSION

from edgekit.device import Device, open_device
from edgekit.device.run import run
from edgekit.errors import DeviceError, MissingRuntime, UserError

pytestmark = pytest.mark.long

TEXTS = {"ssh": "ssh:pi@board.local", "adb": "adb:emulator-5554"}
DAY_S = 86400
_ANSWER = """
import hashlib, json, sys
record, spec = {template!r}, json.loads(sys.stdin.readline())  # the host holds stdin open while the runner works
with open(spec["artifact"], "rb") as stream:
    content = stream.read()
about = {{"path": spec["artifact"], "format": "onnx", "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
print(json.dumps(record | {{"artifact": about}}))
"""


@pytest.fixture(params=["ssh", "adb"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def template(model: Path) -> Any:
    """What the real runner says of the model."""
    spec = json.dumps({"schema_version": SCHEMA_VERSION, **check(model)})
    done = subprocess.run(
        [sys.executable, "-m", "edgekit_runner", "run", "-"], input=spec, capture_output=True, text=True, check=True
    )  # fmt: skip
    return records.read(done.stdout.splitlines()[-1])


@pytest.fixture
def device(kind: str, fakes: Fakes, tmp_path: Path, template: dict[str, Any]) -> Any:
    """Its runner hashes the artifact and answers at once, without a runtime."""
    (tmp_path / "answer.py").write_text(_ANSWER.format(template=template))
    answer = f"exec {sys.executable} -I -S {tmp_path / 'answer.py'}"
    opened = open_device(TEXTS[kind], odd_python(tmp_path, answer))
    yield opened
    fakes.fault("")
    opened.close()


@pytest.fixture
def measuring(kind: str, fakes: Fakes) -> Any:
    """Its runner is the real one."""
    opened = open_device(TEXTS[kind], sys.executable)
    yield opened
    opened.close()


def odd_python(folder: Path, answer: str) -> str:
    """A Python like another, but for what it does when it should run the runner."""
    path = folder / "odd-python"
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *" run -"*) {answer};; *) exec {sys.executable} -S "$@";; esac\n'
    )
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def nothing_is_left_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """Temporary files of the driver go to a folder that must be empty in the end."""
    folder = tmp_path_factory.mktemp("tmp")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert [path.name for path in folder.iterdir()] == []


def check(model: Path, **more: object) -> dict[str, object]:
    return {"kind": "check", "artifact": str(model), "warmup_s": 0.01, "timeout_s": 60.0, **more}


def left_over(fakes: Fakes, kind: str) -> list[str]:
    """What is in the device's cache beside complete files."""
    return [
        path.name
        for path in fakes.cache(kind).rglob("*")
        if not re.fullmatch(r"(runner-)?[0-9a-f]{64}\.\w+", path.name)
    ]


# ------------------------------------------------------------------------------------------------- what goes well


def test_a_record_comes_back_about_the_file_as_it_was_given(
    measuring: Device, model: Path, runner: Path
) -> None:
    record = run(measuring, check(model), runner)
    assert (record["status"], record["reason"]) == ("ok", None)
    assert record["artifact"]["path"] == str(model)


def test_nothing_is_sent_twice(device: Device, kind: str, fakes: Fakes, model: Path, runner: Path) -> None:
    sending = {"ssh": 'cat >"$1"', "adb": " push "}[kind]
    sent = lambda: sum(sending in call for call in fakes.calls())  # noqa: E731
    run(device, check(model), runner)
    assert sent() == 2
    run(device, check(model), runner)
    assert sent() == 2
    other = model.with_name("other.onnx")
    other.write_bytes(model.read_bytes())
    run(device, check(other), runner)
    assert sent() == 2, "another name for the same content"


def test_what_is_kept_is_named_by_its_hash(
    measuring: Device, kind: str, fakes: Fakes, model: Path, runner: Path, tmp_path: Path
) -> None:
    np.savez(
        tmp_path / "golden.npz", input_0=np.zeros((1, 64), np.float32), output_0=np.zeros((1, 64), np.float32)
    )
    record = run(measuring, check(model, golden=str(tmp_path / "golden.npz"), golden_atol=0.1), runner)
    assert record["golden"]["status"] == "passed"
    golden = artifact.sha256(tmp_path / "golden.npz")
    assert {path.name for path in fakes.cache(kind).iterdir()} == {
        runner.name,
        f"{record['artifact']['sha256']}.onnx",
        f"{golden}.npz",
    }


def test_a_package_is_sent_file_by_file_under_its_hash(
    measuring: Device, kind: str, fakes: Fakes, runner: Path, tmp_path: Path
) -> None:
    """Core ML runs on Apple devices only: here its record says so, once the files are there."""
    package = tmp_path / "net.mlpackage"
    for name in (
        "Manifest.json",
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/w.bin",
    ):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(name)
    record = run(measuring, check(package), runner)
    assert record["status"] == "failed"
    (there,) = fakes.cache(kind).glob("*.mlpackage")
    assert re.fullmatch(r"[0-9a-f]{64}", there.stem)
    files = {p.relative_to(there).as_posix(): p.read_text() for p in there.rglob("*") if p.is_file()}
    assert files == {name: name for name in files}
    assert len(files) == 3


def test_what_nobody_used_for_two_weeks_goes(
    device: Device, kind: str, fakes: Fakes, model: Path, runner: Path
) -> None:
    run(device, check(model), runner)
    cache = fakes.cache(kind)
    for age, name in (
        (20, "old.onnx"),
        (20, "run-0/group"),
        (20, "net.mlpackage/Data/w.bin"),
        (10, "young.onnx"),
    ):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).touch()
        moment = time.time() - age * DAY_S
        for place in (cache / name, *[p for p in (cache / name).parents if cache in p.parents]):
            os.utime(place, (moment, moment))
    kept = {
        path: time.time() - 20 * DAY_S for path in cache.iterdir() if re.search("[0-9a-f]{64}", path.name)
    }
    for path, moment in kept.items():
        os.utime(path, (moment, moment))
    run(device, check(model), runner)
    assert {path.name for path in cache.rglob("*") if path.is_file()} == {
        "young.onnx",
        *(p.name for p in kept),
    }


def test_noise_around_the_record_does_no_harm(
    device: Device, fakes: Fakes, model: Path, runner: Path
) -> None:
    fakes.fault("noise")
    assert run(device, check(model), runner)["status"] == "ok"


def test_a_shell_that_greets_is_understood(kind: str, fakes: Fakes) -> None:
    fakes.fault("noise")
    device = open_device(TEXTS[kind], sys.executable)
    assert device.root.startswith(str(fakes.home) if kind == "ssh" else "/data/local/tmp")
    device.close()


def test_a_runner_that_refuses_is_passed_on(measuring: Device, runner: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"this is no model")
    record = run(measuring, check(tmp_path / "broken.onnx"), runner)
    assert (record["status"], record["error_kind"]) == ("failed", "user")


def test_local_runs_the_artifact_where_it_lies(model: Path, runner: Path) -> None:
    device = open_device("local")
    try:
        assert run(device, check(model), runner)["status"] == "ok"
        assert [path.name for path in Path(device.root).iterdir()] == [runner.name]
    finally:
        device.close()


# ------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("kind", "words", "sentence"),
    [
        ("ssh", "pi@board.local: Permission denied (publickey,password).", "login refused .*: set up a key"),
        ("ssh", "Host key verification failed.", "host key is not known here, or has changed"),
        (
            "ssh",
            "ssh: Could not resolve hostname board.local: Name or service not known",
            "cannot connect .*not known",
        ),
        (
            "ssh",
            "ssh: connect to host board.local port 22: Connection refused",
            "cannot connect .*Connection refused",
        ),
        ("ssh", "", "cannot connect"),
        ("adb", "error: device unauthorized.", "login refused .*dialog on the device"),
        ("adb", "adb: device 'emulator-5554' not found", "cannot connect .*not found.*`adb devices`"),
        ("adb", "error: device offline", "cannot connect .*offline"),
    ],
)
def test_a_device_that_does_not_let_us_in(fakes: Fakes, kind: str, words: str, sentence: str) -> None:
    fakes.fault("refused", words, 255 if kind == "ssh" else 1)
    with pytest.raises(DeviceError, match=f"^{TEXTS[kind]}: .*{sentence}") as caught:
        open_device(TEXTS[kind])
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "code"), [("ssh", 255), ("adb", 0)])
@pytest.mark.parametrize("words", ["client_loop: send disconnect: Broken pipe", ""])
def test_a_device_that_vanishes(
    device: Device, fakes: Fakes, kind: str, code: int, words: str, model: Path, runner: Path
) -> None:
    """adb answers 0 when the device goes away: only the missing end of the command tells."""
    fakes.fault("vanish", words, code, when="run -")
    with pytest.raises(DeviceError, match=f"{TEXTS[kind]} vanished before the command there ended"):
        run(device, check(model), runner)


def test_torn_output_is_no_record(device: Device, kind: str, fakes: Fakes, model: Path, runner: Path) -> None:
    fakes.fault("torn", when="run -")
    with pytest.raises(DeviceError, match=r"its answer is no record but '\{"):
        run(device, check(model), runner)
    fakes.fault("")
    assert left_over(fakes, kind) == []


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            "echo hello world",
            "exit code 0, and its answer is no record but 'hello world'; its last words: it said nothing",
        ),
        ("echo '{\"schema_version\": 1}'", "is no record but"),
        ("echo '[]'; echo oops >&2; exit 9", "exit code 9, .* last words: oops"),
        ("head -c 100000 /dev/urandom; exit 1", "exit code 1, and its answer is no record"),
        ("echo 'write error: No space left on device' >&2; exit 1", "the disk there is full"),
        ("echo 'error: spec key seed is bad.' >&2; exit 2", "^UserError: .*: spec key seed is bad"),
        ("echo 'error: numpy is not installed' >&2; exit 3", "^MissingRuntime: .*: numpy is not installed"),
    ],
)
def test_an_answer_that_is_no_record(
    kind: str, fakes: Fakes, model: Path, runner: Path, tmp_path: Path, answer: str, sentence: str
) -> None:
    device = open_device(TEXTS[kind], odd_python(tmp_path, answer))
    with pytest.raises((DeviceError, UserError, MissingRuntime)) as caught:
        run(device, check(model), runner)
    assert re.search(sentence, f"{type(caught.value).__name__}: {caught.value}")
    assert left_over(fakes, kind) == []
    device.close()


def test_a_run_that_takes_too_long_is_ended_there(
    measuring: Device, kind: str, fakes: Fakes, model: Path, runner: Path, long: dict[str, object]
) -> None:
    begin = time.monotonic()
    with pytest.raises(DeviceError, match="no answer within 3 s; allow more time"):
        run(measuring, {"artifact": str(model), **long}, runner, timeout_s=3.0)
    assert time.monotonic() - begin < 60
    mine = [
        p.info["cmdline"]
        for p in psutil.process_iter(["cmdline"])
        if str(fakes.home) in " ".join(p.info["cmdline"] or [])
    ]
    assert mine == []
    assert left_over(fakes, kind) == []


def test_a_local_run_that_takes_too_long_leaves_no_process(
    model: Path, runner: Path, long: dict[str, object]
) -> None:
    device = open_device("local")
    with pytest.raises(DeviceError, match="no answer within 3 s"):
        run(device, {"artifact": str(model), **long}, runner, timeout_s=3.0)
    assert not [p for p in psutil.Process().children(recursive=True) if device.root in " ".join(p.cmdline())]
    device.close()


def test_a_silent_device_is_given_up(device: Device, kind: str, fakes: Fakes) -> None:
    fakes.fault("hang")
    with pytest.raises(DeviceError, match=r"no answer within 0\.5 s"):
        device.execute(["true"], timeout_s=0.5)


@pytest.mark.parametrize("kind", ["ssh"])
def test_a_full_disk_there(device: Device, kind: str, fakes: Fakes, model: Path, runner: Path) -> None:
    fakes.fault("full", when='cat >"$1"')
    with pytest.raises(
        DeviceError, match=r"the disk there is full, it cannot store runner-\w+.pyz \(\d+ bytes\)"
    ):
        run(device, check(model), runner)
    fakes.fault("")
    assert [path.name for path in fakes.cache(kind).iterdir()] == []


def test_a_folder_that_cannot_be_written(kind: str, fakes: Fakes, model: Path, runner: Path) -> None:
    fakes.cache(kind).parent.mkdir(parents=True, exist_ok=True)
    fakes.cache(kind).write_text("a file where the folder should be")
    device = open_device(TEXTS[kind], sys.executable)
    with pytest.raises(DeviceError, match=r"it cannot make a folder below .*: .*(exists|directory)"):
        run(device, check(model), runner)
    device.close()


def test_a_copy_that_was_altered_is_refused_and_sent_again(
    device: Device, kind: str, fakes: Fakes, model: Path, runner: Path
) -> None:
    run(device, check(model), runner)
    (copy,) = fakes.cache(kind).glob("*.onnx")
    data = bytearray(copy.read_bytes())
    data[-100] ^= 1  # a weight: the file still loads
    copy.write_bytes(data)
    with pytest.raises(DeviceError, match=r"the copy of .*model.onnx there was altered; it was removed"):
        run(device, check(model), runner)
    assert run(device, check(model), runner)["status"] == "ok"


def test_a_copy_that_was_cut_is_sent_again(
    device: Device, kind: str, fakes: Fakes, model: Path, runner: Path
) -> None:
    run(device, check(model), runner)
    (copy,) = fakes.cache(kind).glob("*.onnx")
    copy.write_bytes(copy.read_bytes()[:100])
    assert run(device, check(model), runner)["status"] == "ok"


def python_that_says(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_no_python_there(kind: str, fakes: Fakes, tmp_path: Path) -> None:
    with pytest.raises(
        DeviceError, match=r"no Python there \(tried /nowhere/python\); install one, or name it with --python"
    ):
        open_device(TEXTS[kind], "/nowhere/python")
    dead = python_that_says(tmp_path, "exit 1")
    with pytest.raises(DeviceError, match="no Python there"):
        open_device(TEXTS[kind], dead)


def test_a_python_that_is_too_old(kind: str, fakes: Fakes, tmp_path: Path) -> None:
    old = python_that_says(tmp_path, 'echo "edgekit-python=3.9=$3"')
    with pytest.raises(MissingRuntime, match=r"Python 3\.9, the runner needs 3\.11 or newer") as caught:
        open_device(TEXTS[kind], old)
    assert caught.value.exit_code == 3


def test_an_artifact_that_is_not_here(device: Device, runner: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.onnx does not exist"):
        run(device, check(tmp_path / "none.onnx"), runner)
