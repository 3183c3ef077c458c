"""The verdict on a window, on figures that a test wrote."""

from typing import Any

import pytest
from edgekit_runner.stats.validity import Verdict, judge

QUIET: dict[str, Any] = {
    "wall_s": 2.0, "cpu_s": 1.998, "cpu_pressure_s": 0.01, "run_queue_wait_s": 0.002, "steal_s": 0.0,
    "other_busy_s": 0.03, "involuntary_switches_count": 9, "major_faults_count": 0, "throttled_count": 0,
    "throttled_s": 0.0, "frequency_start_hz": 3e9, "frequency_end_hz": 2.99e9, "temperature_start_celsius": 40.0,
    "temperature_end_celsius": 44.0, "usable_cpu_count": 2,
}  # fmt: skip
BLIND = {**dict.fromkeys(QUIET, None), "wall_s": 2.0, "cpu_s": 1.998, "usable_cpu_count": 2}
STEADY = (0.02, 0.02, 0.02, 0.02)


def judged(threads: int = 1, thirds: tuple[float, float, float, float] = STEADY, **changed: Any) -> Verdict:
    return judge({**QUIET, **changed}, threads, *thirds)


def test_a_quiet_window_is_ok_without_causes() -> None:
    assert judged() == Verdict(verdict="ok", causes=(), unreadable=(), external=False)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"cpu_pressure_s": 0.7}, "Programs waited for a CPU during 35% of the timing."),
        ({"run_queue_wait_s": 0.15}, "This process waited 0.15 s for a CPU in 2 s of timing."),
        ({"other_busy_s": 3.86}, "Other programs used 1.93 CPUs of 2 during the timing."),
        ({"steal_s": 0.05}, "The hypervisor gave 1.2% of this machine's CPU time to others."),
        (
            {"throttled_count": 3, "throttled_s": 0.25},
            "A CPU quota stopped this process's group 3 times, for 0.25 s in all.",
        ),
        ({"major_faults_count": 5}, "5 page faults read from storage during some 100 runs."),
    ],
)
def test_evidence_from_outside_disturbs_with_its_figure(changed: dict[str, float], sentence: str) -> None:
    found = judged(**changed)
    assert found.verdict == "disturbed" and found.external
    assert found.causes == (sentence,)


@pytest.mark.parametrize(
    ("changed", "thirds", "said"),
    [
        ({"frequency_end_hz": 2.4e9}, STEADY, "The CPU clock fell from 3.00 GHz to 2.40 GHz"),
        ({}, (0.02, 0.0213, 0.02, 0.0213), "CPU time of a run rose from 20 ms in the first third to 21.3 ms"),
        ({}, (0.0213, 0.02, 0.0213, 0.02), "CPU time of a run fell from 21.3 ms in the first third to 20 ms"),
        ({}, (0.02, 0.03, 0.02, 0.02), "Wall time of a run rose from 20 ms in the first third to 30 ms"),
    ],
)
def test_what_the_samples_show_themselves_disturbs_but_is_not_external(
    changed: dict[str, float], thirds: tuple[float, float, float, float], said: str
) -> None:
    """Else a process would be left out for its own value."""
    found = judged(thirds=thirds, **changed)
    assert found.verdict == "disturbed" and not found.external
    assert len(found.causes) == 1 and found.causes[0].startswith(said)


def test_drift_names_the_clock_or_the_scheduling() -> None:
    assert "the clock" in judged(thirds=(0.02, 0.03, 0.02, 0.03)).causes[0]
    assert "others took the CPU" in judged(thirds=(0.02, 0.03, 0.02, 0.02)).causes[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"cpu_pressure_s": 0.0099}, {"run_queue_wait_s": 0.0049}, {"steal_s": 0.03}, {"other_busy_s": 0.05},
        {"throttled_count": 0, "throttled_s": 0.5},
    ],
)  # fmt: skip
def test_a_few_ticks_do_not_disturb_a_tiny_window(changed: dict[str, float]) -> None:
    small = {"wall_s": 0.05, "cpu_s": 0.05, **changed}
    assert judged(threads=2, **small).verdict == "ok"


def test_nanoseconds_of_drift_are_the_clock_of_the_program() -> None:
    assert judged(thirds=(2e-6, 2.5e-6, 2e-6, 2.5e-6)).verdict == "ok"


def test_work_of_others_is_weighed_against_the_cpus_that_are_left() -> None:
    """Two busy processes beside one thread: always on two CPUs, not on sixteen."""
    two_busy = {"wall_s": 1.0, "cpu_s": 0.7, "cpu_pressure_s": 0.0}
    for cpus, others in ((1, 0.3), (2, 1.3), (4, 2.0), (8, 2.0)):
        assert judged(usable_cpu_count=cpus, other_busy_s=others, **two_busy).verdict == "disturbed", cpus
    assert judged(usable_cpu_count=16, other_busy_s=2.0, **two_busy).verdict == "ok"
    assert judged(threads=16, usable_cpu_count=16, other_busy_s=2.0, **two_busy).verdict == "disturbed"


def test_more_threads_than_cpus_wait_for_each_other_which_is_not_others() -> None:
    own = {"cpu_pressure_s": 1.9, "run_queue_wait_s": 3.0, "cpu_s": 3.9}
    assert judged(threads=4, **own).verdict == "ok"
    assert judged(threads=2, **own).verdict == "disturbed"
    assert judged(threads=4, other_busy_s=1.0, **own).verdict == "disturbed"


def test_one_fault_in_thousands_of_runs_is_no_cause() -> None:
    assert judged(thirds=(0.0005,) * 4, major_faults_count=1).verdict == "ok"
    assert judged(thirds=(1.0,) * 4, major_faults_count=1).verdict == "disturbed"


def test_wall_beyond_cpu_time_counts_where_the_run_queue_is_hidden_and_others_ran() -> None:
    hidden = {"run_queue_wait_s": None, "cpu_s": 1.5}
    found = judged(other_busy_s=0.4, **hidden)
    assert found.external and found.causes == (
        "The one thread of this process was on a CPU for only 75% of the timing.",
    )
    assert judged(other_busy_s=None, **hidden).verdict == "disturbed"


def test_waiting_for_an_accelerator_is_not_work_of_others() -> None:
    """Wall 2.0 s, CPU 0.2 s, and nobody else on the machine; or the run queue itself says there was no wait."""
    assert judged(cpu_s=0.2, run_queue_wait_s=None).verdict == "ok"
    assert judged(cpu_s=0.2).verdict == "ok"


def test_several_threads_have_no_wall_to_cpu_rule() -> None:
    assert judged(threads=2, run_queue_wait_s=None, other_busy_s=None, cpu_s=1.0).verdict == "ok"


def test_a_blind_system_is_unknown_and_names_what_is_hidden() -> None:
    found = judge(BLIND, 1, *STEADY)
    assert found.verdict == "unknown" and not found.external and not found.causes
    assert found.unreadable == (
        "CPU pressure", "run-queue wait", "CPU time of other programs", "steal time", "involuntary switches",
        "major page faults", "throttling by a CPU quota", "CPU frequency", "temperature",
    )  # fmt: skip


def test_a_blind_system_that_drifts_is_disturbed() -> None:
    assert judge(BLIND, 1, 0.02, 0.03, 0.02, 0.02).verdict == "disturbed"


@pytest.mark.parametrize("key", ["cpu_pressure_s", "run_queue_wait_s", "other_busy_s", "steal_s"])
def test_one_decisive_counter_is_enough_for_ok(key: str) -> None:
    assert judge({**BLIND, key: 0.0}, 1, *STEADY).verdict == "ok"


def test_a_clock_that_is_hidden_at_one_end_is_no_fall() -> None:
    assert judged(frequency_start_hz=None).verdict == "ok"
    assert judged(frequency_end_hz=None).verdict == "ok"
