"""benchmarks/zoo.py: its rows are there, and a table is made of what was run."""

import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import zoo  # type: ignore[import-not-found]  # noqa: E402


def test_rows() -> None:
    rows = zoo.nets()
    assert len(rows) >= 40 and len({row.name for row in rows}) == len(rows)
    assert all(Path(row.reference.rpartition(":")[0]).is_file() for row in rows)


def test_the_table_says_what_was_run_accepted_and_refused(tmp_path: Path) -> None:
    good = zoo.Cell(
        "digits",
        "arm-mobile",
        "trained",
        True,
        "ptq(mse)",
        "int8",
        "int8",
        0.98,
        0.99,
        0.97,
        0.3,
        1.0,
        21.0,
        "",
    )
    bad = zoo._refused(zoo.nets()[0], "coreml-fp16", 9.0, "Core ML has no translation of x")
    for cell in (good, bad):
        (tmp_path / f"{cell.net}__{cell.target}.json").write_bytes(msgspec.json.encode(cell))
    text = zoo.table(tmp_path)
    assert (
        "| digits | trained | not run | ptq(mse): 0.9800 (-0.0100), 0.30 of float's bytes, 100% of the work, 21 s | not run | refused, 9 s |"
        in text
    )
    assert "2 of " in text and "1 accepted, 1 of them in integers" in text
    assert "- digits, coreml-fp16: Core ML has no translation of x" in text
