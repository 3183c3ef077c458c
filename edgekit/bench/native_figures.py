"""What native programs measured, as text."""

from collections.abc import Sequence

from edgekit_runner.cli.table import mib, ms

from edgekit.bench.native_programs import NativeRecord
from edgekit.device.phone import Phone


def text(records: Sequence[NativeRecord]) -> str:
    """Renders records, one block each."""
    return "\n\n".join("\n".join(_lines(record)) for record in records) + "\n"


def _lines(record: NativeRecord) -> list[str]:
    head = [
        f"{'device':<18}{record.device}, by {record.program} (sha256 {record.program_sha256[:12]}), {record.threads} thread(s)",
        f"{'artifact':<18}{record.artifact} (sha256 {record.artifact_sha256[:12]})",
    ]
    if record.status != "ok":
        return [f"{record.status.upper()}: {record.reason}", *head]
    low, high = record.p50_low_s, record.p50_high_s
    spread = "" if low is None else f" [{ms(low)}, {ms(high)}], 95 %"
    runs = sum(output.runs for output in record.processes)
    valid = "" if record.verdict != "disturbed" else ", not valid"
    lines = [
        *head,
        f"{'median':<18}{ms(record.p50_s)}{spread}, {runs} runs in {len(record.processes)} processes{valid}",
    ]
    first = record.processes[0]
    if first.load_s is not None:
        lines.append(
            f"{'load':<18}{ms(first.load_s)}, first inference {ms(first.first_s)} (of the first process)"
        )
    if first.memory_bytes is not None:
        lines.append(f"{'memory':<18}{mib(first.memory_bytes)} by the program's own account")
    if first.delegated is not None:
        lines.append(
            f"{'placement':<18}{first.delegated[0]} of {first.delegated[1]} nodes in {first.delegate}"
        )
    lines.append(f"{'phone':<18}{_phone(record.before)}; after {_phone(record.after)}")
    energy = (
        record.energy_reason
        if record.energy_j is None
        else f"{record.energy_j:.3g} J of the battery in all processes"
    )
    lines += [f"{'energy':<18}{energy}", f"{'verdict':<18}{'; '.join([record.verdict, *record.causes])}"]
    return [
        *lines,
        *(f"finding: {each}" for each in record.findings),
        *(f"doubt: {each}" for each in record.doubts),
    ]


def _phone(phone: Phone) -> str:
    said = [
        f"thermal status {phone.thermal or 'unknown'}",
        *([f"case {phone.skin_celsius:.1f} °C"] if phone.skin_celsius is not None else []),
        *([f"battery {phone.battery_percent} %"] if phone.battery_percent is not None else []),
    ]
    return ", ".join(said)
