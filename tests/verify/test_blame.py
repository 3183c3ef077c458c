"""Layer blame on small networks: a planted outlier channel, a damaged file in each format, a faithful file."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import blame_nets
import msgspec
import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from edgekit_runner.artifact import sha256
from onnx import numpy_helper

import edgekit
from edgekit.engine.verify_specs import BlameSpec
from edgekit.errors import VerificationError
from edgekit.records import Blame
from edgekit.verify.blame.compression import Compression
from edgekit.verify.blame.graph_walk import Program
from edgekit.verify.blame.stage import blame

pytestmark = pytest.mark.long

FORMATS = ("onnx", "tflite", "coreml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("blame")
    paths = (str(Path(edgekit.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    run = subprocess.run(
        [sys.executable, blame_nets.__file__, str(place)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert (place / "turn-onnx.json").is_file(), run.stderr[-3000:]
    return place


@pytest.fixture(scope="module")
def judged(folder: Path) -> Callable[[str], Blame]:
    """The blame of an undamaged artifact, made once."""
    made: dict[str, Blame] = {}

    def get(name: str) -> Blame:
        if name not in made:
            made[name] = blame(spec_of(folder, name))
        return made[name]

    return get


def spec_of(folder: Path, name: str) -> BlameSpec:
    return msgspec.json.decode((folder / f"{name}.json").read_bytes(), type=BlameSpec)


def damaged(spec: BlameSpec, place: Path, damage: Callable[[Path], None]) -> BlameSpec:
    """The spec of a damaged copy that claims to be what was exported."""
    source = Path(spec.artifact.path)
    copy = place / source.name
    shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    damage(copy)
    artifact = msgspec.structs.replace(spec.artifact, path=str(copy), sha256=sha256(copy))
    assert artifact.sha256 != spec.artifact.sha256
    return msgspec.structs.replace(spec, artifact=artifact)


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


# ------------------------------------------------------------------------------------------------ a faithful file
@pytest.mark.parametrize("fmt", FORMATS)
def test_a_faithful_file_blames_nobody(judged: Callable[[str], Blame], fmt: str) -> None:
    found = judged(f"clean-{fmt}")
    assert found.wrong_operator is None and found.degraded_layer is None
    assert found.skip == "" and found.doubts == ()
    assert found.samples == 8
    assert found.conclusion.startswith(f"The file computes the candidate's program in {found.runtime}: ")
    assert [row.node for row in found.conversion if row.node != "photo"] == [
        "conv2d", "conv2d_1", "add", "conv2d_2", "adaptive_avg_pool2d", "linear"
    ]  # fmt: skip


@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
def test_integers_of_a_faithful_file_are_within_a_step(judged: Callable[[str], Blame], fmt: str) -> None:
    found = judged(f"clean-{fmt}")
    assert all(row.max_steps is not None and row.max_steps < 1.01 for row in found.conversion)
    assert all(row.local_snr_db is None or row.local_snr_db > 20 for row in found.compression)


def test_half_precision_is_judged_in_decibels(judged: Callable[[str], Blame]) -> None:
    found = judged("clean-coreml")
    assert all(row.max_steps is None for row in found.conversion)
    assert all(row.local_snr_db is not None and 50 < row.local_snr_db < 100 for row in found.conversion)
    assert found.compression == ()


def test_it_says_how_tensors_were_found(judged: Callable[[str], Blame]) -> None:
    assert {row.matched for row in judged("clean-tflite").conversion} == {"order"}
    assert {row.matched for row in judged("clean-onnx").conversion} == {"name"}
    assert (
        "6 of 6 operators found in the file: 0 tensors by name, 6 by order" in judged("clean-tflite").matched
    )


def test_a_blame_survives_json(judged: Callable[[str], Blame]) -> None:
    found = judged("clean-onnx")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Blame) == found


# ------------------------------------------------------------------------------------------------ compression
@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
def test_an_outlier_channel_is_blamed_on_the_layer_that_makes_it(
    judged: Callable[[str], Blame], fmt: str
) -> None:
    found = judged(f"planted-{fmt}")
    assert found.wrong_operator is None
    assert found.degraded_layer is not None
    assert found.degraded_layer.module == "wide (Conv2d)"
    assert found.degraded_layer.reason.startswith(f"channel {blame_nets.CHANNEL} reaches ")
    assert "wide (Conv2d)" in found.conclusion and "n = 8" in found.conclusion
    whole = found.degraded_layer.snr_db
    assert whole is not None and whole > 30, "the whole tensor looks well: the outlier outshouts the others"
    wrong = {row.node for row in found.compression if row.wrong}
    assert {"conv2d_1", "add"} <= wrong <= {"conv2d_1", "add", "conv2d_2"}, "what makes, carries or reads it"


def test_the_skip_that_it_names_is_a_cure(
    folder: Path, judged: Callable[[str], Blame], tmp_path: Path
) -> None:
    found, spec = judged("planted-onnx"), spec_of(folder, "planted-onnx")
    cured = blame_nets.quantized(Path(spec.traced.program), tmp_path, "onnx", skip=found.skip)
    with np.load(spec.traced.samples_file) as kept:
        samples = [[kept["input_0"][i : i + 1]] for i in range(8)]
    float_ = Program(spec.traced.program)
    before, after = (
        Compression(Program(c.program, fold=False), float_, samples) for c in (spec.candidate, cured)
    )
    assert not any(row.wrong for row in after.rows())
    assert before.outputs.snr_db is not None and after.outputs.snr_db is not None
    assert after.outputs.snr_db > before.outputs.snr_db + 10


def test_layers_that_were_changed_before_are_compared_with_themselves_unrounded(folder: Path) -> None:
    """As after equalization or training: `wide` of the candidate is not that of float."""
    spec, other = spec_of(folder, "planted-tflite"), spec_of(folder, "clean-tflite")
    found = blame(
        msgspec.structs.replace(
            spec, traced=msgspec.structs.replace(spec.traced, program=other.traced.program)
        )
    )
    assert found.degraded_layer is not None and found.degraded_layer.module == "wide (Conv2d)"
    assert found.doubts[0].startswith("a step before quantizing changed the layers")


# ------------------------------------------------------------------------------------------------ conversion
def negate_weight(path: Path) -> None:
    """The largest weight of `deep` in an ONNX file changes its sign."""
    model = onnx.load(path)
    made = {out: node for node in model.graph.node for out in node.output}
    layer = next(node for node in model.graph.node if "conv2d_2" in node.output)
    stored = next(t for t in model.graph.initializer if t.name == made[layer.input[1]].input[0])
    values = numpy_helper.to_array(stored).copy()
    values.flat[np.abs(values).argmax()] *= -1
    stored.CopyFrom(numpy_helper.from_array(values, stored.name))
    onnx.save(model, path)


def stretch_scale(path: Path) -> None:
    """The integers that leave `wide` get another step."""
    model = onnx.load(path)
    constants = {t.name: t for t in model.graph.initializer}
    quantize = next(n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "conv2d_1")
    scale = constants[quantize.input[1]]
    wrong = np.float32(numpy_helper.to_array(scale) * 1.02)
    model.graph.initializer.append(numpy_helper.from_array(np.array(wrong), "wrong"))
    quantize.input[1] = "wrong"
    onnx.save(model, path)


def flip_tflite(path: Path) -> None:
    """One byte of the weights of `deep`, [16, 3, 3, 8] in the file, changes its sign."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    index = next(d["index"] for d in interpreter.get_tensor_details() if list(d["shape"]) == [16, 3, 3, 8])
    old = interpreter.get_tensor(index).copy()
    del interpreter
    new = old.copy()
    new.flat[np.abs(old.astype(int)).argmax()] *= -1
    replace_bytes(path, old.tobytes(), new.tobytes())


def flip_coreml(path: Path) -> None:
    """The largest weight of `deep` in the blob file changes its sign."""
    old = blame_nets.build(planted=False).deep.weight.detach().numpy().astype(np.float16)
    new = old.copy()
    new.flat[np.abs(old).argmax()] *= -1
    replace_bytes(next(path.rglob("weight.bin")), old.tobytes(), new.tobytes())


@pytest.mark.parametrize(
    ("fmt", "damage", "module"),
    [
        ("onnx", negate_weight, "deep (Conv2d)"),
        ("onnx", stretch_scale, "wide (Conv2d)"),
        ("tflite", flip_tflite, "deep (Conv2d)"),
        ("coreml", flip_coreml, "deep (Conv2d)"),
    ],
)
def test_a_damaged_operator_is_named_and_no_other(
    folder: Path, tmp_path: Path, fmt: str, damage: Callable[[Path], None], module: str
) -> None:
    found = blame(damaged(spec_of(folder, f"clean-{fmt}"), tmp_path, damage))
    assert found.wrong_operator is not None
    assert found.wrong_operator.module == module
    assert [row.module for row in found.conversion if row.wrong] == [module]
    assert module in found.conclusion and found.runtime in found.conclusion
    assert found.wrong_operator.reason in found.conclusion
    assert found.degraded_layer is None


def test_a_scale_that_differs_is_told_with_both_values(folder: Path, tmp_path: Path) -> None:
    found = blame(damaged(spec_of(folder, "clean-onnx"), tmp_path, stretch_scale))
    assert found.wrong_operator is not None
    assert "the file has scale " in found.wrong_operator.reason
    assert ", the program " in found.wrong_operator.reason


def joined_scale(path: Path) -> np.float32:
    """The scale of the concatenation, and with it of all that it joins."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (index,) = {
        int(op["outputs"][0]) for op in interpreter._get_ops_details() if op["op_name"] == "CONCATENATION"
    }
    return np.float32(
        next(d["quantization"][0] for d in interpreter.get_tensor_details() if d["index"] == index)
    )


def one_grid_of_scores(path: Path) -> None:
    """As if the converter had taken the scale of a sigmoid for everything."""
    scale = joined_scale(path).tobytes()
    path.write_bytes(path.read_bytes().replace(scale, np.float32(1 / 256).tobytes()))


def nudge(path: Path) -> None:
    scale = joined_scale(path)
    path.write_bytes(path.read_bytes().replace(scale.tobytes(), np.float32(scale * 1.0015).tobytes()))


def test_the_concatenation_that_asked_for_the_grid_is_blamed_not_the_layer_that_saturates(
    folder: Path, tmp_path: Path
) -> None:
    found = blame(damaged(spec_of(folder, "joined-tflite"), tmp_path, one_grid_of_scores))
    assert found.wrong_operator is not None
    assert (found.wrong_operator.op, found.wrong_operator.node) == ("CONCATENATION", "cat")
    assert "the file gives all that it joins one grid of " in found.conclusion
    assert "conv2d.default of box (Conv2d), which it joins, needs " in found.conclusion
    assert "The first operator that is off is CONV_2D of box (Conv2d)" in found.conclusion


def test_a_resize_between_two_layers_is_blamed_not_the_layer_behind_it(folder: Path) -> None:
    found = blame(spec_of(folder, "resize-onnx"))
    assert found.wrong_operator is not None
    assert (found.wrong_operator.op, found.wrong_operator.node) == ("Resize", "upsample_bilinear2d")
    assert [row.node for row in found.conversion if row.wrong] == ["upsample_bilinear2d"]


def test_what_stands_behind_the_last_layer_is_named_where_only_the_answers_are_wrong(folder: Path) -> None:
    found = blame(spec_of(folder, "turn-onnx"))
    assert not any(row.wrong for row in found.conversion)
    assert found.wrong_operator is not None
    assert (
        "behind the operators that were compared stand permute.default, flatten.using_ints"
        in found.conclusion
    )
    assert "each of" not in found.conclusion


def test_a_grid_that_differs_within_rounding_is_no_fault(folder: Path, tmp_path: Path) -> None:
    """TFLite has one grid for writer and readers: numbers that are right are right on any."""
    spec = spec_of(folder, "joined-tflite")
    found = blame(damaged(spec, tmp_path, nudge))
    assert blame(spec).wrong_operator is None and found.wrong_operator is None, found.conclusion


def test_a_file_that_was_altered_unknowingly_is_refused(folder: Path, tmp_path: Path) -> None:
    spec = damaged(spec_of(folder, "clean-onnx"), tmp_path, negate_weight)
    artifact = msgspec.structs.replace(spec.artifact, sha256="0" * 64)
    with pytest.raises(VerificationError, match="was altered after export"):
        blame(msgspec.structs.replace(spec, artifact=artifact))
