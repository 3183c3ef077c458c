"""An export of one target without a runtime: its model is some bytes, since nothing executes it."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from builders import FAST, FLOAT, accepted, manifest_of
from edgekit_runner.artifact import sha256

from edgekit.package import manifest_file
from edgekit.records import Preprocessing, TensorSpec

X = TensorSpec(name="x", shape=(1, 3, 2, 2), dtype="float32")
Y = TensorSpec(name="y", shape=(1, 2), dtype="float32")
IMAGE = Preprocessing(mean=(0.5,), std=(0.25,), layout="NCHW", labels=("cat", "dog"))


def write_plain_export(
    place: Path, content: bytes = b"weights" * 600, image: Preprocessing = IMAGE, **changes: Any
) -> Path:
    """Writes place/arm-mobile/; `changes` are of its artifact, or of the attempt. Returns place."""
    folder = place / "arm-mobile"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    np.savez(folder / manifest_file.GOLDEN, input_0=np.zeros(X.shape))
    given = {
        "path": str(folder / "model.onnx"),
        "size_bytes": len(content),
        "sha256": sha256(folder / "model.onnx"),
        "inputs": (X,),
        "outputs": (Y,),
        "compressed_bytes": {"gzip": 90, "zstd": 80},
        "toolchain": {"onnx": "1"},
    }
    artifact = msgspec.structs.replace(
        FLOAT, **{**given, **{key: changes.pop(key) for key in given if key in changes}}
    )
    done = accepted(artifact, measurement=FAST, **changes)
    manifest_file.write(manifest_of(done, folder, image, target="arm-mobile", atol=0.1), folder)
    return place
