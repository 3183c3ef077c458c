"""What the ladder leaves out, and what it looks into: pure parts, without a stage."""

import msgspec
from builders import LINT, tried

from edgekit.ladder.comparable import is_all_integers
from edgekit.ladder.walk import _by_another_converter, _in_time, _pointless
from edgekit.records import Attempt, Budget, Candidate, Decision, FloatLayer, Recipe, Shortfall, Step


def recipe(technique: str, name: str = "") -> Recipe:
    return Recipe(name=name or technique, precision="int8", steps=(Step(technique=technique),))


def refused(technique: str, *limits: str) -> Attempt:
    shortfalls = tuple(Shortfall(limit=limit) for limit in limits)
    decision = Decision(accepted=False, reasons=("no",), shortfalls=shortfalls)
    return Attempt(recipe=recipe(technique, f"{technique}(mse)"), decision=decision)


def test_other_ranges_are_not_tried_where_integers_are_too_slow() -> None:
    reason = _pointless(recipe("ptq"), [refused("ptq", "max_drop", "min_speedup")])
    assert reason == "ptq(mse) broke min_speedup, which other ranges or rounding do not change"


def test_other_ranges_are_tried_where_accuracy_alone_failed() -> None:
    assert _pointless(recipe("ptq"), [refused("ptq", "max_drop")]) == ""
    assert _pointless(recipe("ptq"), []) == ""


def test_other_ranges_make_no_integers_where_there_are_none() -> None:
    reason = _pointless(recipe("ptq"), [refused("ptq", "precision lint", "gain")])
    assert reason == "ptq(mse) broke gain and precision lint, which other ranges or rounding do not change"


def test_a_mixed_file_competes_with_another_precision_alone() -> None:
    lint = msgspec.structs.replace(LINT, called="mixed, 36 % of the work in integers", share=0.36)
    mixed = tried("ptq", 2000, None, 0.0, lint=lint)
    assert mixed.decision.accepted
    half = Recipe(name="fp16", precision="float16", steps=(Step(technique="fp16"),))
    whole = Recipe(name="float32", precision="float32", steps=(Step(technique="float32"),))
    left_out = "ptq was accepted as what it is; only another kind of file can still be better"
    assert _pointless(recipe("ptq"), [mixed]) == _pointless(whole, [mixed]) == left_out
    assert _pointless(recipe("qat"), [mixed]) == left_out
    assert _pointless(half, [mixed]) == ""


def test_mixed_precision_is_tried_where_integers_are_too_slow() -> None:
    assert _pointless(recipe("mixed"), [refused("ptq", "min_speedup")]) == ""
    assert _pointless(recipe("ptq"), [refused("mixed", "min_speedup")]) == ""


def test_a_smaller_network_is_tried_where_time_size_or_memory_failed() -> None:
    steps = tuple(Step(technique=name) for name in ("prune", "distill", "qat"))
    smaller = Recipe(name="prune > distill > qat", precision="int8", steps=steps)
    reason = _pointless(smaller, [refused("ptq", "max_drop"), refused("qat", "max_drop")])
    assert (
        reason
        == "no recipe before broke a limit of time, size or memory: a smaller network mends nothing else"
    )
    assert _pointless(smaller, [refused("ptq", "max_drop"), refused("qat", "max_size_bytes")]) == ""
    assert _pointless(smaller, []) == ""


def test_widths_are_chosen_for_time_where_a_limit_of_time_was_missed() -> None:
    def timed(**options: float) -> Recipe:
        step = Step(technique="prune", options={"scope": "latency", **options})
        return Recipe(name="prune(latency)", precision="int8", steps=(step, Step(technique="qat")))

    slow, large = (
        tried("ptq", 100, 0.5, 0.0, b) for b in (Budget(min_speedup=3.0), Budget(max_size_bytes=9))
    )
    assert _in_time(timed(), [tried("ptq", 100, None, 0.0)]) == ""  # nobody knows
    assert _in_time(timed(), [large, slow]) == "" and _in_time(timed(), []) == ""
    assert (
        _in_time(timed(), [large]) == "no recipe before broke a limit of time: there is nothing to prune for"
    )
    assert _in_time(timed(speedup=2.0), [large]) == ""
    assert _in_time(recipe("prune"), [large]) == ""


def test_another_converter_alone_can_mend_what_does_not_convert_in_float() -> None:
    assert _by_another_converter(recipe("ptq_tensorflow"))
    assert not any(
        map(_by_another_converter, map(recipe, ("ptq", "mixed", "qat", "dynamic", "full_integer")))
    )


def test_layers_are_timed_on_a_file_that_is_integers_throughout() -> None:
    plain = Candidate(program="p", recipe=recipe("ptq"))
    kept = FloatLayer(name="conv2d", origin="conv (Conv2d)", macs_ratio=None, reason="r")
    for candidate, right in (
        (plain, True),
        (Candidate(program="p", recipe=recipe("mixed"), float_layers=(kept,)), False),
        (Candidate(program="p", recipe=Recipe(name="fp16", precision="float16", steps=())), False),
        (None, False),
    ):
        attempt = Attempt(
            recipe=recipe("ptq"), decision=Decision(accepted=False, reasons=("no",)), candidate=candidate
        )
        assert is_all_integers(attempt) == right


def test_fewer_bits_a_weight_are_tried_where_a_limit_of_size_was_missed_or_nothing_else_came_first() -> None:
    small = recipe("weight_only")
    reason = _pointless(small, [refused("fp16", "max_drop")])
    assert reason == "fp16(mse) broke no limit of size: smaller weights mend nothing else"
    assert _pointless(small, [refused("fp16", "max_size_bytes")]) == ""
    assert _pointless(small, []) == _pointless(small, [refused("palettize", "max_drop")]) == ""
    half = msgspec.structs.replace(small, precision="float16")
    assert _pointless(half, [refused("ptq", "max_drop")]) == "", "it follows integers, which lost accuracy"
