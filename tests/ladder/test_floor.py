"""The floor under the metric, limit by limit."""

from typing import Any

import msgspec
import pytest
from builders import GOOD

from edgekit.ladder import floor
from edgekit.records import Budget, OutputParity, Parity, Verdict

RIGHT = OutputParity(name="y", snr_db=30.0, correlation=0.999, stuck_ratio=0.0, slices=8)


def parity(**changed: Any) -> Parity:
    output = msgspec.structs.replace(RIGHT, **changed)
    return Parity(samples=9, max_abs_error=1, rms_error=1, snr_db=30.0, agreement=None, outputs=(output,))


def verdict(found: Parity, own: Parity | None = None) -> Verdict:
    return msgspec.structs.replace(GOOD, runtime="litert", parity=found, program_parity=own)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"snr_db": 6.9}, "output y keeps 6.9 dB to float; the floor is 7 dB (n=9)"),
        ({"snr_db": -200.0}, "output y keeps -200.0 dB to float; the floor is 7 dB (n=9)"),
        ({"correlation": 0.5}, "output y is correlated with float by 0.50; the floor is 0.7 (n=9)"),
        (
            {"stuck_ratio": 0.9},
            "90% of the values of a channel of output y sit at one end of its range where float has others (n=9)",
        ),
        ({"lost": (3,)}, "no signal is left in channel 3 of output y: one scale for all hides it (n=9)"),
        (
            {"lost": (3, 4, 5, 6, 7)},
            "no signal is left in channels 3, 4, 5 and 2 more of output y: one scale for all hides it (n=9)",
        ),
    ],
)
def test_what_is_below_it(changed: dict[str, Any], why: str) -> None:
    assert [text for text, _ in floor.broken(Budget(), verdict(parity(**changed)))] == [why]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"snr_db": None, "correlation": None},
        {"snr_db": 7.0},
        {"stuck_ratio": 0.25},
        {"equal_ratio": 0.5, "snr_db": 1.0},
        {"slices": 100, "lost": tuple(range(20))},
        {"slices": 0, "snr_db": None},
    ],
)
def test_what_is_not(changed: dict[str, Any]) -> None:
    assert floor.broken(Budget(), verdict(parity(**changed))) == []


def test_the_budget_lowers_or_raises_it() -> None:
    low = verdict(parity(snr_db=5.0))
    assert floor.broken(Budget(min_snr_db=5), low) == floor.broken(Budget(floor="off"), low) == []
    assert len(floor.broken(Budget(min_snr_db=40), verdict(parity()))) == 1
    assert len(floor.lowered(Budget(floor="off"), low)) == 1
    assert floor.lowered(Budget(), low) == floor.lowered(Budget(min_snr_db=40), low) == ()


def test_a_network_that_was_changed_answers_for_itself() -> None:
    """A student is not its teacher: its file is held to its own program, and to float by correlation."""
    assert floor.broken(Budget(), verdict(parity(snr_db=3.0, correlation=0.8), parity())) == []
    (found,) = floor.broken(Budget(), verdict(parity(snr_db=3.0, correlation=0.8), parity(snr_db=2.0)))
    assert found[0] == "output y keeps 2.0 dB to its own float program; the floor is 7 dB (n=9)"
    (found,) = floor.broken(Budget(), verdict(parity(snr_db=0.0, correlation=0.1), parity()))
    assert "the floor after steps that change the network is 0.5" in found[0]


@pytest.mark.parametrize(
    ("promised", "kept", "broken"),
    [(37.0, 11.6, True), (37.0, 27.1, False), (60.0, 32.0, False), (60.0, 29.0, True), (None, 3.0, False), (12.0, 2.1, False)],
)  # fmt: skip
def test_a_file_is_held_to_its_quantized_program(promised: float | None, kept: float, broken: bool) -> None:
    """10 dB are for kernels that round otherwise; above 30 dB nothing counts."""
    found = [why for why, _ in floor.judge_promise("y", promised, kept)]
    assert bool(found) is broken
    if broken:
        assert found[0].startswith(f"output y keeps {kept:.1f} dB to float where the quantized program")


def test_a_verdict_with_a_lost_promise_is_refused() -> None:
    lost = msgspec.structs.replace(verdict(parity()), promised_db=(30.0,), kept_db=(12.0,))
    assert [s.limit for _, s in floor.broken(Budget(), lost)] == ["floor"]
    assert floor.broken(Budget(floor="off"), lost) == []
