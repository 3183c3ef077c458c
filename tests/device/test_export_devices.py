"""A device in the gate: whose machine it is, what it measures, and what is said of one that does not answer."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Fakes
from edgekit_runner import record as records
from edgekit_runner.artifact import sha256
from edgekit_runner.host.environment import local_isa
from runner_models import write_onnx

from edgekit.device.inquiry import ask
from edgekit.device.run import run_on
from edgekit.errors import DeviceError, UserError, VerificationError
from edgekit.golden import Golden
from edgekit.ladder import measuring
from edgekit.measure import comparison, lab
from edgekit.profile.reading import load_target
from edgekit.records import Artifact, DeviceFacts, TensorSpec

SSH = "ssh:pi@board.local"
SERVER, PHONE = load_target("x86-server"), load_target("arm-mobile")
BOARD = DeviceFacts(name="ssh:board", arch="aarch64", isa="arm-dotprod", emulated="no")
SILENT = DeviceFacts(name="adb:x", error="adb:x: cannot connect")

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the stand-in device is this machine")


class Pair:
    """Two files of one small net, and what they answer to three samples."""

    def __init__(self, folder: Path) -> None:
        x = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)
        self.golden: list[Golden] = []
        self.files: list[Artifact] = []
        for name, repeat in (("a", 1), ("b", 3)):
            path = folder / f"{name}.onnx"
            weight = write_onnx(path, repeat=repeat, batch="n")
            y = x
            for _ in range(repeat):
                y = np.maximum(y @ weight, 0)
            np.savez(folder / f"{name}.npz", input_0=x, output_0=y)
            self.golden.append(Golden(path=str(folder / f"{name}.npz"), atol=1e-4))
            self.files.append(file_of(path, f"r{repeat - 1}"))

    def measured(self, device: str) -> Any:
        return comparison.compare(
            self.files[0],
            self.golden[0],
            self.files[1],
            self.golden[1],
            SERVER,
            local_isa(),
            "onnxruntime",
            device,
        )


def file_of(path: Path, output: str) -> Artifact:
    x, y = (TensorSpec(name=name, shape=(1, 64), dtype="float32") for name in ("x", output))
    return Artifact(
        path=str(path), format="onnx", precision="float32", size_bytes=path.stat().st_size, sha256=sha256(path),
        inputs=(x,), outputs=(y,), layout="as the model", toolchain={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(autouse=True)
def the_device_has_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in finds the interpreter that has the runtimes, whether its environment is active or not."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(comparison, "ROUNDS", 2)
    monkeypatch.setattr(comparison, "PROCESSES", 1)
    yield


def test_a_device_says_what_it_is(fakes: Fakes) -> None:
    found = ask(SSH)
    assert (found.name, found.arch, found.isa, found.error) == (SSH, "x86_64", local_isa(), "")
    fakes.fault("refused", "connection refused")
    assert ask(SSH).error.startswith(f"{SSH}: cannot connect")


def test_a_device_of_another_instruction_set_ends_the_run_before_it_begins(fakes: Fakes) -> None:
    with pytest.raises(
        UserError, match=r"is x86_64 .* which is no machine of the targets asked for \(arm-mobile: aarch64"
    ):
        measuring.ask([SSH], [PHONE], print)
    assert measuring.ask([SSH], [PHONE, SERVER], print)[0].arch == "x86_64"
    said: list[str] = []
    fakes.fault("refused", "connection refused")
    assert measuring.ask([SSH], [PHONE], said.append)[0].error == said[0]


def test_which_device_measures_for_which_target() -> None:
    other = DeviceFacts(name="ssh:other", arch="aarch64", isa="arm-i8mm", emulated="no")
    emulated = DeviceFacts(name="ssh:qemu", arch="aarch64", isa="arm-neon", emulated="qemu")
    assert measuring.device_for(PHONE, [SILENT, emulated, BOARD, other]) == "ssh:board"
    assert measuring.device_for(SERVER, [BOARD, other]) == ""
    with pytest.raises(UserError, match="device 'board' is not known"):
        measuring.named(["board"], [PHONE])


def test_one_that_never_answered_is_said_where_nothing_decides() -> None:
    found = comparison.unmeasured("not measured on the target: x86_64 avx2 is not one of its machines")
    assert measuring.with_silent(found, [BOARD]) == found
    assert measuring.with_silent(found, [SILENT]).reason.endswith("; adb:x: cannot connect")


def test_the_device_decides_by_what_it_measured(pair: Pair, fakes: Fakes, short: None) -> None:
    found = pair.measured(SSH)
    assert found.on_target and found.measured_on == f"x86_64 {local_isa()} (ssh)"
    assert found.cpu_ratio is not None and found.peak_memory_bytes


def test_a_device_that_answers_otherwise_is_a_refusal(
    pair: Pair, fakes: Fakes, short: None, tmp_path: Path
) -> None:
    with np.load(pair.golden[0].path) as kept:
        arrays = dict(kept)
    arrays["output_0"][2] += 1  # the third sample alone
    np.savez(tmp_path / "other.npz", **arrays)
    other = Golden(path=str(tmp_path / "other.npz"), atol=1e-4)
    with pytest.raises(VerificationError, match=f"does not time it on {SSH}"):
        comparison.compare(
            pair.files[0], other, pair.files[1], pair.golden[1], SERVER, local_isa(), "onnxruntime", SSH
        )


def test_a_device_that_vanishes_is_no_measurement(pair: Pair, fakes: Fakes, short: None) -> None:
    fakes.fault("vanish", "Connection closed", when="run - --held")
    with pytest.raises(DeviceError, match="vanished"):
        pair.measured(SSH)


def test_records_of_a_lab(pair: Pair, fakes: Fakes, tmp_path: Path) -> None:
    a, b = pair.files
    spec: dict[str, Any] = {"kind": "compare", "protocol": "quick", "rounds_count": 2, "warmup_s": 0.01}
    for whose, file, golden in (("", a, pair.golden[0]), ("baseline_", b, pair.golden[1])):
        spec |= {
            whose.rstrip("_") or "artifact": file.path,
            f"{whose}golden": golden.path,
            f"{whose}golden_atol": 1e-4,
        }
    record = run_on(SSH, spec)
    assert record["status"] == "ok", record["reason"]
    (tmp_path / "board.json").write_text(records.to_line(record))
    lab.check(tmp_path)
    found = lab.find(str(tmp_path), a, b)
    assert found is not None and lab.find(str(tmp_path), b, a) is None and lab.find("", a, b) is None
    measured = comparison.of_record(found, a, SERVER, local_isa(), "a record")
    assert measured.on_target and measured.measured_on.endswith("(a record)")
    unproven = {**record, "artifact_golden": {**record["artifact_golden"], "status": "absent"}}
    (tmp_path / "board.json").write_text(records.to_line(unproven))
    assert lab.find(str(tmp_path), a, b) is None


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"schema_version": 1})])
def test_a_file_that_is_no_record_is_said_before_any_work(text: str, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(UserError, match=r"odd\.json is not a runner's record"):
        lab.check(tmp_path)
    with pytest.raises(UserError, match="is no folder"):
        lab.check(tmp_path / "none")
