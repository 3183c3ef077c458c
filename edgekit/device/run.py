"""One measurement on one device: send what is missing, run the runner, take its record, clean up.

Files are kept on the device under their sha256, so each is sent once; the record says what the device read,
and a copy that differs is refused. The folder of a run is removed however it ends.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from edgekit_runner import artifact
from edgekit_runner import record as records
from edgekit_runner.errors import UserError as RunnerUserError
from edgekit_runner.spec import SCHEMA_VERSION

from edgekit.device import TIMEOUT_S, Completed, Device, open_device, zipapp
from edgekit.device.record_check import fault_of
from edgekit.device.remote import disk_full, last_line
from edgekit.device.scratch import Scratch
from edgekit.errors import DeviceError, EdgekitError, MissingRuntime, UserError

_ARTIFACTS = ("artifact", "baseline")
_FILES = (*_ARTIFACTS, "golden", "baseline_golden")
_ERRORS: dict[int, type[EdgekitError]] = {2: UserError, 3: MissingRuntime}


def run(
    device: Device, spec: Mapping[str, Any], runner: Path, timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Measures on a device.

    Args:
        device: Where.
        spec: What to measure, as the runner's spec.py defines it; paths are this machine's.
        runner: The zipapp of the runner.
        timeout_s: When to give up, in seconds.

    Returns:
        The runner's record; a runner that refused or failed says so in it.

    Raises:
        DeviceError: The device failed, and there is no record.
        UserError: The spec is wrong, or a file cannot be read.
        MissingRuntime: The device lacks a runtime.
    """
    digests = {key: _digest(Path(spec[key])) for key in _FILES if spec.get(key)}
    others = [(name, _digest(Path(name))) for name in spec.get("others", ())]
    program = stage(device, runner, runner.name)
    there = {key: _place(device, Path(spec[key]), digest) for key, digest in digests.items()}
    beside = [_place(device, Path(name), digest) for name, digest in others]
    more = {"others": beside} if beside else {}
    text = json.dumps({"schema_version": SCHEMA_VERSION, **spec, **there, **more})
    folder = device.make_folder()
    try:
        command = [device.python, program, "run", "-", "--held"]
        done = device.execute(command, text.encode() + b"\n", timeout_s, folder)
    finally:
        with suppress(DeviceError):
            device.remove(folder)
    record = _record(device, done)
    for key in _ARTIFACTS:
        if record.get(key):
            if record[key]["sha256"] != digests[key]:
                _refuse_altered(device, there[key], spec[key])
            record[key]["path"] = str(spec[key])
    _check_turns(
        device,
        record,
        [(spec["artifact"], digests["artifact"], there["artifact"])]
        + [(name, digest, place) for (name, digest), place in zip(others, beside, strict=True)],
    )
    return record


def run_on(
    name: str, spec: Mapping[str, Any], python: str | None = None, timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Opens a device, measures there as `run` does, and closes it.

    Raises:
        EdgekitError: What `open_device` and `run` raise.
    """
    with Scratch() as folder, closing(open_device(name, python)) as device:
        return run(device, spec, zipapp.build(folder), timeout_s)


def _check_turns(device: Device, record: dict[str, Any], given: Sequence[tuple[object, str, str]]) -> None:
    """For a record of kind turns: checks that each figure belongs to the right file, and gives it this machine's path."""
    for turn, (name, digest, place) in zip(record.get("turns") or (), given, strict=False):
        if turn["sha256"] != digest:
            _refuse_altered(device, place, name)
        turn["path"] = str(name)


def _digest(place: Path) -> str:
    if not place.exists():
        raise UserError(f"{place} does not exist; give the path of an artifact")
    try:
        return artifact.sha256(place)
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror}") from error


def _place(device: Device, local: Path, digest: str) -> str:
    """Where the device finds a file of this machine, or the files of a folder."""
    if device.shares_files:
        return str(local.absolute())
    name = digest + local.suffix
    if local.is_file():
        return stage(device, local, name)
    for file in sorted(path for path in local.rglob("*") if path.is_file()):
        stage(device, file, f"{name}/{file.relative_to(local).as_posix()}")
    return f"{device.root}/{name}"


def stage(device: Device, local: Path, name: str) -> str:
    """Sends a file unless the device has it already."""
    remote = f"{device.root}/{name}"
    if not device.exists(remote, local.stat().st_size):
        device.push(local, remote)
    return remote


def _refuse_altered(device: Device, remote: str, given: object) -> None:
    if device.shares_files:
        raise DeviceError(f"{device.name}: {given} changed while it was measured; run again")
    device.remove(remote)
    raise DeviceError(f"{device.name}: the copy of {given} there was altered; it was removed, run again")


def _record(device: Device, done: Completed) -> dict[str, Any]:
    """Reads the record from the last line of stdout that holds an object; raises the reason where there is none.

    What a login shell prints may stand around it.
    """
    lines = [line[line.index("{") :] for line in done.stdout.splitlines() if "{" in line]
    try:
        return _whole(device, records.read(lines[-1] if lines else ""))
    except RunnerUserError as error:
        said = last_line(done.stderr)
        if disk_full(done.stderr):
            reason = "the disk there is full, the runner cannot work; free some space on it"
            raise DeviceError(f"{device.name}: {reason}") from error
        if done.code in _ERRORS and said.startswith("error: "):
            raise _ERRORS[done.code](f"{device.name}: {said.removeprefix('error: ')}") from error
        answer = repr(last_line(done.stdout)[:80]) if done.stdout.strip() else "nothing"
        raise DeviceError(
            f"{device.name}: the runner ended with exit code {done.code}, and its answer is no record but "
            f"{answer}; its last words: {said}"
        ) from error


def _whole(device: Device, record: dict[str, Any]) -> dict[str, Any]:
    """The record, where it is one in every part."""
    fault = fault_of(record)
    if fault is not None:
        raise DeviceError(
            f"{device.name}: the runner's answer is no record of version {SCHEMA_VERSION}: {fault} is not what its schema "
            "says; is another program in its place there?"
        )
    return record
