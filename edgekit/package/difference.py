"""What changed from one export or bundle to the next: will yesterday's app code still work, and what does an update cost.

Compatible means that code written for the old file runs with the new one and means the same: every input by its name, type,
shape and grid, the preprocessing, every output that was there, its labels, and a runtime that is no newer. The size of an
update is that of zstd with the old file as its dictionary (`zstd --patch-from`).
"""

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec
import zstandard

from edgekit.package import manifest_file
from edgekit.package.bundle import bundle_file
from edgekit.records import Artifact, Record
from edgekit.records.manifest import Input, Manifest, Output

PATCH_LEVEL = 19
MAX_WINDOW_LOG = 30  # of zstd: a gigabyte


class TargetDifference(Record):
    """One target in both.

    Attributes:
        same: Whether the file has the same content.
        size_bytes: Of the file, old and new.
        update_bytes: What an update takes by zstd with the old file at hand; None where the file is larger than zstd's window.
        metric: The task's metric, old and new.
        metric_margin: Half of the 95 % interval of their difference, if the metric is a share of the samples; else None.
        samples: How many samples the metric saw, old and new.
        breaks: Why code written for the old file does not work with the new one; empty where it does.
        adds: What is new and breaks nothing.
        precision: What the file is called, old and new.
        layers: Layer -> its precision, old and new, where one of both computes it in float; None where one does not tell.
        toolchain: Package -> its versions, where they differ.
    """

    target: str
    same: bool
    size_bytes: tuple[int, int]
    update_bytes: int | None
    metric: tuple[float, float]
    metric_margin: float | None
    samples: tuple[int, int]
    breaks: tuple[str, ...]
    adds: tuple[str, ...]
    precision: tuple[str, str]
    layers: dict[str, tuple[str, str]] | None
    toolchain: dict[str, tuple[str, str]]


class Difference(Record):
    """All targets.

    Attributes:
        compatible: Whether yesterday's code still works with every target that it had.
        gone: Targets that are no longer there.
        added: Targets that were not there.
    """

    compatible: bool
    targets: tuple[TargetDifference, ...]
    gone: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


def difference(old: Path, new: Path) -> Difference:
    """Compares two exports or bundles; their checksums are proven first.

    Raises:
        UserError: One of them is no folder of edgekit's.
        VerificationError: A file was altered.
    """
    before, after = _read(old), _read(new)
    targets = tuple(_of_target(name, before[name], after[name]) for name in before if name in after)
    gone = tuple(name for name in before if name not in after)
    return Difference(
        compatible=not gone and not any(target.breaks for target in targets),
        targets=targets,
        gone=gone,
        added=tuple(name for name in after if name not in before),
    )


def _read(place: Path) -> dict[str, tuple[Artifact, Manifest]]:
    if bundle_file.is_bundle(place):
        bundle_file.check_bundle(place, None)
        place = place / "targets"
    return {folder.name: manifest_file.artifact_of(folder) for folder in manifest_file.target_folders(place)}


def _of_target(name: str, old: tuple[Artifact, Manifest], new: tuple[Artifact, Manifest]) -> TargetDifference:
    (old_file, before), (new_file, after) = old, new
    return TargetDifference(
        target=name,
        same=old_file.sha256 == new_file.sha256,
        size_bytes=(old_file.size_bytes, new_file.size_bytes),
        update_bytes=_update_bytes(Path(old_file.path), Path(new_file.path)),
        metric=(before.accuracy.metric, after.accuracy.metric),
        metric_margin=_margin(before, after),
        samples=(before.accuracy.samples, after.accuracy.samples),
        breaks=tuple(_breaks(before, after)),
        adds=tuple(f"output {each.name}" for each in _added(before, after)),
        precision=(_called(before), _called(after)),
        layers=_layers(before, after),
        toolchain={
            package: (before.toolchain.get(package, "none"), version)
            for package, version in after.toolchain.items()
            if before.toolchain.get(package) != version
        },
    )


def _called(manifest: Manifest) -> str:
    return manifest.compression.called or manifest.compression.precision


def _layers(before: Manifest, after: Manifest) -> dict[str, tuple[str, str]] | None:
    was, now = before.compression, after.compression
    if was.float_layers is None or now.float_layers is None:
        return None
    names = dict.fromkeys((*was.float_layers, *now.float_layers))
    found = {name: (was.precision_of(name), now.precision_of(name)) for name in names}
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def _margin(before: Manifest, after: Manifest) -> float | None:
    """Half of Agresti and Caffo's 95 % interval of the difference of two shares (The American Statistician 54, 2000).

    One success and one failure more in each keep it wide where all samples are right. The two are taken as independent, which is
    wider than one set of samples needs.
    """
    variance = 0.0
    for accuracy in (before.accuracy, after.accuracy):
        if not 0 <= accuracy.metric <= 1 or accuracy.samples == 0:
            return None
        samples = accuracy.samples + 2
        share = (accuracy.metric * accuracy.samples + 1) / samples
        variance += share * (1 - share) / samples
    return 1.96 * math.sqrt(variance)


def _added(before: Manifest, after: Manifest) -> list[Output]:
    known = {each.name for each in before.signature.outputs}
    return [each for each in after.signature.outputs if each.name not in known]


def _breaks(before: Manifest, after: Manifest) -> Iterator[str]:
    yield from _tensors("input", before.signature.inputs, after.signature.inputs)
    known = {each.name for each in before.signature.inputs}
    yield from (f"input {each.name} is new" for each in after.signature.inputs if each.name not in known)
    yield from _tensors("output", before.signature.outputs, after.signature.outputs)
    if before.preprocessing != after.preprocessing:
        yield f"the preprocessing: {_fields(before.preprocessing, after.preprocessing)}"
    for what in ("runtime", "min_runtime", "min_ios", "min_android_sdk"):
        was, now = getattr(before.target, what), getattr(after.target, what)
        if was != now and (what == "runtime" or _raised(was, now)):
            yield f"{what} was {was} and is {now}"
    for abi in before.target.abi:
        if abi not in after.target.abi:
            yield f"the ABI {abi} is gone"


def _tensors(
    what: str, before: tuple[Input | Output, ...], after: tuple[Input | Output, ...]
) -> Iterator[str]:
    now = {each.name: each for each in after}
    for each in before:
        if each.name not in now:
            yield f"{what} {each.name} is gone"
        elif each != now[each.name]:
            yield f"{what} {each.name}: {_fields(each, now[each.name])}"


def _fields(before: Record | None, after: Record | None) -> str:
    """Names the fields that differ, with both values where they are short."""
    if before is None or after is None:
        return "there was none" if before is None else "there is none any more"
    was, now = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
    found = [f"{name} was {was[name]} and is {now[name]}" for name in was if was[name] != now[name]]
    return ", ".join(text if len(text) < 160 else f"{text[:150]} ..." for text in found)


def _raised(was: object, now: object) -> bool:
    """Whether a minimum asks for more than before."""
    if now is None or was is None:
        return was is None
    parts = [
        [int(part) for part in str(value).split()[-1].split(".") if part.isdigit()] for value in (was, now)
    ]
    return parts[1] > parts[0]


def _update_bytes(old: Path, new: Path) -> int | None:
    """Returns what zstd leaves of the new content where the old one is known."""
    before, after = _content(old), _content(new)
    window_log = max(10, math.ceil(math.log2(len(before) + len(after) + 1)))
    if window_log > MAX_WINDOW_LOG:
        return None
    known = zstandard.ZstdCompressionDict(before or b"\0", dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    settings = zstandard.ZstdCompressionParameters.from_level(
        PATCH_LEVEL, window_log=window_log, enable_ldm=True
    )
    return len(zstandard.ZstdCompressor(dict_data=known, compression_params=settings).compress(after))


def _content(place: Path) -> bytes:
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    return b"".join(path.read_bytes() for path in files)
