"""Nets that people ship, each on every target: accepted with its recipe and figures, or refused with the sentence.

    python benchmarks/zoo.py --out zoo-out                      # all that is missing in zoo-out, one net after the other
    python benchmarks/zoo.py --out zoo-out --only keywords --target arm-mobile
    python benchmarks/zoo.py --out zoo-out --table > docs/benchmarks/zoo_table.md

A net is one `edgekit export` for all the targets that are missing, which share what they can; what became of each is kept as
`zoo-out/NET__TARGET.json`: run again, only what is missing is run, so that it can be stopped at any time (`--seconds` stops it by itself).
Nets called trained learn their task when they are loaded or have their weights in this folder, and walk the whole ladder; seeded
ones have random weights that are made to behave (batch norms and heads fitted, see `examples/torchvision_model.py`), at a small size; random
ones are judged by what they keep of their own float answers. Where no layer has learned anything, no training mends it: these
try the recipes of RECIPES alone, and a refusal of one says less. EDGEKIT_DATA names the folder of the texts.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
from zoo_encoders import ENCODERS

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
TARGETS = ("x86-server", "arm-mobile", "tflite-int8", "coreml-fp16")
LIMIT_S = 1200.0  # of one net
BUDGET = {"trained": 0.01, "seeded": 0.02, "random": 0.05}  # of the metric
DECIBELS = 0.3  # where the metric is in dB
RECIPES = (
    "ptq(estimator=mse)",
    "dynamic",
    "mixed(estimator=mse)",
    "fp16",
)  # a target leaves out what it does not admit
CLASSIFIERS = {
    "resnet18": 64, "resnet50": 64, "mobilenet_v2": 96, "mobilenet_v3_small": 96, "mobilenet_v3_large": 96, "shufflenet_v2_x1_0": 96,
    "efficientnet_b0": 96, "mnasnet1_0": 96, "squeezenet1_1": 96, "regnet_y_400mf": 64, "densenet121": 64, "googlenet": 64,
    "convnext_tiny": 64, "alexnet": 96, "vgg11": 64, "swin_t": 64, "vit_b_32": 64, "inception_v3": 96,
}  # fmt: skip
SEGMENTERS = ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large")
Weights = Literal["trained", "seeded", "random"]


class Net(msgspec.Struct, frozen=True):
    """One row: a task, its settings and where its weights come from."""

    name: str
    reference: str
    weights: Weights
    settings: dict[str, str] = {}


class Cell(msgspec.Struct, frozen=True):
    """What one export gave."""

    net: str
    target: str
    weights: Weights
    accepted: bool
    recipe: str
    precision: str
    called: str
    metric: float | None
    float_metric: float | None
    agreement: float | None
    size_ratio: float | None
    share: float | None
    seconds: float
    sentence: str


def nets() -> list[Net]:
    """All rows of the table."""
    names = ("detection", "keywords", "streaming_speech", "super_resolution", "ocr_line", "tabular")
    example = [Net(name, f"{EXAMPLES / name}.py:task", "trained") for name in names]
    lengths = Net("text_lengths", f"{EXAMPLES / 'text_lengths.py'}:task", "trained", {"free": "false"})
    csv = {"csv": str(Path(os.environ.get("EDGEKIT_DATA", ".")) / "ag_news6k.csv")}
    texts = [
        Net(f"text {kind}", f"{EXAMPLES / 'text.py'}:{kind}", "trained", csv)
        for kind in ("lstm", "transformer")
    ]
    digits = Net("digits", f"{EXAMPLES / 'digits.py'}:task", "trained")
    classifiers = [
        Net(name, f"{EXAMPLES / 'torchvision_model.py'}:task", "seeded", {"model": name, "size": str(size)})
        for name, size in CLASSIFIERS.items()
    ]
    segmenters = [
        Net(name, f"{EXAMPLES / 'segmentation.py'}:task", "seeded", {"model": name, "size": "96"})
        for name in SEGMENTERS
    ]
    encoders = [
        Net(f"hf {kind}", f"{HERE / 'zoo_encoders.py'}:task", "random", {"kind": kind}) for kind in ENCODERS
    ]
    return [digits, *example, lengths, *texts, *classifiers, *segmenters, *encoders]


def run(net: Net, targets: tuple[str, ...], out: Path, limit_s: float = LIMIT_S) -> list[Cell]:
    """Exports one net for some targets at once; what takes longer than the limit is stopped, and counts as not run."""
    place = out / "exports" / net.name.replace(" ", "-")
    budget = DECIBELS if net.name == "super_resolution" else BUDGET[net.weights]
    command = [sys.executable, "-m", "edgekit", "export", net.reference, "-o", str(place), "--json"]
    command += [part for target in targets for part in ("-t", target)]
    command += [part for key, value in net.settings.items() for part in ("--set", f"{key}={value}")]
    command += ["--max-drop", str(budget), "--min-speedup", "0"]
    if net.weights != "trained":
        command += [part for recipe in RECIPES for part in ("--recipe", recipe)]
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
        answer, said = done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        print(f"{net.name}: stopped after {limit_s:.0f} s", flush=True)
        return []
    seconds = time.perf_counter() - start
    try:
        reports = json.loads(answer)["targets"]
    except (ValueError, KeyError):
        sentence = said.strip().splitlines()[-1] if said.strip() else "no answer"
        return [_refused(net, target, seconds, sentence) for target in targets]
    return [_read(net, report) for report in reports]


def _refused(net: Net, target: str, seconds: float, sentence: str) -> Cell:
    return Cell(
        net.name, target, net.weights, False, "", "", "", None, None, None, None, None, seconds, sentence
    )


def _read(net: Net, report: dict[str, Any]) -> Cell:
    attempts, target = report["attempts"], report["target"]
    seconds = sum(stage["wall_s"] for a in attempts for stage in a["stages"] if not stage.get("reused"))
    if not report["accepted"]:
        return _refused(net, target, seconds, report.get("summary") or attempts[-1]["decision"]["reasons"][0])
    attempt = attempts[report["shipped"]]
    artifact, verdict, lint = attempt["artifact"], attempt["verdict"], attempt["verdict"]["lint"]
    base = report.get("baseline") or {}
    return Cell(
        net=net.name,
        target=target,
        weights=net.weights,
        accepted=True,
        recipe=attempt["recipe"]["name"],
        precision=artifact["precision"],
        called=lint.get("called", ""),
        metric=verdict["metric"],
        float_metric=verdict["float_metric"],
        agreement=verdict["parity"]["agreement"],
        size_ratio=artifact["size_bytes"] / base["size_bytes"] if base else None,
        share=lint.get("share"),
        seconds=seconds,
        sentence="",
    )


def cells(out: Path) -> Iterator[Cell]:
    """What was run so far."""
    for path in sorted(out.glob("*__*.json")):
        yield msgspec.json.decode(path.read_bytes(), type=Cell)


def table(out: Path) -> str:
    """Returns the Markdown table: one row a net, one column a target, and the sentences of what was refused."""
    known = {(cell.net, cell.target): cell for cell in cells(out)}
    lines = [f"| net | weights | {' | '.join(TARGETS)} |", f"|---|---|{'---|' * len(TARGETS)}"]
    refused = []
    for net in nets():
        row = [known.get((net.name, target)) for target in TARGETS]
        if any(row):
            lines.append(f"| {net.name} | {net.weights} | {' | '.join(map(_text, row))} |")
        refused += [f"- {c.net}, {c.target}: {c.sentence}" for c in row if c is not None and not c.accepted]
    done = list(known.values())
    accepted = [c for c in done if c.accepted]
    wanted = [c for c in accepted if c.precision == ("float16" if c.target.startswith("coreml") else "int8")]
    lines.append(
        f"\n{len(done)} of {len(nets()) * len(TARGETS)} cells were run: {len(accepted)} accepted, {len(wanted)} of them in integers "
        "(float16 for Core ML)."
    )
    return "\n".join([*lines, *(["\nRefused:\n", *refused] if refused else [])])


def _text(cell: Cell | None) -> str:
    if cell is None:
        return "not run"
    if not cell.accepted or cell.metric is None or cell.float_metric is None:
        return f"refused, {cell.seconds:.0f} s"
    size = f", {cell.size_ratio:.2f} of float's bytes" if cell.size_ratio else ""
    share = f", {cell.share:.0%} of the work" if cell.share is not None and cell.precision == "int8" else ""
    return f"{cell.recipe}: {cell.metric:.4f} ({cell.metric - cell.float_metric:+.4f}){size}{share}, {cell.seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the answers")
    parser.add_argument("--only", default="", help="nets whose name holds this")
    parser.add_argument("--target", choices=TARGETS, help="one target only")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no net after so long")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds of one net at most")
    parser.add_argument("--table", action="store_true", help="print the table of what was run")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.table:
        print(table(asked.out))
        return
    start = time.perf_counter()
    for net in nets():
        missing = tuple(
            target
            for target in ((asked.target,) if asked.target else TARGETS)
            if not _file(asked.out, net.name, target).exists()
        )
        if asked.only not in net.name or not missing or time.perf_counter() - start > asked.seconds:
            continue
        for cell in run(net, missing, asked.out, asked.limit):
            _file(asked.out, net.name, cell.target).write_bytes(msgspec.json.encode(cell))
            print(f"{net.name}, {cell.target}: {_text(cell)} {cell.sentence}", flush=True)


def _file(out: Path, net: str, target: str) -> Path:
    return out / f"{net.replace(' ', '-')}__{target}.json"


if __name__ == "__main__":
    main()
