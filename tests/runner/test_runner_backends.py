"""Each backend against numpy on a real model, in this process, and its errors."""

import builtins
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runner import backends
from edgekit_runner.backends import NotReported, coreml, litert, onnxruntime, openvino
from edgekit_runner.errors import MissingRuntime, UnsupportedPlatform, UserError
from edgekit_runner.feeds import as_feed, dequantize
from edgekit_runner.golden import archive
from runner_models import RUNNER, tflite_reference, write_onnx, write_tflite_mixed

# the C interface of tensorflow/lite/core/c/common.h and delegates/external; "asked" lands beside the library
DELEGATE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct Delegate {
  void *data;
  int (*prepare)(void *context, struct Delegate *self);
  void *copy_from, *copy_to, *free_handle;
  long flags;
  void *builder;
};
static int prepare(void *context, struct Delegate *self) {
  Dl_info found;
  char path[4096];
  dladdr((void *)prepare, &found);
  strncpy(path, found.dli_fname, 4000);
  strcat(dirname(path), "/asked");
  FILE *file = fopen(path, "w");
  if (file) fclose(file);
  return 0;
}
struct Delegate *tflite_plugin_create_delegate(char **k, char **v, size_t n, void (*report)(const char *)) {
  struct Delegate *made = calloc(1, sizeof(struct Delegate));
  made->prepare = prepare;
  return made;
}
void tflite_plugin_destroy_delegate(struct Delegate *made) { free(made); }
"""


@pytest.mark.parametrize("optimize", [True, False])
def test_onnx_round_trip(onnx_model: Path, onnx_golden: Path, optimize: bool) -> None:
    session = onnxruntime.open(str(onnx_model), 1, {"optimize": optimize})
    assert [(i.name, i.shape, i.dtype, i.scale) for i in session.inputs] == [("x", (1, 64), "float32", None)]
    expected = archive.load(str(onnx_golden))
    found = session.run({"x": expected.inputs[0]})["r0"]
    assert np.allclose(found, expected.outputs[0], atol=1e-5)
    assert session.placement()["providers"] == ["CPUExecutionProvider"]


def test_onnx_free_dimension_is_minus_one_and_runs(tmp_path: Path) -> None:
    weight = write_onnx(tmp_path / "free.onnx", batch="n")
    session = onnxruntime.open(str(tmp_path / "free.onnx"), 1, {})
    assert session.inputs[0].shape == (-1, 64)
    x = np.ones((3, 64), np.float32)
    assert np.allclose(session.run({"x": x})["r0"], np.maximum(x @ weight, 0), atol=1e-5)


@pytest.mark.parametrize("xnnpack", [True, False])
def test_litert_int8_round_trip(tflite_model: Path, xnnpack: bool) -> None:
    session = litert.open(str(tflite_model), 1, {"xnnpack": xnnpack})
    (x_info,), (y_info,) = session.inputs, session.outputs
    assert (x_info.shape, x_info.dtype, x_info.zero_point) == ((1, 64), "int8", 3)
    assert x_info.scale == pytest.approx(0.02) and y_info.scale == pytest.approx(0.05)
    real = np.random.default_rng(5).standard_normal((1, 64)).astype(np.float32)
    raw = session.run({"x": as_feed(real, x_info)})["y"]
    assert raw.dtype == np.int8
    assert np.abs(dequantize(raw, y_info) - tflite_reference(real)).max() <= 0.05
    assert (session.placement()["delegate_nodes_count"] > 0) == xnnpack


@pytest.mark.parametrize(
    ("ops", "groups", "taken"),
    [
        (("FULLY_CONNECTED",) * 3, 1, 3),
        (("FULLY_CONNECTED", "CUMSUM", "FULLY_CONNECTED", "FULLY_CONNECTED"), 2, 3),
        (("CUMSUM", "CUMSUM"), 0, 0),
    ],
)
def test_litert_tells_which_ops_the_delegate_left(
    tmp_path: Path, ops: tuple[str, ...], groups: int, taken: int
) -> None:
    write_tflite_mixed(tmp_path / "m.tflite", ops)
    found = litert.open(str(tmp_path / "m.tflite"), 1, {}).placement()
    left = len(ops) - taken
    assert (found["delegate_nodes_count"], found["model_ops_count"]) == (groups, len(ops))
    assert found["delegated_ops_count"] == ({"FULLY_CONNECTED": taken} if taken else {})
    assert found["left_ops_count"] == ({"CUMSUM": left} if left else {})
    wanted = {"delegate": taken, "built-in kernels": left}
    assert found["nodes"] == {where: count for where, count in wanted.items() if count}
    without = litert.open(str(tmp_path / "m.tflite"), 1, {"xnnpack": False}).placement()
    assert without["nodes"] == {"built-in kernels": len(ops)}


def test_litert_without_its_private_list_says_unknown(
    tflite_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = litert.open(str(tflite_model), 1, {})
    monkeypatch.delattr(type(session._interpreter), "_get_ops_details")  # type: ignore[attr-defined]
    found = session.placement()
    assert found["source"] == "unknown" and found["nodes"] is None and found["nodes_reason"]
    with pytest.raises(NotReported, match="does not list its nodes"):
        session.nodes()


# the runtime's own half-made Delegate fails in its __del__
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_delegate_that_is_none_is_one_sentence(tflite_model: Path, tmp_path: Path) -> None:
    import _ctypes

    (tmp_path / "lib.so").write_bytes(b"not a library")
    for library in (str(tmp_path / "lib.so"), str(tmp_path / "none.so"), _ctypes.__file__, 3):
        with pytest.raises(UserError, match="is not a delegate"):
            litert.open(str(tflite_model), 1, {"delegate": library})


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_delegate_that_takes_nothing_shows_as_nothing_taken(tflite_model: Path, tmp_path: Path) -> None:
    """A real external delegate: loaded, asked, and it declines every node."""
    (tmp_path / "d.c").write_text(DELEGATE)
    library = tmp_path / "d.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "d.c"], check=True)
    session = litert.open(str(tflite_model), 1, {"delegate": str(library), "xnnpack": False})
    assert (tmp_path / "asked").exists()
    assert session.placement()["nodes"] == {"built-in kernels": 1}
    feeds = {"x": np.full((1, 64), 10, np.int8)}
    plain = litert.open(str(tflite_model), 1, {"xnnpack": False})
    assert np.array_equal(session.run(feeds)["y"], plain.run(feeds)["y"])


def test_results_are_not_overwritten_by_the_next_run(tflite_model: Path) -> None:
    session = litert.open(str(tflite_model), 1, {})
    first = session.run({"x": np.full((1, 64), 10, np.int8)})["y"]
    kept = first.copy()
    session.run({"x": np.full((1, 64), -90, np.int8)})
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("module", [onnxruntime, litert])
@pytest.mark.parametrize("cut", [0.5, 0.0])
def test_a_file_that_is_no_model(
    module: Any, cut: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source: Path = request.getfixturevalue("onnx_model" if module is onnxruntime else "tflite_model")
    data = source.read_bytes()
    path = tmp_path / f"bad{module.SUFFIX}"
    path.write_bytes(data[: int(len(data) * cut)] or b"not a model at all" * 9)
    with pytest.raises(UserError, match="is not a model"):
        module.open(str(path), 1, {})


@pytest.mark.parametrize("module", [onnxruntime, litert, coreml, openvino])
def test_unknown_option_lists_the_allowed(module: Any) -> None:
    with pytest.raises(UserError, match=module.OPTIONS[0]):
        module.open("m", 1, {"turbo": True})


def test_text_tensors_are_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    sides = [helper.make_tensor_value_info(name, TensorProto.STRING, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", sides[:1], sides[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "text.onnx")
    with pytest.raises(UserError, match=r"tensor\(string\)"):
        onnxruntime.open(str(tmp_path / "text.onnx"), 1, {})


def test_option_of_a_wrong_type(onnx_model: Path) -> None:
    with pytest.raises(UserError, match="true, false"):
        onnxruntime.open(str(onnx_model), 1, {"optimize": "yes"})


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML exists here")
def test_core_ml_off_macos() -> None:
    with pytest.raises(UnsupportedPlatform, match="Core ML runs on macOS only"):
        coreml.open("m.mlpackage", 1, {})


def test_core_ml_devices_come_from_the_compute_plan() -> None:
    """With the classes of coremltools itself, in a process of its own: off macOS only their proxies lack."""
    code = f"""
import sys
from types import SimpleNamespace as made
sys.path.insert(0, {str(RUNNER)!r})
sys.modules |= dict.fromkeys(("tensorflow", "torch", "sklearn"))  # none beside the runner; together they crash
import coremltools
from coremltools.models import compute_device, compute_plan
from edgekit_runner.backends import NotReported, coreml

session = coreml.CoreMlSession.__new__(coreml.CoreMlSession)
session._model, session._units = made(get_compiled_model_path=lambda: "m"), coremltools.ComputeUnit.CPU_AND_NE
print(session.placement()["requested_compute_units"], session.placement()["nodes"])
try:
    session.nodes()
except NotReported as error:
    print(error)

def operation(name, device=None, *inner):
    blocks = [compute_plan.MLModelStructureProgramBlock(inputs=[], operations=list(inner), output_names=[])]
    return compute_plan.MLModelStructureProgramOperation(
        inputs={{}}, operator_name=name, outputs=[], blocks=blocks if inner else [], __proxy__=device)

cpu, engine = (kind.__new__(kind) for kind in (
    compute_device.MLCPUComputeDevice, compute_device.MLNeuralEngineComputeDevice))
loop = operation("ios17.while_loop", cpu, operation("ios17.conv", engine), operation("const"))
block = compute_plan.MLModelStructureProgramBlock(
    inputs=[], operations=[operation("const"), operation("ios17.conv", engine), loop, operation("ios17.add")],
    output_names=[])
function = compute_plan.MLModelStructureProgramFunction(inputs=[], block=block)
program = compute_plan.MLModelStructureProgram(functions={{"main": function}})
plan = compute_plan.MLComputePlan.__new__(compute_plan.MLComputePlan)
plan.__proxy__ = made(
    model_structure=compute_plan.MLModelStructure(neuralnetwork=None, program=program, pipeline=None),
    get_compute_device_usage_for_mlprogram_operation=lambda op: op.__proxy__ and
        compute_plan.MLComputePlanDeviceUsage(
            preferred_compute_device=op.__proxy__, supported_compute_devices=[op.__proxy__]))
def load(path, compute_units):
    assert (path, compute_units) == ("m", coremltools.ComputeUnit.CPU_AND_NE)
    return plan
compute_plan.MLComputePlan.load_from_path = load
print(sorted(session.nodes()[1].items()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    asked, refused, nodes = done.stdout.strip().splitlines()[-3:]
    assert asked == "CPU_AND_NE None"
    assert refused.startswith("Core ML gives no compute plan here")
    assert nodes == "[('CPU', 1), ('NeuralEngine', 2), ('unknown', 1)]"


@pytest.mark.parametrize(
    ("module", "name"), [(onnxruntime, "onnxruntime"), (litert, "ai_edge_litert"), (openvino, "openvino")]
)
def test_a_missing_runtime_gives_the_pip_line(
    module: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_import = builtins.__import__

    def without(wanted: str, *rest: Any, **more: Any) -> Any:
        if wanted.split(".")[0] == name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(wanted, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingRuntime, match=f"pip install {module.DISTRIBUTION}"):
        module.load_runtime()


def test_backends_are_found_by_suffix_and_by_format() -> None:
    assert backends.names() == ("coreml", "litert", "onnxruntime", "openvino")
    assert backends.find("a/B.ONNX").FORMAT == "onnx"
    assert backends.find("a/b.onnx") is onnxruntime
    assert backends.find("a/b.onnx", None, "openvino") is openvino
    assert backends.find("a/b.bin", "tflite") is litert
    assert backends.find("a/b.mlpackage") is coreml
    with pytest.raises(UserError, match=r"\.onnx"):
        backends.find("a/b.pt")
    with pytest.raises(UserError, match="tflite"):
        backends.find("a/b.onnx", "torch")
    with pytest.raises(UserError, match="OpenVINO knows"):
        backends.find("a/b.tflite", None, "openvino")
    with pytest.raises(UserError, match=r"unknown runtime 'tvm'.*openvino"):
        backends.find("a/b.onnx", None, "tvm")
