"""report.json: a round trip, and one sentence for what is no report."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from edgekit.errors import UserError
from edgekit.records import Report
from edgekit.report.load import dump, read


@pytest.fixture
def file(report: Report, tmp_path: Path) -> Path:
    dump(report, tmp_path / "report.json")
    return tmp_path / "report.json"


def test_round_trip(report: Report, file: Path) -> None:
    assert read(file) == report
    assert read(file.parent) == report
    assert [item.name for item in file.parent.iterdir()] == ["report.json"]


def test_canonical(report: Report, file: Path) -> None:
    written = file.read_text(encoding="utf-8")
    again = json.dumps(json.loads(written), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert written == again
    dump(report, file)
    assert file.read_text(encoding="utf-8") == written


def test_another_schema_version(file: Path) -> None:
    data = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(
        json.dumps({**data, "schema_version": 1, "edgekit_version": "9.0", "new": 1}), encoding="utf-8"
    )
    expected = (
        "has schema version 1, this edgekit reads version 2; "
        "read it with the edgekit that wrote it (9.0) or export again"
    )
    with pytest.raises(UserError, match=re.escape(expected)):
        read(file)


def test_an_unknown_field(file: Path) -> None:
    data = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**data, "speed": 1}), encoding="utf-8")
    with pytest.raises(UserError, match=r"is not a report of schema version 2: .*unknown field `speed`"):
        read(file)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "is not an edgekit report"),
        (b'{"schema_version": "1"}', "is not an edgekit report"),
        (b'{"schema_version": 2}', "is not a report of schema version 2"),
    ],
)
def test_what_is_no_report(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=expected) as caught:
        read(file)
    assert "\n" not in str(caught.value)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*report\.json: No such file or directory; give a"):
        read(tmp_path)


def test_a_number_that_json_cannot_hold(report: Report, tmp_path: Path) -> None:
    bad = msgspec.structs.replace(report, float_metric=float("nan"))
    with pytest.raises(ValueError, match=r"report\.float_metric is not a finite number"):
        dump(bad, tmp_path / "report.json")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(report: Report, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="the disk is full while writing"):
        dump(report, file)
    assert file.read_bytes() == before
    assert [item.name for item in file.parent.iterdir()] == ["report.json"]
