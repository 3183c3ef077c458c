"""Which runtime is named: the fastest that keeps every limit, and only where that is sure."""

from importlib.util import find_spec

import pytest

from edgekit import requirements
from edgekit.ladder import runtime_choice
from edgekit.profile.reading import load_target
from edgekit.records import RuntimeTrial


def trial(name: str, low: float, high: float, accepted: bool = True) -> RuntimeTrial:
    return RuntimeTrial(
        runtime=name, accepted=accepted, reason="within the budget" if accepted else "metric 0.1 is below",
        cpu_ratio=(low + high) / 2, cpu_ratio_low=low, cpu_ratio_high=high,
    )  # fmt: skip


OWN = trial("onnxruntime", 0.51, 0.54)


@pytest.mark.parametrize(
    ("others", "fastest", "said"),
    [
        ([trial("openvino", 0.41, 0.43)], "openvino", "fastest in openvino, 0.42 [0.41, 0.43] of float's CPU time"),
        ([trial("openvino", 0.50, 0.52)], "onnxruntime", "not surely faster in openvino"),
        ([trial("openvino", 0.41, 0.43, accepted=False)], "onnxruntime", "openvino: metric 0.1 is below"),
        ([trial("a", 0.45, 0.46), trial("b", 0.41, 0.43)], "b", "not the fastest in a, 0.46"),
        ([runtime_choice.untried("openvino", ["openvino"])], "onnxruntime", "pip install openvino"),
        ([], "onnxruntime", "served by onnxruntime, 0.53"),
    ],
)  # fmt: skip
def test_the_fastest_that_agrees(others: list[RuntimeTrial], fastest: str, said: str) -> None:
    choice = runtime_choice.choose([OWN, *others])
    assert choice.fastest == fastest and said in choice.reason, choice.reason
    assert choice.trials == (OWN, *others)


def test_without_times_the_own_runtime_stays() -> None:
    own = RuntimeTrial(runtime="onnxruntime", accepted=True, reason="within the budget")
    choice = runtime_choice.choose([own, trial("openvino", 0.4, 0.5)])
    assert choice.fastest == "onnxruntime" and "served by onnxruntime, not measured" in choice.reason


def test_the_server_profile_names_another_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_target("x86-server").other_runtimes == ("openvino",)
    assert requirements.lacking("openvino") == ["openvino"]  # as all tests have it
    monkeypatch.setattr(requirements, "find_spec", find_spec)
    assert requirements.lacking("onnxruntime") == []


def test_a_second_runtime_is_no_part_of_what_a_run_rests_on() -> None:
    assert "onnxruntime" in requirements.PACKAGES and "openvino" not in requirements.PACKAGES
