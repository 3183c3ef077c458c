"""edgekit itself: the first int8 recipe of a profile's ladder, by the very stages that `edgekit export` runs.

Two processes, as in a deployment: `calibrate` applies the recipe's steps to the traced program, `export` lowers the
result. The graph preparation that tracing does is in the float file too, which every peer reads.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgekit.engine.specs import CompressSpec, Context, ExportSpec
from edgekit.errors import UserError
from edgekit.ladder.planner import plan
from edgekit.profile.reading import load_target
from edgekit.records import Candidate, Recipe
from edgekit.target import Target
from peers._records import Job, Row

NEEDS = {"edgekit": "edgekit"}
ROWS = {
    "edgekit": Row(
        runtime="onnxruntime",
        summary="profile x86-server, its first int8 recipe",
        settings={"target": "x86-server"},
    ),
    "edgekit-tflite": Row(
        runtime="litert",
        summary="profile tflite-int8, its first int8 recipe",
        settings={"target": "tflite-int8"},
    ),
}
STAGES = ("calibrate", "export")


def calibrate(job: Job) -> Callable[[], str]:
    from edgekit import technique
    from edgekit.quant import program
    from edgekit.techniques import _stage, ptq  # noqa: F401

    target, isa, recipe = _recipe(job)
    loaded = program.load(job.traced.program)

    def call(_held: object = loaded) -> str:
        candidate = Candidate(program=job.traced.program, recipe=recipe, quant=target.quant_for(isa))
        for number, step in enumerate(s for s in recipe.steps if not technique.of(s).at_export):
            folder = Path(job.work) / f"step-{number}"
            folder.mkdir()
            candidate = _stage.compress(
                CompressSpec(
                    candidate=candidate,
                    step=step,
                    source=job.source,
                    context=Context(
                        work=str(folder), target=target, traced=job.traced, isa=isa, seed=job.seed
                    ),
                )
            )
        _candidate_file(job).write_bytes(msgspec.json.encode(candidate))
        return f"{recipe.name}, planned for {isa}: {_arithmetic(target, isa)}"

    return call


def ranges(job: Job) -> Callable[[], None]:
    """The calibration alone: the observed graph and the range of every tensor, without writing a program."""
    from edgekit.quant import program
    from edgekit.quant.simulate import Simulation
    from edgekit.techniques import ptq

    target, isa, recipe = _recipe(job)
    options = msgspec.convert(recipe.steps[0].options, ptq.Options)
    task, loaded = job.source.load(), program.load(job.traced.program)

    def call(_held: object = loaded) -> None:
        candidate = Candidate(program=job.traced.program, recipe=recipe, quant=target.quant_for(isa))
        Simulation(ptq.calibrated(candidate, task, options).model)  # finds the range of every observer

    return call


def export(job: Job) -> Callable[[], None]:
    from edgekit.export import _stage, onnx, tflite  # noqa: F401
    from edgekit.quant import program

    candidate = msgspec.json.decode(_candidate_file(job).read_bytes(), type=Candidate)
    spec = ExportSpec(candidate=candidate, target=_recipe(job)[0], folder=job.work)
    loaded = program.load(candidate.program)

    def call(_held: object = loaded) -> None:
        shutil.move(_stage.export(spec).path, job.out)

    return call


def _arithmetic(target: Target, isa: str) -> str:
    quant = target.quant_for(isa)
    assert quant is not None  # an int8 recipe has one
    return f"{quant.activation_dtype} activations, {quant.weight_bits}-bit {quant.granularity} weights"


def _candidate_file(job: Job) -> Path:
    return Path(job.work) / "candidate.json"


def _recipe(job: Job) -> tuple[Target, str, Recipe]:
    """The profile, the instruction set it plans for and the first int8 recipe of its ladder."""
    target = load_target(str(job.row.settings["target"]))
    isa = job.isa if job.isa in target.isa.levels else target.default_isa
    for recipe in plan(job.traced.facts, target, isa=isa).recipes:
        if recipe.precision == "int8":
            return target, isa, recipe
    raise UserError(f"the ladder of {target.name} has no int8 recipe for this task")
