"""What each family of distillation is worth beside plain training: the same start, the same budget in images, the same rule for the rate.

    python benchmarks/distill.py --teacher resnet56.safetensors --given resnet20.safetensors --train train.npz --test test.npz --work distill/
    python benchmarks/distill.py ... --work distill/ --students fresh --data all --families plain,kl,exits --seeds 1 --images 3200

The nets are those of examples/cifar10.py. Students: "given" is the trained net of --given, "fresh" an untrained ResNet-8. Data: "all" training
images have labels, or the "few" first --labels of them, the others being unlabelled. Scored in torch, on every test image, by the stages of
`edgekit export`. Finished stages stay in --work: the same command goes on where it was stopped, also within a training.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import result_file
from result_file import names, read_options, spread

from edgekit.engine.catalogue import COMPRESS, TRACE
from edgekit.engine.events import Event
from edgekit.engine.specs import CompressSpec, Context, TraceSpec
from edgekit.engine.stages import Stages
from edgekit.engine.task_source import TaskSource
from edgekit.errors import EdgekitError
from edgekit.records import Candidate, Recipe, Record, Step, Traced

TASK = Path(__file__).with_name("distill_task.py")
RESULT = "distill.json"
STUDENTS, DATA = ("fresh", "given"), ("all", "few")
HEAD = (
    "data",
    "student",
    "family",
    "before",
    "after",
    "gain",
    "seeds",
    "images",
    "rate",
    "train s",
    "shares at first",
)
PLAIN = "plain"
Scalar = bool | int | float | str
#: name: options of edgekit.techniques.distill; TEACHER and BOTH stand for programs
TEACHER, BOTH = "{teacher}", "{given},{teacher}"
FAMILIES: dict[str, dict[str, Scalar]] = {
    PLAIN: {"alpha": 1.0},
    "kl": {"teachers": TEACHER},
    "hint": {"teachers": TEACHER, "features": "auto:hint"},
    "attention": {"teachers": TEACHER, "features": "auto:attention"},
    "rkd": {"teachers": TEACHER, "features": "layer3:rkd"},
    "online": {"teachers": TEACHER, "mode": "online", "alpha": 0.5, "temperature": 1.0},
    "ema": {"mode": "ema", "alpha": 0.5, "temperature": 1.0},
    "exits": {"mode": "exits", "alpha": 0.5},
    "ensemble": {"teachers": BOTH},
    "pseudo": {"teachers": TEACHER, "pseudo": 0.9},
}
ONLY_UNLABELLED = ("pseudo",)


class Row(Record):
    """One training."""

    data: str
    student: str
    family: str
    seed: int
    before: float
    after: float
    images: int
    learning_rate: float
    train_s: float
    shares: dict[str, float]


class Results(Record):
    teacher: float
    given: float
    rows: tuple[Row, ...]


class Flow:
    """The stages of one teacher and one given student."""

    def __init__(self, teacher: str, given: str, train: str, test: str, labels: int, work: Path) -> None:
        self._stages = Stages(work, 1, _tell)
        settings = {"weights": given, "train": train, "test": test}
        self._sources = {
            "all": TaskSource(name="cifar10", reference=f"{TASK}:task", settings=settings),
            "few": TaskSource(
                name="cifar10", reference=f"{TASK}:task", settings={**settings, "labels": str(labels)}
            ),
        }
        large = TaskSource(
            name="cifar10", reference=f"{TASK}:task", settings={**settings, "weights": teacher}
        )
        self.teacher, self.given = self._trace(large), self._trace(self._sources["all"])

    def _trace(self, source: TaskSource) -> Traced:
        def spec(folder: Path) -> TraceSpec:
            return TraceSpec(source=source, work=str(folder))

        return self._stages.run(TRACE, spec)[0]

    def row(self, data: str, student: str, family: str, seed: int, options: dict[str, Scalar]) -> Row:
        step = Step(technique="distill", options=self._options(student, family, options))
        recipe = Recipe(name="distill", precision="float32", steps=(step,))
        candidate = Candidate(program=self.given.program, recipe=recipe)

        def spec(folder: Path) -> CompressSpec:
            context = Context(work=str(folder), seed=seed)
            return CompressSpec(candidate=candidate, step=step, source=self._sources[data], context=context)

        label = f"{data} {student} {family} {seed}"
        found, _ = self._stages.run(COMPRESS, spec, target="distill", label=label, name=family)
        figures = {figure.name: figure.value for figure in found.figures}
        return Row(
            data=data,
            student=student,
            family=family,
            seed=seed,
            before=figures["metric before"],
            after=figures["metric after"],
            images=int(figures["images trained"]),
            learning_rate=figures["learning rate"],
            train_s=figures["seconds to train"],
            shares={k.removeprefix("share of "): v for k, v in figures.items() if k.startswith("share of ")},
        )

    def _options(self, student: str, family: str, options: dict[str, Scalar]) -> dict[str, Scalar]:
        programs = {"teacher": self.teacher.program, "given": self.given.program}
        chosen = {**options, **FAMILIES[family]}
        if "teachers" in chosen:
            chosen["teachers"] = str(chosen["teachers"]).format(**programs)
        return {**chosen, **({"student": f"{TASK}:fresh"} if student == "fresh" else {})}


def _tell(event: Event) -> None:
    if event.state in ("done", "reused", "failed"):
        print(f"{event.stage}: {event.state}, {event.wall_s or 0:.0f} s", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    asked = _arguments().parse_args(argv)
    files = {
        name: str(Path(getattr(asked, name)).resolve()) for name in ("teacher", "given", "train", "test")
    }
    try:
        chosen = [
            (data, student, family)
            for data in names("data", asked.data, DATA)
            for student in names("students", asked.students, STUDENTS)
            for family in names("families", asked.families, tuple(FAMILIES))
            if data == "few" or family not in ONLY_UNLABELLED
        ]
        flow = Flow(**files, labels=asked.labels, work=asked.work.resolve())
        options = read_options(asked.option, asked.images)
        rows = measured(flow, asked.work.resolve(), chosen, asked.seeds, options)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"teacher {100 * flow.teacher.metric:.2f}, given student {100 * flow.given.metric:.2f}\n")
    print("\n".join(result_file.markdown([list(HEAD), *(cells(rows, *which) for which in chosen)])))
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, what in (
        ("teacher", ".safetensors"),
        ("given", ".safetensors"),
        ("train", ".npz"),
        ("test", ".npz"),
    ):
        parser.add_argument(f"--{name}", required=True, help=f"a {what} file, see examples/cifar10.py")
    parser.add_argument("--work", type=Path, required=True, help=f"folder of finished stages and of {RESULT}")
    for name, allowed in (("students", STUDENTS), ("data", DATA), ("families", tuple(FAMILIES))):
        parser.add_argument(f"--{name}", default=",".join(allowed), help=f"of {', '.join(allowed)}")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each row (default 3)")
    parser.add_argument("--images", type=int, default=20_000, help="training budget (default 20000)")
    parser.add_argument("--labels", type=int, default=500, help='labelled images of data "few" (default 500)')
    parser.add_argument(
        "--option", action="append", default=[], help="KEY=VALUE of edgekit.techniques.distill.Options"
    )
    return parser


def measured(
    flow: Flow,
    work: Path,
    chosen: Sequence[tuple[str, str, str]],
    seeds: int,
    options: dict[str, Scalar],
) -> list[Row]:
    """`seeds` rows of each choice, seed by seed, so that a stopped run has something of each; the file grows row by row."""
    rows = list[Row]()
    for seed in range(seeds):
        for which in chosen:
            rows.append(flow.row(*which, seed, options))
            kept = Results(teacher=flow.teacher.metric, given=flow.given.metric, rows=tuple(rows))
            result_file.write(work / RESULT, kept)
            print(f"{' '.join(which)} {seed}: {rows[-1].after:.4f}", file=sys.stderr, flush=True)
    return rows


def cells(rows: Sequence[Row], data: str, student: str, family: str) -> list[str]:
    """Points of top-1, mean [least, most]; the gain is over plain training with the same seeds."""
    own = [row for row in rows if (row.data, row.student, row.family) == (data, student, family)]
    plain = {
        row.seed: row.after for row in rows if (row.data, row.student, row.family) == (data, student, PLAIN)
    }
    gains = [100 * (row.after - plain[row.seed]) for row in own if row.seed in plain]
    shares = {
        name: statistics.mean(row.shares[name] for row in own) for name in (own[0].shares if own else ())
    }
    return [
        data,
        student,
        family,
        spread([100 * row.before for row in own], 2),
        spread([100 * row.after for row in own], 2),
        spread(gains, 2) if gains and family != PLAIN else "-",
        str(len(own)),
        str(own[0].images) if own else "-",
        ", ".join(sorted({f"{row.learning_rate:g}" for row in own})),
        spread([row.train_s for row in own], 0),
        ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items()),
    ]


if __name__ == "__main__":
    sys.exit(main())
