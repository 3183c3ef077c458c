"""What an exporter has written, as an artifact: its size and hash are those of the file itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from edgekit_runner.artifact import describe

from edgekit.records import Artifact, FreeAxis, Precision, TensorSpec

Specs = tuple[TensorSpec, ...]


def artifact(
    out: Path,
    kind: str,
    precision: Precision,
    interfaces: tuple[Specs, Specs],
    layout: Literal["NCHW", "NHWC", "as the model"],
    toolchain: Mapping[str, str],
    free: tuple[FreeAxis, ...] = (),
    doubts: tuple[str, ...] = (),
) -> Artifact:
    """Describes a finished file.

    Args:
        out: The file, or the folder of a Core ML package.
        kind: Its format.
        precision: What the recipe promises.
        interfaces: Its inputs and its outputs.
        layout: That of inputs and outputs of rank 4.
        toolchain: Package -> version, of what wrote it.
        free: The axes whose length is chosen with every call.
        doubts: Sentences for the user.
    """
    info = describe(out, kind)
    inputs, outputs = interfaces
    return Artifact(
        path=str(out),
        format=kind,
        precision=precision,
        size_bytes=info.size_bytes,
        sha256=info.sha256,
        inputs=inputs,
        outputs=outputs,
        layout=layout,
        toolchain=dict(toolchain),
        free=free,
        doubts=doubts,
    )
