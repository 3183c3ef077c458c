"""Files of strangers: bounded before they are read, one sentence for each, and visible where they are shown."""

import json
import os
import random
import re
import time
from pathlib import Path

import pytest
from commands import edgekit
from edgekit_runner.cli import bundle
from edgekit_runner.errors import RunnerError

from edgekit.cli import printing
from edgekit.device import record_check
from edgekit.errors import EdgekitError, UserError, VerificationError
from edgekit.ladder.recipe_parser import parse
from edgekit.package import budget_file, manifest_file, sums
from edgekit.package.bundle import listed, signing
from edgekit.profile.reading import load_target, profile_dir
from edgekit.records import foreign
from edgekit.records.bundle import BundleFile
from edgekit.records.foreign import parse_json, read_toml, visible, visible_data
from edgekit.report import load


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested more than 64 levels"),
        ("[" * 70 + "]" * 70, "nested more than 64 levels"),
        ('{"a": NaN}', "no finite number"),
        ('{"a": 1e999}', "no finite number"),
        ("9" * 5000, "a number of 5000 digits"),
        ("{", "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_json_of_a_stranger(text: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        parse_json(text.encode(), "it")


def test_json_that_is_no_text_or_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="is not JSON"):
        parse_json(b"\xff\xfe{", "it")
    monkeypatch.setattr(foreign, "MOST_BYTES", 1 << 20)
    with pytest.raises(UserError, match="more than 1 MiB"):
        parse_json(b" " * ((1 << 20) + 1), "it")
    assert parse_json(b'{"a": [1, 2.5, true, null]}', "it") == {"a": [1, 2.5, True, None]}


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert (
        visible("a\tb\nc \x1b]0;x\x07\x9b2J\u202e\x00\r")
        == "a\tb\nc \\u001b]0;x\\u0007\\u009b2J\\u202e\\u0000\\u000d"
    )
    assert visible("ä → ✓") == "ä → ✓"
    assert visible_data({"\x1b": ["\x07", 1]}) == {"\\u001b": ["\\u0007", 1]}
    assert json.loads(visible(json.dumps("\x9b", ensure_ascii=False))) == "\x9b"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = " + "[" * 5000, "nested too deeply|not a TOML"),
        ("a = " + "9" * 5000, "digits"),
        (".".join("a" * 20_000) + " = 1", "a key of more than 64 parts"),
        ("x = 1\n" * 20_000, "has more than 64 KiB"),
        ("\ud800", "utf-8"),
    ],
)
def test_toml_of_a_stranger(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "board.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    began = time.monotonic()
    with pytest.raises((UserError, ValueError), match=why):
        read_toml(path)
    with pytest.raises(EdgekitError):
        load_target(str(path))
    assert time.monotonic() - began < 2


def test_mutated_profiles(tmp_path: Path) -> None:
    chance = random.Random(0)
    texts = [path.read_text() for path in profile_dir().glob("[!_]*.toml")]
    path, began = tmp_path / "board.toml", time.monotonic()
    odd = [
        "[",
        "]",
        "=",
        '"',
        "\n",
        "9" * 500,
        "nan",
        "-inf",
        "{",
        "\x00",
        "ä",
        "[[ladder]]",
        "true",
        "'''",
        "1e999",
        ".",
    ]
    for _ in range(600):
        text = chance.choice(texts)
        for _ in range(chance.choice([1, 1, 2, 5])):
            at, length = chance.randrange(len(text)), chance.choice([0, 0, 1, 5, 200])
            text = text[:at] + chance.choice([*odd, ""]) + text[at + length :]
        path.write_text(text, encoding="utf-8")
        try:
            load_target(str(path))
        except EdgekitError as error:
            assert "\n" not in str(error) or len(str(error)) < 2000
    assert time.monotonic() - began < 60


def test_a_long_recipe_is_refused_at_once() -> None:
    with pytest.raises(UserError, match=r"\.\.\. has 16003 characters; allowed are 2000"):
        parse("ptq" + " " * 16_000)


def test_a_setting_that_is_given_twice() -> None:
    done = edgekit("plan", "x.py:task", "-t", "x86-server", "--set", "width=10", "--set", "width=11")
    assert done.exit_code == 2
    assert "--set width is given twice, as '10' and '11'; give it once" in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("endless", ["a pipe", "a device"])
def test_what_would_never_end_is_refused_at_once(tmp_path: Path, endless: str) -> None:
    readers = {
        "manifest.json": lambda path: manifest_file.read(path.parent),
        "report.json": load.read,
        "board.toml": lambda path: load_target(str(path)),
        "budget.toml": budget_file.read,
        "record.json": record_check.read,
        "key.pem": signing.private_key,
        "SHA256SUMS": lambda path: sums.check_whole(path.parent),
    }
    for name, reader in readers.items():
        path = tmp_path / name
        os.mkfifo(path) if endless == "a pipe" else path.symlink_to("/dev/zero")
        with pytest.raises(EdgekitError) as caught:
            reader(path)
        assert "\n" not in str(caught.value)
        path.unlink()
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(RunnerError, match="no readable manifest"):
        bundle.run(tmp_path)


def test_nothing_is_printed_but_by_what_shows_control_characters() -> None:
    """`put`, `say` and those that stand on them; a name of a stranger's file may hold anything."""
    folder = Path(printing.__file__).parent
    found = {
        path.name
        for path in folder.glob("*.py")
        if re.search(r"(?<!console\.)\bprint\(|\becho\(", path.read_text())
    }
    assert found == {"printing.py"}


def test_json_with_the_name_of_a_file_that_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    printing.print_json({"folder": "a\udc80", "other": "ä\x9b"})
    assert json.loads(capsys.readouterr().out) == {"folder": "a\\udc80", "other": "ä\\u009b"}


def test_half_a_character_where_a_number_stands(tmp_path: Path) -> None:
    """msgspec raises no validation error of its own there."""
    (tmp_path / "report.json").write_text('{"schema_version": "\\ud800"}')
    with pytest.raises(UserError, match="is not an edgekit report"):
        load.read(tmp_path)


def test_the_name_of_a_file_in_a_list_that_no_file_can_have(tmp_path: Path) -> None:
    file = BundleFile(path="x" * 300, bytes=1, sha256="0" * 64)
    with pytest.raises(VerificationError, match=r"is missing \(File name too long\)"):
        listed.check_file(tmp_path, file, "bundle.json")
