"""Recipes beside one another on one task: what each keeps of the metric, and what its artifact costs, over several seeds.

    python benchmarks/recipes.py examples/cifar10.py:task --set weights=resnet56.safetensors --set train=train.npz \
        --set test=test.npz --target x86-server --seeds 3 --work recipes/ \
        --recipe "ptq" --recipe "prune(macs=0.4) > distill(images=60000) > qat"
    python benchmarks/recipes.py ... --recipes pruning.txt --torch       the metric of the program alone, in torch

A file of recipes has one in each line; what follows a # is left out, and lines without one too. Every stage is that of `edgekit export`, in its own
process, and stays in --work: the same command goes on where it was stopped, also within a training, and work that two
recipes begin with is done once. Times are the runner's interleaved CPU times against the float file, measured on this
machine; with other work on it they are not worth much. The table is printed, and is in recipes.md of --work; recipes.json has every figure and the doubts.
"""

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import result_file
from edgekit_runner.host.environment import local_isa
from result_file import spread

from edgekit.cli.options import read_settings
from edgekit.engine.events import Event
from edgekit.engine.specs import TraceSpec
from edgekit.engine.stages import Stages
from edgekit.engine.task_source import TaskSource
from edgekit.errors import EdgekitError, UserError
from edgekit.ladder.attempt import ATTEMPT_ERRORS, AttemptRunner
from edgekit.ladder.build import ArtifactBuilder
from edgekit.ladder.context import RecipeContext, RunRequest
from edgekit.ladder.planner import plan
from edgekit.ladder.recipe_parser import parse, with_recipes
from edgekit.profile.reading import load_target
from edgekit.records import Artifact, Attempt, Candidate, Record
from edgekit.target import Target

#: what steps call the metric of the program that they leave
METRICS = ("metric after", "metric pruned", "metric converted", "metric")
RESULT, TABLE = "recipes.json", "recipes.md"
HEAD = (
    "recipe",
    "pruned",
    "metric",
    "drop",
    "size",
    "gzip",
    "CPU / float",
    "MACs",
    "parameters",
    "train s",
    "seeds",
    "note",
)


class Row(Record):
    """One recipe with one seed. metric: of the artifact in its runtime, or of the program in torch; None where it failed.

    size_ratio, gzip_ratio, cpu_ratio: of the artifact to the float file, as they are and after gzip -6. figures: of all steps, "prune: parameters".
    """

    recipe: str
    seed: int
    metric: float | None
    float_metric: float
    size_bytes: int | None = None
    size_ratio: float | None = None
    gzip_ratio: float | None = None
    compressed_bytes: dict[str, int] = {}
    cpu_ratio: float | None = None
    figures: dict[str, float] = {}
    seconds: float = 0.0
    note: str = ""


class Results(Record):
    rows: tuple[Row, ...]


class Bench:
    """One task on one target; every recipe and seed of it. limits: of the budget."""

    def __init__(
        self, source: TaskSource, target: Target, work: Path, torch_only: bool, **limits: float
    ) -> None:
        self._target, self._torch_only = target, torch_only
        self._limits = {"min_speedup": 0.0, **limits}
        self._stages = Stages(work, 1, _tell)
        traced, _ = self._stages.trace(lambda folder: TraceSpec(source=source, work=str(folder)))
        self._request = RunRequest(source=source, traced=traced, host_isa=local_isa(), seed=0)

    def on(self, target: Target) -> "Bench":
        """The same task, traced once, on another target."""
        other = copy.copy(self)
        other._target = target
        return other

    def row(self, text: str, seed: int) -> Row:
        """Raises UserError where the target or the task does not admit the recipe."""
        return self._of_program(text, seed) if self._torch_only else self._of_artifact(text, seed)

    def climbed(self, text: str, seed: int) -> tuple[Attempt, Artifact | None]:
        """The recipe as far as it gets, and the float file. Raises as `row` does."""
        rung = AttemptRunner(self._context(text, seed), ())
        return rung.run(), rung.baseline

    def _context(self, text: str, seed: int) -> RecipeContext:
        made = plan(self._request.traced.facts, with_recipes(self._target, [text]), self._limits)
        if not made.recipes:
            raise UserError(f"recipe {text!r} on {self._target.name}: {made.skipped[0].reason}")
        request = msgspec.structs.replace(self._request, seed=seed)
        return RecipeContext(self._target, made, made.recipes[0], request, self._stages)

    def _of_program(self, text: str, seed: int) -> Row:
        context = self._context(text, seed)
        try:
            candidate = ArtifactBuilder(context, None).candidate()
        except ATTEMPT_ERRORS as error:
            return self._failed(text, seed, str(error))
        figures = figures_of(candidate)
        last = context.recipe.steps[-1].technique
        metric = next((figures[f"{last}: {name}"] for name in METRICS if f"{last}: {name}" in figures), None)
        return Row(
            recipe=text,
            seed=seed,
            metric=metric,
            float_metric=self._request.traced.metric,
            figures=figures,
            seconds=seconds_of(figures),
        )

    def _of_artifact(self, text: str, seed: int) -> Row:
        attempt, baseline = self.climbed(text, seed)
        artifact, verdict, measured = attempt.artifact, attempt.verdict, attempt.measurement
        if artifact is None or verdict is None or attempt.candidate is None or baseline is None:
            return self._failed(text, seed, attempt.error or "no artifact")
        figures = figures_of(attempt.candidate)
        return Row(
            recipe=text,
            seed=seed,
            metric=verdict.metric,
            float_metric=verdict.float_metric,
            size_bytes=artifact.size_bytes,
            size_ratio=artifact.size_bytes / baseline.size_bytes,
            gzip_ratio=artifact.compressed_bytes["gzip"] / baseline.compressed_bytes["gzip"],
            compressed_bytes=artifact.compressed_bytes,
            cpu_ratio=measured.cpu_ratio if measured is not None else None,
            figures=figures,
            seconds=seconds_of(figures),
            note="; ".join(measured.doubts) if measured is not None else "not measured",
        )

    def _failed(self, text: str, seed: int, why: str) -> Row:
        return Row(recipe=text, seed=seed, metric=None, float_metric=self._request.traced.metric, note=why)


def figures_of(candidate: Candidate) -> dict[str, float]:
    return {f"{figure.step}: {figure.name}": figure.value for figure in candidate.figures}


def seconds_of(figures: dict[str, float]) -> float:
    """The sum over all steps."""
    return sum(value for name, value in figures.items() if name.endswith(": seconds"))


def _tell(event: Event) -> None:
    if event.state in ("done", "reused", "failed"):
        print(f"{event.stage}: {event.state}, {event.wall_s or 0:.0f} s", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    asked = _arguments().parse_args(argv)
    try:
        texts = [*asked.recipe, *(read_file(asked.recipes) if asked.recipes else ())]
        if not texts:
            raise UserError("no recipe given; give --recipe or --recipes")
        for text in texts:
            parse(text)
        source = TaskSource(name=asked.task, reference=asked.task, settings=read_settings(tuple(asked.set)))
        bench = Bench(source, load_target(asked.target), asked.work.resolve(), asked.torch)
        rows = measured(bench, texts, asked.seeds, asked.work)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(rows))
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("task", help="file.py:attr")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the task's function")
    parser.add_argument("--target", default="x86-server", help="a profile (default x86-server)")
    parser.add_argument("--recipe", action="append", default=[], help="as `edgekit export --recipe`")
    parser.add_argument("--recipes", type=Path, help="a file with one recipe in each line")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N - 1 of each recipe (default 1)")
    parser.add_argument(
        "--torch", action="store_true", help="no artifact: the metric of the program in torch"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of finished stages and of the table")
    return parser


def read_file(place: Path) -> list[str]:
    try:
        lines = [line.partition("#")[0].strip() for line in place.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror}") from error
    return [line for line in lines if line]


def measured(bench: Bench, texts: Sequence[str], seeds: int, work: Path) -> list[Row]:
    """Seed by seed, so that a stopped run has every recipe at least once; the files grow row by row."""
    rows = list[Row]()
    for seed in range(seeds):
        for text in texts:
            rows.append(bench.row(text, seed))
            result_file.write(work / RESULT, Results(rows=tuple(rows)))
            (work / TABLE).write_text(table(rows) + "\n", encoding="utf-8")
    return rows


def table(rows: Sequence[Row]) -> str:
    """One line for each recipe, in the order they came in."""
    texts = dict.fromkeys(row.recipe for row in rows)
    lines = [cells([row for row in rows if row.recipe == text]) for text in texts]
    return "\n".join(result_file.markdown([list(HEAD), *lines]))


def cells(rows: Sequence[Row]) -> list[str]:
    """The row of one recipe: points of the metric, after pruning and recalibration and at the end; of several seeds mean [least, most]."""
    done = [row for row in rows if row.metric is not None]
    metrics = [100 * row.metric for row in done if row.metric is not None]
    drops = [100 * row.float_metric - metric for row, metric in zip(done, metrics, strict=True)]
    return [
        rows[0].recipe,
        spread([_points(row.figures.get("prune: metric pruned")) for row in done], 2),
        spread(metrics, 2),
        spread(drops, 2),
        spread([row.size_ratio for row in done], 3),
        spread([row.gzip_ratio for row in done], 3),
        spread([row.cpu_ratio for row in done], 3),
        spread([row.figures.get("prune: MACs kept") for row in done], 3),
        spread([row.figures.get("prune: parameters") for row in done], 0),
        spread([row.seconds for row in done], 0),
        str(len(done)),
        "; ".join(dict.fromkeys(row.note for row in rows if row.metric is None)),
    ]


def _points(metric: float | None) -> float | None:
    return None if metric is None else 100 * metric


if __name__ == "__main__":
    sys.exit(main())
