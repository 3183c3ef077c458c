"""`check` with latency records: a real record of the artifact against a committed one."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from commands import edgekit
from edgekit_runner import api, record
from exported_net import write_export
from runner_models import QUICK

BUDGET = '[targets.arm-mobile]\nrecord = "now.json"\nbaseline = "base.json"\n'
Record = dict[str, Any]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("latency") / "export").parent


@pytest.fixture(scope="module")
def measured(export: Path) -> Record:
    """A real record of the exported file, as from six undisturbed processes."""
    folder = export / "arm-mobile"
    spec = {**QUICK, "artifact": str(folder / "model.onnx"), "golden": str(folder / "golden.npz")}
    found: Record = json.loads(record.to_line(api.bench(spec)))
    assert found["status"] == "ok", found["reason"]
    found["validity"] |= {"verdict": "ok", "causes": []}
    found["latency"] |= {"wall_cpu_ratio": 1.0}
    found["memory"] |= {"peak_bytes": 10**8, "peak_low_bytes": 10**8, "peak_high_bytes": 10**8 + 4096}
    return timed(found, 1.0)


def timed(given: Record, factor: float, half_ratio: float = 0.01) -> Record:
    """The record of a file that takes `factor` times 10 ms, its interval this wide on either side."""
    found = copy.deepcopy(given)
    for name in ("p50", "cpu_p50"):
        ends = {"_s": 1.0, "_ci95_low_s": 1 - half_ratio, "_ci95_high_s": 1 + half_ratio}
        found["latency"] |= {f"{name}{end}": 0.01 * factor * share for end, share in ends.items()}
    return found


def check(place: Path, export: Path, now: Record, base: Record, more: str = "") -> Any:
    """What `edgekit check` made of two records."""
    for name, each in (("now", now), ("base", base)):
        (place / f"{name}.json").write_text(json.dumps(each))
    (place / "budget.toml").write_text(BUDGET + more)
    return edgekit("check", export, "--budget", place / "budget.toml", "--json")


@pytest.mark.parametrize(
    ("factor", "half_ratio", "more", "code", "verdict", "said"),
    [
        (1.0, 0.01, "", 0, "kept", "equal: cpu_latency equal, peak_memory equal, size equal"),
        (0.8, 0.01, "", 0, "kept", "better: cpu_latency better"),
        (1.2, 0.01, "", 1, "broken", "regression: cpu_latency worse"),
        (1.2, 0.01, "max_slowdown = 0.3\n", 0, "kept", "equal: "),
        (1.06, 0.1, "", 1, "not measured", "inconclusive: cpu_latency undecided"),
    ],
)
def test_slower_than_the_baseline(
    export: Path, measured: Record, tmp_path: Path, factor: float, half_ratio: float, more: str, code: int, verdict: str, said: str
) -> None:  # fmt: skip
    done = check(tmp_path, export, timed(measured, factor, half_ratio), timed(measured, 1.0), more)
    (row,) = json.loads(done.stdout)["rows"]
    assert (done.exit_code, row["verdict"]) == (code, verdict) and row["found"].startswith(said), row


def test_a_record_of_another_machine_decides_nothing(export: Path, measured: Record, tmp_path: Path) -> None:
    other = {**measured, "environment": {**measured["environment"], "cpu_model": "another"}}
    (row,) = json.loads(check(tmp_path, export, measured, other).stdout)["rows"]
    assert row["verdict"] == "not measured" and "Another CPU model" in row["found"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"artifact": {"path": "x", "format": "onnx", "sha256": "0" * 64, "size_bytes": 1}}, "is of another artifact (sha256 00000"),
        ({"kind": "compare"}, "the record is incomplete"),
        ({"schema_version": 1}, "record schema_version is 1; this one reads 2"),
        ({"doubts": [1]}, "is not what its schema says; measure again"),
    ],
)  # fmt: skip
def test_a_record_that_is_none_of_it(
    export: Path, measured: Record, tmp_path: Path, change: Record, sentence: str
) -> None:
    done = check(tmp_path, export, {**measured, **change}, measured)
    assert done.exit_code == 2 and sentence in done.stderr and done.stderr.count("\n") == 1, done.stderr
