"""A folder as `edgekit export` leaves it, without an export: a small ONNX net of an image, its golden pair and its manifest."""

from pathlib import Path

import numpy as np
import onnx
from builders import accepted, manifest_of
from edgekit_runner.artifact import sha256
from onnx import TensorProto, helper, numpy_helper

from edgekit.package import manifest_file, sums
from edgekit.records import Artifact, Preprocessing, TensorSpec

SIDE, CLASSES = 8, 4
PREPROCESSING = Preprocessing(
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.25, 0.3),
    layout="NCHW",
    labels=("cat", "dög", 'a "bird"', "$x"),
    resize=12,
    crop=(SIDE, SIDE),
)


def write_export(
    place: Path,
    preprocessing: Preprocessing | None = PREPROCESSING,
    target: str = "arm-mobile",
    seed: int = 0,
    scale: float = 1.0,
    ballast_bytes: int = 0,
    isa: str = "avx2",
    more_layers: int = 0,
) -> Path:
    """Writes place/<target>/ for a net of one product with random weights, times `scale`; returns it.

    `ballast_bytes` of zeros lie in the file beside them. `more_layers` products come before it that change nothing but how much work there is.
    """
    folder = place / target
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(3 * SIDE * SIDE, CLASSES)).astype(np.float32) / 8 * np.float32(scale)
    x = TensorSpec(name="photo", shape=(1, 3, SIDE, SIDE), dtype="float32")
    y = TensorSpec(name="scores", shape=(1, CLASSES), dtype="float32")
    stored = [numpy_helper.from_array(weights, "w")]
    if ballast_bytes:
        stored.append(numpy_helper.from_array(np.zeros(ballast_bytes, np.uint8), "ballast"))
    if more_layers:
        stored.append(numpy_helper.from_array(np.eye(3 * SIDE * SIDE, dtype=np.float32), "same"))
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["photo"], ["flat0"]),
            *(helper.make_node("MatMul", [f"flat{i}", "same"], [f"flat{i + 1}"]) for i in range(more_layers)),
            helper.make_node("MatMul", [f"flat{more_layers}", "w"], ["scores"]),
        ],
        "tiny",
        *([helper.make_tensor_value_info(s.name, TensorProto.FLOAT, s.shape)] for s in (x, y)),
        stored,
    )
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    given = rng.normal(size=x.shape).astype(np.float32).clip(-1.5, 1.2)
    np.savez(folder / manifest_file.GOLDEN, input_0=given, output_0=given.reshape(1, -1) @ weights)
    artifact = Artifact(
        path=str(path), format="onnx", precision="float32", size_bytes=path.stat().st_size, sha256=sha256(path),
        inputs=(x,), outputs=(y,), layout="NCHW", toolchain={"onnx": "1.19.0"},
    )  # fmt: skip
    content = manifest_of(
        accepted(artifact), folder, preprocessing, target=target, task="tiny", atol=1e-3, isa=isa
    )
    manifest_file.write(content, folder)
    sums.seal(folder)
    return folder
