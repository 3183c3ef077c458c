"""What quantization-aware training wins back of what post-training quantization loses, in the artifact's own runtime.

    python benchmarks/qat.py --weights resnet20.safetensors --train train.npz --test test.npz --work qat/
    python benchmarks/qat.py ... --work qat/ --only x86-server,x86-4bit --seeds 1 --images 3200

The net is examples/cifar10.py. `x86-server` and `tflite-int8` are the profiles as they are; the `-4bit` settings are simulated: weights
of four bits in the eight that the file has, with one scale for each channel or for the whole tensor, which ruin a net without training. Each row is compressed, exported and
proven by the stages of `edgekit export`, and scored on every test image. Finished stages stay in --work: the same command
goes on where it was stopped, also within a training.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import result_file
from edgekit_runner.host.environment import local_isa
from result_file import read_options, spread

from edgekit.engine.catalogue import COMPRESS, EXPORT, PROVE
from edgekit.engine.events import Event
from edgekit.engine.specs import CompressSpec, Context, ExportSpec, TraceSpec
from edgekit.engine.stages import Stages
from edgekit.engine.task_source import TaskSource
from edgekit.engine.verify_specs import ProveSpec
from edgekit.errors import EdgekitError, UserError
from edgekit.profile.reading import load_target
from edgekit.records import Artifact, Candidate, Quant, Recipe, Record, StageTime, Step, Verdict
from edgekit.target import Target

EXAMPLE = Path(__file__).parents[1] / "examples" / "cifar10.py"
RESULT = "qat.json"
HEAD = (
    "setting",
    "float",
    "ptq",
    "drop",
    "qat",
    "drop",
    "won back",
    "seeds",
    "images",
    "train s",
    "memory MB",
    "gap",
)
#: name: (profile, what is changed of its [quant])
SETTINGS: dict[str, tuple[str, dict[str, object]]] = {
    "x86-server": ("x86-server", {}),
    "tflite-int8": ("tflite-int8", {}),
    "x86-4bit": ("x86-server", {"weight_bits": 4}),
    "x86-4bit-per-tensor": ("x86-server", {"weight_bits": 4, "granularity": "per_tensor"}),
    "x86-3bit": ("x86-server", {"weight_bits": 3}),
}


class Row(Record):
    """One artifact. seed: of the training, None where nothing was trained."""

    setting: str
    technique: str
    seed: int | None
    float_metric: float
    metric: float
    agreement: float | None
    samples: int
    images: int
    figures: dict[str, float]
    compress_s: float
    peak_memory_bytes: int | None


class Results(Record):
    rows: tuple[Row, ...]


class Flow:
    """The stages of one task."""

    def __init__(self, source: TaskSource, work: Path) -> None:
        self._source = source
        self._stages = Stages(work, 1, _tell)
        spec = TraceSpec(source=source, work=str(work / "shared" / "trace"))
        self._traced, _ = self._stages.trace(lambda _folder: spec)

    def row(self, setting: str, step: Step, seed: int | None) -> Row:
        profile, changed = SETTINGS[setting]
        target = load_target(profile)
        quant = target.quant_for(target.default_isa)
        if quant is None:
            raise UserError(f"profile {profile} has no integers")
        candidate, time = self._compress(
            setting, target, msgspec.structs.replace(quant, **changed), step, seed or 0
        )
        verdict = self._prove(setting, target, self._export(setting, target, candidate))
        figures = {figure.name: figure.value for figure in candidate.figures}
        return Row(
            setting=setting,
            technique=step.technique,
            seed=seed,
            float_metric=verdict.float_metric,
            metric=verdict.metric,
            agreement=verdict.parity.agreement,
            samples=self._traced.samples,
            images=int(figures.get("images trained", 0)),
            figures=figures,
            compress_s=time.wall_s,
            peak_memory_bytes=time.peak_memory_bytes,
        )

    def _compress(
        self, setting: str, target: Target, quant: Quant, step: Step, seed: int
    ) -> tuple[Candidate, StageTime]:
        recipe = Recipe(name=step.technique, precision="int8", steps=(step,))
        candidate = Candidate(program=self._traced.program, recipe=recipe, quant=quant)

        def spec(folder: Path) -> CompressSpec:
            context = Context(
                work=str(folder), target=target, traced=self._traced, isa=target.default_isa, seed=seed
            )
            return CompressSpec(candidate=candidate, step=step, source=self._source, context=context)

        return self._stages.run(
            COMPRESS, spec, target=setting, label=f"{step.technique}, seed {seed}", name=step.technique
        )

    def _export(self, setting: str, target: Target, candidate: Candidate) -> Artifact:
        def spec(folder: Path) -> ExportSpec:
            return ExportSpec(candidate=candidate, target=target, folder=str(folder))

        return self._stages.run(EXPORT, spec, target=setting)[0]

    def _prove(self, setting: str, target: Target, artifact: Artifact) -> Verdict:
        def spec(folder: Path) -> ProveSpec:
            return ProveSpec(
                artifact=artifact,
                traced=self._traced,
                source=self._source,
                runtime=target.runtime,
                isa=target.default_isa,
                host_isa=local_isa(),
                golden=str(folder / "golden.npz"),
            )

        return self._stages.run(PROVE, spec, target=setting)[0]


def _tell(event: Event) -> None:
    if event.state in ("done", "reused", "failed"):
        print(
            f"{event.target} {event.stage}: {event.state}, {event.wall_s or 0:.0f} s",
            file=sys.stderr,
            flush=True,
        )


def main(argv: Sequence[str] | None = None) -> int:
    asked = _arguments().parse_args(argv)
    settings = {"weights": asked.weights, "train": asked.train, "test": asked.test}
    given = {name: str(Path(place).resolve()) for name, place in settings.items()}
    source = TaskSource(name="cifar10", reference=f"{EXAMPLE}:task", settings=given)
    try:
        chosen = read_settings(asked.only)
        rows = measured(
            source, asked.work.resolve(), chosen, asked.seeds, read_options(asked.option, asked.images)
        )
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(result_file.markdown([list(HEAD), *(cells(rows, name) for name in chosen)])))
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, what in (("weights", ".safetensors"), ("train", ".npz"), ("test", ".npz")):
        parser.add_argument(f"--{name}", required=True, help=f"a {what} file, see examples/cifar10.py")
    parser.add_argument("--work", type=Path, required=True, help="folder of finished stages and of qat.json")
    parser.add_argument("--only", default=",".join(SETTINGS), help=f"settings, of {', '.join(SETTINGS)}")
    parser.add_argument(
        "--seeds", type=int, default=3, help="trainings of each setting (default 3); 0 = ptq alone"
    )
    parser.add_argument("--images", type=int, default=9600, help="training budget (default 9600)")
    parser.add_argument(
        "--option", action="append", default=[], help="KEY=VALUE of edgekit.techniques.qat.Options"
    )
    return parser


def read_settings(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in SETTINGS]
    if unknown or not names:
        raise UserError(f"unknown settings {', '.join(unknown) or 'none'}; allowed are {', '.join(SETTINGS)}")
    return names


def measured(
    source: TaskSource,
    work: Path,
    chosen: Sequence[str],
    seeds: int,
    options: dict[str, bool | int | float | str],
) -> list[Row]:
    """One row of ptq and `seeds` rows of qat for each setting; the file grows row by row."""
    flow, rows = Flow(source, work), list[Row]()
    for name in chosen:
        steps = [(Step(technique="ptq", options={"estimator": "mse"}), None)]
        steps += [(Step(technique="qat", options=options), seed) for seed in range(seeds)]
        for step, seed in steps:
            rows.append(flow.row(name, step, seed))
            result_file.write(work / RESULT, Results(rows=tuple(rows)))
            print(f"{name} {step.technique} {seed}: {rows[-1].metric:.4f}", file=sys.stderr, flush=True)
    return rows


def cells(rows: Sequence[Row], setting: str) -> list[str]:
    """The row of one setting: points of top-1; of several seeds mean [least, most]."""
    ptq = next(row for row in rows if row.setting == setting and row.technique == "ptq")
    trained = [row for row in rows if row.setting == setting and row.technique == "qat"]
    lost = ptq.float_metric - ptq.metric
    head = [setting, f"{100 * ptq.float_metric:.2f}", f"{100 * ptq.metric:.2f}", f"{100 * lost:.2f}"]
    if not trained:
        return [*head, *["-"] * (len(HEAD) - len(head))]
    drops = [row.float_metric - row.metric for row in trained]
    won = [f"{100 * (1 - drop / lost):.0f} %" if lost > 0 else "-" for drop in drops]
    memory = [row.peak_memory_bytes / 1e6 for row in trained if row.peak_memory_bytes]
    return [
        *head,
        spread([100 * row.metric for row in trained], 2),
        spread([100 * drop for drop in drops], 2),
        ", ".join(won),
        str(len(trained)),
        str(trained[0].images),
        spread([row.figures["seconds to train"] for row in trained], 0),
        spread(memory, 0),
        spread([100 * row.figures["conversion gap"] for row in trained], 2),
    ]


if __name__ == "__main__":
    sys.exit(main())
