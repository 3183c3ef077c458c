"""The gate on artifacts made worse on purpose: one way at a time, each refused with its figures."""

import math
import re
from typing import Any

import msgspec
import pytest
from builders import FAST, FLOAT, GOOD, HERE, INT8, LINT, flips

from edgekit.errors import UserError
from edgekit.ladder import gate
from edgekit.records import (
    Budget,
    Decision,
    Lint,
    OutputParity,
    Parity,
    Saturation,
)

ELSEWHERE = f"not measured on the target: {HERE} is not one of its machines"


def decide(
    budget: Budget | None = None,
    artifact: dict[str, Any] | None = None,
    verdict: dict[str, Any] | None = None,
    measured: dict[str, Any] | None = None,
) -> Decision:
    """The good attempt, with the given fields made worse."""
    change = msgspec.structs.replace
    return gate.decide(
        budget or Budget(),
        change(INT8, **(artifact or {})),
        FLOAT,
        change(GOOD, **(verdict or {})),
        change(FAST, **(measured or {})),
    )


def lint(*findings: str) -> Lint:
    return msgspec.structs.replace(LINT, passed=not findings, findings=findings)


def saturation(can_saturate: bool) -> Saturation:
    return Saturation(
        bound_holds=not can_saturate,
        agreement=0.9,
        max_abs_error=1.0,
        samples=9,
        conclusion="can saturate on avx2: pairs of products exceed 16 bits",
        can_saturate=can_saturate,
    )


def parity(**changed: Any) -> Parity:
    """The good one's, with one output whose figures are changed."""
    good = OutputParity(name="boxes", snr_db=30.0, correlation=0.999, stuck_ratio=0.0, slices=4)
    return msgspec.structs.replace(GOOD.parity, outputs=(msgspec.structs.replace(good, **changed),))


def ratio(middle: float, low: float, high: float) -> dict[str, Any]:
    return {"cpu_ratio": middle, "cpu_ratio_low": low, "cpu_ratio_high": high}


def test_the_good_one_is_accepted_with_its_figures() -> None:
    assert decide() == Decision(
        accepted=True,
        reasons=("within the budget: metric -0.0020 on 500 samples, 0.62 of float's CPU time",),
    )


WORSE: list[tuple[str, dict[str, Any], str]] = [
    (
        "less accurate",
        {"verdict": {"metric": 0.88}},
        "metric 0.8800 is 0.0140 below float's 0.8940; the budget allows 0.01 (n=500)",
    ),
    (
        "nan metric",
        {"verdict": {"metric": math.nan}},
        "metric nan is nan below float's 0.8940; the budget allows 0.01 (n=500)",
    ),
    (
        "any drop is too much",
        {"budget": Budget(max_drop=0)},
        "metric 0.8920 is 0.0020 below float's 0.8940; the budget allows 0 (n=500)",
    ),
    (
        "float inside",
        {"verdict": {"lint": lint("only 1 of 9 multiply-accumulate operators run in int8")}},
        "precision lint: only 1 of 9 multiply-accumulate operators run in int8",
    ),
    (
        "saturates",
        {"verdict": {"saturation": saturation(True)}},
        "saturation: can saturate on avx2: pairs of products exceed 16 bits",
    ),
    (
        "gains nothing",
        {"artifact": {"size_bytes": 3601}, "measured": ratio(0.99, 0.97, 1.01)},
        "nothing is gained: 3601 bytes are not a tenth smaller than float's 4000, and it is not surely faster",
    ),
    (
        "a broken output",
        {"verdict": {"parity": parity(snr_db=0.19)}},
        "floor: output boxes keeps 0.2 dB to float; the floor is 7 dB (n=500)",
    ),
    (
        "beyond the size budget",
        {"budget": Budget(max_size_bytes=999)},
        "1000 bytes exceed the budget of 999",
    ),
    (
        "slower than float",
        {"measured": ratio(1.31, 1.27, 1.36)},
        f"slower than float: 1.31 of float's CPU time [1.27, 1.36] on {HERE} (n=40 rounds)",
    ),
    (
        "not as fast as asked",
        {"budget": Budget(min_speedup=2)},
        f"too slow: 0.62 of float's CPU time [0.60, 0.64] on {HERE} (n=40 rounds), at most 0.50 is asked",
    ),
    (
        "beyond the latency budget",
        {"budget": Budget(max_latency_s=0.005)},
        "6.20 ms CPU exceed the budget of 5.00 ms",
    ),
    (
        "beyond the memory budget",
        {"budget": Budget(max_memory_bytes=49_999_999)},
        "peak memory of 50000000 bytes exceeds the budget of 49999999",
    ),
]


@pytest.mark.parametrize(("change", "reason"), [w[1:] for w in WORSE], ids=[w[0] for w in WORSE])
def test_made_worse_in_one_way(change: dict[str, Any], reason: str) -> None:
    found = decide(**change)
    assert (found.accepted, found.reasons, found.not_measured) == (False, (reason,), ())
    assert len(found.shortfalls) == 1


def test_made_worse_in_every_way_names_every_limit() -> None:
    found = decide(
        budget=Budget(max_size_bytes=1, max_latency_s=0.001, max_memory_bytes=1),
        artifact={"size_bytes": 5000},
        verdict={"metric": 0.1, "lint": lint("first", "second"), "saturation": saturation(True)},
        measured=ratio(2.0, 1.9, 2.1),
    )
    assert not found.accepted
    assert [reason.split()[0] for reason in found.reasons] == [
        "metric", "precision", "precision", "saturation:", "5000", "nothing", "slower", "6.20", "peak",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"measured": ratio(1.30, 0.95, 1.60)}, "the interval straddles 1: nobody can tell"),
        ({"measured": ratio(1.03, 1.02, 1.04)}, "within the tolerance of 2 %"),
        ({"budget": Budget(min_speedup=0), "measured": ratio(9.0, 8.0, 10.0)}, "speed is not limited"),
        ({"budget": Budget(min_speedup=0.5), "measured": ratio(1.9, 1.8, 2.0)}, "half as fast is allowed"),
        ({"budget": Budget(max_size_bytes=1000)}, "at the limit"),
        ({"budget": Budget(max_latency_s=0.0062)}, "at the limit"),
        ({"budget": Budget(max_memory_bytes=50_000_000)}, "at the limit"),
        ({"verdict": {"metric": 0.95}}, "better than float"),
        ({"verdict": {"saturation": saturation(False)}}, "saturation looked at and harmless"),
        ({"artifact": {"size_bytes": 4000, "precision": "float32"}}, "float32 is the baseline itself"),
    ],
)
def test_what_is_no_reason_to_refuse(change: dict[str, Any], why: str) -> None:
    found = decide(**change)
    assert found.accepted, f"{why}: {found.reasons}"
    assert len(found.reasons) == 1 and found.reasons[0].startswith("within the budget: ")


@pytest.mark.parametrize(
    ("float_metric", "metric", "max_drop"),
    [(0.9, 0.89, 0.01), (0.8925, 0.8875, 0.005), (0.3, 0.2, 0.1), (91.5, 91.0, 0.5)],
)
def test_a_drop_of_exactly_the_budget_is_within_it(
    float_metric: float, metric: float, max_drop: float
) -> None:
    """0.9 - 0.89 is 0.010000000000000009 in binary; "0.0100 below, the budget allows 0.01" would be absurd."""
    found = decide(Budget(max_drop=max_drop), verdict={"metric": metric, "float_metric": float_metric})
    assert found.accepted, found.reasons


def test_the_edge_of_the_speed_tolerance_is_where_it_is_said_to_be() -> None:
    edge = 1 + gate.SPEED_TOLERANCE_RATIO
    assert decide(measured=ratio(edge, edge - 1e-9, edge)).accepted
    assert not decide(measured=ratio(edge + 0.01, edge + 1e-9, edge + 0.02)).accepted


# ------------------------------------------------------------------------------- speed that nobody measured there


def test_elsewhere_a_slow_run_decides_nothing_and_is_listed() -> None:
    found = decide(measured={**ratio(3.0, 2.9, 3.1), "on_target": False, "reason": ELSEWHERE})
    assert found.accepted
    assert found.not_measured == (f"speed against float: {ELSEWHERE}",)
    assert "CPU time" not in found.reasons[0], "a foreign machine's figure is no reason to accept"


def test_elsewhere_accuracy_still_refuses() -> None:
    found = decide(verdict={"metric": 0.5}, measured={"on_target": False, "reason": ELSEWHERE})
    assert not found.accepted
    assert found.not_measured == (f"speed against float: {ELSEWHERE}",)


def test_elsewhere_every_limit_asked_for_is_listed() -> None:
    tight = Budget(max_latency_s=1e-9, max_memory_bytes=1)
    found = decide(tight, measured={"on_target": False, "reason": ELSEWHERE})
    assert found.accepted
    assert found.not_measured == (
        f"speed against float: {ELSEWHERE}",
        f"latency: {ELSEWHERE}",
        f"peak memory: {ELSEWHERE}",
    )


def test_nothing_measured_at_all() -> None:
    nothing: dict[str, Any] = {
        "cpu_ratio": None, "cpu_ratio_low": None, "cpu_ratio_high": None, "rounds": 0, "cpu_s": None,
        "float_cpu_s": None, "peak_memory_bytes": None, "on_target": False, "reason": "not measured: no runtime",
    }  # fmt: skip
    found = decide(Budget(max_latency_s=1, max_memory_bytes=1), measured=nothing)
    assert found.accepted
    assert [line.partition(":")[0] for line in found.not_measured] == [
        "speed against float",
        "latency",
        "peak memory",
    ]


def test_a_figure_that_the_deciding_machine_lacks_is_not_taken_for_zero() -> None:
    found = decide(Budget(max_memory_bytes=1), measured={"peak_memory_bytes": None})
    assert found.accepted
    assert found.not_measured == (f"peak memory: no figure from {HERE}",)


@pytest.mark.parametrize(
    ("low", "high", "accepted"), [(0.47, 0.49, True), (0.96, 1.04, False), (1.18, 1.22, False)]
)
def test_a_stronger_machine_may_refuse_but_not_vouch(low: float, high: float, accepted: bool) -> None:
    ratios = {"cpu_ratio": (low + high) / 2, "cpu_ratio_low": low, "cpu_ratio_high": high}
    decision = decide(measured={**ratios, "faster_than_serving_isa": True})
    assert decision.accepted is accepted
    assert "speed against float on the serving level" in decision.not_measured[0]


# -- what broke, in figures


@pytest.mark.parametrize(
    ("change", "limit", "allowed", "found", "excess"),
    [
        ({"verdict": {"metric": 0.864}}, "max_drop", 0.01, 0.03, 2.0),
        ({"budget": Budget(max_drop=0), "verdict": {"metric": 0.892}}, "max_drop", 0, 0.002, 2.0),
        ({"budget": Budget(max_size_bytes=800)}, "max_size_bytes", 800, 1000, 0.25),
        ({"artifact": {"size_bytes": 4500}, "measured": ratio(1.0, 0.99, 1.01)}, "gain", 3600, 4500, 0.25),
        ({"budget": Budget(min_speedup=2)}, "min_speedup", 2, 1 / 0.62, 0.24),
        ({"budget": Budget(max_latency_s=0.005)}, "max_latency_s", 0.005, 0.0062, 0.24),
        ({"budget": Budget(max_memory_bytes=40_000_000)}, "max_memory_bytes", 4e7, 5e7, 0.25),
    ],
)
def test_a_refusal_holds_its_figures(
    change: dict[str, Any], limit: str, allowed: float, found: float, excess: float
) -> None:
    (shortfall,) = decide(**change).shortfalls
    assert shortfall.limit == limit
    assert (shortfall.allowed, shortfall.found) == (pytest.approx(allowed), pytest.approx(found))
    assert shortfall.excess == pytest.approx(excess)


def test_a_broken_promise_has_no_figure() -> None:
    bad = msgspec.structs.replace(LINT, findings=("float ops",), passed=False)
    (shortfall,) = decide(verdict={"lint": bad}).shortfalls
    assert (shortfall.limit, shortfall.excess) == ("precision lint", None)


def test_an_accepted_attempt_falls_short_of_nothing() -> None:
    assert decide().shortfalls == ()


@pytest.mark.parametrize(
    ("agreement", "text"),
    [
        (0.98, r"98.00% of the samples get float's answer; the budget asks for 98.50% \(n=500\)"),
        (None, r"no output was compared by a measure of its own .*: leave min_agreement out"),
    ],
)
def test_agreement_with_float(agreement: float | None, text: str) -> None:
    parity = msgspec.structs.replace(GOOD.parity, agreement=agreement)
    verdict = msgspec.structs.replace(GOOD, parity=parity)
    decision = gate.decide(Budget(min_agreement=0.985), INT8, FLOAT, verdict, FAST)
    assert not decision.accepted
    assert re.search(text, decision.reasons[0])
    assert decision.shortfalls[0].limit == "min_agreement"
    assert gate.decide(Budget(min_agreement=0.985), INT8, FLOAT, GOOD, FAST).accepted
    assert gate.decide(Budget(), INT8, FLOAT, verdict, FAST).accepted


def test_n_is_that_of_the_metric_and_parity_is_told_apart_where_it_differs() -> None:
    assert "on 2000 samples, parity on 500, 0.62" in decide(verdict={"samples": 2000}).reasons[0]
    worse = decide(verdict={"samples": 2000, "metric": 0.8})
    assert worse.reasons[0].endswith("the budget allows 0.01 (n=2000)")


def test_agreement_names_the_output_and_its_measure() -> None:
    output = OutputParity(
        name="mask", snr_db=20.0, correlation=0.99, stuck_ratio=0.0, slices=1, measure="mask", agreement=0.91
    )
    parity = msgspec.structs.replace(GOOD.parity, agreement=0.91, outputs=(output,))
    verdict = msgspec.structs.replace(GOOD, parity=parity)
    decision = gate.decide(Budget(min_agreement=0.95), INT8, FLOAT, verdict, FAST)
    assert decision.reasons[0].startswith(
        "output mask agrees with float by 91.00%, measured as intersection over union of classes; the budget asks for 95.00%"
    )


def test_agreement_is_a_share() -> None:
    with pytest.raises(UserError, match=r"min_agreement is 98\.5; it must be a share, at most 1"):
        Budget(min_agreement=98.5)


def elsewhere(**changed: Any) -> dict[str, Any]:
    return {"on_target": False, "reason": ELSEWHERE, **changed}


@pytest.mark.parametrize(
    ("size_bytes", "measured", "accepted"),
    [
        (3600, elsewhere(), True),
        (3601, elsewhere(), False),
        (3999, ratio(0.6, 0.5, 0.7), True),
        (4001, ratio(0.6, 0.5, 0.7), True),
        (3999, ratio(0.99, 0.97, 1.0), False),
        (3999, {**ratio(0.6, 0.5, 0.7), "faster_than_serving_isa": True}, False),
        (3999, elsewhere(**ratio(0.6, 0.5, 0.7)), False),
    ],
)
def test_a_tenth_of_the_bytes_or_measured_time(
    size_bytes: int, measured: dict[str, Any], accepted: bool
) -> None:
    assert decide(artifact={"size_bytes": size_bytes}, measured=measured).accepted is accepted


def test_what_a_mixed_file_is_called_stands_in_its_reason() -> None:
    mixed = msgspec.structs.replace(LINT, called="mixed, 38 % of the work in integers", share=0.38)
    assert decide(verdict={"lint": mixed}).reasons[0].endswith("; mixed, 38 % of the work in integers")


def test_a_floor_that_the_budget_lowers_is_told() -> None:
    low = {"parity": parity(snr_db=5.0)}
    assert not decide(verdict=low).accepted
    for budget, word in ((Budget(min_snr_db=4), "min_snr_db = 4"), (Budget(floor="off"), "floor = off")):
        found = decide(budget=budget, verdict=low)
        assert found.accepted
        assert found.doubts == (
            f"output boxes keeps 5.0 dB to float; the floor is 7 dB (n=500); let pass by the budget's {word}",
        )


@pytest.mark.parametrize(
    ("lost", "gained", "doubted"), [(0, 0, False), (3, 1, True), (7, 2, True), (20, 0, False), (1, 30, False)]
)
def test_samples_that_are_too_few_to_tell_are_a_doubt_and_refuse_nothing(
    lost: int, gained: int, doubted: bool
) -> None:
    """The budget allows 0.01 of n=400: it lies in the interval of the drop for 3 lost and 1 gained (0.005 accepted, at most
    0.018) as for 7 and 2 (0.0125 refused, at least -0.003)."""
    found = flips(*((i, 1, -1) for i in range(lost)), *((i + lost, 1, 1) for i in range(gained)))
    drop = (lost - gained) / found.samples
    decision = decide(verdict={"metric": 0.894 - drop, "samples": found.samples, "flips": found})
    assert decision.accepted == (drop <= 0.01)
    told = [doubt for doubt in decision.doubts if doubt.startswith("400 samples are too few to tell")]
    assert bool(told) == doubted
    assert all(f"{lost} answers lost and {gained} gained" in text and "about" in text for text in told)
