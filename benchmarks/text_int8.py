"""Sequence models in int8: an LSTM, a wide GRU and a small transformer on texts, in ONNX Runtime and in LiteRT.

    python benchmarks/text_int8.py --csv ag_news.csv --json text.json
    python benchmarks/text_int8.py --csv ag_news.csv --json dynamic.json --recipe dynamic --target x86-server
    python benchmarks/text_int8.py --csv ag_news.csv --json text.json --resume --only transformer

For each net and runtime two files beside the float file of the same runtime: what edgekit ships, the first recipe of the ladder
that its gate accepts (or --recipe, whatever its time), and what the runtime's own dynamic quantizer makes of the float file when it is called bare
(`quantize_dynamic`, `dynamic_wi8_afp32`). Both are scored by the task's metric on the texts held out and timed by the runner
against the float file, and against each other. The nets of `examples/text.py` are trained first, with one seed.

The JSON file grows with every row; --resume keeps its rows. Without --csv the texts are made, which says little.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import result_file
from edgekit_runner import api
from edgekit_runner.artifact import describe
from edgekit_runner.host.environment import local_isa

from edgekit.engine import process
from edgekit.engine.catalogue import MEASURE, PROVE, TRACE, Stage
from edgekit.engine.events import Event
from edgekit.engine.machine import machine_facts
from edgekit.engine.measure_specs import MeasureSpec
from edgekit.engine.specs import TraceSpec
from edgekit.engine.stages import Stages
from edgekit.engine.task_source import TaskSource
from edgekit.engine.verify_specs import ProveSpec
from edgekit.errors import EdgekitError, VerificationError
from edgekit.golden import golden_atol
from edgekit.ladder.context import RunRequest
from edgekit.ladder.recipe_parser import with_recipes
from edgekit.ladder.walk import walk
from edgekit.profile.reading import load_target
from edgekit.records import Artifact, Measurement, Record, Verdict
from edgekit.target import Target

EXAMPLE = Path(__file__).parents[1] / "examples" / "text.py"
NETS = ("lstm", "gru", "transformer")
TARGETS = ("x86-server", "tflite-int8")
MAX_DROP = 0.005
HEAD = ("net", "runtime", "file", "accuracy", "drop in points", "size / float", "CPU / float", "CPU / bare")


class Settings(Record):
    """What the rows of one table share."""

    csv: str
    isa: str
    seed: int
    recipe: str = ""


class Row(Record):
    """One int8 file. by: edgekit or bare. cpu_ratio: of the float file's CPU time, with its 95 % interval; cpu_of_bare: of
    the bare quantizer's file. reasons: why edgekit's was accepted, or is not there."""

    net: str
    runtime: str
    by: str
    recipe: str
    reasons: tuple[str, ...] = ()
    metric: float | None = None
    float_metric: float | None = None
    samples: int = 0
    size_ratio: float | None = None
    cpu_ratio: tuple[float | None, float | None, float | None] | None = None
    cpu_of_bare: tuple[float, float, float] | None = None


class Results(Record):
    settings: Settings
    machine: dict[str, str]
    rows: tuple[Row, ...] = ()


class BareSpec(Record):
    """For `bare`: the float file to quantize, and where to."""

    baseline: Artifact
    out: str


def bare(spec: BareSpec) -> Artifact:
    """The runtime's own dynamic quantizer at its defaults. Runs in a process of its own."""
    if spec.baseline.format == "onnx":
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(spec.baseline.path, spec.out)
    else:
        from ai_edge_quantizer import quantizer, recipe

        making = quantizer.Quantizer(spec.baseline.path)
        making.load_quantization_recipe(recipe.dynamic_wi8_afp32())
        Path(spec.out).write_bytes(making.quantize().quantized_model)
    made = describe(Path(spec.out), spec.baseline.format)
    return msgspec.structs.replace(
        spec.baseline, path=spec.out, precision="int8", scheme="dynamic", size_bytes=made.size_bytes, sha256=made.sha256
    )  # fmt: skip


BARE = Stage(name="bare", function="text_int8:bare", spec=BareSpec, result=Artifact)


class Flow:
    """One net: traced once, then each runtime's two rows."""

    def __init__(self, net: str, settings: Settings, weights: Path, work: Path) -> None:
        self._net, self._settings, self._work = net, settings, work
        given = {"csv": settings.csv, "weights": str(weights)}
        self._source = TaskSource(name=net, reference=f"{EXAMPLE}:{net}", settings=given)
        self._stages = Stages(work, 1, self._tell)
        spec = TraceSpec(source=self._source, work=str(work / "trace"), seed=settings.seed)
        self._traced, _ = process.run(TRACE, spec, work / "trace")

    def _tell(self, event: Event) -> None:
        if event.state in ("started", "failed") or event.message:
            say(f"{self._net} {event.target}: {event.stage} {event.message}")

    def rows(self, name: str) -> list[Row]:
        target, limits = load_target(name), {"max_drop": MAX_DROP}
        if self._settings.recipe:
            target = with_recipes(target, [self._settings.recipe])
            limits["min_speedup"] = 0.0
        isa = self._settings.isa if self._settings.isa in target.isa.levels else target.default_isa
        request = RunRequest(
            source=self._source, traced=self._traced, host_isa=local_isa(), seed=self._settings.seed
        )
        found = walk(target, isa, limits, request, self._stages)
        shipped, baseline = found.chosen, found.baseline
        if baseline is None:
            raise VerificationError(f"{self._net} on {name}: no float file to compare with; {found.summary}")
        other, verdict, measured = self._bare(target, isa, baseline)
        rows = [self._row(target, "bare", "native dynamic", other, baseline, verdict, measured)]
        if (
            shipped is None
            or shipped.artifact is None
            or shipped.verdict is None
            or shipped.measurement is None
        ):
            return [self._missing(target, found.summary), *rows]
        mine = self._row(
            target, "edgekit", shipped.recipe.name, shipped.artifact, baseline, shipped.verdict, shipped.measurement
        )  # fmt: skip
        pair = [(shipped.artifact, shipped.verdict), (other, verdict)]
        return [
            msgspec.structs.replace(mine, cpu_of_bare=_against(pair), reasons=shipped.decision.reasons),
            *rows,
        ]

    def _bare(self, target: Target, isa: str, baseline: Artifact) -> tuple[Artifact, Verdict, Measurement]:
        folder = self._work / f"bare-{target.name}"
        suffix = Path(baseline.path).suffix
        spec = BareSpec(baseline=baseline, out=str(folder / f"bare{suffix}"))
        made, _ = process.run(BARE, spec, folder)
        proof = ProveSpec(
            artifact=made, traced=self._traced, source=self._source, runtime=target.runtime, isa=isa,
            host_isa=local_isa(), golden=str(folder / "golden.npz"), seed=self._settings.seed,
        )  # fmt: skip
        verdict, _ = process.run(PROVE, proof, folder / "verify")
        timing = MeasureSpec(
            artifact=made, baseline=baseline, golden=str(verdict.golden), traced=self._traced, target=target, isa=isa,
            machine=machine_facts(), work=str(folder),
        )  # fmt: skip
        measured, _ = process.run(MEASURE, timing, folder / "measure")
        return made, verdict, measured

    def _row(
        self, target: Target, by: str, recipe: str, file: Artifact, baseline: Artifact, v: Verdict, m: Measurement
    ) -> Row:  # fmt: skip
        return Row(
            net=self._net,
            runtime=target.runtime,
            by=by,
            recipe=recipe,
            metric=v.metric,
            float_metric=v.float_metric,
            samples=v.parity.samples,
            size_ratio=file.size_bytes / baseline.size_bytes,
            cpu_ratio=(m.cpu_ratio, m.cpu_ratio_low, m.cpu_ratio_high),
        )

    def _missing(self, target: Target, why: str) -> Row:
        return Row(net=self._net, runtime=target.runtime, by="edgekit", recipe="none", reasons=(why,))


def _against(pair: list[tuple[Artifact, Verdict]]) -> tuple[float, float, float]:
    """CPU time of the first file over the second, with its interval."""
    sides: list[dict[str, Any]] = [
        {
            f"{head}": artifact.path,
            f"{prefix}format": artifact.format,
            f"{prefix}golden": verdict.golden,
            f"{prefix}golden_atol": golden_atol(Path(str(verdict.golden)), "int8"),
        }
        for (artifact, verdict), head, prefix in zip(
            pair, ("artifact", "baseline"), ("", "baseline_"), strict=True
        )
    ]
    record = api.compare({**sides[0], **sides[1], "rounds_count": 40, "processes_min_count": 4})
    if record["status"] != "ok":
        raise VerificationError(f"the runner does not time the two files: {record['reason']}")
    found = record["comparison"]
    low, high = found["cpu_p50_ci95_low_ratio"], found["cpu_p50_ci95_high_ratio"]
    return found["cpu_p50_ratio"], low, high


def table(results: Results) -> list[str]:
    rows = [HEAD, *(_cells(row) for row in results.rows)]
    return [*result_file.markdown(rows), *(f"{r.net}, {r.runtime}: {'; '.join(r.reasons)}" for r in results.rows if r.reasons)]  # fmt: skip


def _cells(row: Row) -> tuple[str, ...]:
    name = f"{row.by}: {row.recipe}"
    if row.metric is None or row.float_metric is None:
        return (row.net, row.runtime, name, *("none" for _ in HEAD[3:]))
    drop = 100 * (row.float_metric - row.metric)
    return (
        row.net,
        row.runtime,
        name,
        f"{row.metric:.4f} (n={row.samples})",
        f"{drop:.2f}",
        f"{row.size_ratio:.3f}",
        _interval(row.cpu_ratio),
        _interval(row.cpu_of_bare),
    )


def _interval(ratio: Sequence[float | None] | None) -> str:
    if ratio is None or any(value is None for value in ratio):
        return "-"
    return "{:.3f} [{:.3f}, {:.3f}]".format(*ratio)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--csv", default="", help="class,title,text without a head, as AG News; without it, made texts"
    )
    parser.add_argument(
        "--isa", default="host", help="instruction set served on x86 (default: this machine's)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of training and of calibrating (default 0)")
    parser.add_argument(
        "--only", default=",".join(NETS), help=f"nets, separated by commas (default {','.join(NETS)})"
    )
    parser.add_argument("--target", default=",".join(TARGETS), help=f"profiles (default {','.join(TARGETS)})")
    parser.add_argument("--recipe", default="", help="this one in place of the ladder, e.g. dynamic")
    parser.add_argument("--json", type=Path, help="the results, row by row")
    parser.add_argument("--resume", action="store_true", help="keep the rows of --json")
    asked = parser.parse_args(argv)  # fmt: skip
    try:
        return _run(asked)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(asked: argparse.Namespace) -> int:
    nets = result_file.names("nets", asked.only, NETS)
    targets = result_file.names("targets", asked.target, TARGETS)
    csv = str(Path(asked.csv).resolve()) if asked.csv else ""
    isa = local_isa() if asked.isa == "host" else asked.isa
    settings = Settings(csv=csv, isa=isa, seed=asked.seed, recipe=asked.recipe)
    results = Results(settings=settings, machine=machine_facts())
    kept = result_file.read(asked.json, asked.resume, Results)
    if kept is not None:
        result_file.refuse_others(asked.json, kept.settings, settings)
        results = msgspec.structs.replace(results, rows=kept.rows)
    with tempfile.TemporaryDirectory(prefix="text-int8-") as work:
        for net in nets:
            results = _net(net, targets, results, Path(work) / net, asked.json)
    print("\n".join(table(results)))
    return int(any(row.metric is None for row in results.rows))


def _net(net: str, targets: list[str], results: Results, work: Path, path: Path | None) -> Results:
    """The runtimes of one net, those that the results do not have yet."""
    runtimes = {name: load_target(name).runtime for name in targets}
    done = {row.runtime for row in results.rows if row.net == net}
    left = [name for name in targets if runtimes[name] not in done]
    if not left:
        say(f"{net}: kept")
        return results
    weights = work / "weights.safetensors"
    work.mkdir(parents=True)
    spec = TrainSpec(net=net, csv=results.settings.csv, seed=results.settings.seed, out=str(weights))
    say(f"{net}: training")
    stage = Stage(name="train", function="text_int8:train", spec=TrainSpec, result=TrainSpec, limit_s=0)
    process.run(stage, spec, work / "train")
    flow = Flow(net, results.settings, weights, work)
    for name in left:
        results = msgspec.structs.replace(results, rows=(*results.rows, *flow.rows(name)))
        result_file.write(path, results)
    return results


class TrainSpec(Record):
    """For `train`: the net of the example, and where its weights go."""

    net: str
    csv: str
    seed: int
    out: str


def train(spec: TrainSpec) -> TrainSpec:
    """Trains and saves by the example's own functions. Runs in a process of its own."""
    sys.path.insert(0, str(EXAMPLE.parent))
    import text

    text.save(text.train(spec.net, spec.csv, spec.seed), spec.csv, Path(spec.out))
    return spec


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
