"""Holds an export or a bundle to a budget file, for a pipeline: a row a limit, and whether all are kept.

Checksums are proven first, so that the figures are those of the files. A limit of speed or memory is decided by a measurement on
one of the target's machines alone; what no measurement decides is not kept, unless the file says otherwise.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit_runner.cli import regression
from edgekit_runner.errors import RunnerError

from edgekit.device import record_check
from edgekit.errors import UserError
from edgekit.package import instruction_check, manifest_file
from edgekit.package.budget_file import BudgetFile, TargetLimits
from edgekit.package.budget_row import Kept, Row, at_most, row
from edgekit.package.bundle import bundle_file, measured_file
from edgekit.records import Record
from edgekit.records.bundle import MeasuredTarget
from edgekit.records.manifest import Manifest

MAX_SLOWDOWN = 0.05  # a share
ENOUGH = ("equal", "better")  # verdicts of the regression check


class Checked(Record):
    """All rows, and whether the whole is within the budget."""

    kept: bool
    rows: tuple[Row, ...]


def check(place: Path, budget: BudgetFile, beside: Path) -> Checked:
    """Checks an export or a bundle.

    Args:
        place: The folder that `edgekit export` or `edgekit package` wrote.
        budget: The limits.
        beside: The folder that the paths in the budget are relative to.

    Raises:
        UserError: The folder or a record cannot be read.
        VerificationError: A file was altered.
    """
    measured: Mapping[str, MeasuredTarget] = {}
    if bundle_file.is_bundle(place):
        bundle_file.check_bundle(place, None)
        measured = measured_file.read(place, place / bundle_file.NAME)
        place = place / "targets"
    manifests = {
        folder.name: measured_file.joined(manifest_file.artifact_of(folder)[1], measured.get(folder.name))
        for folder in manifest_file.target_folders(place)
    }
    rows = [
        one for name, manifest in manifests.items() for one in _rows(name, manifest, budget.of(name), beside)
    ]
    rows += [
        Row(place=name, what="target", found="no accepted artifact", allowed="one", verdict="broken")
        for name in budget.targets
        if name not in manifests
    ]
    rows += list(_abi_rows(budget, list(manifests.values())))
    passing = ("kept", "not measured") if budget.unmeasured == "allow" else ("kept",)
    return Checked(kept=all(one.verdict in passing for one in rows), rows=tuple(rows))


def _rows(name: str, manifest: Manifest, limits: TargetLimits, beside: Path) -> Iterator[Row]:
    file, accuracy = manifest.file, manifest.accuracy
    samples = f"n={accuracy.samples}"
    if limits.max_size_bytes is not None:
        yield at_most(name, "max_size_bytes", file.bytes, limits.max_size_bytes, "bytes")
    if limits.max_download_bytes is not None:
        download = min(file.compressed_bytes.values(), default=None)
        yield at_most(name, "max_download_bytes", download, limits.max_download_bytes, "bytes")
    if limits.min_metric is not None:
        kept = accuracy.metric >= limits.min_metric
        yield row(name, "min_metric", f"{accuracy.metric:.4f}, {samples}", f"{limits.min_metric:g}", kept)
    if limits.max_drop is not None:
        drop = accuracy.float_metric - accuracy.metric
        yield row(name, "max_drop", f"{drop:.4f}, {samples}", f"{limits.max_drop:g}", drop <= limits.max_drop)
    yield from _measured(name, manifest, limits)
    if limits.record is not None and limits.baseline is not None:
        yield _against_baseline(name, manifest, limits, beside)
    yield from instruction_check.rows(name, manifest, limits, beside)


def _measured(name: str, manifest: Manifest, limits: TargetLimits) -> Iterator[Row]:
    """The limits that only a measurement on one of the target's machines decides."""
    measured = manifest.measurement
    here = measured if measured is not None and measured.on_target else None
    why = (
        measured.reason
        if measured is not None and measured.reason
        else "measured on no machine of the target"
    )
    if limits.max_cpu_ratio is not None:
        high = here.cpu_ratio_high if here else None
        yield at_most(name, "max_cpu_ratio", high, limits.max_cpu_ratio, "of float, upper end of 95 %", why)
    if limits.max_peak_memory_bytes is not None:
        peak = here.peak_memory_bytes if here else None
        yield at_most(name, "max_peak_memory_bytes", peak, limits.max_peak_memory_bytes, "bytes", why)


def _against_baseline(name: str, manifest: Manifest, limits: TargetLimits, beside: Path) -> Row:
    record, baseline = (_record(beside / str(path)) for path in (limits.record, limits.baseline))
    digest = record.get("artifact", {}).get("sha256")
    if digest != manifest.file.sha256:
        raise UserError(
            f"{beside / str(limits.record)} is of another artifact (sha256 {str(digest)[:16]}, {name} has "
            f"{manifest.file.sha256[:16]}); measure this one"
        )
    most = MAX_SLOWDOWN if limits.max_slowdown is None else limits.max_slowdown
    try:
        found = regression.check(record, baseline, most)
    except RunnerError as error:
        raise UserError(f"{beside / str(limits.record)}: {error}") from error
    told = "; ".join(found["differences"]) or ", ".join(
        f"{m['name']} {m['verdict']}" for m in found["metrics"]
    )
    kept = found["verdict"] in ENOUGH
    verdict: Kept = "kept" if kept else "broken" if found["verdict"] == "regression" else "not measured"
    return Row(
        place=name, what="baseline", found=f"{found['verdict']}: {told}", allowed=f"worse by {most:g} at most",
        verdict=verdict,
    )  # fmt: skip


def _record(path: Path) -> dict[str, Any]:
    found = record_check.read(path)
    if found["kind"] != "bench":
        raise UserError(f"{path} is a record of kind {found['kind']}; give one of edgekit-runner bench")
    return found


def _abi_rows(budget: BudgetFile, manifests: list[Manifest]) -> Iterator[Row]:
    for abi, limits in budget.abi.items():
        sizes = [manifest.file.bytes for manifest in manifests if abi in manifest.target.abi]
        if sizes:
            unit = f"bytes of {len(sizes)} model{'' if len(sizes) == 1 else 's'}"
            yield at_most(abi, "max_size_bytes", sum(sizes), limits.max_size_bytes, unit)
        else:
            yield Row(
                place=abi, what="max_size_bytes", found="no model for it", allowed="one", verdict="broken"
            )
