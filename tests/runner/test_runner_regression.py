"""`check`: which records may be compared, and that only a whole interval beyond the tolerance is a regression."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runner import api, record
from edgekit_runner.cli import gate, regression
from edgekit_runner.errors import UserError
from edgekit_runner.stats import quantiles
from hypothesis import given, settings
from hypothesis import strategies as st
from runner_models import QUICK, cli

MS = 1e-3
Record = dict[str, Any]


@pytest.fixture(scope="module")
def measured(onnx_model: Path, onnx_golden: Path) -> Record:
    """A real record, to keep this file true to what `bench` gives."""
    spec = {**QUICK, "artifact": str(onnx_model), "golden": str(onnx_golden)}
    found = json.loads(record.to_line(api.bench(spec)))
    assert found["status"] == "ok", found["reason"]
    return dict(found)


@pytest.fixture
def quiet(measured: Record) -> Record:
    """The same as from six undisturbed processes."""
    made = copy.deepcopy(measured)
    made["validity"] |= {"verdict": "ok", "causes": []}
    made["latency"] |= {"wall_cpu_ratio": 1.0} | interval(10 * MS, 0.01)
    made["memory"] |= {"peak_bytes": 10**8, "peak_low_bytes": 10**8, "peak_high_bytes": 10**8 + 4096}
    made["artifact"] |= {"size_bytes": 10**6}
    return made


def interval(middle_s: float, half_ratio: float, names: tuple[str, ...] = ("p50", "cpu_p50")) -> Record:
    ends = {"_s": 1.0, "_ci95_low_s": 1 - half_ratio, "_ci95_high_s": 1 + half_ratio}
    return {f"{name}{end}": middle_s * factor for name in names for end, factor in ends.items()}


def changed(base: Record, section: str, values: Record) -> Record:
    return {**base, section: {**base[section], **values}}


def verdicts(found: Record) -> dict[str, str]:
    return {metric["name"]: metric["verdict"] for metric in found["metrics"]}


def test_a_record_against_itself_is_equal(quiet: Record) -> None:
    found = regression.check(quiet, quiet)
    assert found["verdict"] == "equal" and found["differences"] == []
    assert verdicts(found) == {
        "cpu_latency": "equal", "peak_memory": "equal", "size": "equal", "energy": "unknown"
    }  # fmt: skip
    assert found["doubts"] == ["Both records are of the same artifact: what differs is not its doing."]


@pytest.mark.parametrize(
    ("factor", "half_ratio", "verdict"),
    [
        (1.20, 0.01, "regression"), (1.04, 0.001, "equal"), (1.06, 0.01, "inconclusive"),
        (1.20, 0.10, "inconclusive"), (0.80, 0.01, "better"), (0.90, 0.04, "equal"), (0.97, 0.08, "inconclusive"),
    ],
)  # fmt: skip
def test_only_a_whole_interval_beyond_the_tolerance_decides(
    quiet: Record, factor: float, half_ratio: float, verdict: str
) -> None:
    other = changed(quiet, "artifact", {"sha256": "0" * 64})
    other = changed(other, "latency", interval(factor * 10 * MS, half_ratio))
    base = changed(quiet, "latency", interval(10 * MS, half_ratio))
    found = regression.check(other, base)
    assert (found["verdict"], found["differences"], found["doubts"]) == (verdict, [], [])
    low, high = (found["metrics"][0][f"{end}_ratio"] for end in ("low", "high"))
    width = math.sqrt(2) * half_ratio  # two equal scatters add like standard errors
    assert low == pytest.approx(factor * math.exp(-width), rel=half_ratio**2 + 1e-6)
    assert high == pytest.approx(factor * math.exp(width), rel=half_ratio**2 + 1e-6)


def test_the_interval_of_a_ratio_covers_it_in_95_of_100() -> None:
    """Medians of nine processes with their interval by order statistics, drawn from one distribution."""
    rng = np.random.default_rng(0)
    hits, count = 0, 2000
    for _ in range(count):
        sides = []
        for _ in range(2):
            drawn = np.sort(np.exp(0.02 * rng.standard_normal(9)))
            rank = quantiles.median_rank(9)
            sides.append((float(drawn[4]), float(drawn[rank - 1]), float(drawn[-rank])))
        low, high = regression.ratio_interval(*sides)
        assert low is not None and high is not None
        hits += low <= 1 <= high
    assert 0.94 <= hits / count <= 0.995
    assert regression.ratio_interval((1.0, 1.0, None), (1.0, 1.0, 1.0)) == (None, None)


def test_the_tolerance_counts(quiet: Record) -> None:
    slower = changed(quiet, "latency", interval(12 * MS, 0.01))
    assert regression.check(slower, quiet, 0.05)["verdict"] == "regression"
    assert regression.check(slower, quiet, 0.5)["verdict"] == "equal"
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="tolerance"):
            regression.check(slower, quiet, wrong)


@pytest.mark.parametrize(
    ("section", "values", "name"),
    [
        ("memory", {"peak_bytes": 2e8, "peak_low_bytes": 2e8, "peak_high_bytes": 2e8}, "peak_memory"),
        ("artifact", {"size_bytes": 2 * 10**6}, "size"),
        ("energy", {"per_run_j": 2.0, "per_run_low_j": 1.9, "per_run_high_j": 2.1}, "energy"),
    ],
)
def test_memory_size_and_energy_can_be_worse_too(
    quiet: Record, section: str, values: Record, name: str
) -> None:
    energy = {"per_run_j": 1.0, "per_run_low_j": 0.99, "per_run_high_j": 1.01}
    base = changed(quiet, "energy", energy)
    found = regression.check(changed(base, section, values), base)
    assert found["verdict"] == "regression" and verdicts(found)[name] == "worse"
    assert regression.check(base, changed(base, section, values))["verdict"] == "better"


def test_energy_without_a_spread_is_shown_and_not_judged(quiet: Record) -> None:
    found = regression.check(*(changed(quiet, "energy", {"per_run_j": joules}) for joules in (9.0, 1.0)))
    assert found["verdict"] == "equal" and verdicts(found)["energy"] == "unknown"
    assert "energy            9.000, 9000 mJ against 1000 mJ, unknown" in gate.render(found)


def test_without_an_interval_of_the_latency_nothing_is_decided(quiet: Record) -> None:
    ends = {f"cpu_p50_ci95_{end}_s": None for end in ("low", "high")}
    found = regression.check(changed(quiet, "latency", ends), quiet)
    assert found["verdict"] == "inconclusive" and "no interval" in found["metrics"][0]["reason"]


def test_wall_time_decides_with_threads_and_where_the_thread_waited(quiet: Record) -> None:
    slow = changed(quiet, "latency", interval(20 * MS, 0.01, ("p50",)))
    assert regression.check(slow, quiet)["verdict"] == "equal"  # one thread: CPU time
    for section, values in (("latency", {"wall_cpu_ratio": 3.0}), ("protocol", {"threads_count": 2})):
        found = regression.check(changed(slow, section, values), changed(quiet, section, values))
        assert found["metrics"][0]["name"] == "wall_latency" and found["verdict"] == "regression"


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("artifact", {"format": "tflite"}, "Another format: tflite against onnx."),
        ("environment", {"cpu_model": "Pi"}, "Another CPU model"),
        ("environment", {"isa": "avx2-old"}, "Another ISA"),
        ("runtime", {"version": "0.1"}, "Another runtime version"),
        ("protocol", {"threads_count": 4}, "Another threads_count: 4 against 1."),
        ("protocol", {"affinity": "big"}, "Another affinity: big against None."),
        ("protocol", {"batch_count": 8}, "Another batch_count"),
        ("protocol", {"protocol": "strict"}, "Another protocol"),
        ("protocol", {"options": {"optimize": False}}, "Another options"),
        ("environment", {"allocator_env": {"MALLOC_CONF": "x"}}, "Another MALLOC_CONF: x against unset."),
        ("environment", {"emulated": "yes"}, "The record was taken on an emulated CPU."),
        ("validity", {"verdict": "disturbed"}, "The record was disturbed"),
        ("golden", {"status": "absent"}, "The record is unproven"),
    ],
)
def test_what_may_not_be_compared_is_inconclusive(
    quiet: Record, section: str, values: Record, said: str
) -> None:
    slow = changed(quiet, "latency", interval(50 * MS, 0.01))
    found = regression.check(changed(slow, section, values), quiet)
    assert found["verdict"] == "inconclusive" and found["metrics"] == []
    assert any(said in sentence for sentence in found["differences"]), found["differences"]
    assert f"not comparable: {found['differences'][0]}" in gate.render(found)


def test_every_difference_is_listed(quiet: Record) -> None:
    other = changed(changed(quiet, "runtime", {"version": "0.1"}), "protocol", {"batch_count": 2, "seed": 1})
    found = regression.check(changed(other, "golden", {"status": "absent"}), quiet)
    assert len(found["differences"]) == 4


def test_what_is_unknown_in_both_may_be_another(quiet: Record) -> None:
    blind = changed(quiet, "environment", {"cpu_model": "unknown"})
    found = regression.check(blind, blind)
    assert found["verdict"] == "inconclusive" and "unknown in both" in found["differences"][0]


def test_settings_that_move_no_figure_are_no_difference(quiet: Record) -> None:
    other = changed(quiet, "protocol", {"golden_atol": 0.5, "timeout_s": 7.0})
    assert regression.check(other, quiet)["verdict"] == "equal"


def test_another_system_is_a_doubt_and_no_bar(quiet: Record) -> None:
    other = changed(quiet, "environment", {"os": "Linux-9", "governor": "powersave"})
    found = regression.check(changed(other, "validity", {"verdict": "unknown"}), quiet)
    assert found["verdict"] == "equal"
    assert [doubt.partition(":")[0] for doubt in found["doubts"][1:]] == [
        "Another system", "Another frequency governor", "Whether other work disturbed the record is unknown."
    ]  # fmt: skip


@pytest.mark.parametrize(("status", "verdict"), [("refused", "regression"), ("failed", "inconclusive")])
def test_a_record_without_a_result(quiet: Record, status: str, verdict: str) -> None:
    """Wrong outputs are a regression; a failure may be the machine's."""
    broken = {**quiet, "status": status, "reason": "why.", "error_kind": "verification", "latency": None}
    found = regression.check(broken, quiet)
    assert (found["verdict"], found["differences"]) == (verdict, [f"The record is {status}: why."])
    assert regression.check(quiet, broken)["verdict"] == "inconclusive"
    assert regression.check(broken, broken)["verdict"] == "inconclusive"
    nothing = {**broken, "artifact": None}
    assert "None" in gate.render(regression.check(nothing, quiet))


Sections = st.sampled_from(
    ["artifact", "environment", "runtime", "protocol", "golden", "latency", "memory", "validity", "energy"]
)
Values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just({}) | st.just([])
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_altered_records_are_judged_or_refused_in_one_sentence(
    quiet_once: Record, data: st.DataObject
) -> None:
    broken = copy.deepcopy(quiet_once)
    section = data.draw(Sections)
    key = data.draw(st.sampled_from([None, *sorted(broken[section])]))
    value = data.draw(Values)
    if key is None:
        broken[section] = value if isinstance(value, dict | list | None) else None
    elif data.draw(st.booleans()):
        del broken[section][key]
    else:
        broken[section][key] = value
    for pair in ((broken, quiet_once), (quiet_once, broken)):
        try:
            found = regression.check(*pair)
        except UserError as error:
            assert str(error)
        else:
            assert found["verdict"] in gate.EXIT_CODES and gate.render(found)


@pytest.fixture(scope="module")
def quiet_once(measured: Record) -> Record:
    made = copy.deepcopy(measured)
    made["validity"]["verdict"] = "ok"
    made["latency"] |= interval(10 * MS, 0.01)
    return made


@pytest.fixture
def saved(tmp_path: Path, quiet: Record) -> Callable[..., Path]:
    def save(name: str, **latency: float) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(changed(quiet, "latency", latency)) + "\n")
        return path

    return save


@pytest.mark.parametrize(
    ("factor", "half_ratio", "code"), [(1.0, 0.01, 0), (0.5, 0.01, 0), (1.5, 0.01, 1), (1.0, 0.2, 4)]
)
def test_the_exit_code_is_the_verdict(
    saved: Callable[..., Path], factor: float, half_ratio: float, code: int
) -> None:
    new, base = saved("new.json", **interval(factor * 10 * MS, half_ratio)), saved("base.json")
    done = cli("check", new, "--against", base, "--json")
    assert done.returncode == code, done.stderr
    assert gate.EXIT_CODES[json.loads(done.stdout)["verdict"]] == code


def test_the_table_names_both_artifacts_and_every_figure(saved: Callable[..., Path], quiet: Record) -> None:
    done = cli("check", saved("new.json", **interval(15 * MS, 0.01)), "--against", saved("base.json"))
    assert done.stdout.startswith("verdict           regression (tolerance 0.05)\n")
    assert done.stdout.count(quiet["artifact"]["sha256"][:12]) == 2
    assert "CPU latency       1.500 (1.479 to 1.521), 15 ms against 10 ms, worse" in done.stdout
    assert "size              1.000, 1000000 bytes" in done.stdout or "1.0 MiB" in done.stdout


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}', "\x00\xff"])
def test_what_is_no_record_exits_2(saved: Callable[..., Path], tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_bytes(text.encode("latin-1"))
    for pair in ((tmp_path / "bad.json", saved("base.json")), (saved("base.json"), tmp_path / "none.json")):
        done = cli("check", pair[0], "--against", pair[1])
        assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_what_never_ends_exits_2() -> None:
    for arguments in (("check", "/dev/zero", "--against", "/dev/zero"), ("run", "/dev/zero")):
        done = cli(*arguments)
        assert done.returncode == 2 and "it has more than 16 " in done.stderr


def test_a_record_of_another_kind_exits_2(saved: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(record.to_line(record.blank("compare")))
    done = cli("check", tmp_path / "other.json", "--against", saved("base.json"))
    assert done.returncode == 2 and "kind 'compare'; allowed: bench" in done.stderr
