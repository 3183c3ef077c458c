"""The plan: tables for each profile, and for any profile and task a property test of what every plan keeps."""

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import TargetError, UserError
from edgekit.ladder.planner import budget_for, plan
from edgekit.profile.reading import load_target, target_names
from edgekit.records import Budget, Kind, Macs, Precision, Quant, Record, TaskFacts
from edgekit.target import Isa, Rung, Target
from edgekit.task import Task

NO_DATA = "no calibration data in the task"
SMALLER = ("prune(0.5) > distill > qat", "prune(0.25) > distill > qat")
TRAINED = ("qat", *SMALLER)
TIMED = "prune(latency) > distill > qat"  # where the times of layers can be measured: x86-server
X86_TRAINED = ("qat", TIMED, *SMALLER)
NO_LABELS = dict.fromkeys(TRAINED, "no training data in the task")
NO_LABELS_X86 = NO_LABELS | {TIMED: "no training data in the task"}
NOTHING = dict.fromkeys(TRAINED, "no calibration and no training data in the task")
SMALLER_FP16 = ("prune(0.5) > distill > fp16", "prune(0.25) > distill > fp16")
SMALL_WEIGHTS = ("weight_only(8) > fp16", "palettize(6) > fp16", "palettize(4) > fp16")
NO_FP16 = dict.fromkeys(SMALLER_FP16, "no training data in the task")
NO_SOURCE = {"ptq_tensorflow": "no Keras model or SavedModel in the task"}
PTQ = ("ptq(mse)", "ptq(minmax)", "ptq(moving_average)", "ptq(percentile)", "ptq(entropy)", "ptq(mse, gptq)")
INT8 = (*PTQ, "mixed(mse)", "mixed(mse, share=0.5)")
KINDS = "linear layers, recurrent cells, attention"
SLOW = {
    "x86-server": "dynamic quantization of a CNN took 8x float's time in ONNX Runtime (x86-64, EfficientNet-Lite0)",
    "arm-mobile": "dynamic quantization of a CNN took 8x float's time in ONNX Runtime on x86-64; on ARM it was not measured",
    "tflite-int8": (
        "dynamic quantization of a CNN took 1.6x float's time in LiteRT on x86-64; on a Pixel 9 Pro a public board has 0.79x, "
        "and 0.41x with ranges fixed beforehand (MobileNet-v2)"
    ),
}
UNKNOWN = {
    name: {"dynamic": f"only for a network of {KINDS}, which is known once the model is traced: {why}"}
    for name, why in SLOW.items()
}
CELLS = "calibrated integers do not reach into recurrent cells"
FP16_ONLY = "profile coreml-fp16 admits float16 and float32 only"


CNN = Macs(count=100, convolution=0.98, linear=0.02)
LSTM = Macs(count=100, recurrent=0.97, linear=0.03)
TRANSFORMER = Macs(count=100, convolution=0.01, linear=0.9, attention=0.09)
CRNN = Macs(count=100, convolution=0.45, recurrent=0.55)
MLP = Macs(count=100, linear=1.0)


def facts(calibration: bool = True, training: bool = False, macs: Macs | None = None) -> TaskFacts:
    return TaskFacts(name="t", calibration=calibration, training=training, macs=macs)


@pytest.mark.parametrize(
    ("target", "calibration", "recipes", "skipped"),
    [
        ("x86-server", True, (*INT8, "fp16", "float32"), UNKNOWN["x86-server"] | NO_LABELS_X86),
        (
            "x86-server",
            False,
            ("fp16", "float32"),
            {
                **dict.fromkeys(INT8, NO_DATA),
                **NOTHING,
                TIMED: NOTHING["qat"],
                **UNKNOWN["x86-server"],
            },
        ),
        ("arm-mobile", True, (*INT8, "fp16", "float32"), UNKNOWN["arm-mobile"] | NO_LABELS),
        (
            "arm-mobile",
            False,
            ("fp16", "float32"),
            {**dict.fromkeys(INT8, NO_DATA), **NOTHING, **UNKNOWN["arm-mobile"]},
        ),
        ("tflite-int8", True, (*INT8, "fp16", "float32"), UNKNOWN["tflite-int8"] | NO_LABELS | NO_SOURCE),
        (
            "tflite-int8",
            False,
            ("fp16", "float32"),
            {**dict.fromkeys(INT8, NO_DATA), **NOTHING, **NO_SOURCE, **UNKNOWN["tflite-int8"]},
        ),
        (
            "coreml-fp16",
            True,
            ("fp16", "mixed_half", *SMALL_WEIGHTS, "float32"),
            {"ptq": FP16_ONLY, "qat": FP16_ONLY, "dynamic": FP16_ONLY, **NO_FP16},
        ),
        (
            "coreml-fp16",
            False,
            ("fp16", *SMALL_WEIGHTS, "float32"),
            {"ptq": FP16_ONLY, "qat": FP16_ONLY, "dynamic": FP16_ONLY, "mixed_half": NO_DATA, **NO_FP16},
        ),
    ],
)
def test_ladders(target: str, calibration: bool, recipes: tuple[str, ...], skipped: dict[str, str]) -> None:
    made = plan(facts(calibration), load_target(target))
    assert tuple(r.name for r in made.recipes) == recipes
    assert {s.technique: s.reason for s in made.skipped} == skipped
    assert (made.task, made.target, made.budget) == ("t", target, load_target(target).budget)


@pytest.mark.parametrize("target", ["x86-server", "arm-mobile", "tflite-int8"])
def test_training_data_opens_qat_after_all_that_only_calibrates(target: str) -> None:
    made = plan(facts(training=True), load_target(target))
    assert tuple(r.name for r in made.recipes) == (
        *INT8,
        *(X86_TRAINED if target == "x86-server" else TRAINED),
        "fp16",
        "float32",
    )
    assert {s.technique for s in made.skipped} <= {"dynamic", *NO_SOURCE}


@pytest.mark.parametrize("target", SLOW)
def test_a_cnn_is_never_quantized_dynamically(target: str) -> None:
    made = plan(facts(macs=CNN), load_target(target))
    assert tuple(r.name for r in made.recipes) == (*INT8, "fp16", "float32"), "the ladder of a CNN"
    reasons = {s.technique: s.reason for s in made.skipped}
    assert reasons["dynamic"] == f"98 % of the multiply-accumulates are convolutions: {SLOW[target]}"


@pytest.mark.parametrize(
    ("macs", "calibration", "first"),
    [
        (LSTM, True, ("dynamic", "fp16", "float32")),
        (LSTM, False, ("dynamic", "fp16", "float32")),
        (CRNN, True, ("dynamic", "fp16", "float32")),
        (TRANSFORMER, True, ("ptq(mse)", "dynamic", "ptq(minmax)")),
        (TRANSFORMER, False, ("dynamic", "fp16", "float32")),
        (MLP, True, ("ptq(mse)", "dynamic", "ptq(minmax)")),
    ],
    ids=["lstm", "lstm without data", "crnn", "transformer", "transformer without data", "mlp"],
)
@pytest.mark.parametrize("target", SLOW)
def test_sequence_models(target: str, macs: Macs, calibration: bool, first: tuple[str, ...]) -> None:
    made = plan(facts(calibration, macs=macs), load_target(target))
    assert tuple(r.name for r in made.recipes)[:3] == first


def test_why_calibrated_integers_are_not_for_an_lstm() -> None:
    made = plan(facts(macs=LSTM), load_target("x86-server"))
    reasons = {s.technique: s.reason for s in made.skipped}
    cells = f"97 % of the multiply-accumulates are recurrent cells: {CELLS}"
    assert reasons == dict.fromkeys(INT8, cells) | NO_LABELS_X86
    trained = plan(facts(training=True, macs=LSTM), load_target("x86-server"))
    assert {s.technique: s.reason for s in trained.skipped}["qat"] == cells


def test_a_recipe_prunes_to_the_widths_of_the_target_and_says_why_each_step_is_there() -> None:
    made = plan(facts(training=True), load_target("x86-server"))
    recipe = next(r for r in made.recipes if r.name == SMALLER[0])
    assert [step.technique for step in recipe.steps] == ["prune", "distill", "qat"]
    assert recipe.steps[0].options == {"multiple": 8, "macs": 0.5} and recipe.precision == "int8"
    assert all(step.reason for step in recipe.steps) and "7-bit" in recipe.steps[-1].reason
    half = plan(facts(training=True), load_target("coreml-fp16"))
    assert [r.name for r in half.recipes] == ["fp16", "mixed_half", *SMALL_WEIGHTS, *SMALLER_FP16, "float32"]


def test_the_channels_of_a_keras_model_are_not_pruned() -> None:
    keras = TaskFacts(name="t", calibration=True, training=True, tensorflow=True)
    reasons = {s.technique: s.reason for s in plan(keras, load_target("tflite-int8")).skipped}
    assert all("a Keras model cannot be pruned" in reasons[name] for name in SMALLER)


def test_a_model_of_which_nothing_was_counted_is_taken_for_a_cnn() -> None:
    made = plan(facts(macs=Macs(count=0)), load_target("x86-server"))
    assert tuple(r.name for r in made.recipes) == (*INT8, "fp16", "float32")
    assert "which is not known of this one" in made.skipped[0].reason


def test_the_dynamic_recipe_says_its_own_arithmetic() -> None:
    made = plan(facts(macs=LSTM), load_target("x86-server"), isa="avx-vnni")
    assert (
        made.recipes[0]
        .steps[0]
        .reason.endswith("; avx-vnni: float inputs and outputs, 8-bit per_channel weights")
    )


@pytest.mark.parametrize(
    ("isa", "text"),
    [
        (None, "; avx2: uint8 activations, 7-bit per_channel weights"),
        ("avx512", "; avx512: uint8 activations, 7-bit per_channel weights"),
        ("avx512-vnni", "; avx512-vnni: uint8 activations, 8-bit per_channel weights"),
    ],
)
def test_the_reason_says_which_arithmetic_and_why(isa: str | None, text: str) -> None:
    made = plan(facts(), load_target("x86-server"), isa=isa)
    assert made.isa == (isa or "avx2")
    int8 = [r.steps[0].reason for r in made.recipes if r.precision == "int8"]
    assert len(int8) == len(INT8)
    assert all(reason.endswith(text) and len(reason) > len(text) + 20 for reason in int8)
    assert all("activations" not in r.steps[0].reason for r in made.recipes if r.precision != "int8")


def test_an_instruction_set_that_is_not_admitted() -> None:
    with pytest.raises(TargetError, match="does not admit the instruction set 'avx2'; allowed: apple"):
        plan(facts(), load_target("coreml-fp16"), isa="avx2")


def test_a_task_gives_the_same_plan_as_its_facts() -> None:
    task = Task(name="t", model=lambda: None, example_inputs=(0,), metric=lambda p: 1.0, calibration=[0])
    assert plan(task, load_target("x86-server")) == plan(task.facts(), load_target("x86-server"))


def test_a_keras_model_may_go_through_tensorflow_and_a_savedmodel_must() -> None:
    target = load_target("tflite-int8")
    keras, saved = (
        TaskFacts(name="t", calibration=True, training=False, tensorflow=True, torch=t) for t in (True, False)
    )
    assert [r.name for r in plan(keras, target).recipes] == [
        INT8[0],
        "ptq_tensorflow",
        *INT8[1:],
        "fp16",
        "float32",
    ]
    made = plan(saved, target)
    assert [r.name for r in made.recipes] == ["ptq_tensorflow", "fp16", "float32"]
    assert {s.reason for s in made.skipped} == {"a SavedModel has no torch program"}


# ------------------------------------------------------------------------------------------------------ properties


def networks_of(rung: Rung) -> tuple[Kind, ...]:
    every: tuple[Kind, ...] = get_args(Kind)
    cells = rung.technique in ("ptq", "qat", "mixed")
    return rung.networks or tuple(kind for kind in every if not (cells and kind == "recurrent"))


def _rung(networks: tuple[str, ...], unfit: str, **fields: Any) -> Rung:
    return Rung(networks=networks, unfit=unfit if networks else "", **fields)


PRECISIONS: tuple[Precision, ...] = ("int8", "float16", "float32")
rungs = st.builds(
    _rung,
    technique=st.sampled_from(["ptq", "qat", "prune", "distill", "fp16", "float32"]),
    reason=st.text(min_size=1, max_size=20),
    options=st.dictionaries(st.sampled_from(["estimator", "share"]), st.sampled_from(["a", 0.5]), max_size=2),
    networks=st.sampled_from([(), ("linear",), ("convolution", "linear"), ("recurrent", "attention")]),
    unfit=st.just("it is slower"),
)


def custom(ladder: list[Rung], precisions: tuple[Precision, ...]) -> Target:
    quant = Quant(
        activation_dtype="int8", weight_bits=8, granularity="per_tensor", symmetric_activations=True
    )
    return Target(
        name="any",
        summary="any",
        runtime="litert",
        format="tflite",
        precisions=precisions,
        isa=Isa(arch=("a",), levels={"weak": {"weight_bits": 4}, "strong": {}}),
        ladder=tuple(ladder),
        quant=quant,
    )


profiles = st.sampled_from(target_names()).map(load_target) | st.builds(
    custom,
    st.lists(rungs, max_size=7),
    st.lists(st.sampled_from(PRECISIONS), unique=True, min_size=1).map(tuple),
)


@settings(max_examples=200, deadline=None)
@given(target=profiles, calibration=st.booleans(), training=st.booleans(), data=st.data())
def test_every_plan(target: Target, calibration: bool, training: bool, data: st.DataObject) -> None:
    isa = data.draw(st.sampled_from([None, *target.isa.levels]))
    macs = data.draw(st.sampled_from([None, CNN, LSTM, TRANSFORMER, CRNN, MLP, Macs(count=0)]))
    task = facts(calibration, training, macs)
    made = plan(task, target, isa=isa)
    brought = {need for need, there in (("calibration", calibration), ("training", training)) if there}

    possible = [
        r
        for r in target.ladder
        if r.precision in target.precisions
        and set(r.needs) <= brought
        and (macs if macs and macs.count else CNN).share(networks_of(r)) >= 0.5
    ]
    assert [(r.steps[-1].technique, r.steps[-1].options, r.precision) for r in made.recipes] == [
        (rung.technique, rung.options, rung.precision) for rung in possible
    ], "recipes are exactly the rungs whose needs are met, in the order of the ladder"
    assert [len(r.steps) for r in made.recipes] == [1 + len(rung.before) for rung in possible]
    assert all(r.name and all(step.reason for step in r.steps) for r in made.recipes)

    named = {step.technique for rung in target.ladder for step in rung.steps}
    unnamed = {"ptq", "qat", "dynamic", "fp16", "float32"} - named
    assert len(made.recipes) + len(made.skipped) == len(target.ladder) + len(unnamed)
    assert unnamed <= {s.technique for s in made.skipped}
    assert all(s.reason.strip() for s in made.skipped)

    assert plan(task, target, isa=isa) == made, "pure: the same again"
    assert made.isa in target.isa.levels


@settings(max_examples=50, deadline=None)
@given(target=profiles)
def test_more_data_never_closes_a_recipe(target: Target) -> None:
    few, many = plan(facts(False, False), target).recipes, plan(facts(True, True), target).recipes
    rest = iter(many)
    assert all(recipe in rest for recipe in few), "a subsequence: the same recipes in the same order"


def test_a_profile_is_not_changed_by_planning() -> None:
    target = load_target("x86-server")
    plan(facts(), target, {"max_drop": 0.5}, "avx512-vnni")
    assert target == load_target("x86-server")


# ------------------------------------------------------------------------------------------------------ budgets


@pytest.mark.parametrize(
    ("given_budget", "expected"),
    [
        (None, Budget(max_drop=0.01, min_speedup=1.0)),
        ({}, Budget(max_drop=0.01, min_speedup=1.0)),
        ({"max_drop": 0.002}, Budget(max_drop=0.002, min_speedup=1.0)),
        ({"max_drop": 0}, Budget(max_drop=0, min_speedup=1.0)),
        ({"max_size_bytes": 10}, Budget(max_drop=0.01, min_speedup=1.0, max_size_bytes=10)),
        (Budget(max_latency_s=0.5), Budget(max_latency_s=0.5)),
    ],
)
def test_a_mapping_overrides_and_a_budget_replaces(given_budget: Any, expected: Budget) -> None:
    assert plan(facts(), load_target("x86-server"), given_budget).budget == expected


def test_a_mapping_keeps_the_rest_of_the_profiles_own_budget() -> None:
    target = custom([], ("int8",))
    target = Target(**{**fields(target), "budget": Budget(max_drop=0.3, max_memory_bytes=7)})
    assert budget_for(target, {"min_speedup": 2.0}) == Budget(
        max_drop=0.3, max_memory_bytes=7, min_speedup=2.0
    )


def fields(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


ALLOWED = "; allowed: max_drop, min_speedup, max_size_bytes, max_latency_s, max_memory_bytes, min_agreement, min_snr_db, floor"


@pytest.mark.parametrize(
    ("given_budget", "what"),
    [
        ({"max_loss": 1}, "budget: Object contains unknown field `max_loss`"),
        ({"max_drop": "1 %"}, "budget: Expected `float`, got `str` - at `$.max_drop`"),
        ({"max_drop": None}, "budget: Expected `float`, got `null` - at `$.max_drop`"),
        ({"max_drop": -0.1}, "budget: budget max_drop is -0.1; it must be a finite number of at least 0"),
        (
            {"max_drop": float("nan")},
            "budget: budget max_drop is nan; it must be a finite number of at least 0",
        ),
        ({"max_size_bytes": 0.5}, "budget: Expected `int | null`, got `float` - at `$.max_size_bytes`"),
    ],
)
def test_a_budget_that_is_none(given_budget: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(facts(), load_target("x86-server"), given_budget)
    assert str(caught.value) == what + ALLOWED


def test_small_weights_come_smallest_first_and_zeros_only_where_there_is_data_to_train_on() -> None:
    made = plan(facts(training=True), load_target("coreml-small"))
    sparse = "sparsify(0.5) > palettize(4) > fp16"
    assert [r.name for r in made.recipes] == [
        sparse,
        "palettize(4) > fp16",
        "palettize(bits=4, group=8) > fp16",
        "weight_only(bits=4, block=32) > fp16",
        "palettize(6) > fp16",
        "weight_only(8) > fp16",
        "fp16",
        "mixed_half",
        "float32",
    ]
    left = {s.technique: s.reason for s in plan(facts(), load_target("coreml-small")).skipped}
    assert left[sparse] == "no training data in the task"
