"""The results as one Markdown table, the doubts as sentences under it."""

import re
from collections.abc import Iterable
from statistics import median

from result_file import markdown

from peers._records import Result, Results, Score, StageRun

HEAD = (
    "peer",
    "top-1 %",
    "drop points",
    "agree %",
    "SNR dB",
    "CPU time / float [95 %]",
    "/ ONNX float",
    "calibrate s, wall (CPU)",
    "to file s",
    "extra MB, calibrate / any stage",
    "file MB",
)
EMULATED = ("emulated top-1", "agree %", "SNR dB")
MB = 1e6
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def render(results: Results) -> str:
    """The whole text: what was run, the table, the legend, the doubts."""
    emulated = bool(results.settings.emulator)
    split = HEAD.index("SNR dB") + 1
    head = [*HEAD[:split], *(EMULATED if emulated else ()), *HEAD[split:]]
    rows = [_float_cells(results, len(head))]
    rows += [_cells(row, results, emulated) for row in results.rows if row.status == "ok"]
    lines = [_title(results), "", *markdown([head, *rows]), "", *_legend(results), ""]
    lines += [f"- {row.name}: {row.summary}" for row in results.rows if row.status == "ok"]
    lines += [f"- {row.name}: not installed: {row.reason}" for row in results.rows if row.status == "missing"]
    lines += [f"- {row.name}: failed: {row.reason}" for row in results.rows if row.status == "failed"]
    lines += ["", *_doubts(results.rows)]
    return "\n".join(lines).rstrip() + "\n"


def _title(results: Results) -> str:
    asked, host = results.settings, results.machine
    where = f"{host['machine']} {host['isa']}, {host['cpu_usable_count']} CPUs"
    return f"{asked.model}: {asked.calibrate} samples calibrate, {results.samples} score; {where}; planned for {asked.isa}"


def _legend(results: Results) -> list[str]:
    asked, one = results.settings, 100 / results.samples
    found = [
        f"One sample is {one:.3g} points. CPU time: one thread, interleaved, against the float file of the same runtime.",
        f"Calibrate: median of {asked.repeat} fresh process(es), all cores, beyond imports and loading the model; it holds "
        "writing the file where a peer does both in one call. To file: all stages. Extra MB: VmHWM less RSS before the call.",
    ]
    if asked.emulator:
        found.append(f"Emulated: the same file under `{asked.emulator}`, outputs only.")
    return found


def _float_cells(results: Results, width: int) -> list[str]:
    sizes = " / ".join(f"{size / MB:.2f} ({format})" for format, size in sorted(results.float_sizes.items()))
    return ["float32", f"{results.float_metric * 100:.2f}", *["-"] * (width - 3), sizes]


def _cells(row: Result, results: Results, emulated: bool) -> list[str]:
    assert row.judged is not None
    own = _ratio(row, row.runtime, interval=True)
    common = _ratio(row, "onnxruntime", interval=False)
    extra = _score(row.judged.emulated) if emulated else []
    top1, *rest = _score(row.judged.native)
    drop = f"{(results.float_metric - row.judged.native.metric) * 100:+.2f}"
    return [row.name, top1, drop, *rest, *extra, own, common, *_costs(row), _size(row)]


def _score(score: Score | None) -> list[str]:
    """Top-1, agreement and SNR."""
    if score is None:
        return ["-", "-", "-"]
    agreement, snr = score.parity.agreement, score.parity.snr_db
    return [
        f"{score.metric * 100:.2f}",
        "-" if agreement is None else f"{agreement * 100:.2f}",
        "-" if snr is None else f"{snr:.1f}",
    ]


def _ratio(row: Result, against: str, interval: bool) -> str:
    timing = next((timing for timing in row.timings if timing.against == against), None)
    if timing is None or timing.cpu_ratio is None:
        return "-"
    ends = f" [{timing.low:.3f}, {timing.high:.3f}]" if interval and timing.low is not None else ""
    return f"{timing.cpu_ratio:.3f}{ends}"


def _costs(row: Result) -> list[str]:
    """Medians over the repetitions; the first stage is the one that calibrates."""
    first = [stages[0] for stages in row.stages]
    wall, cpu = median(s.wall_s for s in first), median(s.cpu_s for s in first)
    total = median(sum(stage.wall_s for stage in stages) for stages in row.stages)
    most = [_most(stages) for stages in row.stages]
    memory = f"{_mb(_most(first))} / {_mb(None if None in most else max(m for m in most if m is not None))}"
    return [f"{wall:.2f} ({cpu:.2f})", f"{total:.2f}", memory]


def _most(stages: Iterable[StageRun]) -> int | None:
    peaks = [stage.extra_peak_bytes for stage in stages]
    return None if None in peaks else max(peak for peak in peaks if peak is not None)


def _mb(size: int | None) -> str:
    return "unknown" if size is None else f"{size / MB:.0f}"


def _size(row: Result) -> str:
    return "-" if row.size_bytes is None else f"{row.size_bytes / MB:.2f}"


def _doubts(rows: Iterable[Result]) -> list[str]:
    """Each doubt once, with the rows that it holds for; those that differ in figures only show the figures' range."""
    held: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        for doubt in row.doubts:
            held.setdefault(NUMBER.sub("#", doubt), []).append((row.name, doubt))
    return [
        f"doubt ({', '.join(dict.fromkeys(name for name, _ in said))}): {_ranges([text for _, text in said])}"
        for said in held.values()
    ]


def _ranges(texts: list[str]) -> str:
    """Sentences that differ in numbers only, as one: each number that moves becomes `low to high`."""
    columns = zip(*(NUMBER.findall(text) for text in texts), strict=True)
    ends = [(min(column, key=float), max(column, key=float)) for column in columns]
    shown = iter(low if low == high else f"{low} to {high}" for low, high in ends)
    return NUMBER.sub(lambda _: next(shown), texts[0])
