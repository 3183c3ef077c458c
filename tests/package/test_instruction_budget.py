"""`check` with instruction counts: against float, against a committed baseline, and counts that are none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from commands import edgekit

from edgekit.package import manifest_file, schemas

Export = Callable[..., Path]
PLACE = "[targets.arm-mobile]\n"
BOTH = PLACE + 'instructions = "now.json"\ninstructions_baseline = "base.json"\n'
RUNS = (1_000_000, 1_010_000, 990_000, 1_004_000, 1_001_000)


def count(sha256: str, runs: tuple[int, ...] = RUNS, **changes: Any) -> dict[str, Any]:
    """The counts of one file on one CPU."""
    return {
        "target": "arm-mobile", "artifact_sha256": sha256, "isa": "aarch64", "cpu": "cortex-a72", "runtime": "onnxruntime",
        "runtime_version": "1.23.2", "runs": runs, "instructions_per_inference": sorted(runs)[len(runs) // 2], **changes,
    }  # fmt: skip


def write(path: Path, *counts: dict[str, Any], **changes: Any) -> None:
    """A file of counts."""
    data = {
        "schema_version": 1,
        "kind": "instructions",
        "edgekit_version": "0.1.0",
        "emulator": "qemu-aarch64 7.2.17",
    }
    path.write_text(json.dumps({**data, "counts": counts, **changes}))


@pytest.fixture
def folder(export: Export, tmp_path: Path) -> Path:
    """An export, with counts of it in now.json and older ones of another file in base.json."""
    made = export("one")
    write(tmp_path / "now.json", count(sha256_of(made)))
    write(tmp_path / "base.json", count("0" * 64))
    return made


def sha256_of(export: Path) -> str:
    return manifest_file.read(export / "arm-mobile").file.sha256


def check(folder: Path, budget: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and each limit with its verdict and what was found."""
    (folder.parent / "budget.toml").write_text(budget)
    done = edgekit("check", folder, "--budget", folder.parent / "budget.toml", "--json")
    rows = json.loads(done.stdout)["rows"]
    return done.exit_code, {row["what"]: (row["verdict"], row["found"]) for row in rows}


def test_what_is_written_is_what_the_schema_says(folder: Path) -> None:
    data = json.loads((folder.parent / "now.json").read_text())
    jsonschema.validate(data, schemas.schema("instructions"))


@pytest.mark.parametrize(("share", "code"), [(1.029, 0), (1.031, 1), (0.5, 0)])
def test_more_than_the_baseline_is_broken(folder: Path, tmp_path: Path, share: float, code: int) -> None:
    write(tmp_path / "now.json", count(sha256_of(folder), tuple(round(run * share) for run in RUNS)))
    found, rows = check(folder, BOTH)
    verdict, said = rows["instructions on cortex-a72, onnxruntime"]
    assert (found, verdict) == (code, "broken" if code else "kept")
    assert said.startswith(f"{share:.4g} of the baseline (") and "emulated, no time" in said
    assert check(folder, BOTH + "max_more_instructions = 0.05\n")[0] == 0


def test_another_emulator_or_runtime_is_told(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "base.json", count("0" * 64, runtime_version="1.20.1"), emulator="qemu-aarch64 9.0")
    code, rows = check(folder, BOTH)
    (said,) = (found for _, found in rows.values())
    assert code == 0 and "another emulator: qemu-aarch64 7.2.17 against qemu-aarch64 9.0" in said
    assert "another onnxruntime: 1.23.2 against 1.20.1" in said


def test_a_cpu_that_only_one_side_counted_is_not_kept(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "base.json", count("0" * 64, cpu="cortex-a76"))
    code, rows = check(folder, BOTH)
    assert code == 1 and rows == {
        "instructions on cortex-a72, onnxruntime": ("not measured", "the baseline counts none"),
        "instructions on cortex-a76, onnxruntime": ("not measured", "not counted now, the baseline did"),
    }
    assert check(folder, f'unmeasured = "allow"\n{BOTH}')[0] == 0


@pytest.mark.parametrize(
    ("float_runs", "verdict"),
    [((2_000_000, 2_000_000), "kept"), ((900_000,), "broken"), ((), "not measured")],
)
def test_against_float(folder: Path, tmp_path: Path, float_runs: tuple[int, ...], verdict: str) -> None:
    more = {"float_runs": float_runs, "float_instructions_per_inference": float_runs[0]} if float_runs else {}
    write(tmp_path / "now.json", count(sha256_of(folder), **more))
    _, rows = check(folder, f'{PLACE}instructions = "now.json"\nmax_instruction_ratio = 1.0\n')
    assert rows["max_instruction_ratio on cortex-a72"][0] == verdict


def test_a_limit_without_counts(folder: Path) -> None:
    code, rows = check(folder, "[every]\nmax_instruction_ratio = 1.0\n")
    verdict, said = rows["max_instruction_ratio"]
    assert (code, verdict) == (
        1,
        "not measured",
    ) and "`edgekit verify DIR --arm --counts FILE` writes them" in said


def test_counts_of_other_targets_alone(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "now.json", count(sha256_of(folder), target="x"))
    code, rows = check(folder, f'{PLACE}instructions = "now.json"\n')
    assert (
        code == 1
        and rows["instructions"][0] == "not measured"
        and "counts none of it" in rows["instructions"][1]
    )


BAD = {
    "another artifact": (lambda _: {"counts": [count("1" * 64)]}, "is of another artifact (sha256 1111111111111111, arm-mobile has "),
    "version": (lambda _: {"schema_version": 2}, "has schema_version 2; this edgekit reads 1; count again"),
    "median": (lambda sha: {"counts": [count(sha, instructions_per_inference=1)]}, "is not the median of runs"),
    "twice": (lambda sha: {"counts": [count(sha), count(sha)]}, "two counts are of the same target, CPU and runtime"),
    "half a character": (lambda sha: {"kind": "\ud800", "counts": [count(sha)]}, "does not hold instruction counts"),
    "none": (lambda _: {"counts": []}, "does not hold instruction counts"),
    "negative": (lambda sha: {"counts": [count(sha, (-5,))]}, "does not hold instruction counts"),
    "unknown key": (lambda sha: {"counts": [count(sha, seconds=1)]}, "does not hold instruction counts"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_count_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    change, sentence = BAD[name]
    write(tmp_path / "now.json", **{"counts": (), **change(sha256_of(folder))})
    refused(folder, sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No such file or directory; `edgekit verify DIR --arm --counts FILE`"),
        ("{", "is not JSON"),
        ("[1]", "has schema_version None"),
    ],
)
def test_a_file_that_is_none(folder: Path, tmp_path: Path, content: str | None, sentence: str) -> None:
    (tmp_path / "now.json").unlink()
    if content is not None:
        (tmp_path / "now.json").write_text(content)
    refused(folder, sentence)


def refused(folder: Path, sentence: str) -> None:
    (folder.parent / "budget.toml").write_text(BOTH)
    done = edgekit("check", folder, "--budget", folder.parent / "budget.toml")
    assert done.exit_code == 2 and sentence in done.stderr and done.stderr.count("\n") == 1
