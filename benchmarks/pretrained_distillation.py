"""Pre-trained distillation beside its parts: few labels, many texts without, one student, one budget of training samples.

    python examples/text.py --train transformer --csv ag_news.csv --out news.safetensors
    python benchmarks/pretrained_distillation.py --csv ag_news.csv --weights news.safetensors --work pretrained/

Each arm is a recipe of `pretrain`, `distill(alpha=0)`, which learns the teacher's answers alone, and `distill(alpha=1)`, which learns
the labels alone. All read --samples texts in training, a text counted each time that it is read; an arm without a stage gives
that stage's samples to its first one. The teacher is the transformer of examples/text.py with the weights of --weights, the student a
narrower one of one layer. Scored in torch on the texts held out, by the stages of `edgekit export`. Finished stages stay in
--work: the same command goes on where it was stopped.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import result_file
from result_file import names, spread

from edgekit.engine.catalogue import COMPRESS, TRACE
from edgekit.engine.events import Event
from edgekit.engine.specs import CompressSpec, Context, TraceSpec
from edgekit.engine.stages import Stages
from edgekit.engine.task_source import TaskSource
from edgekit.errors import EdgekitError
from edgekit.ladder.recipe_parser import parse
from edgekit.records import Candidate, Recipe, Record, Step, Traced

TASK = Path(__file__).with_name("pretrained_distillation_task.py")
RESULT = "pretrained_distillation.json"
WHOLE = "whole"
#: each arm's stages with their shares of the samples
ARMS: dict[str, dict[str, float]] = {
    WHOLE: {"pretrain": 0.4, "distill": 0.4, "fine-tune": 0.2},
    "distill": {"distill": 0.8, "fine-tune": 0.2},
    "pretrain": {"pretrain": 0.8, "fine-tune": 0.2},
    "labels": {"fine-tune": 1.0},
}
STAGES = {
    "pretrain": "pretrain(images={images})",
    "distill": "distill(alpha=0, temperature=1, unlabelled=9, images={images})",
    "fine-tune": "distill(alpha=1, images={images})",
}
HEAD = (
    "arm",
    "accuracy",
    "whole - it, points",
    "McNemar p by seed",
    "after distilling",
    "masked words right",
    "train s",
)


class Row(Record):
    """One arm with one seed. right: 1 or 0 for each text held out. stages: what each found, "distill: metric after"."""

    arm: str
    seed: int
    right: str
    stages: dict[str, float]
    train_s: float

    @property
    def accuracy(self) -> float:
        return self.right.count("1") / len(self.right)


class Results(Record):
    teacher: float
    samples: int
    labels: int
    rows: tuple[Row, ...]


class Flow:
    """The stages of one teacher."""

    def __init__(self, csv: str, weights: str, labels: int, samples: int, work: Path) -> None:
        self._csv, self._samples, self._stages = csv, samples, Stages(work, 1, _tell)
        settings = {"csv": csv, "weights": weights, "labels": str(labels)}
        self._source = TaskSource(name="news", reference=f"{TASK}:task", settings=settings)
        self.teacher = self._traced()

    def _traced(self) -> Traced:
        return self._stages.run(TRACE, lambda folder: TraceSpec(source=self._source, work=str(folder)))[0]

    def row(self, arm: str, seed: int) -> Row:
        steps = self.steps(arm, seed)
        recipe = Recipe(name=arm, precision="float32", steps=steps)
        candidate, found, train_s = Candidate(program=self.teacher.program, recipe=recipe), {}, 0.0
        for name, step in zip(ARMS[arm], steps, strict=True):
            done = self._step(arm, seed, name, candidate, step)
            figures = {figure.name: figure.value for figure in done.figures[len(candidate.figures) :]}
            found |= {f"{name}: {figure}": value for figure, value in figures.items()}
            train_s += figures["seconds to train"]
            candidate = done
        return Row(arm=arm, seed=seed, right=answers(candidate, self._csv), stages=found, train_s=train_s)

    def steps(self, arm: str, seed: int) -> tuple[Step, ...]:
        """The arm's recipe; its first step brings the student."""
        texts = [
            STAGES[name].format(images=round(share * self._samples)) for name, share in ARMS[arm].items()
        ]
        student = f"student='{TASK}:compact?csv={self._csv}&seed={seed}', "
        rung = parse(" > ".join([texts[0].replace("(", f"({student}", 1), *texts[1:]]))
        return tuple(Step(technique=step.technique, options=step.options) for step in rung.steps)

    def _step(self, arm: str, seed: int, name: str, candidate: Candidate, step: Step) -> Candidate:
        def spec(folder: Path) -> CompressSpec:
            context = Context(work=str(folder), seed=seed, traced=self.teacher)
            return CompressSpec(candidate=candidate, step=step, source=self._source, context=context)

        label = f"{arm}: {name} {seed}"
        return self._stages.run(COMPRESS, spec, target="news", label=label, name=step.technique)[0]


def answers(candidate: Candidate, csv: str) -> str:
    """1 or 0 for each text held out: whether the program names its class."""
    import pretrained_distillation_task as given

    from edgekit.quant import program as programs
    from edgekit.techniques._score import predictor

    data = given.text.texts(csv)
    logits = predictor(programs.load(candidate.program).module())(data.held_tokens.numpy())
    return "".join(str(int(hit)) for hit in logits.argmax(1) == data.held_classes.numpy())


def mcnemar(first: str, second: str) -> float:
    """The exact two-sided p of as many texts that only one of two gets right, if both were as good."""
    only = [sum(a > b for a, b in zip(*pair, strict=True)) for pair in ((first, second), (second, first))]
    count = sum(only)
    tail = sum(math.comb(count, k) for k in range(min(only) + 1)) / 2**count
    return min(1.0, 2 * tail)


def difference(pairs: Sequence[tuple[str, str]]) -> tuple[float, float, float]:
    """How many points the first of each pair is better: the mean over seeds, and its 95 % interval over texts."""
    each = [
        statistics.mean(int(first[i]) - int(second[i]) for first, second in pairs)
        for i in range(len(pairs[0][0]))
    ]
    mean, half = statistics.mean(each), 1.96 * statistics.stdev(each) / math.sqrt(len(each))
    return 100 * mean, 100 * (mean - half), 100 * (mean + half)


def _tell(event: Event) -> None:
    if event.state in ("done", "reused", "failed"):
        print(f"{event.stage}: {event.state}, {event.wall_s or 0:.0f} s", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    asked = _arguments().parse_args(argv)
    try:
        arms = names("arms", asked.arms, tuple(ARMS))
        csv, weights = (str(Path(given).resolve()) if given else "" for given in (asked.csv, asked.weights))
        flow = Flow(csv, weights, asked.labels, asked.samples, asked.work.resolve())
        results = Results(teacher=flow.teacher.metric, samples=asked.samples, labels=asked.labels, rows=())
        results = measured(flow, results, arms, asked.seeds, asked.work.resolve() / RESULT)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"teacher {100 * results.teacher:.2f}, n={len(results.rows[0].right)}\n")
    print("\n".join(table(results.rows)))
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--csv", default="", help="class,title,text without a head, as AG News; without it, made texts"
    )
    parser.add_argument(
        "--weights", default="", help="of the teacher, by examples/text.py; without, it is trained now"
    )
    parser.add_argument("--work", type=Path, required=True, help=f"folder of finished stages and of {RESULT}")
    parser.add_argument(
        "--labels", type=int, default=500, help="training texts that have a label (default 500)"
    )
    parser.add_argument(
        "--samples", type=int, default=20_000, help="training budget of each arm (default 20000)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each arm (default 3)")
    parser.add_argument("--arms", default=",".join(ARMS), help=f"of {', '.join(ARMS)}")
    return parser


def measured(flow: Flow, results: Results, arms: Sequence[str], seeds: int, place: Path) -> Results:
    """Seed by seed, so that a stopped run has something of each arm; the file grows row by row."""
    for seed in range(seeds):
        for arm in arms:
            row = flow.row(arm, seed)
            results = Results(
                teacher=results.teacher,
                samples=results.samples,
                labels=results.labels,
                rows=(*results.rows, row),
            )
            result_file.write(place, results)
            print(f"{arm} {seed}: {row.accuracy:.4f}", file=sys.stderr, flush=True)
    return results


def table(rows: Sequence[Row]) -> list[str]:
    arms = dict.fromkeys(row.arm for row in rows)
    return result_file.markdown([HEAD, *(cells(rows, arm) for arm in arms)])


def cells(rows: Sequence[Row], arm: str) -> list[str]:
    """Points, mean [least, most] of the seeds."""
    own = [row for row in rows if row.arm == arm]
    whole = {row.seed: row.right for row in rows if row.arm == WHOLE}
    pairs = [(whole[row.seed], row.right) for row in own if row.seed in whole] if arm != WHOLE else []
    points = "{:.2f} [{:.2f}, {:.2f}]".format(*difference(pairs)) if pairs else "-"
    return [
        f"{arm}: {' > '.join(ARMS[arm])}",
        spread([100 * row.accuracy for row in own], 2),
        points,
        ", ".join(f"{mcnemar(*pair):.2g}" for pair in pairs) or "-",
        spread([_points(row, "distill: metric after") for row in own], 2),
        spread([_points(row, "pretrain: masked tokens right after") for row in own], 2),
        spread([row.train_s for row in own], 0),
    ]


def _points(row: Row, name: str) -> float | None:
    return 100 * row.stages[name] if name in row.stages else None


if __name__ == "__main__":
    sys.exit(main())
