"""An exported file in other versions of its runtime: does it answer its golden pair there, and does it run in its precision?

Each version is installed into a folder of its own in the user's cache, by pip, and seen by one process alone. What runs there is
the runner, which needs the standard library, numpy and one runtime.
"""

import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from edgekit_runner import record as records
from edgekit_runner.errors import UserError as RunnerUserError
from edgekit_runner.spec import SCHEMA_VERSION

from edgekit.device import zipapp
from edgekit.device.scratch import Scratch
from edgekit.engine import beside, process
from edgekit.engine.catalogue import LINT_SAVED
from edgekit.engine.verify_specs import SavedGraphSpec
from edgekit.errors import EdgekitError, MissingRuntime, UserError
from edgekit.formats import RUNTIMES
from edgekit.package import manifest_file
from edgekit.records import Artifact, Lint, Record
from edgekit.records.manifest import Manifest
from edgekit.requirements import installed

_WORKER = "from edgekit_runner.worker import main; raise SystemExit(main(['-']))"
OPTIMIZE = """
import sys, onnxruntime
options = onnxruntime.SessionOptions()
options.optimized_model_filepath, options.log_severity_level = sys.argv[2], 4
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""


class VersionProof(Record):
    """A file in one version of its runtime.

    Attributes:
        passed: Whether it answers its golden pair within the tolerance and keeps its promise of precision.
        reason: Why it does not.
        share: The part of the work in the promised precision; None where that version does not tell.
        ops: Operator and dtype -> a count, after that version's own optimizer.
    """

    target: str
    package: str
    version: str
    passed: bool
    reason: str = ""
    max_abs_error: float | None = None
    golden_atol: float | None = None
    share: float | None = None
    called: str = ""
    ops: dict[str, int] = {}


OLDEST = "oldest"


def read_versions(text: str) -> tuple[str, tuple[str, ...]]:
    """Reads `onnxruntime==1.18.1,1.20.1` as a package and its versions.

    Raises:
        UserError: It is written otherwise, or no target runs in that package.
    """
    package, equals, versions = text.partition("==")
    found = tuple(part.strip() for part in versions.split(",") if part.strip())
    known = [name for row in RUNTIMES.values() if not row.systems for name in row.packages.values()]
    if not equals or not found or package not in known:
        raise UserError(
            f"--runtime {text!r} is neither {OLDEST} nor PACKAGE==VERSION,VERSION; packages: {', '.join(known)}, as onnxruntime==1.18.1,1.20.1"
        )
    return package, found


def prove(place: Path, texts: Iterable[str]) -> list[VersionProof]:
    """Proves every target of an exported folder that runs in the packages, in each of the versions.

    Args:
        place: The folder.
        texts: `onnxruntime==1.18.1,1.20.1`, or "oldest": for each target what its manifest names as the oldest of its runtime,
            and of the others that read the file.

    Raises:
        UserError: A text is wrong, or no target of the folder runs in that package.
    """
    given = list(texts)
    asked = [read_versions(text) for text in given if text != OLDEST]
    folders = manifest_file.target_folders(place)
    rows = [row for folder in folders for row in _oldest(folder)] if OLDEST in given else []
    for package, versions in asked:
        fit = [folder for folder in folders if package in _packages(folder)]
        if not fit:
            raise UserError(f"no target in {place} runs in {package}")
        rows += [_prove_one(folder, package, version) for folder in fit for version in versions]
    return rows


def _oldest(folder: Path) -> list[VersionProof]:
    """A target in the oldest version of each runtime that its manifest names."""
    data = manifest_file.artifact_of(folder)[1]
    own, _, version = (data.target.min_runtime or "").partition(" ")
    named = {own: version} if version else {}
    named |= {
        trial.runtime: trial.min_version
        for trial in (data.runtimes.trials if data.runtimes else ())
        if trial.min_version and trial.runtime != own
    }
    if not named:
        row = VersionProof(target=folder.name, package=data.target.runtime, version="", passed=True)
        why = RUNTIMES[data.target.runtime].elsewhere or "its manifest names no oldest version"
        return [msgspec.structs.replace(row, reason=f"not run: {why}")]
    return [
        _prove_one(folder, package, _whole(version))
        for runtime, version in named.items()
        for package in RUNTIMES[runtime].packages.values()
    ]


def _whole(version: str) -> str:
    """`1.17` as pip names it: 1.17.0."""
    return ".".join([*version.split("."), "0", "0"][:3])


def _packages(folder: Path) -> tuple[str, ...]:
    """What can run the file: its own runtime, and others that read the format as the manifest says."""
    data = manifest_file.artifact_of(folder)[1]
    names = [
        data.target.runtime,
        *(trial.runtime for trial in (data.runtimes.trials if data.runtimes else ())),
    ]
    return tuple(package for name in names for package in RUNTIMES[name].packages.values())


def _prove_one(folder: Path, package: str, version: str) -> VersionProof:
    artifact, data = manifest_file.artifact_of(folder)
    runtime = next(name for name, row in RUNTIMES.items() if package in row.packages.values())
    row = VersionProof(target=folder.name, package=package, version=version, passed=False)
    try:
        old = beside.cached(_wheels(runtime, package, version))
        with Scratch() as work:
            return _in_version(row, (old, work), runtime, artifact, folder, data)
    except (MissingRuntime, RunnerUserError, subprocess.TimeoutExpired) as error:
        return _refused(row, str(error))


def _wheels(runtime: str, package: str, version: str) -> tuple[str, ...]:
    limit = RUNTIMES[runtime].numpy_2_since
    old = bool(limit) and _numbers(version) < _numbers(limit)
    numpy = "1.26.4" if old else installed("numpy")
    return (f"{package}=={version}", f"numpy=={numpy}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _in_version(
    row: VersionProof,
    places: tuple[Path, Path],
    runtime: str,
    artifact: Artifact,
    folder: Path,
    data: Manifest,
) -> VersionProof:
    old, work = places
    exact = manifest_file.is_exact_here(data) and runtime == "onnxruntime"
    spec = {
        "schema_version": SCHEMA_VERSION, "kind": "check", "artifact": artifact.path, "format": artifact.format,
        "runtime": runtime, "golden": str(folder / data.golden.path), "golden_atol": data.golden.atol,
        "warmup_s": 0.0, "warmup_count": 0, "options": {"optimize": False} if exact else {},
    }  # fmt: skip
    done = beside.run([old, zipapp.build(work)], _WORKER, stdin=json.dumps(spec))
    if not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        return _refused(row, f"it does not run here: {last[-200:]}")
    record = records.read(done.stdout.strip().splitlines()[-1])
    ran = (record["runtime"] or {}).get("version")
    if record["status"] == "ok" and ran != row.version:
        return _refused(row, f"{ran} ran in its place")
    if record["status"] != "ok":
        return _refused(row, str(record["reason"]))
    lint = _lint(old, work, runtime, artifact)
    golden = record["golden"] or {}
    findings = _findings(lint, data) if lint else ()
    return VersionProof(
        target=row.target,
        package=row.package,
        version=row.version,
        passed=not findings,
        reason="; ".join(findings),
        max_abs_error=golden.get("max_abs_error"),
        golden_atol=golden.get("atol"),
        share=lint.share if lint else None,
        called=lint.called if lint else "",
        ops=lint.ops if lint else {},
    )


def _lint(old: Path, work: Path, runtime: str, artifact: Artifact) -> Lint | None:
    """The precision lint of the graph that this version makes of the file; None for runtimes that hand out none."""
    if runtime != "onnxruntime":
        return None
    saved = work / "optimized.onnx"
    beside.run([old], OPTIMIZE, artifact.path, str(saved))
    if not saved.exists():
        return None
    spec = SavedGraphSpec(artifact=artifact, graph=str(saved))
    try:
        return process.run(LINT_SAVED, spec, work / "lint")[0]
    except EdgekitError:
        return None


def _findings(lint: Lint, data: Manifest) -> tuple[str, ...]:
    """What is broken there: the lint's own findings, or a lesser name than the file has earned in the present version."""
    if lint.findings or lint.called == data.compression.called:
        return lint.findings
    return (f"it runs there as {lint.called}, not as {data.compression.called}",)


def _refused(row: VersionProof, reason: str) -> VersionProof:
    return VersionProof(
        target=row.target, package=row.package, version=row.version, passed=False, reason=reason
    )


def exit_code(rows: Sequence[VersionProof]) -> int:
    """0 where every version passed."""
    return 0 if all(row.passed for row in rows) else 1
