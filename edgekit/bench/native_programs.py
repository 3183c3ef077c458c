"""`edgekit bench --native PROGRAM`: a phone without Python, by a program that the user names, in several fresh processes."""

import hashlib
import math
import statistics
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Literal

from edgekit_runner import artifact as artifacts
from edgekit_runner.protocol import PROTOCOLS
from edgekit_runner.stats import quantiles
from msgspec.structs import replace

from edgekit import native
from edgekit.bench.subjects import read_all
from edgekit.device import NO_PYTHON, TIMEOUT_S, Completed, Device, open_device
from edgekit.device import phone as phones
from edgekit.device.phone import Phone
from edgekit.device.remote import last_line
from edgekit.device.run import stage
from edgekit.engine import kept_texts
from edgekit.errors import DeviceError, UserError
from edgekit.native import Output, Unknown
from edgekit.records import Record
from edgekit.records.foreign import visible

SCHEMA_VERSION = 1
QUOTED = 160
DRIFT_RATIO = 0.05
NO_PROOF = "its answers were not checked: the program feeds inputs of its own"


class NativeRecord(Record):
    """What a program measured of one file on one device.

    Attributes:
        status: "failed" where it crashed or vanished, "refused" where its output is not understood.
        reason: Why, in a sentence.
        processes: What each process said.
        p50_s: The median over the processes' medians; where a program tells means alone, over these.
        p50_low_s: The lower end of its 95 % interval, None under six processes.
        verdict: "disturbed" where heat or drift show, "unknown" where the device tells nothing of its heat.
        findings: What a user must act on: work that was left to the CPU.
        energy_j: Of all processes together, from the battery's own counter.
    """

    schema_version: int
    kind: Literal["native"]
    started_utc: str
    status: Literal["ok", "refused", "failed"]
    device: str
    program: str
    program_sha256: str
    artifact: str
    artifact_sha256: str
    threads: int
    reason: str = ""
    processes: tuple[Output, ...] = ()
    p50_s: float | None = None
    p50_low_s: float | None = None
    p50_high_s: float | None = None
    verdict: Literal["ok", "disturbed", "unknown"] = "unknown"
    causes: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    before: Phone = Phone()
    after: Phone = Phone()
    energy_j: float | None = None
    energy_reason: str = ""


def bench(
    name: str, place: Path, program: Path, threads: int, protocol: str, timeout_s: float = TIMEOUT_S
) -> list[NativeRecord]:
    """Measures every artifact of `place` that the program opens.

    Args:
        name: The device as the user writes it.
        place: An artifact file or an exported folder.
        program: The program, built for the device.
        threads: Threads of the runtime.
        protocol: How many processes and runs, as the runner's.
        timeout_s: When to give up on one process, in seconds.

    Raises:
        UserError: The program is not known or not there, or opens no artifact of `place`.
        DeviceError: The device does not answer.
    """
    module = native.of(program)
    if not program.is_file():
        raise UserError(
            f"--native {program} does not exist; give the path of the program, built for the device"
        )
    files = [Path(spec["artifact"]) for spec in read_all(place)]
    fit = [file for file in files if file.suffix in module.FORMATS]
    if not fit:
        raise UserError(
            f"{program.name} opens {', '.join(module.FORMATS)}; {place} holds {', '.join(f.name for f in files)}"
        )
    with closing(open_device(name, NO_PYTHON)) as device:
        return [_measure(device, module, program, file, threads, protocol, timeout_s) for file in fit]


def _measure(
    device: Device,
    module: ModuleType,
    program: Path,
    file: Path,
    threads: int,
    protocol: str,
    timeout_s: float,
) -> NativeRecord:
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    model = artifacts.sha256(file)
    preset = PROTOCOLS[protocol]
    count = int(preset["processes_min_count"])
    runs = math.ceil(preset["min_runs_count"] / count)
    record = NativeRecord(
        schema_version=SCHEMA_VERSION,
        kind="native",
        started_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        status="failed",
        device=device.name,
        program=program.name,
        program_sha256=digest,
        artifact=str(file),
        artifact_sha256=model,
        threads=threads,
    )
    there = stage(device, program, f"{digest}-{program.name}"), stage(device, file, f"{model}{file.suffix}")
    device.execute(["chmod", "755", there[0]])
    command = module.command(*there, threads, runs)
    before = phones.ask(device)
    outputs: list[Output] = []
    for _ in range(count):
        try:
            outputs.append(_run(device, module, command, timeout_s))
        except (Unknown, DeviceError) as error:
            changes = {"reason": str(error), "processes": tuple(outputs), "before": before}
            return replace(record, status="refused" if isinstance(error, Unknown) else "failed", **changes)
    return _judged(record, outputs, before, phones.ask(device))


def _run(device: Device, module: ModuleType, command: list[str], timeout_s: float) -> Output:
    """One process. Raises Unknown for an output that is not understood, DeviceError where it crashed or the device vanished."""
    done = device.execute(command, timeout_s=timeout_s)
    name = module.__name__.rpartition(".")[2]
    if done.code != 0:
        said = visible(last_line(done.stderr) if done.stderr.strip() else last_line(done.stdout))
        raise DeviceError(f"{name} ended with exit code {done.code} on {device.name}; its last words: {said}")
    try:
        found: Output = module.parse(f"{done.stdout}\n{done.stderr}")
    except Unknown as why:
        raise Unknown(_told(name, done, str(why))) from None
    except ValueError as error:
        raise Unknown(_told(name, done, f"a number that is none ({error})")) from None
    times = [found.mean_s, found.median_s, found.min_s, found.max_s]
    if any(time is not None and (time <= 0 or not math.isfinite(time)) for time in times) or found.runs < 1:
        raise Unknown(_told(name, done, "a time that is not above zero: did the clock jump?"))
    return found


def _told(name: str, done: Completed, why: str) -> str:
    """A sentence that quotes an output, which is kept whole where there is a cache."""
    text = f"{done.stdout}\n{done.stderr}"
    try:
        kept = f"is kept in {kept_texts.keep(text)}"
    except (OSError, UserError) as error:
        kept = f"cannot be kept: {error}"
    quoted = visible(" ".join(text.split())[:QUOTED])
    return f"the output of {name} is not understood: it has {why}; it begins with {quoted!r} and {kept}"


def _judged(record: NativeRecord, outputs: list[Output], before: Phone, after: Phone) -> NativeRecord:
    typical = [output.typical_s for output in outputs]
    interval = quantiles.median_interval(typical)
    causes, energy = _causes(typical, before, after), phones.energy_j(before, after)
    blind = before.thermal is None or after.thermal is None
    means = all(output.median_s is None for output in outputs)
    doubts = [NO_PROOF, *(["the program tells means alone, which every disturbance raises"] if means else [])]
    doubts += ["the device tells nothing of its heat"] if blind else []
    doubts += ["the phone is being charged, which warms it"] if before.plugged else []
    doubts += [interval.reason] if interval.reason else []
    return replace(
        record,
        status="ok",
        processes=tuple(outputs),
        p50_s=statistics.median(typical),
        p50_low_s=interval.low,
        p50_high_s=interval.high,
        verdict="disturbed" if causes else "unknown" if blind else "ok",
        causes=tuple(causes),
        findings=tuple(_findings(outputs)),
        doubts=tuple(doubts),
        before=before,
        after=after,
        energy_j=energy[0],
        energy_reason=energy[1],
    )


def _causes(typical: list[float], before: Phone, after: Phone) -> list[str]:
    """Why the figure does not hold: heat, or processes that became slower one after the other."""
    found = [
        f"the phone was throttled {when}: thermal status {phone.thermal}"
        for when, phone in (("before", before), ("after", after))
        if phone.thermal not in (None, "none")
    ]
    third = max(1, len(typical) // 3)
    first, last = statistics.median(typical[:third]), statistics.median(typical[-third:])
    if len(typical) > 1 and abs(last / first - 1) > DRIFT_RATIO:
        found.append(f"the last processes took {last / first:.2f} of the first ones' time")
    return found


def _findings(outputs: list[Output]) -> list[str]:
    places = dict.fromkeys((o.delegated, o.delegate) for o in outputs if o.delegated is not None)
    return [
        f"{every - taken} of {every} nodes were left to the CPU's own kernels, {taken} run in {delegate}"
        for (taken, every), delegate in places
        if taken < every
    ]
