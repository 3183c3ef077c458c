"""The benchmark of the runner's claims: every section end to end on tiny models, and claims that must fail."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import runner_trust
import trust
from trust import aa, ab, bare, busy, light, loadgen, memory
from trust._place import busy_processes
from trust._records import Results, Row, Trial

from edgekit.errors import VerificationError

pytestmark = pytest.mark.long

QUICK = ["--quick", "--repeat", "1"]
OK = {"verdict": "ok", "causes": []}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The file of one quick trial of each kind, and the exit code."""
    place = tmp_path_factory.mktemp("trust") / "out.json"
    return place, runner_trust.main([*QUICK, "--json", str(place)])


def read(path: Path) -> Results:
    return msgspec.json.decode(path.read_bytes(), type=Results)


@pytest.mark.slow
def test_every_section_measures_and_says_that_one_trial_proves_nothing(first: tuple[Path, int]) -> None:
    place, code = first
    results = read(place)
    assert [(t.section, t.kind, t.reason) for t in results.trials if t.reason] == []
    wanted = {(name, kind) for name in trust.SECTIONS for kind in trust.load(name).TRIALS}
    assert {(t.section, t.kind) for t in results.trials} == wanted
    assert {row.section for row in results.rows} == set(trust.SECTIONS)
    claims = [row for row in results.rows if row.claim]
    assert {row.verdict for row in claims if row.what != "wheel"} <= {"short", "FAIL"}
    assert code == int(any(row.verdict == "FAIL" for row in claims))


@pytest.mark.slow
def test_the_figures_are_measured(first: tuple[Path, int]) -> None:
    found = {(t.section, t.kind): t.figures for t in read(first[0]).trials}
    assert found["busy", "busy"]["verdict"] == "disturbed"
    assert found["busy", "litert quiet"]["stdout"].count("Inference (median):") == 1
    assert 1.0 < found["ab", "bare pair"]["cpu_ratio"] < 1.3
    processes = found["bare", "onnx"]
    assert len(processes["bare_processes"]) == len(processes["runner_processes"]) >= 2
    held, small = (found["memory", f"onnx, {who} parent"] for who in ("2 GB", "small"))
    assert held["empty_child_ru_maxrss_bytes"] > 200e6 > small["peak_bytes"] > 30e6
    assert held["peak_bytes"] < 1.05 * small["peak_bytes"]
    assert 20_000 < found["light", "wheel"]["wheel_bytes"] < 1_000_000
    assert found["light", "tflite"]["worker_rss_bytes"] > found["light", "tflite"]["control_rss_bytes"] > 20e6


@pytest.mark.slow
def test_a_resumed_run_measures_only_what_is_missing(
    first: tuple[Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "out.json"
    before = read(first[0])
    trials = [
        msgspec.structs.replace(t, reason="the disk was full") if t.kind == "wheel" else t
        for t in before.trials
    ]
    place.write_bytes(msgspec.json.encode(msgspec.structs.replace(before, trials=tuple(trials))))
    runner_trust.main([*QUICK, "--only", "light", "--json", str(place), "--resume"])
    said = capsys.readouterr().err
    assert said.startswith("light: wheel 1 of 1") and said.count("\n") == 1
    after = read(place)
    assert len(after.trials) == len(before.trials) and not any(t.reason for t in after.trials)


@pytest.mark.slow
@pytest.mark.parametrize(("wrong", "code"), [(2, 0), (3, 1)])
def test_the_exit_code_follows_the_claims(
    first: tuple[Path, int], tmp_path: Path, wrong: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "out.json"
    trials = tuple(
        Trial(
            section="aa",
            kind="itself",
            index=i,
            wall_s=1.0,
            figures=same("faster" if i < wrong else "inconclusive"),
        )
        for i in range(40)
    )
    place.write_bytes(msgspec.json.encode(msgspec.structs.replace(read(first[0]), trials=trials)))
    assert runner_trust.main(["--quick", "--only", "aa", "--json", str(place), "--resume"]) == code
    out = capsys.readouterr().out
    assert f"{wrong} of 40" in out and ("| FAIL" in out) == bool(code) and ("| PASS" in out) != bool(code)
    assert [row.verdict for row in read(place).rows if row.claim] == ["FAIL" if code else "PASS"]


def test_a_trial_that_cannot_be_made_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(kind: str, index: int, place: object) -> dict[str, Any]:
        raise VerificationError("the runtime crashed")

    monkeypatch.setattr(aa, "measure", crash)
    assert runner_trust.main([*QUICK, "--only", "aa"]) == 1
    out = capsys.readouterr().out
    assert "trials that could not be made" in out and "itself 1: the runtime crashed" in out


@pytest.mark.slow
def test_trials_of_another_runner_or_of_a_changed_one_are_refused(
    first: tuple[Path, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "out.json"
    place.write_bytes(first[0].read_bytes())
    hashes = iter(["one", "one", "another"])
    monkeypatch.setattr(runner_trust, "runner_sha256", lambda: next(hashes))
    assert runner_trust.main([*QUICK, "--json", str(place), "--resume"]) == 2
    assert "was made with runner_sha256=" in capsys.readouterr().err
    monkeypatch.setattr(aa, "measure", lambda kind, index, place: same("inconclusive"))
    assert runner_trust.main([*QUICK, "--only", "aa"]) == 2
    assert "the runner's sources changed while it was measured" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "aa,speed"], "--only names 'speed', which is no section; allowed: aa, ab, busy"),
        (["--repeat", "0"], "--repeat is 0; it must be at least 1"),
        (["--resume"], "--resume needs --json"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner_trust.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_busy_process_that_ends_early_is_no_load() -> None:
    with pytest.raises(VerificationError, match="a busy process ended before"), busy_processes(1) as started:
        started[0].kill()
        started[0].wait()
    with busy_processes(2) as started:
        pass
    assert [process.poll() is not None for process in started] == [True, True]


def same(verdict: str) -> dict[str, Any]:
    """A comparison of a model with itself."""
    ends = {"cpu_p50_ci95_low_ratio": 0.99, "cpu_p50_ci95_high_ratio": 1.01}
    return {
        "verdict": verdict,
        "tolerance_ratio": 0.05,
        "cpu_p50_ratio": 1.0,
        "elapsed_s": 9.0,
        "validity": OK,
    } | ends


def pair(right: bool, elapsed_s: float) -> dict[str, Any]:
    """A comparison of two models that differ by 10 %."""
    verdict = "slower" if right else "inconclusive"
    return {"truth": "slower", "verdict": verdict, "cpu_p50_ratio": 1.1, "elapsed_s": elapsed_s}


def bench(verdict: str) -> dict[str, Any]:
    """A `bench` of the section busy."""
    times = dict.fromkeys(("p50_s", "cpu_p50_s", "min_s"), 5e-3)
    return {"model": "conv20.onnx", "verdict": verdict, "causes": [], "busy_processes_count": 2} | times


def loops(ours_s: float) -> dict[str, Any]:
    """Six processes of the runner, and six of a bare loop that says 5 ms."""
    return {
        "verdict": "ok",
        "runner_processes": [{"p50_s": ours_s, "cpu_p50_s": ours_s, "counted": True}] * 6,
        "bare_processes": [{"p50_s": 5e-3, "cpu_p50_s": 5e-3, "counted": True}] * 6,
    }


def peak(megabytes: float) -> dict[str, Any]:
    size = megabytes * 1e6
    return {
        "peak_bytes": 1e8, "peak_over_baseline_bytes": size, "parent_rss_bytes": 2e9,
        "empty_child_ru_maxrss_bytes": 2e9,
    }  # fmt: skip


def p90s(ours_s: float, valid: bool = True) -> dict[str, Any]:
    """A pair of LoadGen's test, which says 5 ms, and a `bench`."""
    return {
        "loadgen_p90_s": 5e-3, "loadgen_p50_s": 4e-3, "loadgen_result_valid": valid, "loadgen_verdict": "ok",
        "bench_p90_s": ours_s, "bench_p50_s": 4e-3, "bench_verdict": "ok",
    }  # fmt: skip


def imports(above_s: float) -> dict[str, Any]:
    return {"numpy_cpu_s": 0.1, "worker_cpu_s": 0.1 + above_s, "command_line_cpu_s": 0.11}


def rss(above: int) -> dict[str, Any]:
    return {"worker_rss_bytes": 50_000_000 + above, "control_rss_bytes": 50_000_000}


BARE = {"runs_count": 100, "short_p50_s": 5e-3}
PARENTS = ("onnx, small parent", "onnx, 2 GB parent")


@pytest.mark.parametrize(
    ("section", "kind", "good", "bad"),
    [
        (aa, "itself", [same("inconclusive")] * 38 + [same("slower")] * 2, [same("faster")] * 3),
        (ab, "bare pair", [BARE | {"cpu_ratio": 1.098}] * 3, [BARE | {"cpu_ratio": 1.13}] * 2),
        (ab, "comparison", [pair(True, 59.0)] * 9 + [pair(False, 9.0)], [pair(True, 61.0)] * 2),
        (busy, "busy", [bench("disturbed")] * 20, [bench("ok")]),
        (busy, "quiet", [bench("ok")] * 18 + [bench("disturbed")] * 2, [bench("unknown")] * 3),
        (bare, "tflite", [loops(5.1e-3)] * 2, [loops(5.2e-3)] * 2),
        (memory, PARENTS[0], [peak(50.0)] * 9 + [peak(51.4)], [peak(51.6)]),
        (memory, PARENTS[1], [peak(50.0)] * 10, [peak(48.0)]),
        (loadgen, "pair", [p90s(5.2e-3)] * 6, [p90s(5.3e-3)] * 6),
        (loadgen, "pair", [p90s(5.2e-3)] * 6, [p90s(5.0e-3, valid=False)]),
        (light, "wheel", [{"wheel_bytes": 100_000}], [{"wheel_bytes": 100_001}]),
        (light, "import", [imports(0.049)] * 15, [imports(0.051)] * 15),
        (light, "onnx", [rss(4_999_999)] * 5, [rss(5_000_001)] * 5),
    ],
)
def test_each_claim_holds_and_fails_where_it_says(
    section: Any, kind: str, good: list[dict[str, Any]], bad: list[dict[str, Any]]
) -> None:
    assert len(good) == section.TRIALS[kind]
    # short: the claim about both parents has the trials of one here
    assert verdicts(section, {kind: good}) <= {"PASS", "short"}
    assert "FAIL" in verdicts(section, {kind: [*good[len(bad) :], *bad]})
    assert "PASS" not in verdicts(section, {kind: good[: len(good) - 1]})


def verdicts(section: Any, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> set[str]:
    rows: tuple[Row, ...] = section.rows({kind: found.get(kind, []) for kind in section.TRIALS})
    return {row.verdict for row in rows if row.claim}


def test_peaks_under_both_parents_are_one_claim() -> None:
    found = {"onnx, small parent": [peak(50.0)] * 10, "onnx, 2 GB parent": [peak(50.0)] * 10}
    assert verdicts(memory, found) == {"PASS"}
    found["onnx, 2 GB parent"] = [peak(52.0)] * 10
    assert verdicts(memory, found) == {"PASS", "FAIL"}


def test_the_peer_is_quoted_and_a_message_under_load_is_seen() -> None:
    quiet = {
        "command": "litert-benchmark",
        "stderr": "INFO: 0x55aa found\n",
        "stdout": "Inference (median):    5.10 ms\n",
    }
    silent = quiet | {"stdout": "Inference (median):    11.30 ms\n", "stderr": "INFO: 0x66bb found\n"}
    warns = silent | {"stderr": "WARNING: load average 3.2\n"}
    (row,) = busy._peer([silent], [quiet])
    assert "median 11.30 / 5.10 ms = 2.22; messages under load only: 0" in row.figure
    assert "Inference (median):    11.30 ms" in row.quotes
    (row,) = busy._peer([warns], [quiet])
    assert "messages under load only: 1" in row.figure and "new: WARNING: load average #" in row.quotes


@pytest.mark.slow
def test_the_json_holds_the_output_of_the_peer_word_for_word(first: tuple[Path, int]) -> None:
    trials = json.loads(first[0].read_text())["trials"]
    (busy_run,) = [t["figures"] for t in trials if t["kind"] == "litert busy"]
    assert "BENCHMARK RESULTS" in busy_run["stdout"] and busy_run["stderr"]
