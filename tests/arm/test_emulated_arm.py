"""The real aarch64 packages of both runtimes under qemu: the whole runner, answers beside this machine's, instructions.

make test-arm       sets up what it needs on first use (about 37 MB of Debian packages, 70 MB of wheels)
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runner import api
from edgekit_runner.cli import regression
from runner_models import write_onnx, write_onnx_int8, write_tflite

from edgekit.arm import guest, proof
from edgekit.arm.cpus import CPUS, Cpu, cpu_of
from edgekit.arm.userland import Userland
from edgekit.device.record_check import fault_of
from edgekit.engine.verify_specs import EmulateSpec
from edgekit.records import Artifact, EmulatedRun, TensorSpec

pytestmark = pytest.mark.arm

SAMPLES = 4
STEPS = 3  # of the output, which kernels that round otherwise may differ by


@pytest.fixture(params=CPUS, ids=lambda cpu: cpu.name)
def cpu(request: pytest.FixtureRequest) -> Cpu:
    found: Cpu = request.param
    return found


def golden(path: Path, model: Path, width: int = 64, **more: Any) -> Path:
    """Random inputs, and what this machine answers to them."""
    from edgekit_runner import backends, feeds

    backend = backends.find(str(model), None, None)
    backend.load_runtime()
    session = backend.open(str(model), 1, {})
    x = np.random.default_rng(1).standard_normal((SAMPLES, width)).astype(np.float32)
    (source,), (sink,) = session.inputs, session.outputs
    rows = [session.run({source.name: feeds.as_feed(x[i : i + 1], source)}) for i in range(SAMPLES)]
    np.savez(path, input_0=x, output_0=np.concatenate([feeds.dequantize(r[sink.name], sink) for r in rows]))
    return path


def emulated(
    here: Userland, model: Path, pair: Path, *cpus: str, atol: float, **more: Any
) -> list[EmulatedRun]:
    kind = model.suffix.removeprefix(".")
    spec = EmulateSpec(
        artifact=artifact(model, "int8"), runtime={"onnx": "onnxruntime", "tflite": "litert"}[kind],
        golden=str(pair), golden_atol=atol, target="arm-mobile", cpus=cpus, **more,
    )  # fmt: skip
    return list(proof.emulate(spec).runs)


def artifact(model: Path, precision: Any) -> Artifact:
    from edgekit_runner.artifact import sha256

    tensor = TensorSpec(name="x", shape=(1, 64), dtype="float32")
    return Artifact(
        path=str(model), format=model.suffix.removeprefix("."), precision=precision, size_bytes=model.stat().st_size,
        sha256=sha256(model), inputs=(tensor,), outputs=(tensor,), toolchain={}, layout="as the model",
    )  # fmt: skip


def instructions(run: EmulatedRun) -> int:
    assert run.passed and run.count is not None, run.reason
    return run.count.instructions_per_inference


def test_the_whole_runner_measures_there_and_its_record_says_that_it_is_emulated(
    here: Userland, cpu: Cpu, tmp_path: Path
) -> None:
    write_onnx(tmp_path / "m.onnx", repeat=2)
    spec = {
        "kind": "bench", "artifact": str(tmp_path / "m.onnx"), "golden": str(golden(tmp_path / "g.npz", tmp_path / "m.onnx")),
        "protocol": "quick", "min_runs_count": 10, "min_duration_s": 0.0, "warmup_s": 0.0,
    }  # fmt: skip
    record = guest.run(here, cpu, guest.wheels("onnxruntime"), spec)
    assert (record["status"], record["reason"]) == ("ok", None)
    assert fault_of(record) is None
    host = record["environment"]
    assert (host["machine"], host["isa"], host["emulated"]) == ("aarch64", cpu.level, "yes")
    assert len(record["processes"]) == 2
    assert "The CPU is emulated: times say nothing about a device." in record["doubts"]
    verdict = regression.check(record, record)
    assert verdict["verdict"] == "inconclusive"
    assert "The record was taken on an emulated CPU." in verdict["differences"]


def test_an_int8_tflite_file_answers_bit_for_bit_as_here(here: Userland, tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    write_tflite(model)
    runs = emulated(here, model, golden(tmp_path / "g.npz", model), *(cpu.name for cpu in CPUS), atol=0.0)
    assert [(run.cpu, run.passed, run.samples) for run in runs] == [(cpu.name, True, SAMPLES) for cpu in CPUS]
    assert [(run.equal_ratio, run.max_abs_error, run.top1_ratio) for run in runs] == [(1.0, 0.0, 1.0)] * 2


def test_an_int8_onnx_file_answers_within_its_steps_and_the_dot_product_saves_instructions(
    here: Userland, tmp_path: Path
) -> None:
    model = tmp_path / "m.onnx"
    write_onnx_int8(model, 512, 4)
    pair = golden(tmp_path / "g.npz", model, 512)
    a72, a76 = emulated(here, model, pair, "cortex-a72", "cortex-a76", atol=STEPS * 0.05)
    assert a72.equal_ratio is not None and a72.equal_ratio > 0.5
    assert instructions(a76) < 0.8 * instructions(a72)


def test_a_float_file_answers_within_rounding(here: Userland, tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    write_onnx(model, repeat=4)
    (run,) = emulated(here, model, golden(tmp_path / "g.npz", model), "cortex-a76", atol=1e-4)
    assert run.passed and run.max_abs_error is not None and run.max_abs_error < 1e-4


def test_wrong_answers_are_told_and_nothing_is_counted(here: Userland, tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    write_onnx(model)
    pair = golden(tmp_path / "g.npz", model)
    with np.load(pair) as kept:
        np.savez(pair, input_0=kept["input_0"], output_0=kept["output_0"] + 1)
    (run,) = emulated(here, model, pair, "cortex-a72", atol=1e-3)
    assert not run.passed and run.count is None and "differs from golden by" in run.reason


def test_counts_repeat_from_process_to_process_and_a_deeper_net_shows(here: Userland, tmp_path: Path) -> None:
    counts = {}
    for name, layers in (("20", 20), ("20 again", 20), ("22", 22)):
        model = tmp_path / f"{name}.onnx"
        write_onnx(model, 256, repeat=layers)
        pair = golden(tmp_path / f"{name}.npz", model, 256)
        counts[name] = instructions(emulated(here, model, pair, "cortex-a72", atol=1e-2)[0])
    assert counts["20 again"] / counts["20"] == pytest.approx(1, abs=0.03)
    assert counts["22"] / counts["20"] > 1.05


def test_the_float_file_is_counted_beside(here: Userland, tmp_path: Path) -> None:
    model, base = tmp_path / "m.onnx", tmp_path / "float.onnx"
    write_onnx_int8(model, 512, 4)
    write_onnx(base, 512, repeat=4)
    pair = golden(tmp_path / "g.npz", model, 512)
    (run,) = emulated(here, model, pair, "cortex-a76", atol=1.0, baseline=artifact(base, "float32"))
    assert run.count is not None and len(run.count.float_runs) == 5
    assert run.count.ratio is not None and run.count.ratio < 1


def test_nothing_is_counted_on_the_machine_itself(tmp_path: Path) -> None:
    write_onnx(tmp_path / "m.onnx")
    record = api.instructions({"artifact": str(tmp_path / "m.onnx"), "warmup_s": 0.0})
    assert record["status"] == "failed" and "nothing counts instructions here" in str(record["reason"])


def test_an_option_of_the_emulator_is_its_cpu(here: Userland) -> None:
    call = here.qemu(cpu_of("cortex-a72").name)
    assert call[call.index("-cpu") + 1] == "cortex-a72"
    assert here.emulator().startswith("qemu-aarch64 7.2")
