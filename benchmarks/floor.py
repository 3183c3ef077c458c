"""Where the floor under the metric stands: right artifacts and wrong ones, with what each output keeps to float.

    python benchmarks/floor.py examples/digits.py:task nets.py:task ... -o out/floor
    python benchmarks/floor.py --torchvision resnet18,mobilenet_v2 -o out/floor

Each task's model becomes an int8 ONNX and an int8 TFLite file (ptq, ranges by mse) and answers the metric's samples in its
runtime: the right artifacts. The ONNX file is then damaged in the ways that were met in real exports, one at a time: the wrong
ones. A row is an output of one file: the figures of `edgekit.verify.outputs` and what `edgekit.ladder.floor` says. `-o` keeps
rows.json; rows that are there are not made again.
"""

import argparse
import dataclasses
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import torchvision
from floor_damage import FAULTS, damaged

from edgekit.engine.specs import Context
from edgekit.engine.task_source import TaskSource
from edgekit.errors import EdgekitError
from edgekit.ladder import floor
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.records import Artifact, Candidate, OutputParity, Recipe, Step, TensorSpec
from edgekit.target import Target
from edgekit.task import Task
from edgekit.techniques import ptq
from edgekit.trace import promise
from edgekit.trace.metric import score, seed_everything
from edgekit.trace.model import examples_of, program_of
from edgekit.verify.outputs import OutputStatistics
from edgekit.verify.predict import Predictor

RECIPE = Recipe(name="ptq(mse)", precision="int8", steps=(Step(technique="ptq"),))
TARGETS = {"onnx": "arm-mobile", "tflite": "tflite-int8"}
SAMPLES = 64  # of those that the metric asks are compared, drawn from all of them
SIZE = 96  # of torchvision's inputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One output of one file. fault: "" for a right one. refused: what the floor says, "" where it lets it pass. promised_db,
    kept_db: of the quantized program and of the file, on the first of the samples drawn."""

    net: str
    format: str
    fault: str
    output: OutputParity
    refused: str
    promised_db: float | None = None
    kept_db: float | None = None


class Beside:
    """A predict function that answers as the float program does and compares what a file answers to the same."""

    def __init__(self, program: torch.nn.Module, predictor: Predictor) -> None:
        self._program, self._predictor = program, predictor
        self._draw, self._asked = random.Random(0), 0
        self._kept: list[tuple[list[np.ndarray], list[np.ndarray]]] = []

    def __call__(self, *inputs: Any) -> Any:
        arrays = [
            np.asarray(a, np.float32) if np.asarray(a).dtype.kind == "f" else np.asarray(a) for a in inputs
        ]
        rows = [self._float([a[i : i + 1] for a in arrays]) for i in range(len(arrays[0]))]
        answers = [np.concatenate(column) for column in zip(*rows, strict=True)]
        for i, row in enumerate(rows):
            self._keep([a[i : i + 1] for a in arrays], row)
        return answers[0] if len(answers) == 1 else tuple(answers)

    def _keep(self, sample: list[np.ndarray], answer: list[np.ndarray]) -> None:
        """A reservoir (Vitter's algorithm R): each sample of the metric has the same chance, the first steps of a clip no more."""
        self._asked += 1
        if len(self._kept) < SAMPLES:
            self._kept.append((sample, answer))
        elif (place := self._draw.randrange(self._asked)) < SAMPLES:
            self._kept[place] = (sample, answer)

    def _float(self, sample: list[np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            outputs = self._program(*map(torch.from_numpy, sample))
        return [t.numpy() for t in (outputs if isinstance(outputs, tuple | list) else (outputs,))]

    def few(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Inputs and float's answers of the first samples drawn, [N, ...] each."""
        inputs, answers = zip(*self._kept[: promise.SAMPLES], strict=True)
        sides = ([np.concatenate(column) for column in zip(*side, strict=True)] for side in (inputs, answers))
        return tuple(sides)  # type: ignore[return-value]

    def statistics(self) -> list[OutputStatistics]:
        """What the file keeps of float on the samples drawn, an output each."""
        found = [OutputStatistics(name) for name in self._predictor.output_names]
        for sample, right in self._kept:
            for statistics, a, b in zip(found, right, self._predictor.run(sample), strict=True):
                statistics.add(a, b)
        return found


def rows_of(name: str, task: Task, work: Path) -> Iterator[Row]:
    """The right files of a task, then the damaged ones."""
    seed_everything(0)
    program = work / "float.pt2"
    programs.save(program_of(task), program)
    for form, target_name in TARGETS.items():
        target = load_target(target_name)
        made = Candidate(program=str(program), recipe=RECIPE, quant=target.quant_for(target.default_isa))
        made = ptq.apply(made, task, ptq.Options(), Context(work=str(work / form)))
        artifact = _export(made, target, work / f"model.{form}")
        judge = Judge(name, form, task, program, made.program)
        yield from judge("", artifact)
        if form == "onnx":
            for fault, damage in FAULTS.items():
                if broken := damaged(artifact, damage, work / "broken.onnx"):
                    yield from judge(fault, broken)


def _export(candidate: Candidate, target: Target, out: Path) -> Artifact:
    import importlib

    exporter = importlib.import_module(f"edgekit.export.{target.format}")
    return exporter.export(candidate, target, out)  # type: ignore[no-any-return]


class Judge:
    """What the floor says of files of one net and format. quantized: the program that they were made of."""

    def __init__(self, name: str, form: str, task: Task, program: Path, quantized: str) -> None:
        self._name, self._form, self._task, self._quantized = name, form, task, quantized
        self._module = programs.load(program).module()
        self._promised: list[float | None] = []
        self._specs = tuple(
            TensorSpec(name=f"input_{i}", shape=tuple(t.shape), dtype=str(t.dtype).removeprefix("torch."))
            for i, t in enumerate(examples_of(task))
        )

    def __call__(self, fault: str, artifact: Artifact) -> Iterator[Row]:
        import importlib

        runtime = "litert" if self._form == "tflite" else "onnxruntime"
        backend = importlib.import_module(f"edgekit.verify.backends.{runtime}")
        exact = self._form == "onnx"  # no kernel of this machine saturates then
        predictor = Predictor(backend.open_session(artifact.path, exact), artifact, self._specs)
        beside = Beside(self._module, predictor)
        score(self._task, beside)
        inputs, right = beside.few()
        self._promised = self._promised or _kept(right, promise.answers_of(self._quantized, inputs))
        kept = _kept(right, predictor.run(inputs))
        for statistics, promised, found in zip(beside.statistics(), self._promised, kept, strict=True):
            output = statistics.parity()
            broken = [*floor.judge(output), *floor.judge_promise(output.name, promised, found)]
            why = "; ".join(text for text, _ in broken)
            yield Row(
                net=self._name,
                format=self._form,
                fault=fault,
                output=output,
                refused=why,
                promised_db=promised,
                kept_db=found,
            )


def _kept(right: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> list[float | None]:
    return [promise.kept_db(a, b) for a, b in zip(right, found, strict=True)]


def torchvision_task(name: str) -> Task:
    """A classifier of torchvision, its batch norms settled on what it will see; the images are smooth noise."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    images = [_images(4, seed) for seed in range(6)]
    model.train()
    with torch.no_grad():
        for _ in range(3):
            for batch in images:
                model(batch)
    held = _images(24, 99).numpy()
    example = (torch.zeros(1, 3, SIZE, SIZE),)
    return Task(
        name=name,
        model=model.eval(),
        example_inputs=example,
        calibration=images,
        metric=lambda p: float(len(p(held))),
    )


def _images(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 8, 8, generator=generator)
    fine = torch.randn(count, 3, SIZE, SIZE, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear") + 0.1 * fine


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Markdown, the least SNR first, with the floor drawn in, and the counts."""
    yield "| net | file | fault | output | SNR dB | of its program | correlation | stuck | lost channels | floor |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    ordered = sorted(rows, key=lambda r: float("inf") if r.output.snr_db is None else r.output.snr_db)
    drawn = False
    for row in ordered:
        if not drawn and (row.output.snr_db is None or row.output.snr_db >= floor.SNR_DB):
            drawn = True
            yield f"| **the floor, {floor.SNR_DB:g} dB** | | | | | | | | | |"
        yield _line(row)
    for kind, chosen in (
        ("right", [r for r in rows if not r.fault]),
        ("wrong", [r for r in rows if r.fault]),
    ):
        refused = sum(bool(row.refused) for row in chosen)
        yield f"\n{kind}: {len(chosen)} outputs, {refused} refused, {len(chosen) - refused} pass"


def _line(row: Row) -> str:
    o = row.output
    snr = "none" if o.snr_db is None else f"{o.snr_db:.1f}"
    correlation = "-" if o.correlation is None else f"{o.correlation:.3f}"
    lost = f"{len(o.lost)} of {o.slices}"
    program = "-" if row.promised_db is None else f"{row.promised_db:.1f}"
    word = f"refused: {row.refused}" if row.refused else "passes"
    return f"| {row.net} | {row.format} | {row.fault or 'right'} | {o.name} | {snr} | {program} | {correlation} | {o.stuck_ratio:.2f} | {lost} | {word} |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", help="file.py:task")
    parser.add_argument("--torchvision", default="", help="names of classifiers, separated by commas")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    place = given.out / "rows.json"
    kept: dict[str, list[dict[str, Any]]] = json.loads(place.read_text()) if place.exists() else {}
    settings = dict(pair.split("=", 1) for pair in given.settings)
    for name, make in _named(given.tasks, given.torchvision, settings).items():
        if name not in kept:
            kept[name] = _made(name, make)
            place.write_text(json.dumps(kept, indent=1))
    rows = [msgspec.convert(row, Row) for found in kept.values() for row in found]
    print("\n".join(table(rows)))
    return 0


def _named(tasks: Sequence[str], nets: str, settings: dict[str, str]) -> dict[str, Callable[[], Task]]:
    found: dict[str, Callable[[], Task]] = {}
    for reference in tasks:
        source = TaskSource(name=reference, reference=reference, settings=settings)
        found[Path(reference.split(":")[0]).stem + ":" + reference.rpartition(":")[2]] = source.load
    for name in filter(None, nets.split(",")):
        found[name] = lambda name=name: torchvision_task(name)
    return found


def _made(name: str, make: Callable[[], Task]) -> list[dict[str, Any]]:
    """The rows of one net as plain data; none, and a line on stderr, where it cannot be exported."""
    rows: list[dict[str, Any]] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for row in rows_of(name, make(), Path(folder)):
                rows.append(msgspec.to_builtins(row))
                print(_line(row), file=sys.stderr, flush=True)
    except EdgekitError as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
