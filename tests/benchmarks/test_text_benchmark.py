"""The text benchmark without its runs: the table, rows that are kept, and what it refuses."""

import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import text_int8
from text_int8 import Results, Row, Settings

SETTINGS = Settings(csv="", isa="avx2", seed=0)
GOOD = Row(
    net="lstm",
    runtime="onnxruntime",
    by="edgekit",
    recipe="dynamic",
    reasons=("within the budget",),
    metric=0.905,
    float_metric=0.91,
    samples=1000,
    size_ratio=0.25,
    cpu_ratio=(0.5, 0.49, 0.51),
    cpu_of_bare=(0.9, 0.88, 0.92),
)
MISSING = Row(net="lstm", runtime="litert", by="edgekit", recipe="none", reasons=("refused 3 recipes",))


def results(*rows: Row) -> Results:
    return Results(settings=SETTINGS, machine={}, rows=rows)


def test_the_table_has_points_and_intervals() -> None:
    lines = text_int8.table(results(GOOD, MISSING))
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == [
        "lstm", "onnxruntime", "edgekit: dynamic", "0.9050 (n=1000)", "0.50", "0.250", "0.500 [0.490, 0.510]",
        "0.900 [0.880, 0.920]",
    ]  # fmt: skip
    assert lines[3].count("none") == 6
    assert lines[-1] == "lstm, litert: refused 3 recipes"


def test_a_file_that_nobody_timed_has_no_ratio() -> None:
    row = msgspec.structs.replace(GOOD, cpu_ratio=(None, None, None), cpu_of_bare=None)
    assert [cell.strip() for cell in text_int8.table(results(row))[2].strip("|").split("|")][-2:] == [
        "-",
        "-",
    ]


def test_rows_that_are_there_are_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "text.json"
    others = [msgspec.structs.replace(GOOD, runtime=name) for name in ("onnxruntime", "litert")]
    path.write_bytes(msgspec.json.encode(results(*others)))
    arguments = ["--json", str(path), "--isa", "avx2", "--only", "lstm"]
    assert text_int8.main([*arguments, "--resume"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "lstm: kept\n" and shown.out.count("edgekit: dynamic") == 2
    assert text_int8.main(arguments) == 2
    assert "give --resume to add to it" in capsys.readouterr().err
    assert text_int8.main([*arguments, "--resume", "--seed", "1"]) == 2
    assert "was made with seed=0" in capsys.readouterr().err


def test_an_unknown_net(capsys: pytest.CaptureFixture[str]) -> None:
    assert text_int8.main(["--only", "rnn"]) == 2
    assert "unknown nets rnn; allowed are lstm, gru, transformer" in capsys.readouterr().err
