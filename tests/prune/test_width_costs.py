"""Tables on disk: kept by their conditions, refused under others."""

import json
from pathlib import Path

import pytest

from edgekit.engine.user_cache import cache_folder
from edgekit.errors import UserError
from edgekit.prune.latency.width_costs import TABLES, Store, read
from edgekit.records import WidthRow

HERE = {
    "runtime": "ONNX Runtime",
    "version": "1.32.0",
    "CPU": "a CPU",
    "threads": "1",
    "precision": "float32",
}


def row(micro: str = "conv 16>16", widths: tuple[int, ...] = (8, 16)) -> WidthRow:
    return WidthRow(micro=micro, widths=widths, cpu_s=tuple(w * 1e-6 for w in widths))


def test_a_row_is_found_again(tmp_path: Path) -> None:
    Store(HERE, tmp_path).add(row())
    assert Store(HERE, tmp_path).row("conv 16>16", [8, 16]) == row()
    assert Store(HERE, tmp_path).row("conv 16>16", [8]) == row()


def test_a_row_without_some_width_is_measured_again(tmp_path: Path) -> None:
    Store(HERE, tmp_path).add(row())
    assert Store(HERE, tmp_path).row("conv 16>16", [8, 12]) is None
    assert Store(HERE, tmp_path).row("conv 16>32", [8]) is None


@pytest.mark.parametrize("name", list(HERE))
def test_every_condition_is_in_the_key(tmp_path: Path, name: str) -> None:
    Store(HERE, tmp_path).add(row())
    other = Store({**HERE, name: "another"}, tmp_path)
    assert other.row("conv 16>16", [8]) is None
    assert other.path != Store(HERE, tmp_path).path


def test_two_processes_that_fill_one_table_keep_both_rows(tmp_path: Path) -> None:
    one, two = Store(HERE, tmp_path), Store(HERE, tmp_path)
    one.add(row("a"))
    two.add(row("b"))
    assert {kept.micro for kept in read(one.path, HERE)} == {"a", "b"}


def test_a_table_of_another_machine_is_refused(tmp_path: Path) -> None:
    store = Store(HERE, tmp_path)
    store.add(row())
    elsewhere = Store({**HERE, "CPU": "another"}, tmp_path)
    store.path.rename(elsewhere.path)
    with pytest.raises(UserError, match=r"was measured with CPU 'a CPU'; asked for is CPU 'another'"):
        Store({**HERE, "CPU": "another"}, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a table of widths"),
        ("{}", "is not a table of widths"),
        (json.dumps({"version": 99, "conditions": HERE, "rows": []}), "of version 99"),
    ],
)
def test_a_damaged_table_is_refused_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    Store(HERE, tmp_path).path.write_text(text)
    with pytest.raises(UserError, match=said):
        Store(HERE, tmp_path)


def test_the_cache_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(TABLES) == tmp_path / "edgekit" / "width-tables"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache_folder(TABLES) == Path.home() / ".cache" / "edgekit" / "width-tables"
