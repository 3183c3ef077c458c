"""Recipes as texts: read into rungs, refused with the place where they cannot be read."""

import pytest

from edgekit.errors import UserError
from edgekit.ladder.planner import plan
from edgekit.ladder.recipe_parser import parse, with_recipes
from edgekit.profile.reading import load_target
from edgekit.records import TaskFacts


def test_steps_with_their_options() -> None:
    rung = parse(
        "lowrank(estimator=mse, batches=1_0, skip='a,b (c)') > qat ( images = 5e3,learning_rate=1e-4 )"
    )
    first, last = rung.steps
    assert (first.technique, first.options) == (
        "lowrank",
        {"estimator": "mse", "batches": 10, "skip": "a,b (c)"},
    )
    assert (last.technique, last.options) == ("qat", {"images": 5000.0, "learning_rate": 1e-4})
    assert rung.precision == "int8" and rung.needs == ("calibration", "training")


@pytest.mark.parametrize(
    ("text", "precision"),
    [("ptq", "int8"), ("mixed_half", "float16"), ("prune > float32", "float32"), (" dynamic ", "int8")],
)
def test_the_last_step_tells_the_precision(text: str, precision: str) -> None:
    assert parse(text).precision == precision


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("3", 3),
        ("0.5", 0.5),
        ("mse", "mse"),
        ("'3'", "3"),
        ("a.b:c", "a.b:c"),
    ],
)
def test_values(text: str, value: object) -> None:
    found = parse(f"ptq(x={text})").options["x"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ptk", r"unknown technique 'ptk' \(did you mean ptq\?\); allowed: .*qat"),
        ("", r"recipe '' cannot be read at ''; write it like prune"),
        ("ptq >", "cannot be read at ''"),
        ("ptq qat", "cannot be read at 'ptq qat'"),
        ("ptq(mse)", r"options 'mse' are not key=value"),
        ("ptq > prune > qat", "prune needs a float program; put it before ptq"),
        (
            "fp16 > ptq",
            "fp16 is done by the exporter and nothing can follow it; put it last, or leave it out",
        ),
        ("float32 > ptq", "float32 is done by the exporter and nothing can follow it"),
        (
            "ptq > fp16",
            "fp16 takes a float program or a SavedModel or an ONNX file, and ptq gives a quantized program; keep one",
        ),
        (
            "ptq > float32",
            "float32 takes a float program or a SavedModel or an ONNX file, and ptq gives a quantized",
        ),
        ("ptq > qat", "qat takes a float program, and ptq gives a quantized program; keep one of the two"),
        ("mixed_half > fp16", "fp16 takes .*, and mixed_half gives a half-precision program"),
        (
            "distill > ptq_tensorflow",
            "recipe 'distill > ptq_tensorflow': ptq_tensorflow converts the task's own Keras model or SavedModel, without what "
            "distill did to it; leave distill out, or end with a technique that takes a float program, such as ptq",
        ),
        ("sparsify > ptq_tensorflow", "without what sparsify did to it"),
        ("ptq(a=1", r"cannot be read at 'ptq\(a=1'"),
    ],
)
def test_a_text_that_is_no_recipe(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(text)


def test_recipes_take_the_place_of_the_ladder_and_the_profile_still_decides() -> None:
    facts = TaskFacts(name="t", calibration=True, training=False)
    asked = ("ptq(estimator=minmax)", "qat", "prune > fp16")
    made = plan(facts, with_recipes(load_target("coreml-fp16"), asked))
    assert [r.name for r in made.recipes] == ["prune > fp16"]
    assert {s.technique: s.reason for s in made.skipped}["qat"] == "profile admits float16 and float32 only"
    served = plan(facts, with_recipes(load_target("x86-server"), asked))
    assert [r.name for r in served.recipes] == ["ptq(minmax)", "prune > fp16"]
    assert {s.technique: s.reason for s in served.skipped}["qat"] == "no training data in the task"
    assert with_recipes(load_target("x86-server"), ()) == load_target("x86-server")


def test_a_name_of_the_plan_is_the_rung_that_it_names() -> None:
    ladder = load_target("x86-server").ladder
    names = [rung.name for rung in ladder]
    assert "ptq(mse, gptq)" in names and "prune(0.25) > distill > qat" in names
    asked = with_recipes(load_target("x86-server"), [name.replace(" ", "") for name in names])
    assert asked.ladder == ladder
    with pytest.raises(UserError, match=r"'gptq' are not key=value, .* or as edgekit plan names it"):
        with_recipes(load_target("coreml-fp16"), ["ptq(gptq)"])


def test_names_of_asked_recipes_and_what_they_leave_out() -> None:
    text = "prune(macs=0.5) > distill(images=2000, optimizer=sgd) > ptq"
    facts = TaskFacts(name="t", calibration=True, training=True)
    made = plan(facts, with_recipes(load_target("x86-server"), [text]))
    assert [r.name for r in made.recipes] == ["prune(0.5) > distill(images=2000, sgd) > ptq"]
    assert {s.technique: s.reason for s in made.skipped}["qat"] == "no recipe names it"
