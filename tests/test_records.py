"""Records are closed, frozen, and cross a process border without loss."""

import inspect
import math
import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from edgekit import records
from edgekit.errors import BudgetError, UserError
from edgekit.records import (
    SCHEMA_VERSION,
    Attempt,
    Budget,
    Decision,
    Plan,
    Quant,
    Recipe,
    Record,
    Report,
    TargetReport,
)

ALL = sorted(
    (v for v in vars(records).values() if isinstance(v, type) and issubclass(v, Record) and v is not Record),
    key=lambda kind: kind.__name__,
)
RECIPE = Recipe(name="fp16", precision="float16", steps=())


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_record_is_frozen_closed_and_keyword_only(kind: type[Record]) -> None:
    config = kind.__struct_config__
    assert config.frozen and config.forbid_unknown_fields
    parameters = inspect.signature(kind).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters)
    assert kind.__doc__, "a record says what it is"


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_units_are_in_the_names(kind: type[Record]) -> None:
    """A bare `size`, `latency`, `memory`, `time` or `duration` would leave the unit to a guess."""
    bare = {"size", "latency", "memory", "time", "duration", "bytes", "seconds", "ms"}
    assert not bare & {name.rpartition("_")[2] for name in kind.__struct_fields__} - {"bytes"}


@pytest.mark.parametrize("name", sorted(set(Budget.__struct_fields__) - {"floor"}))
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "0.1", True])
def test_a_budget_is_a_finite_number_and_not_negative(name: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        Budget(**{name: value})
    least = "of at least 0" if name in ("max_drop", "min_speedup", "min_snr_db") else "above 0"
    none = "" if name in ("max_drop", "min_speedup") else ", or None"
    allowed = f"a finite number {least}{none}"
    assert str(caught.value) == f"budget {name} is {value!r}; it must be {allowed}"


def test_the_floor_is_on_or_off() -> None:
    with pytest.raises(UserError, match=r"budget floor is 'low'; allowed are 'on' and 'off'"):
        Budget(floor="low")


@pytest.mark.parametrize("name", ["max_size_bytes", "max_latency_s", "max_memory_bytes"])
def test_a_limit_of_nothing_is_refused_and_none_is_no_limit(name: str) -> None:
    with pytest.raises(UserError, match=f"budget {name} is 0; it must be a finite number above 0, or None"):
        Budget(**{name: 0})
    assert getattr(Budget(**{name: None}), name) is None


def test_no_drop_and_no_speed_limit_are_budgets() -> None:
    assert Budget(max_drop=0, min_speedup=0).min_speedup == 0


@pytest.mark.parametrize(("bits", "fine"), [(1, False), (2, True), (8, True), (9, False)])
def test_weight_bits(bits: int, fine: bool) -> None:
    def make() -> Quant:
        return Quant(
            activation_dtype="int8", weight_bits=bits, granularity="per_tensor", symmetric_activations=True
        )

    if fine:
        assert make().weight_bits == bits
    else:
        with pytest.raises(ValueError, match=f"weight_bits is {bits}; allowed are 2 to 8"):
            make()


def plan() -> Plan:
    return Plan(task="t", target="a", isa="i", budget=Budget(), recipes=(RECIPE,), skipped=())


def target(name: str, *accepted: bool) -> TargetReport:
    attempts = tuple(
        Attempt(recipe=RECIPE, decision=Decision(accepted=yes, reasons=(f"reason {i}",)))
        for i, yes in enumerate(accepted)
    )
    return TargetReport(
        target=name,
        isa="i",
        runtime="litert",
        accepted=any(accepted),
        shipped=accepted.index(True) if any(accepted) else None,
        attempts=attempts,
        plan=plan(),
        summary=f"{name} because",
    )


def report(*targets: TargetReport) -> Report:
    return Report(
        schema_version=SCHEMA_VERSION,
        edgekit_version="0",
        task="t",
        created="now",
        machine={},
        float_metric=1.0,
        samples=1,
        parameters=1,
        targets=targets,
    )


def test_a_report_crosses_json_unchanged() -> None:
    made = report(target("a", False, True), target("b"))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Report) == made
    with pytest.raises(msgspec.ValidationError, match="unknown field `colour`"):
        msgspec.convert({**msgspec.to_builtins(made), "colour": 1}, Report)


def test_the_chosen_attempt_is_the_shipped_one() -> None:
    made = target("a", False, True, True)
    assert made.chosen is made.attempts[1]
    best = msgspec.structs.replace(made, shipped=2)
    assert best.chosen is made.attempts[2]
    assert target("a", False, False).chosen is None
    assert target("a").chosen is None


@pytest.mark.parametrize(("accepted", "shipped"), [(True, None), (False, 0), (True, 2), (True, -1)])
def test_what_is_shipped_is_there_and_accepted(accepted: bool, shipped: int | None) -> None:
    fields = {**msgspec.to_builtins(target("a", False, True)), "accepted": accepted, "shipped": shipped}
    with pytest.raises(msgspec.ValidationError, match="shipped is "):
        msgspec.convert(fields, TargetReport)


def test_raise_for_budget_names_every_target_without_an_artifact() -> None:
    report(target("a", True), target("b", True)).raise_for_budget()
    made = report(target("a", True), target("b", False), target("c"))
    assert not made.accepted
    with pytest.raises(BudgetError) as caught:
        made.raise_for_budget()
    assert str(caught.value) == "no artifact meets the budget for b: b because; c: c because"


def test_printing_a_report_is_one_line_a_target() -> None:
    assert str(report(target("a", True), target("b", False))) == "a: a because\nb: b because"


THREADS = """
import sys, threading
import msgspec
from edgekit.records import convert

sys.setswitchinterval(1e-6)
for number in range(60):
    kinds = []
    for depth in range(8):
        inner = tuple[kinds[-1], ...] if kinds else tuple[int, ...]
        kinds.append(msgspec.defstruct(f"K{number}_{depth}", [(f"f{field}", inner if field == 0 else float) for field in range(20)]))
    value = {f"f{field}": [] if field == 0 else 1.5 for field in range(20)}
    start = threading.Barrier(4)
    def make():
        start.wait()
        convert({**value, "f0": [value]}, kinds[-1])
    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_that_make_the_first_record_of_a_kind_do_not_crash() -> None:
    """Targets that are searched side by side do; msgspec shows a kind to others before it has worked it out."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", THREADS],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
