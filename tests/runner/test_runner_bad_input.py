"""Whatever is given ends in a record with a status and a sentence, and in the right exit code."""

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runner import api, record
from edgekit_runner.errors import EXIT_CODES
from runner_models import QUICK, cli, last_record

pytestmark = pytest.mark.long

ADDRESS_SPACE_BYTES = 16 << 30
SUFFIXES = (".onnx", ".tflite")
FLIPS_COUNT = 6


@contextmanager
def bounded(size_bytes: int = ADDRESS_SPACE_BYTES) -> Iterator[None]:
    """The processes started meanwhile may not map more memory than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def check(path: Path, **more: Any) -> record.AnyRecord:
    with bounded():
        return api.check({**QUICK, "artifact": str(path), **more})


def ended_well(found: record.AnyRecord) -> bool:
    """A sentence, unless it is fine, and an error that is neither a bug of the runner nor a runtime that hung."""
    said = found["reason"] is None if found["status"] == "ok" else len(found["reason"].splitlines()) == 1
    known = found["error_kind"] in EXIT_CODES and found["error_kind"] not in ("internal", "timeout")
    return said and known and record.read(record.to_line(found)) == found


@pytest.fixture
def models(
    onnx_model: Path, onnx_golden: Path, tflite_model: Path, tflite_golden: Path
) -> dict[str, tuple[Path, Path]]:
    return {".onnx": (onnx_model, onnx_golden), ".tflite": (tflite_model, tflite_golden)}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content", [b"", b"not a model" * 99, bytes(4096), b"\xff" * 300], ids=["empty", "text", "zeros", "ones"]
)
def test_what_is_no_model_is_a_user_error(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    found = check(path)
    assert (found["status"], found["error_kind"]) == ("failed", "user") and ended_well(found)
    assert str(path) in found["reason"] and record.exit_code(found) == 2


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_model_is_a_user_error(
    models: dict[str, tuple[Path, Path]], tmp_path: Path, suffix: str, share: float
) -> None:
    whole = models[suffix][0].read_bytes()
    path = tmp_path / f"m{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    found = check(path)
    assert found["error_kind"] == "user" and ended_well(found), found["reason"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("seed", range(FLIPS_COUNT))
def test_an_altered_model_is_refused_or_still_right(
    models: dict[str, tuple[Path, Path]], tmp_path: Path, suffix: str, seed: int
) -> None:
    """Flipped bits: of the structure at both ends of the file, and anywhere."""
    model, golden = models[suffix]
    content = bytearray(model.read_bytes())
    rng = np.random.default_rng(seed)
    ends = [*range(64), *range(len(content) - 200, len(content))]
    for position in rng.choice(ends if seed % 2 else len(content), 1 + seed % 4):
        content[position] ^= 1 << int(rng.integers(8))
    path = tmp_path / f"m{suffix}"
    path.write_bytes(bytes(content))
    found = check(path, golden=str(golden))
    assert ended_well(found), found["reason"]
    assert (found["golden"] or {}).get("status") == "passed" or found["status"] != "ok"


def repacked(golden: Path, place: Path, **changes: Any) -> Path:
    with np.load(golden) as arrays:
        np.savez(place, **{**{key: arrays[key] for key in arrays.files}, **changes})
    return place


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input_0": np.zeros((1, 63), np.float32)}, "shape [1, 63]"),
        ({"output_0": np.zeros((1, 65), np.float32)}, "shape [1, 64], golden has [1, 65]"),
        ({"input_1": np.zeros((1, 64), np.float32)}, "golden holds 2 inputs"),
        ({"output_0": np.zeros((1, 64), np.float32)}, "differs from golden by"),
        ({"output_0": np.full((1, 64), np.nan, np.float32)}, "NaN or infinity where golden does not"),
        ({"input_0": np.full((1, 64), np.nan, np.float32)}, "NaN"),
    ],
)
def test_a_golden_that_does_not_fit_refuses_to_time(
    onnx_model: Path, onnx_golden: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    golden = repacked(onnx_golden, tmp_path / "g.npz", **changes)
    found = api.bench({**QUICK, "artifact": str(onnx_model), "golden": str(golden)})
    assert (found["status"], found["error_kind"], found["latency"]) == ("refused", "verification", None)
    assert said in found["reason"] and record.exit_code(found) == 1 and ended_well(found)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"PK\x03\x04 no archive"), "not a golden .npz"),
        (lambda path: np.savez(path, x=np.zeros(3)), "holds x; allowed: input_0"),
        (lambda path: path.write_bytes(b""), "not a golden .npz"),
        (lambda path: None, "there is no such file"),
    ],
    ids=["no archive", "other names", "empty", "absent"],
)
def test_what_is_no_golden_is_a_user_error(
    onnx_model: Path, tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    make(tmp_path / "g.npz")
    found = check(onnx_model, golden=str(tmp_path / "g.npz"))
    assert found["error_kind"] == "user" and said in found["reason"] and ended_well(found)


@pytest.mark.parametrize(
    ("verb", "option", "value"),
    [
        ("bench", "--threads", "0"), ("bench", "--threads", "-1"), ("bench", "--batch", "0"),
        ("bench", "--runs", "-5"), ("bench", "--seconds", "-1"), ("bench", "--seconds", "nan"),
        ("bench", "--seconds", "inf"), ("bench", "--atol", "-0.1"), ("bench", "--affinity", ""),
        ("bench", "--protocol", "fast"), ("sustain", "--minutes", "0"), ("sustain", "--minutes", "-1"),
        ("throughput", "--instances", "0"), ("throughput", "--seconds", "0"), ("loadgen", "--samples", "0"),
        ("loadgen", "--scenario", "x"), ("compare", "--rounds", "0"), ("compare", "--tolerance", "-1"),
    ],
)  # fmt: skip
def test_options_out_of_range_end_in_a_record_with_exit_code_2(
    onnx_model: Path, verb: str, option: str, value: str
) -> None:
    files = [onnx_model] * (2 if verb == "compare" else 1)
    done = cli(verb, *files, f"{option}={value}", "--json")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    found = last_record(done)
    assert (found["kind"], found["status"], found["error_kind"]) == (verb, "failed", "user")
    assert found["reason"] in done.stderr


def test_a_model_whose_tensors_exceed_memory_is_a_failure_in_a_record(tmp_path: Path) -> None:
    """A file of some hundred bytes that asks for 64 GiB, in a process that may map 16."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    size = numpy_helper.from_array(np.array([1 << 34], np.int64), "n")
    nodes = [
        helper.make_node("Mul", ["x", "n"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["y"], keepdims=0),
    ]
    sides = [
        helper.make_tensor_value_info("x", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, []),
    ]
    graph = helper.make_graph(nodes, "g", sides[:1], sides[1:], [size])
    path = tmp_path / "huge.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    np.savez(tmp_path / "g.npz", input_0=np.array([1], np.int64), output_0=np.float32(0))
    found = check(path, golden=str(tmp_path / "g.npz"))
    assert (found["status"], record.exit_code(found)) == ("failed", 1) and ended_well(found)
    assert found["error_kind"] in ("runtime", "crash"), found["reason"]


def test_a_model_without_a_suffix_that_is_known_lists_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"x")
    done = cli("bench", tmp_path / "m.pt", "--json")
    assert done.returncode == 2 and ".onnx" in done.stderr and last_record(done)["error_kind"] == "user"


@pytest.mark.parametrize("text", ["{", "[]", "1", '{"schema_version": 2}', "\0"])
def test_bad_specs_exit_2(tmp_path: Path, text: str) -> None:
    (tmp_path / "spec.json").write_text(text)
    done = cli("run", tmp_path / "spec.json")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_a_path_that_is_no_text_is_told_and_comes_back(onnx_model: Path, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/m\xff.onnx"
    shutil.copy(onnx_model, path)
    done = cli("bench", os.fsdecode(path), "--protocol", "quick", "--json")
    found = last_record(done)
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr and done.stdout.isascii()
    assert os.fsencode(found["artifact"]["path"]) == path and ended_well(found)
    assert "Traceback" not in cli("bench", os.fsdecode(path), "--protocol", "quick").stderr
