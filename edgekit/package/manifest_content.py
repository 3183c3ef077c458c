"""What the manifest says of an accepted artifact."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from edgekit_runner.artifact import sha256

from edgekit.package.manifest_file import GOLDEN, SCHEMA_VERSION
from edgekit.records import Artifact, Attempt, Preprocessing, TargetReport, TensorSpec, Verdict
from edgekit.records.manifest import (
    Accuracy,
    Called,
    Compression,
    File,
    GoldenFile,
    Input,
    Manifest,
    Model,
    Normalization,
    Output,
    Served,
    Signature,
    WorkShare,
)
from edgekit.target import Target


def build(
    report: TargetReport,
    attempt: Attempt,
    target: Target,
    task: str,
    preprocessing: Preprocessing | None,
    golden_atol: float,
    folder: Path,
    task_doubts: Sequence[str] = (),
) -> Manifest:
    """Makes the manifest of the accepted artifact in `folder`.

    Args:
        report: The report of the target.
        attempt: The accepted attempt.
        target: The target.
        task: The name of the task.
        preprocessing: What an app does to an image before the model, where the task says it.
        golden_atol: The largest error allowed against the golden pair.
        folder: The folder that holds the artifact.
        task_doubts: The doubts about the data and the metric.
    """
    artifact, verdict = attempt.artifact, attempt.verdict
    assert artifact is not None and verdict is not None
    return Manifest(
        schema_version=SCHEMA_VERSION,
        model=Model(name=task, content_version=artifact.sha256),
        target=_served(target, report.isa),
        artifacts=(_file(artifact, verdict, folder),),
        signature=_signature(artifact, preprocessing),
        preprocessing=_as_in_the_file(preprocessing, artifact),
        golden=_golden(target, artifact, golden_atol, folder),
        compression=_compression(artifact, verdict, attempt),
        accuracy=_accuracy(verdict),
        lint=verdict.lint,
        measurement=attempt.measurement,
        doubts=(*task_doubts, *_doubts(attempt)),
        not_measured=attempt.decision.not_measured,
        runtimes=attempt.runtimes,
        toolchain=artifact.toolchain,
    )


def _served(target: Target, isa: str) -> Served:
    deployment = msgspec.structs.asdict(target.deployment)
    return Served(name=target.name, isa=isa, runtime=target.runtime, **deployment)


def _signature(artifact: Artifact, preprocessing: Preprocessing | None) -> Signature:
    shown = _as_in_the_file(preprocessing, artifact)
    labels = preprocessing.labels if preprocessing else ()
    return Signature(
        inputs=tuple(described_input(spec, shown) for spec in artifact.inputs),
        outputs=tuple(Output(**msgspec.structs.asdict(spec), labels=labels) for spec in artifact.outputs),
        axes=artifact.free,
        state=artifact.state,
    )


def _golden(target: Target, artifact: Artifact, atol: float, folder: Path) -> GoldenFile:
    exact = target.isa.verify_exact and artifact.precision == "int8"
    return GoldenFile(path=GOLDEN, atol=atol, sha256=sha256(folder / GOLDEN), exact=exact)


def _accuracy(verdict: Verdict) -> Accuracy:
    return Accuracy(
        metric=verdict.metric,
        float_metric=verdict.float_metric,
        samples=verdict.scored,
        parity=verdict.parity,
        program_parity=verdict.program_parity,
        lengths=verdict.lengths,
    )


def _as_in_the_file(preprocessing: Preprocessing | None, artifact: Artifact) -> Preprocessing | None:
    """The preprocessing with the layout that the file wants, which an exporter may have changed."""
    if preprocessing is None or artifact.layout == "as the model":
        return preprocessing
    return msgspec.structs.replace(preprocessing, layout=artifact.layout)


def _compression(artifact: Artifact, verdict: Verdict, attempt: Attempt) -> Compression:
    made = attempt.candidate
    total = sum(row.macs for row in verdict.lint.work)
    work = [
        WorkShare(kind=row.kind, dtype=row.dtype, ratio=row.macs / total, in_precision=row.in_precision)
        for row in verdict.lint.work
    ]
    return Compression(
        precision=_precision(artifact, verdict),
        called=verdict.lint.called or artifact.precision,
        share_of_work_in_precision=verdict.lint.share,
        share_of_weight_bytes_in_precision=verdict.lint.weight_share,
        work=tuple(work),
        recipe=attempt.recipe,
        float_layers=None if made is None else tuple(layer.origin for layer in made.float_layers),
    )


def _precision(artifact: Artifact, verdict: Verdict) -> Called:
    """The precision, or "mixed" for a file that does not earn its name."""
    return artifact.precision if verdict.lint.called in ("", artifact.precision) else "mixed"


def _doubts(attempt: Attempt) -> list[str]:
    sources = (attempt.candidate, attempt.artifact, attempt.verdict, attempt.measurement, attempt.decision)
    return list(dict.fromkeys(doubt for source in sources if source is not None for doubt in source.doubts))


def _file(artifact: Artifact, verdict: Verdict, folder: Path) -> File:
    return File(
        path=str(Path(artifact.path).relative_to(folder)),
        role="model",
        format=artifact.format,
        bytes=artifact.size_bytes,
        compressed_bytes=artifact.compressed_bytes,
        sha256=artifact.sha256,
        sha256_of="all files" if Path(artifact.path).is_dir() else "file",
        precision=_precision(artifact, verdict),
    )


def described_input(spec: TensorSpec, preprocessing: Preprocessing | None) -> Input:
    """Describes an input; only images have a layout and a normalization."""
    plain = msgspec.structs.asdict(spec)
    if preprocessing is None or len(spec.shape) != 4:
        return Input(**plain)
    top = 255 * preprocessing.scale
    return Input(
        **plain,
        layout=preprocessing.layout,
        normalization=Normalization(
            mean=preprocessing.mean, std=preprocessing.std, range=(0.0, 1.0 if abs(top - 1) < 1e-9 else top)
        ),
    )
