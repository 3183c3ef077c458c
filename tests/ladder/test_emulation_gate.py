"""What on an emulated CPU is a refusal: wrong answers, and surely more instructions than float. A pure function."""

from typing import Any

import msgspec
import pytest
from builders import FAST

from edgekit.errors import UserError
from edgekit.ladder import emulation_gate
from edgekit.ladder.profiles import load_targets
from edgekit.records import EmulatedRun, Shortfall
from edgekit.records.instructions import InstructionCount

SHA = "0" * 64


def count(runs: int, floats: int) -> InstructionCount:
    return InstructionCount(
        target="arm-mobile", artifact_sha256=SHA, isa="aarch64", cpu="cortex-a72", runtime="onnxruntime", runtime_version="1",
        runs=(runs,), instructions_per_inference=runs, float_runs=(floats,), float_instructions_per_inference=floats,
    )  # fmt: skip


def run(**fields: Any) -> EmulatedRun:
    return EmulatedRun(
        **{"cpu": "cortex-a72", "level": "arm-neon", "emulator": "qemu-aarch64 7", "passed": True, **fields}
    )


def broken(*runs: EmulatedRun) -> list[tuple[str, Shortfall]]:
    return emulation_gate.broken(msgspec.structs.replace(FAST, emulated=runs))


def reasons(*runs: EmulatedRun) -> list[str]:
    return [why for why, _ in broken(*runs)]


def test_fewer_instructions_than_float_are_fine_and_noise_is_no_refusal() -> None:
    assert reasons(run(count=count(58, 100)), run(count=count(101, 100))) == []


def test_more_instructions_than_float_are_refused_with_both_figures() -> None:
    (why,) = reasons(run(count=count(112, 100)), run(cpu="cortex-a76", count=count(40, 100)))
    assert why == (
        "more instructions than float on an emulated cortex-a72: 1.120 of float's (112 against 100, n=1; no time)"
    )
    ((_, shortfall),) = broken(run(count=count(112, 100)))
    assert (shortfall.limit, shortfall.found) == ("instructions", 1.12)


def test_wrong_answers_are_refused() -> None:
    assert reasons(run(passed=False, reason="off by 3")) == [
        "wrong answers on an emulated cortex-a72: off by 3"
    ]


def test_targets_that_no_arm_machine_serves_are_refused_before_any_work() -> None:
    with pytest.raises(UserError, match=r"onnxruntime or litert; given are x86-server, coreml-fp16"):
        emulation_gate.check(load_targets(["x86-server", "coreml-fp16"]))
