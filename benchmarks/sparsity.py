"""What sparsity takes and gives: accuracy, and three sizes of the file, for EfficientNet-Lite0 without any training.

    python benchmarks/sparsity.py --photos photos.tar --work sparsity/
    python benchmarks/sparsity.py --photos photos.tar --work sparsity/ --only dense,2:4 --precisions int8 --time

The weights go by magnitude, at once; batch norms learn their statistics again from the photos that calibrate. Each
row is compressed, exported and proven by the stages of `edgekit export`, in the runtime of the profile. --time lets
the runner measure each file beside the dense float one, in turns, on this machine, which must then be idle. Finished stages
stay in --work: the same command goes on where it was stopped.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import result_file
from edgekit_runner.host.environment import local_isa

from edgekit.engine.catalogue import COMPRESS, EXPORT, MEASURE, PROVE
from edgekit.engine.events import Event
from edgekit.engine.machine import machine_facts
from edgekit.engine.measure_specs import MeasureSpec
from edgekit.engine.specs import CompressSpec, Context, ExportSpec, TraceSpec
from edgekit.engine.stages import Stages
from edgekit.engine.task_source import TaskSource
from edgekit.engine.verify_specs import ProveSpec
from edgekit.errors import EdgekitError
from edgekit.profile.reading import load_target
from edgekit.records import (
    Artifact,
    Candidate,
    Measurement,
    Precision,
    Quant,
    Recipe,
    Record,
    Scalar,
    Step,
    Verdict,
)

TASK = Path(__file__).parent / "ptq_task.py"
RESULT = "sparsity.json"
HEAD = ("mask", "precision", "zeros", "top-1", "agreement", "raw MB", "gzip MB", "zstd MB", "CPU ratio")
#: name: options of `edgekit.techniques.sparsify`
MASKS: dict[str, dict[str, Scalar]] = {
    "dense": {},
    "50": {"sparsity": 0.5},
    "80": {"sparsity": 0.8},
    "90": {"sparsity": 0.9},
    "2:4": {"pattern": "2:4"},
    "4x1-50": {"pattern": "4x1", "sparsity": 0.5},
    "4x1-80": {"pattern": "4x1", "sparsity": 0.8},
    "50-layer": {"sparsity": 0.5, "scope": "layer"},
    "80-layer": {"sparsity": 0.8, "scope": "layer"},
}
PRECISIONS: dict[str, Precision] = {"float32": "float32", "float16": "float16", "int8": "int8"}


class Row(Record):
    """One artifact. zeros: the share of all weights. cpu_ratio: to the dense float file, None where nobody measured."""

    mask: str
    precision: str
    zeros: float
    metric: float
    float_metric: float
    agreement: float | None
    samples: int
    size_bytes: int
    compressed_bytes: dict[str, int]
    cpu_ratio: float | None
    measured_on: str
    figures: dict[str, float]


class Results(Record):
    rows: tuple[Row, ...]


class Flow:
    """The stages of one task on one profile."""

    def __init__(self, source: TaskSource, target: str, work: Path) -> None:
        self._source, self._target, self._work = source, load_target(target), work
        self._stages = Stages(work, 1, _tell)
        spec = TraceSpec(source=source, work=str(work / "shared" / "trace"))
        self._traced, _ = self._stages.trace(lambda _folder: spec)

    def row(self, mask: str, precision: Precision, time: bool) -> Row:
        steps = (Step(technique="sparsify", options={**MASKS[mask], "images": 0}),) if MASKS[mask] else ()
        candidate = self._candidate(steps, precision)
        artifact = self._export(candidate)
        verdict = self._prove(artifact, candidate.program if steps and precision == "float32" else "")
        took = self._measured(artifact, verdict) if time else None
        figures = {f"{figure.step}: {figure.name}": figure.value for figure in candidate.figures}
        return Row(
            mask=mask,
            precision=precision,
            zeros=figures.get("sparsify: zeros of all layers", 0.0),
            metric=verdict.metric,
            float_metric=verdict.float_metric,
            agreement=verdict.parity.agreement,
            samples=self._traced.samples,
            size_bytes=artifact.size_bytes,
            compressed_bytes=artifact.compressed_bytes,
            cpu_ratio=took.cpu_ratio if took else None,
            measured_on=took.measured_on if took else "",
            figures=figures,
        )

    def _quant(self, precision: Precision) -> Quant | None:
        return self._target.quant_for(self._target.default_isa) if precision == "int8" else None

    def _candidate(self, sparse: tuple[Step, ...], precision: Precision) -> Candidate:
        """The float program made sparse, once for all precisions, then ptq."""
        dense = Recipe(name="sparsify", precision="float32", steps=sparse)
        candidate = Candidate(program=self._traced.program, recipe=dense)
        for step in sparse:
            candidate = self._compress(candidate, step)
        ptq = (Step(technique="ptq", options={"estimator": "mse"}),) if precision == "int8" else ()
        recipe = Recipe(name=precision, precision=precision, steps=(*sparse, *ptq))
        candidate = msgspec.structs.replace(candidate, recipe=recipe, quant=self._quant(precision))
        for step in ptq:
            candidate = self._compress(candidate, step)
        return candidate

    def _compress(self, candidate: Candidate, step: Step) -> Candidate:
        def spec(folder: Path) -> CompressSpec:
            context = Context(
                work=str(folder), target=self._target, traced=self._traced, isa=self._target.default_isa
            )
            return CompressSpec(candidate=candidate, step=step, source=self._source, context=context)

        return self._stages.run(
            COMPRESS, spec, target=self._target.name, label=step.technique, name=step.technique
        )[0]

    def _export(self, candidate: Candidate) -> Artifact:
        def spec(folder: Path) -> ExportSpec:
            return ExportSpec(candidate=candidate, target=self._target, folder=str(folder))

        return self._stages.run(EXPORT, spec, target=self._target.name)[0]

    def _prove(self, artifact: Artifact, program: str) -> Verdict:
        def spec(folder: Path) -> ProveSpec:
            return ProveSpec(
                artifact=artifact,
                traced=self._traced,
                source=self._source,
                runtime=self._target.runtime,
                isa=self._target.default_isa,
                host_isa=local_isa(),
                golden=str(folder / "golden.npz"),
                program=program,
            )

        return self._stages.run(PROVE, spec, target=self._target.name)[0]

    def _measured(self, artifact: Artifact, verdict: Verdict) -> Measurement:
        baseline = self._export(self._candidate((), "float32"))

        def spec(folder: Path) -> MeasureSpec:
            return MeasureSpec(
                artifact=artifact,
                baseline=baseline,
                golden=verdict.golden,
                traced=self._traced,
                target=self._target,
                isa=self._target.default_isa,
                machine=machine_facts(),
                work=str(folder),
            )

        return self._stages.run(MEASURE, spec, target=self._target.name)[0]


def _tell(event: Event) -> None:
    if event.state in ("done", "failed"):
        print(f"{event.stage}: {event.state}, {event.wall_s or 0:.0f} s", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    asked = _arguments().parse_args(argv)
    settings = {
        "photos": str(Path(asked.photos).resolve()),
        "calibrate": str(asked.calibrate),
        "score": str(asked.score),
    }
    source = TaskSource(name="imagenet-lite0", reference=f"{TASK}:task", settings=settings)
    try:
        masks, precisions = (
            result_file.names("masks", asked.only, tuple(MASKS)),
            result_file.names("precisions", asked.precisions, tuple(PRECISIONS)),
        )
        rows = measured(
            Flow(source, asked.target, asked.work.resolve()), asked.work, masks, precisions, asked.time
        )
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(result_file.markdown([list(HEAD), *map(cells, rows)])))
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--photos", required=True, help="a tar or folder of photos, see examples/imagenet.py")
    parser.add_argument("--work", type=Path, required=True, help=f"folder of finished stages and of {RESULT}")
    parser.add_argument("--target", default="x86-server", help="profile (default x86-server)")
    parser.add_argument("--only", default=",".join(MASKS), help=f"masks, of {', '.join(MASKS)}")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), help=f"of {', '.join(PRECISIONS)}")
    parser.add_argument("--calibrate", type=int, default=100, help="photos that calibrate (default 100)")
    parser.add_argument("--score", type=int, default=400, help="photos that score (default 400)")
    parser.add_argument("--time", action="store_true", help="measure CPU time beside the dense float file")
    return parser


def measured(
    flow: Flow, work: Path, masks: Sequence[str], precisions: Sequence[str], time: bool
) -> list[Row]:
    """A row of each mask and precision; the file grows row by row."""
    rows: list[Row] = []
    for mask in masks:
        for precision in precisions:
            rows.append(flow.row(mask, PRECISIONS[precision], time))
            result_file.write(work / RESULT, Results(rows=tuple(rows)))
            print("  ".join(cells(rows[-1])), file=sys.stderr, flush=True)
    return rows


def cells(row: Row) -> list[str]:
    """Sizes in millions of bytes; a ratio only where it was measured."""
    sizes = (row.size_bytes, row.compressed_bytes["gzip"], row.compressed_bytes["zstd"])
    return [
        row.mask,
        row.precision,
        f"{100 * row.zeros:.0f} %",
        f"{100 * row.metric:.2f}",
        "-" if row.agreement is None else f"{100 * row.agreement:.1f} %",
        *(f"{size / 1e6:.2f}" for size in sizes),
        "not measured" if row.cpu_ratio is None else f"{row.cpu_ratio:.2f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
