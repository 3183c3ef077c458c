"""The ratio of two artifacts: verdict, two-level bootstrap, the swap of every second process."""

import numpy as np
import pytest
from edgekit_runner import spawn, spec
from edgekit_runner.kinds import compare
from edgekit_runner.stats import ratio

PAIR = spec.from_dict({"schema_version": 2, "kind": "compare", "artifact": "a.onnx", "baseline": "b.tflite"})


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0.5, 0.94, "faster"), (0.5, 0.96, "inconclusive"), (1.06, 1.2, "slower"), (0.9, 1.2, "inconclusive")],
)
def test_verdict_needs_the_whole_interval_beyond_the_tolerance(low: float, high: float, wanted: str) -> None:
    assert ratio.verdict(low, high, 0.05) == wanted


def part(ratios: list[float]) -> dict[str, object]:
    rounds = [(ratio, 1.0) for ratio in ratios]
    return {"runs_per_leg_count": 3, "rounds_cpu_s": rounds, "rounds_wall_s": [(2 * a, b) for a, b in rounds]}


def test_comparison_of_known_rounds() -> None:
    found = compare.summarize([part([0.5 + 0.001 * i for i in range(11)])] * 2, PAIR)
    assert found["cpu_p50_ratio"] == pytest.approx(0.505)
    assert 0.5 <= found["cpu_p50_ci95_low_ratio"] < 0.505 < found["cpu_p50_ci95_high_ratio"] <= 0.51
    assert found["verdict"] == "faster" and (found["rounds_count"], found["processes_count"]) == (22, 2)


def test_more_threads_are_judged_by_wall_time() -> None:
    two = spec.from_dict({**PAIR.to_dict(), "threads_count": 2})
    assert compare.summarize([part([0.9] * 8)], PAIR)["verdict"] == "faster"
    found = compare.summarize([part([0.9] * 8)], two)
    assert (found["decided_by"], found["verdict"]) == ("wall", "slower")


def test_processes_that_disagree_widen_the_interval() -> None:
    agree = [np.column_stack([np.full(8, 1.0), np.ones(8)]).tolist()] * 6
    disagree = [np.column_stack([np.full(8, 1 + 0.05 * (-1) ** i), np.ones(8)]).tolist() for i in range(6)]
    assert ratio.bootstrap(agree, 0) == (1.0, 1.0)
    low, high = ratio.bootstrap(disagree, 0)
    assert low == pytest.approx(0.95) and high == pytest.approx(1.05)


@pytest.mark.slow
def test_bootstrap_covers_the_true_ratio_of_noisy_processes() -> None:
    rng, hits = np.random.default_rng(3), 0
    for trial in range(40):
        rounds = []
        for _ in range(6):
            process = 1 + 0.01 * rng.standard_normal()
            rounds.append([(process * (1 + 0.02 * rng.standard_normal()), 1.0) for _ in range(8)])
        low, high = ratio.bootstrap(rounds, trial)
        hits += low <= 1.0 <= high
    assert hits >= 33


def test_every_second_process_loads_the_baseline_first(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def run(asked: spec.Spec) -> dict[str, object]:
        seen.append((asked.artifact, asked.baseline))
        rounds = [(2.0, 1.0)] if asked.artifact == "a.onnx" else [(1.0, 2.0)]
        found = {"rounds_cpu_s": rounds, "rounds_wall_s": rounds, "runs_per_leg_count": 1}
        ratio = rounds[0][0] / rounds[0][1]
        return {
            "status": "ok", "comparison": found, "processes": [{"cpu_p50_ratio": ratio, "wall_p50_ratio": ratio}],
        }  # fmt: skip

    monkeypatch.setattr(spawn, "run", run)
    parts = [compare._part(PAIR, swap) for swap in (False, True)]
    assert seen == [("a.onnx", "b.tflite"), ("b.tflite", "a.onnx")]
    assert [part["comparison"]["rounds_cpu_s"] for part in parts] == [[(2.0, 1.0)], [(2.0, 1.0)]]
    assert [part["processes"][0]["cpu_p50_ratio"] for part in parts] == [2.0, 2.0]


def test_swapping_twice_gives_the_same_comparison() -> None:
    assert PAIR.swapped().swapped() == PAIR and PAIR.swapped().artifact == "b.tflite"
