"""The benchmark of faults: its hostile tasks are what they say, and what it looks for is found."""

import os
import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import fault
from fault import damage, hostile, network, no_files, sources, texts, users, verbs


def test_every_hostile_task_is_a_program_but_the_two_that_are_none() -> None:
    found = dict(hostile.files())
    broken = set()
    for what, text in found.items():
        try:
            compile(text, what, "exec")
        except (SyntaxError, ValueError):
            broken.add(what)
    assert len(found) >= 75
    assert broken == {"a file that is not Python", "a file that holds a zero byte"}


def test_every_damage_changes_a_file() -> None:
    chance = random.Random(0)
    for whole in (b"x", b"\0\0", b"a longer text"):
        for change in damage.DAMAGE.values():
            assert change(chance, whole) != whole


def test_half_of_the_mutated_documents_are_still_json() -> None:
    import json

    chance, good = random.Random(0), 0
    for _ in range(200):
        try:
            json.loads(texts.mutated(chance, b'{"a": [1, {"b": 2}], "c": "d"}', "x.json"))
        except (ValueError, RecursionError):
            continue
        good += 1
    assert 60 < good < 180


def test_what_strace_shows_of_other_machines() -> None:
    for line in (
        "7 socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, IPPROTO_IP) = 3",
        "7 connect(3, {sa_family=AF_INET6, sin6_port=htons(443)}, 28) = -1",
    ):
        assert network.OUTSIDE.search(line)
    for line in (
        "7 socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0, [3, 4]) = 0",
        '7 connect(3, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = -1',
    ):
        assert not network.OUTSIDE.search(line)


def test_how_a_command_may_end() -> None:
    def ended(code: int, stderr: str) -> str:
        return fault.fault_of(subprocess.CompletedProcess([], code, "", stderr))

    assert ended(0, "") == ended(2, "edgekit: give another -o\n") == ""
    assert "without a sentence" in ended(2, "")
    assert "exit code -11" in ended(-11, "")
    assert "Traceback" in ended(1, "Traceback (most recent call last):\nedgekit: x")


def test_a_folder_that_others_cannot_enter_is_found(tmp_path: Path) -> None:
    inside = tmp_path / "home" / "python"
    inside.mkdir(parents=True)
    for folder in (*inside.parents,):
        if tmp_path in folder.parents or folder == tmp_path:
            folder.chmod(0o755)
    (tmp_path / "home").chmod(0o700)
    hidden = users._hidden(inside)
    assert hidden is not None and (tmp_path / "home").is_relative_to(hidden)


def test_every_hostile_model_is_made(tmp_path: Path) -> None:
    large = ("unpacks to", "of a device")
    found = {name: make for name, make in sources.makers() if not any(each in name for each in large)}
    assert len(found) >= 90
    for number, make in enumerate(found.values()):
        place = tmp_path / str(number) / "place"
        place.mkdir(parents=True)
        (place.parent / "secret").write_bytes(b"x" * 1000)
        assert os.path.lexists(make(place))
        assert not (place / "was-run").exists()


def test_every_spoiled_file_is_none(tmp_path: Path) -> None:
    for number, spoil in enumerate(no_files.SPOILED.values()):
        file = tmp_path / str(number)
        file.write_text("{}")
        spoil(random.Random(0), file)
        assert not file.is_file() or file.is_symlink() or file.read_bytes()[:9] != b"{}"


def test_another_output_of_the_same_command(tmp_path: Path) -> None:
    assert verbs.afresh(["report", "a", "-o", "b"], tmp_path) == ["report", "a", "-o", str(tmp_path / "out")]
    assert verbs.afresh(["verify", "a"], tmp_path) == ["verify", "a"]
