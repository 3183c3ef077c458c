"""One int8 file in several runtimes: ONNX Runtime, OpenVINO and LiteRT, each in turns with ONNX Runtime's float.

    python benchmarks/runtimes.py --photos photos.tar --json runtimes.json -o out/
    python benchmarks/runtimes.py --net resnet18 --json runtimes.json -o out/ --resume

Each net is exported for `x86-server` and `tflite-int8` by one recipe (`ptq`), or the best of several (`--recipe ptq --recipe mixed`:
`mixed` leaves in float what was measured slower in integers), so that its accuracy is that of a shipped file and `export` itself
names the fastest runtime. Then the runner times every float and int8 file in every runtime that reads it, on one
thread, in turns with the float ONNX file in ONNX Runtime: one baseline for all. Nothing is downloaded: MobileNet-v2 and
ResNet-18 are seeded and fitted to their own images (`examples/torchvision_model.py`), whose copies score them; photos score Lite0.

Ratios are of CPU time. A figure of a machine without VNNI says nothing of one with it: the ISA stands in the file.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import result_file
from edgekit_runner import api
from edgekit_runner.host.environment import local_isa

from edgekit.api import deploy
from edgekit.errors import EdgekitError
from edgekit.package import manifest_file
from edgekit.records import Record, Report

TASK = Path(__file__).with_name("runtimes_task.py")
NETS = ("lite0", "mobilenet_v2", "resnet18")
TARGETS = {"x86-server": ("onnxruntime", "openvino"), "tflite-int8": ("litert",)}
RECIPES = ("ptq",)
HEAD = (
    "net",
    "file",
    "runtime",
    "accuracy",
    "float",
    "CPU / float ONNX",
    "interval",
    "CPU ms",
    "named by export",
)


class Settings(Record):
    """What the rows of one table share."""

    isa: str
    rounds: int
    size: int
    recipes: tuple[str, ...]


class Row(Record):
    """One file in one runtime; ratio: of the CPU time of the float ONNX file in ONNX Runtime."""

    net: str
    precision: str
    runtime: str
    version: str
    metric: float | None
    float_metric: float
    ratio: float | None
    low: float | None
    high: float | None
    cpu_s: float | None
    named: str
    reason: str = ""


class Results(Record):
    """The JSON file."""

    settings: Settings
    rows: tuple[Row, ...] = ()


def main() -> int:
    arguments = _arguments()
    settings = Settings(
        isa=local_isa(),
        rounds=arguments.rounds,
        size=arguments.size,
        recipes=tuple(arguments.recipe or RECIPES),
    )
    kept = result_file.read(arguments.json, arguments.resume, Results)
    if kept is not None:
        result_file.refuse_others(arguments.json, kept.settings, settings)
    rows = list(kept.rows) if kept else []
    for net in arguments.net or NETS:
        if any(row.net == net for row in rows):
            continue
        rows += measure(net, arguments)
        result_file.write(arguments.json, Results(settings=settings, rows=tuple(rows)))
    print(table(rows))
    return 0


def measure(net: str, arguments: argparse.Namespace) -> Iterator[Row]:
    """Exports a net and times its files."""
    out = arguments.out / net
    given = {"net": net, "photos": arguments.photos, "size": str(arguments.size)}
    budget = {"max_drop": arguments.max_drop, "min_speedup": 0.0}
    targets = arguments.target or TARGETS
    recipes = arguments.recipe or RECIPES
    report = deploy(
        f"{TASK}:task", targets, out, settings=given, recipes=recipes, explore=len(recipes) > 1, budget=budget
    )
    floats = {
        path.suffix: path for path in (out / "baselines").iterdir() if path.suffix in (".onnx", ".tflite")
    }
    for target in targets:
        folder = out / target
        if not (folder / "manifest.json").exists():
            print(f"{net}: {target} was refused: {report}", file=sys.stderr)
            continue
        int8, data = manifest_file.artifact_of(folder)
        named = data.runtimes.fastest if data.runtimes else data.target.runtime
        golden = {"golden": str(folder / data.golden.path), "golden_atol": data.golden.atol}
        for runtime in TARGETS[target]:
            for precision, path, proof in (
                ("float32", floats[Path(int8.path).suffix], {}),
                ("int8", Path(int8.path), golden),
            ):
                spec = {"artifact": str(path), "runtime": runtime, **proof, "baseline": str(floats[".onnx"])}
                record = api.compare(
                    {**spec, "baseline_runtime": "onnxruntime", "rounds_count": arguments.rounds}
                )
                yield _row(net, precision, runtime, record, report, target, named)


def _row(
    net: str, precision: str, runtime: str, record: dict, report: Report, target: str, named: str
) -> Row:
    figures = record["comparison"] or {}
    chosen = next(each.chosen for each in report.targets if each.target == target)
    trials = {each.runtime: each for each in (chosen.runtimes.trials if chosen and chosen.runtimes else ())}
    metric = report.float_metric if precision == "float32" else None
    if precision == "int8" and runtime in trials:
        metric = trials[runtime].metric
    elif precision == "int8" and chosen and chosen.verdict:
        metric = chosen.verdict.metric
    return Row(
        net=net,
        precision=precision,
        runtime=runtime,
        version=(record["artifact_runtime"] or {}).get("version", ""),
        metric=metric,
        float_metric=report.float_metric,
        ratio=figures.get("cpu_p50_ratio"),
        low=figures.get("cpu_p50_ci95_low_ratio"),
        high=figures.get("cpu_p50_ci95_high_ratio"),
        cpu_s=figures.get("artifact_cpu_p50_s"),
        named=named,
        reason=record["reason"] or "",
    )


def table(rows: list[Row]) -> str:
    """Markdown, a row a file and runtime."""
    lines = [HEAD, ("---",) * len(HEAD)]
    for row in rows:
        figures = ("-", row.reason, "-")
        if row.ratio is not None and row.low is not None and row.high is not None and row.cpu_s is not None:
            figures = (f"{row.ratio:.3f}", f"{row.low:.3f} to {row.high:.3f}", f"{row.cpu_s * 1e3:.2f}")
        metric = "-" if row.metric is None else f"{row.metric:.4f}"
        named = row.named if row.precision == "int8" else ""
        where = f"{row.runtime} {row.version}".strip()
        lines.append((row.net, row.precision, where, metric, f"{row.float_metric:.4f}", *figures, named))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", action="append", choices=NETS, help="only this one; several")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only this one; several")
    parser.add_argument(
        "--recipe", action="append", help="of the int8 files (default: ptq); the best of several"
    )
    parser.add_argument("--photos", default="", help="a folder or tar of photos, for lite0")
    parser.add_argument("--size", type=int, default=224, help="side of the images of torchvision's nets")
    parser.add_argument("--rounds", type=int, default=48, help="rounds of each comparison")
    parser.add_argument("--max-drop", type=float, default=0.02)
    parser.add_argument("-o", "--out", type=Path, required=True, help="where the exports go")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgekitError as error:
        sys.exit(f"{error}")
