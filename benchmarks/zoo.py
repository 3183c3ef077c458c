"""Nets that people ship, each on every target: accepted with its recipe and figures, or refused with the sentence.

    python benchmarks/zoo.py --out zoo-out                      # all that is missing in zoo-out, one cell after the other
    python benchmarks/zoo.py --out zoo-out --only keywords --target arm-mobile
    python benchmarks/zoo.py --out zoo-out --table > docs/benchmarks/zoo_table.md

A cell is one `edgekit export`, whose answer is kept as `zoo-out/NET__TARGET.json`: run again, only what is missing is run, so that it can be
stopped at any time (`--seconds` stops it by itself). Nets called trained learn their task when they are loaded or have their weights in
this folder; seeded ones have random weights that are made to behave (batch norms and heads fitted, see
`examples/torchvision_model.py`); random ones are judged by what they keep of their own float answers, and a refusal of one says less.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from torch import nn

import edgekit as ek

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
TARGETS = ("x86-server", "arm-mobile", "tflite-int8", "coreml-fp16")
LIMIT_S = 1200.0  # of one cell
BUDGET = {"trained": 0.01, "seeded": 0.02, "random": 0.05}  # of the metric
SAMPLES = 16
CLASSIFIERS = (
    "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "shufflenet_v2_x1_0", "efficientnet_b0",
    "mnasnet1_0", "squeezenet1_1", "regnet_y_400mf", "densenet121", "googlenet", "convnext_tiny", "alexnet", "vgg11", "swin_t",
    "vit_b_32", "inception_v3",
)  # fmt: skip
SEGMENTERS = ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large")
ENCODERS = (
    "bert",
    "distilbert",
    "electra",
    "roberta",
    "mobilebert",
    "albert",
    "vit",
    "deit",
    "mobilevit",
    "segformer",
)
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
    example = {
        name: Net(name, f"{EXAMPLES / name}.py:task", "trained")
        for name in ("detection", "keywords", "streaming_speech", "super_resolution", "ocr_line", "tabular")
    }
    lengths = Net("text_lengths", f"{EXAMPLES / 'text_lengths.py'}:task", "trained", {"free": "false"})
    texts = [
        Net(f"text {kind}", f"{EXAMPLES / 'text.py'}:{kind}", "trained") for kind in ("lstm", "transformer")
    ]
    digits = Net("digits", f"{EXAMPLES / 'digits.py'}:task", "trained")
    classifiers = [
        Net(name, f"{EXAMPLES / 'torchvision_model.py'}:task", "seeded", {"model": name})
        for name in CLASSIFIERS
    ]
    segmenters = [
        Net(name, f"{EXAMPLES / 'segmentation.py'}:task", "seeded", {"model": name, "size": "128"})
        for name in SEGMENTERS
    ]
    encoders = [Net(f"hf {kind}", f"{Path(__file__)}:encoder", "random", {"kind": kind}) for kind in ENCODERS]
    return [digits, *example.values(), lengths, *texts, *classifiers, *segmenters, *encoders]


# ------------------------------------------------------------------------------------------------ encoders of transformers


class Fidelity:
    """One less the relative error to the float model's own answers."""

    def __init__(self, model: Callable[[], nn.Module], inputs: dict[str, torch.Tensor]) -> None:
        self.model, self.inputs = model, inputs

    def __call__(self, predict: Callable[..., Any]) -> float:
        right = _first(self.model(), self.inputs)
        got = predict(**{name: value.numpy() for name, value in self.inputs.items()})
        answer = np.asarray(
            next(iter(got.values())) if isinstance(got, dict) else getattr(got, "logits", got)
        )
        return float(1 - np.linalg.norm(answer - right) / np.linalg.norm(right))


def _first(model: nn.Module, inputs: dict[str, torch.Tensor]) -> np.ndarray:
    with torch.no_grad():
        found = model(**inputs)
    return np.asarray(next(iter(found.values())).numpy())


def build(kind: str) -> nn.Module:
    """A small net of transformers with random weights: its own classes, nothing is downloaded."""
    import transformers as t

    small = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    text = {"vocab_size": 500, "max_position_embeddings": 64, "num_labels": 6, **small}
    image = {"image_size": 64, "patch_size": 8, "num_labels": 6, **small}
    stages = {
        "hidden_sizes": [16, 32, 64, 96],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 2, 4, 4],
        "decoder_hidden_size": 64,
    }
    makers: dict[str, Callable[[], nn.Module]] = {
        "bert": lambda: t.BertForSequenceClassification(t.BertConfig(**text)),
        "distilbert": lambda: t.DistilBertForSequenceClassification(
            t.DistilBertConfig(
                vocab_size=500,
                max_position_embeddings=64,
                dim=128,
                n_layers=2,
                n_heads=4,
                hidden_dim=256,
                num_labels=6,
            )
        ),
        "electra": lambda: t.ElectraForSequenceClassification(t.ElectraConfig(embedding_size=64, **text)),
        "roberta": lambda: t.RobertaForSequenceClassification(
            t.RobertaConfig(**{**text, "max_position_embeddings": 70})
        ),
        "mobilebert": lambda: t.MobileBertForSequenceClassification(
            t.MobileBertConfig(intra_bottleneck_size=64, embedding_size=64, **text)
        ),
        "albert": lambda: t.AlbertForSequenceClassification(t.AlbertConfig(embedding_size=64, **text)),
        "vit": lambda: t.ViTForImageClassification(t.ViTConfig(**image)),
        "deit": lambda: t.DeiTForImageClassification(t.DeiTConfig(**image)),
        "mobilevit": lambda: t.MobileViTForImageClassification(
            t.MobileViTConfig(image_size=64, num_labels=6)
        ),
        "segformer": lambda: t.SegformerForSemanticSegmentation(t.SegformerConfig(num_labels=6, **stages)),
    }
    torch.manual_seed(0)
    return makers[kind]().eval()


def encoder(kind: str = "bert") -> ek.Task:
    """The task of one of ENCODERS."""
    if kind not in ENCODERS:
        raise ek.TaskError(f"no encoder {kind!r}; allowed: {', '.join(ENCODERS)}")
    random = torch.Generator().manual_seed(1)
    if ENCODERS.index(kind) < ENCODERS.index("vit"):
        ids = torch.randint(5, 500, (3 * SAMPLES, 32), generator=random)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    else:
        inputs = {"pixel_values": torch.randn(3 * SAMPLES, 3, 64, 64, generator=random)}
    model = partial(build, kind)
    held = {name: value[:SAMPLES] for name, value in inputs.items()}
    seen = {name: value[SAMPLES:] for name, value in inputs.items()}
    return ek.Task(
        name=f"hf-{kind}",
        model=model,
        example_inputs={name: value[:1] for name, value in inputs.items()},
        calibration=[
            {name: value[i : i + 8] for name, value in seen.items()} for i in range(0, 2 * SAMPLES, 8)
        ],
        metric=Fidelity(model, held),
    )


# ------------------------------------------------------------------------------------------------ running


def run(net: Net, target: str, out: Path, limit_s: float = LIMIT_S) -> Cell:
    """Exports one net for one target; what takes longer than the limit is stopped."""
    place = out / "exports" / f"{net.name}__{target}".replace(" ", "-")
    command = [
        sys.executable,
        "-m",
        "edgekit",
        "export",
        net.reference,
        "-t",
        target,
        "-o",
        str(place),
        "--json",
    ]
    command += [part for key, value in net.settings.items() for part in ("--set", f"{key}={value}")]
    command += ["--max-drop", str(BUDGET[net.weights]), "--min-speedup", "0"]
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
        answer, said = done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        answer, said = "", f"stopped after {limit_s:.0f} s"
    seconds = time.perf_counter() - start
    try:
        report = json.loads(answer)["targets"][0]
    except (ValueError, KeyError, IndexError):
        return _refused(net, target, seconds, said.strip().splitlines()[-1] if said.strip() else "no answer")
    return _read(net, target, seconds, report)


def _refused(net: Net, target: str, seconds: float, sentence: str) -> Cell:
    return Cell(
        net.name, target, net.weights, False, "", "", "", None, None, None, None, None, seconds, sentence
    )


def _read(net: Net, target: str, seconds: float, report: dict[str, Any]) -> Cell:
    attempts = report["attempts"]
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
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no cell after so long")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds of one cell at most")
    parser.add_argument("--table", action="store_true", help="print the table of what was run")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.table:
        print(table(asked.out))
        return
    start = time.perf_counter()
    for net in nets():
        for target in (asked.target,) if asked.target else TARGETS:
            path = asked.out / f"{net.name.replace(' ', '-')}__{target}.json"
            if asked.only not in net.name or path.exists() or time.perf_counter() - start > asked.seconds:
                continue
            cell = run(net, target, asked.out, asked.limit)
            path.write_bytes(msgspec.json.encode(cell))
            print(f"{net.name}, {target}: {_text(cell)} {cell.sentence}", flush=True)


if __name__ == "__main__":
    main()
