"""Files for ARM machines on emulated ones, where a run asks for it: the stage, and what in its result is a refusal.

Instructions are no time, but a compressed file that takes more of them than float on every inference has gained nothing, and
one that answers otherwise is broken on the machines that it is for.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgekit.arm import debian, userland
from edgekit.arm.cpus import serving
from edgekit.engine.catalogue import EMULATE
from edgekit.engine.verify_specs import EmulateSpec
from edgekit.errors import UserError
from edgekit.golden import golden_atol
from edgekit.ladder.comparable import by_content
from edgekit.ladder.context import RecipeContext
from edgekit.ladder.measuring import DEVICE_GOLDEN
from edgekit.records import Artifact, EmulatedRun, Measurement, Shortfall
from edgekit.requirements import runtime_version
from edgekit.target import Target

RUNTIMES = userland.RUNTIMES
TOLERANCE_RATIO = 0.02  # ONNX Runtime's counts differ by one or two percent from run to run
ANSWERS, COUNT = "answers on ARM", "instructions"


def check(targets: Sequence[Target]) -> None:
    """Checks before any work that emulation is possible.

    Raises:
        UserError: No target is served by an ARM CPU that is emulated.
        MissingRuntime: This machine cannot emulate.
    """
    if not any(_is_served(target) for target in targets):
        names = ", ".join(target.name for target in targets)
        raise UserError(f"--arm is for targets of ARM machines in {' or '.join(RUNTIMES)}; given are {names}")
    userland.check()
    debian.check_tools()


def _is_served(target: Target) -> bool:
    return target.runtime in RUNTIMES and any(level.startswith("arm") for level in target.isa.levels)


def with_emulated(
    context: RecipeContext, artifact: Artifact, baseline: Artifact, golden: str, measurement: Measurement
) -> Measurement:
    """Adds what the file does on emulated CPUs to its measurement, where the run asks for it and the target is served by such."""
    target = context.target
    if not context.request.arm or not _is_served(target):
        return measurement
    pair = Path(golden).with_name(DEVICE_GOLDEN)

    def spec(_folder: Path) -> EmulateSpec:
        return EmulateSpec(
            artifact=artifact,
            baseline=baseline,
            runtime=target.runtime,
            runtime_version=runtime_version(target.runtime),
            golden=str(pair),
            golden_atol=golden_atol(pair, artifact.precision),
            target=target.name,
            cpus=tuple(cpu.name for cpu in serving(context.plan.isa)),
        )

    content = msgspec.structs.replace(
        spec(Path()), artifact=by_content(artifact), baseline=by_content(baseline)
    )
    found = context.run_once(EMULATE, spec, content)
    return msgspec.structs.replace(measurement, emulated=found.runs)


def broken(measurement: Measurement) -> list[tuple[str, Shortfall]]:
    """Returns what is refused: wrong answers, or surely more instructions than float."""
    return [failure for run in measurement.emulated for failure in _broken(run)]


def _broken(run: EmulatedRun) -> list[tuple[str, Shortfall]]:
    where = f"on an emulated {run.cpu}"
    if not run.passed:
        return [(f"wrong answers {where}: {run.reason}", Shortfall(limit=ANSWERS))]
    count = run.count
    if count is None or count.ratio is None or count.ratio <= 1 + TOLERANCE_RATIO:
        return []
    why = (
        f"more instructions than float {where}: {count.ratio:.3f} of float's "
        f"({count.instructions_per_inference} against {count.float_instructions_per_inference}, n={len(count.runs)}; no time)"
    )
    return [(why, Shortfall(limit=COUNT, allowed=1.0, found=count.ratio, excess=count.ratio - 1))]
