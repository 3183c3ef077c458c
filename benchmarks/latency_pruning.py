"""Widths chosen for measured latency beside widths chosen for multiply-accumulates, at equal measured latency.

    python benchmarks/latency_pruning.py examples/cifar10.py:task --set weights=resnet20.safetensors --set train=train.npz \
        --set test=test.npz --work r20/
    python benchmarks/latency_pruning.py ... --work r20/ --phase time      one phase, on a machine with nothing else to do

Plans: uniform, global and a knapsack by MACs, each at any width and in multiples of the target; and the knapsack by the table of
widths, for each precision, at as many sizes. Each plan is cut, its batch norms recalibrated, scored in torch, exported and timed
in turns with all others, in float and in integers. Accuracy at equal latency is read between the two plans of a family
next to it. --recover N distills the plan of each family that is nearest to --level for N images, with every seed, and scores it again.

Phases, in order: table and time need the machine for themselves, plans and recover do not. All of them keep what they finished in
--work: the same command goes on where it was stopped. The tables are printed, and are in latency.md and latency.json of --work.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import result_file
from edgekit_runner.host.environment import local_isa
from latency_plans import Plan, plans
from latency_report import Results, Row, nearest, report
from result_file import read_options

from edgekit.cli.options import read_settings
from edgekit.engine.machine import machine_facts
from edgekit.engine.measure_specs import WidthFiles, WidthTableSpec
from edgekit.engine.specs import Context
from edgekit.engine.task_source import TaskSource
from edgekit.errors import EdgekitError, UserError
from edgekit.measure.width_files import of_program
from edgekit.measure.width_table import timer, width_files, width_table
from edgekit.profile.reading import load_target
from edgekit.prune.criteria import Evidence
from edgekit.prune.graph import Graph
from edgekit.prune.latency.width_plan import predict
from edgekit.prune.shrink import Request, cuttable, shrink
from edgekit.quant import program as programs
from edgekit.quant.recalibrate import recalibrate
from edgekit.records import Artifact, Candidate, Precision, Recipe, Step
from edgekit.techniques import distill, prune
from edgekit.techniques._score import predictor
from edgekit.trace.metric import score
from edgekit.trace.model import examples_of, export, model_of

RESULT, TABLE = "latency.json", "latency.md"
PHASES = ("table", "plans", "time", "recover")
EARLIER = ("widths", "files")
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
SIZES = (0.85, 0.7, 0.55, 0.4)  # of the MACs, or of the time
IMAGES = 512


class Bench:
    """One task on one target."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.work: Path = asked.work.resolve()
        self.target, self.asked = load_target(asked.target), asked
        self.multiple = asked.multiple or self.target.channel_multiple
        settings = read_settings(tuple(asked.set))
        self.source = TaskSource(name=asked.task, reference=asked.task, settings=settings)
        self.task = self.source.load()
        self.examples = examples_of(self.task)
        self.precisions: tuple[Precision, ...] = tuple(
            p for p in PRECISIONS if p in asked.precisions.split(",")
        )
        self.whole = self.work / "whole.pt2"
        if not self.whole.is_file():
            programs.save(export(model_of(self.task), self.examples), self.whole)
        found = self.work / RESULT
        self.results = result_file.read(found, True, Results) or Results()
        self._groups: Graph | None = None

    def keep(self, **changes: Any) -> None:
        self.results = msgspec.structs.replace(self.results, **changes)
        result_file.write(self.work / RESULT, self.results)
        (self.work / TABLE).write_text(report(self.results, self.precisions) + "\n", encoding="utf-8")

    @property
    def graph(self) -> Graph:
        """The groups, of a net that stays whole."""
        if self._groups is None:
            request = Request(multiple=self.multiple)
            self._groups, _ = cuttable(model_of(self.task), self.examples, request)
        return self._groups

    def table(self, only_files: bool = False) -> None:
        """The table of widths in each precision; only_files: what it will time."""
        step = Step(technique="prune", options={"scope": "latency", "multiple": self.multiple})
        for precision in self.precisions:
            if precision in self.results.tables:
                continue
            work = self.work / f"table-{precision}"
            work.mkdir(parents=True, exist_ok=True)
            spec = WidthTableSpec(
                candidate=self._candidate(self.whole), step=step, source=self.source, target=self.target, isa=self._isa(),
                precision=precision, device="local", machine=machine_facts(), work=str(work),
            )  # fmt: skip
            kept = work / "files.json"
            if not kept.is_file():
                kept.write_bytes(msgspec.json.encode(width_files(spec)))
            files = msgspec.json.decode(kept.read_bytes(), type=WidthFiles)
            if files.reason:
                raise UserError(f"no table: {files.reason}")
            if only_files:
                continue
            made = width_table(msgspec.structs.replace(spec, files=files))
            self.keep(tables={**self.results.tables, precision: made})

    def plans(self) -> None:
        """Every plan: cut, recalibrated, scored, its program saved."""
        if not self.results.base_metric:
            module = model_of(self.task)
            self.keep(base_metric=score(self.task, predictor(module, prune.AT_ONCE)))
        steps = (self.multiple,) if self.asked.aligned else (self.multiple, 1)
        for plan in plans(self.asked.sizes, steps, self.results.tables):
            if self.asked.only in plan.family and plan.name not in {row.name for row in self.results.rows}:
                try:
                    row = self._plan(plan)
                except EdgekitError as error:
                    print(f"{plan.name}: {error}", file=sys.stderr)
                    continue
                self.keep(rows=(*self.results.rows, row))

    def _plan(self, plan: Plan) -> Row:
        shrunk = shrink(model_of(self.task), self.examples, plan.request, Evidence(), choose=plan.chosen)
        recalibrate(shrunk.module, prune.inputs_of(self.task, self.examples, 0), IMAGES)
        metric = score(self.task, predictor(shrunk.module, prune.AT_ONCE))
        programs.save(export(shrunk.module.requires_grad_(False), self.examples), self._place(plan.name))
        widths = {root: after for root, (_, after) in shrunk.widths.items()}
        foretold = self._foretold(widths)
        print(
            f"{plan.name}: MACs {shrunk.macs / shrunk.macs_before:.3f} metric {metric:.4f} {foretold}",
            file=sys.stderr,
        )
        return Row(
            name=plan.name,
            family=plan.family,
            macs=shrunk.macs / shrunk.macs_before,
            widths=widths,
            metric=metric,
            foretold=foretold,
        )

    def _foretold(self, widths: Mapping[str, int]) -> dict[str, float]:
        """The share of the time by each table."""
        found = {}
        for precision, table in self.results.tables.items():
            forecast = predict(self.graph.module, self.examples, self.graph.groups, table, self.multiple)
            found[precision] = forecast(widths) / forecast.base_s
        return found

    def files(self, precision: Precision) -> list[Any]:
        """The whole net and every plan as files of the target; written once."""
        found = []
        for name in ("whole", *(row.name for row in self.results.rows)):
            folder = self.work / "files" / slug(name)
            kept = folder / f"{precision}.json"
            if not kept.is_file():
                program = self.whole if name == "whole" else self._place(name)
                made = of_program(str(program), precision, self.target, self._isa(), folder)
                kept.write_bytes(msgspec.json.encode(made))
            found.append(msgspec.json.decode(kept.read_bytes(), type=Artifact))
        return found

    def time(self) -> None:
        """All of them in turns, in each precision; anew each time."""
        for precision in self.precisions:
            with timer("local") as times:
                turns = times(self.files(precision))["turns"]
            base, *others = (turn["cpu_min_s"] for turn in turns)
            rows = [
                msgspec.structs.replace(
                    row,
                    foretold=self._foretold(row.widths),
                    measured={**row.measured, precision: seconds / base},
                )
                for row, seconds in zip(self.results.rows, others, strict=True)
            ]
            self.keep(rows=tuple(rows), base_s={**self.results.base_s, precision: base})

    def recover(self) -> None:
        """The plan of each family nearest to the level, in each precision, distilled alike, once for each seed."""
        asked = {name for p in self.precisions for name in nearest(self.results.rows, p, self.asked.level)}
        chosen = [r for r in self.results.rows if self.asked.only in r.family and r.name in asked]
        options = read_options(self.asked.option, self.asked.recover)
        for seed in range(self.asked.seeds):
            for row in chosen:
                self._recover(row.name, msgspec.convert(options, distill.Options), seed)

    def _recover(self, name: str, options: distill.Options, seed: int) -> None:
        row = next(row for row in self.results.rows if row.name == name)
        earlier = row.recovered if row.images == options.images else ()
        if len(earlier) > seed:
            return
        work = self.work / "recover" / f"{slug(name)}-{options.images}-{seed}"
        work.mkdir(parents=True, exist_ok=True)
        candidate = msgspec.structs.replace(self._candidate(self._place(name)), unpruned=str(self.whole))
        made = distill.apply(candidate, self.task, options, Context(work=str(work), seed=seed))
        metric = next(figure.value for figure in made.figures if figure.name == "metric after")
        print(f"{name}: recovered {metric:.4f} with seed {seed}", file=sys.stderr, flush=True)
        done = msgspec.structs.replace(row, recovered=(*earlier, metric), images=options.images)
        self.keep(rows=tuple(done if one.name == name else one for one in self.results.rows))

    def _candidate(self, program: Path) -> Candidate:
        return Candidate(program=str(program), recipe=Recipe(name="float32", precision="float32", steps=()))

    def _place(self, name: str) -> Path:
        return self.work / "plans" / f"{slug(name)}.pt2"

    def _isa(self) -> str:
        level = local_isa()
        return level if level in self.target.isa.levels else self.target.default_isa


def slug(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def main(argv: Sequence[str] | None = None) -> int:
    asked = _arguments().parse_args(argv)
    try:
        bench = Bench(asked)
        for phase in PHASES if asked.phase == "all" else asked.phase.split(","):
            if phase not in (*PHASES, *EARLIER):
                raise UserError(f"unknown phase {phase!r}; allowed are {', '.join((*PHASES, *EARLIER))}")
            if phase == "widths":
                bench.table(only_files=True)
            elif phase == "files":
                for precision in bench.precisions:
                    bench.files(precision)
            elif phase != "recover" or asked.recover:
                getattr(bench, phase)()
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(report(bench.results, bench.precisions))
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("task", help="file.py:attr")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the task's function")
    parser.add_argument("--target", default="x86-server", help="a profile (default x86-server)")
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument(
        "--sizes",
        type=lambda t: tuple(map(float, t.split(","))),
        default=SIZES,
        help="shares of MACs or time",
    )
    parser.add_argument(
        "--phase",
        default="all",
        help=f"{', '.join(PHASES)}; widths and files write what table and time need, beforehand",
    )
    parser.add_argument("--multiple", type=int, default=0, help="of widths (default the profile's)")
    parser.add_argument("--only", default="", help="families of plans that hold this text")
    parser.add_argument("--aligned", action="store_true", help="no plans of any width")
    parser.add_argument(
        "--recover", type=int, default=0, help="images of training after the cut (default none)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each plan (default 3)")
    parser.add_argument(
        "--option", action="append", default=[], help="KEY=VALUE of edgekit.techniques.distill.Options"
    )
    parser.add_argument("--level", type=float, default=0.7, help="share of the time at which plans recover")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder of what is finished, and of the table"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
