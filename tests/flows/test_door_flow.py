"""Every door as far as a proven file of every format: traced, exported, executed, re-proven, by the user's names."""

from pathlib import Path

import pytest
import torchvision  # noqa: F401  before any converter
from edgekit_runner.backends import find
from edgekit_runner.golden import archive, proof

from edgekit.engine.specs import CompressSpec, Context, ExportSpec, TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.engine.verify_specs import ProveSpec, RecheckSpec
from edgekit.errors import ConversionError
from edgekit.export._stage import export
from edgekit.profile.reading import load_target
from edgekit.records import Artifact, Candidate, Recipe, Step, Traced, Verdict
from edgekit.techniques._stage import compress
from edgekit.trace.stage import trace
from edgekit.verify.golden_check import recheck
from edgekit.verify.prove import prove

pytestmark = pytest.mark.long

pytest.importorskip("litert_torch")
DOORS = Path(__file__).parents[1] / "task_files" / "doors.py"
TARGETS = ("x86-server", "tflite-int8", "coreml-fp16")
NAMES = {
    "dict_result": (["x"], ["logits", "features"]),
    "object_result": (["x"], ["logits", "maps.p1", "maps.p2_0", "maps.p2_1"]),
    "recurrent": (["x", "h", "c", "threshold"], ["y", "h_out", "c_out"]),
    "keywords": (["input_ids", "attention_mask"], ["hidden", "pooled.logits"]),
    "whole_numbers": (["frame", "flip"], ["output_0"]),
}


def source(function: str) -> TaskSource:
    return TaskSource(name=function, reference=f"{DOORS}:{function}")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Traced]:
    return {f: trace(TraceSpec(source=source(f), work=str(tmp_path_factory.mktemp(f)))) for f in NAMES}


def proven(
    function: str, traced: Traced, target_name: str, work: Path, technique: str = ""
) -> tuple[Artifact, Verdict]:
    target, origin = load_target(target_name), source(function)
    recipe = Recipe(name="r", precision="int8" if technique else "float32", steps=())
    quant = target.quant_for(next(iter(target.isa.levels))) if technique else None
    made = Candidate(program=traced.program, recipe=recipe, interface=traced.interface, quant=quant)
    if technique:
        context = Context(work=str(work), target=target, traced=traced)
        made = compress(
            CompressSpec(candidate=made, step=Step(technique=technique), source=origin, context=context)
        )
    artifact = export(ExportSpec(candidate=made, target=target, folder=str(work)))
    golden = str(work / "golden.npz")
    verdict = prove(
        ProveSpec(
            artifact=artifact, traced=traced, source=origin, runtime=target.runtime, isa="any", host_isa="any",
            golden=golden, promised_db=made.promised_db,
        )
    )  # fmt: skip
    again = RecheckSpec(artifact=artifact, runtime=target.runtime, golden=golden, golden_atol=1e-6)
    assert recheck(again).max_abs_error <= 1e-6
    return artifact, verdict


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("function", NAMES)
def test_every_door_in_every_format(
    function: str, target: str, kept: dict[str, Traced], tmp_path: Path
) -> None:
    if (function, target) == ("recurrent", "coreml-fp16"):
        with pytest.raises(
            ConversionError, match=r"the input threshold has no axes.* forward take it as \[1\]"
        ):
            proven(function, kept[function], target, tmp_path)
        return
    artifact, verdict = proven(function, kept[function], target, tmp_path)
    assert verdict.metric > 0.999
    inputs, outputs = NAMES[function]
    assert [spec.name for spec in artifact.inputs] == inputs
    assert artifact.state == ({"h_out": "h", "c_out": "c"} if function == "recurrent" else {})
    plain = [name.replace(".", "_") for name in outputs] if artifact.format == "coreml" else outputs
    assert [spec.name for spec in artifact.outputs] == plain


@pytest.mark.parametrize("function", NAMES)
def test_the_runner_reads_the_same_names_and_the_same_answers(
    function: str, kept: dict[str, Traced], tmp_path: Path
) -> None:
    artifact, _ = proven(function, kept[function], "x86-server", tmp_path)
    session = find(artifact.path).open(artifact.path, 1, {})
    assert ([t.name for t in session.inputs], [t.name for t in session.outputs]) == NAMES[function]
    golden = archive.load(str(tmp_path / "golden.npz"))
    assert proof.check(session, golden, None).status == "passed"


@pytest.mark.parametrize(
    ("function", "least"), [("dict_result", 0.9), ("recurrent", 0.9), ("whole_numbers", 0.85)]
)
def test_every_door_is_quantized(
    function: str, least: float, kept: dict[str, Traced], tmp_path: Path
) -> None:
    artifact, verdict = proven(function, kept[function], "x86-server", tmp_path, "ptq")
    assert verdict.metric > least
    assert [spec.name for spec in artifact.outputs] == NAMES[function][1]
