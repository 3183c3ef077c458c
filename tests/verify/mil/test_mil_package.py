"""Reading a package: what it says of itself, and how it is refused when it is damaged."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import MissingRuntime, UserError, VerificationError
from edgekit.verify.mil import proto
from edgekit.verify.mil.facts import compute_ops_by_dtype, facts, op_counts
from edgekit.verify.mil.interpreter import Interpreter
from edgekit.verify.mil.package import Package, TensorSpec
from edgekit.verify.mil.values import decode, unpack_bits

pytestmark = pytest.mark.long

MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")


@pytest.fixture
def copy(packages: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packages / "convnet_float16.mlpackage", tmp_path / "net.mlpackage"))


def _edit(package: Path, change: Callable[[Any], None]) -> None:
    """Changes the main block of a package on disk."""
    model = proto.parse_model((package / MODEL).read_bytes())
    function = model.mlProgram.functions["main"]
    change(function.block_specializations[function.opset])
    (package / MODEL).write_bytes(model.SerializeToString())


def _first(block: Any, kind: str) -> Any:
    return next(op for op in block.operations if op.type == kind)


def test_interface(packages: Path) -> None:
    package = Package(packages / "convnet_float16.mlpackage")
    assert package.inputs == (TensorSpec("x", (1, 3, 16, 16), "float32"),)
    assert package.outputs == (TensorSpec("y", (1, 8), "float32"),)
    assert (package.spec_version, package.opset) == (8, "CoreML7")
    assert 0 < package.weight_bytes <= (package.path / WEIGHTS).stat().st_size


def test_constants_are_read_on_demand(packages: Path) -> None:
    package = Package(packages / "linear.mlpackage")
    linear = next(op for op in package.operations if op.type == "linear")
    weight = package.constant(str(linear.inputs["weight"][0]))
    np.testing.assert_array_equal(weight, np.random.default_rng(0).normal(0, 1, (7, 5)).astype(np.float32))
    with pytest.raises(UserError, match="no constant 'nothing'"):
        package.constant("nothing")


def test_facts_tell_float16_from_float32(packages: Path) -> None:
    half, single = (Package(packages / f"convnet_{t}.mlpackage") for t in ("float16", "float32"))
    assert set(compute_ops_by_dtype(half)) == {"float16"}
    assert set(compute_ops_by_dtype(single)) == {"float32"}
    assert compute_ops_by_dtype(half).total() == compute_ops_by_dtype(single).total()
    assert (facts(half).casts, facts(single).casts) == (2, 0)
    assert op_counts(half)["conv", "float16"] == 3
    assert not any(kind == "const" for kind, _ in op_counts(half))
    assert 0.4 < facts(half).weight_bytes / facts(single).weight_bytes < 0.7
    int8 = op_counts(Package(packages / "int8.mlpackage"))
    assert int8["constexpr_affine_dequantize", "float16"] > 0


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Package(tmp_path / "none.mlpackage")


def test_a_folder_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=r"not an \.mlpackage: Manifest.json"):
        Package(tmp_path)


def test_manifest_without_root_model(copy: Path) -> None:
    (copy / "Manifest.json").write_text(json.dumps({"itemInfoEntries": {}}))
    with pytest.raises(VerificationError, match=r"Manifest.json cannot be read"):
        Package(copy)


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_truncated_protobuf(copy: Path, keep: float) -> None:
    data = (copy / MODEL).read_bytes()
    (copy / MODEL).write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(VerificationError, match="corrupt or truncated protobuf"):
        Package(copy)


def test_corrupt_protobuf(copy: Path) -> None:
    (copy / MODEL).write_bytes(b"\xff" * 1000)
    with pytest.raises(VerificationError, match="corrupt or truncated protobuf"):
        Package(copy)


def test_a_model_of_another_kind(copy: Path) -> None:
    model = proto.parse_model(b"")
    model.neuralNetwork.SetInParent()
    (copy / MODEL).write_bytes(model.SerializeToString())
    with pytest.raises(VerificationError, match="not an ML Program but neuralNetwork"):
        Package(copy)
    (copy / MODEL).write_bytes(b"")
    with pytest.raises(VerificationError, match="an empty model"):
        Package(copy)


def test_missing_model_file(copy: Path) -> None:
    (copy / MODEL).unlink()
    with pytest.raises(VerificationError, match=r"names model\.mlmodel, which cannot be read"):
        Package(copy)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.95])
def test_truncated_weights(copy: Path, keep: float) -> None:
    data = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(VerificationError, match=r"truncated|empty"):
        Package(copy)


def test_missing_and_corrupt_weights(copy: Path) -> None:
    data = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(bytes(len(data)))
    with pytest.raises(VerificationError, match=r"const '.*': .*weight\.bin has no blob at"):
        Package(copy)
    (copy / WEIGHTS).unlink()
    with pytest.raises(VerificationError, match="missing"):
        Package(copy)


def test_unknown_operation_is_named(copy: Path) -> None:
    names: list[str] = []

    def rename(block: Any) -> None:
        operation = _first(block, "max_pool")
        names.append(operation.outputs[0].name)
        operation.type = "swirl"

    _edit(copy, rename)
    with pytest.raises(VerificationError, match="'swirl'") as error:
        Interpreter(Package(copy))
    assert repr(names[0]) in str(error.value)


def test_unknown_argument_is_refused(copy: Path) -> None:
    def add_argument(block: Any) -> None:
        inputs = _first(block, "conv").inputs
        inputs["sparkle"].CopyFrom(inputs["groups"])

    _edit(copy, add_argument)
    with pytest.raises(VerificationError, match="argument 'sparkle' is not supported"):
        Interpreter(Package(copy))


def test_missing_argument_is_refused(copy: Path) -> None:
    def remove(block: Any) -> None:
        del _first(block, "conv").inputs["weight"]

    _edit(copy, remove)
    with pytest.raises(VerificationError, match=r"conv .*'weight' is missing"):
        Interpreter(Package(copy))


def test_unsupported_option_is_refused(packages: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(packages / "gelu.mlpackage", tmp_path / "gelu.mlpackage"))

    def other_mode(block: Any) -> None:
        for operation in block.operations:
            strings = operation.attributes["val"].immediateValue.tensor.strings.values
            if operation.type == "const" and list(strings) == ["EXACT"]:
                strings[0] = "FANCY"

    _edit(copy, other_mode)
    with pytest.raises(VerificationError, match=r"gelu '.*': gelu mode 'FANCY' is not supported"):
        Interpreter(Package(copy)).run({"x": np.zeros((2, 3, 4, 5), np.float32)})


def test_declared_shape_is_checked(copy: Path) -> None:
    def other_shape(block: Any) -> None:
        _first(block, "conv").outputs[0].type.tensorType.dimensions[1].constant.size = 9

    _edit(copy, other_shape)
    with pytest.raises(VerificationError, match=r"conv .* declared \[1, 9, 8, 8\], computed \[1, 8, 8, 8\]"):
        Interpreter(Package(copy)).run({"x": np.zeros((1, 3, 16, 16), np.float32)})


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"takes \['x'\]"),
        ({"z": np.zeros(1)}, r"\['z'\] were given, the program takes \['x'\]"),
        ({"x": np.zeros((3, 16, 16), np.float32)}, r"shape \[3, 16, 16\], expected \[1, 3, 16, 16\]"),
        ({"x": np.zeros((1, 3, 16, 16), np.complex64)}, "is complex64, expected float32"),
    ],
)
def test_wrong_feeds(packages: Path, feeds: dict[str, np.ndarray], message: str) -> None:
    interpreter = Interpreter(Package(packages / "convnet_float16.mlpackage"))
    with pytest.raises(UserError, match=message):
        interpreter.run(feeds)


def test_unknown_precision(packages: Path) -> None:
    with pytest.raises(UserError, match="'fp16' is not one of float16, float32"):
        Interpreter(Package(packages / "convnet_float16.mlpackage"), "fp16")  # type: ignore[arg-type]


def test_runs_do_not_share_memory(packages: Path) -> None:
    interpreter = Interpreter(Package(packages / "convnet_float16.mlpackage"))
    x = np.load(packages / "convnet.npz")["x"]
    first = interpreter.run({"x": x})["y"]
    kept = first.copy()
    interpreter.run({"x": x * 2})
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(interpreter.run({"x": x})["y"], kept)


def test_without_coremltools(monkeypatch: pytest.MonkeyPatch, copy: Path) -> None:
    monkeypatch.setattr(proto.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "coremltools.proto", raising=False)  # of another test of this process
    proto._module.cache_clear()
    with pytest.raises(MissingRuntime, match="pip install coremltools"):
        Package(copy)


def test_coremltools_itself_is_never_imported(packages: Path) -> None:
    code = (
        "import sys; from edgekit.verify.mil.interpreter import Interpreter, Package; "
        f"Interpreter(Package({str(packages / 'convnet_float16.mlpackage')!r})); "
        "print('coremltools' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "False"


def test_unknown_data_type(copy: Path) -> None:
    def other_type(block: Any) -> None:
        _first(block, "conv").outputs[0].type.tensorType.dataType = 15

    _edit(copy, other_type)
    with pytest.raises(VerificationError, match="data type with the unknown number 15"):
        Package(copy)


def test_damaged_bytes_never_escape_as_other_errors(copy: Path) -> None:
    """Whatever byte is wrong: either it does no harm, or an error of ours says so."""
    data, random = (copy / MODEL).read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(data)
        damaged[random.integers(len(data))] = random.integers(256)
        (copy / MODEL).write_bytes(damaged)
        try:
            Interpreter(Package(copy)).run({"x": np.ones((1, 3, 16, 16), np.float32)})
        except (UserError, VerificationError):
            refused += 1
    assert refused > 20


def test_packed_elements() -> None:
    raw = np.array([0b11100100, 0b00000010], np.uint8)
    np.testing.assert_array_equal(unpack_bits(raw, 2, 5), [0, 1, 2, 3, 2])
    np.testing.assert_array_equal(unpack_bits(raw, 4, 3, signed=True), [4, -2, 2])
    np.testing.assert_array_equal(decode(raw, "uint3", (2,)), [4, 4])
    assert decode(np.array([0, 60], np.uint8), "float16", ()).shape == ()
    with pytest.raises(VerificationError, match="needs 4 bytes"):
        decode(raw, "float32", ())
