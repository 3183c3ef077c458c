"""How a device is written, and how its program is called: no shell, no option can be smuggled in."""

import shlex
import tempfile
from pathlib import Path

import pytest
from conftest import Fakes

from edgekit.device import check_form, open_device, transports
from edgekit.errors import DeviceError, UserError

SSH, ADB = "ssh:pi@board.local:2222", "adb:emulator-5554"


def test_transports_are_found_by_the_name_of_their_module() -> None:
    assert {name: module.FORM for name, module in transports().items()} == {
        "adb": "adb:SERIAL",
        "local": "local",
        "ssh": "ssh:user@host[:port]",
    }


@pytest.mark.parametrize(
    "text",
    [
        "local",
        "ssh:pi@10.0.0.7",
        "ssh:pi@board.local:2222",
        "ssh:alias",
        "ssh:pi@[fe80::1%eth0]:22",
        "adb:0123456789ABCDEF",
        "adb:127.0.0.1:5555",
        "adb:adb-R58M-aBcDeF (2)._adb-tls-connect._tcp",
    ],
)
def test_forms_that_are_allowed(text: str) -> None:
    check_form(text)


@pytest.mark.parametrize("text", ["", "toaster", "usb:1", "LOCAL", "run:x", "zipapp", "remote:x", "ssh"])
def test_another_kind_lists_what_is_allowed(text: str) -> None:
    if text == "ssh":
        with pytest.raises(UserError, match=r"'ssh:' is not of the form ssh:user@host\[:port\]"):
            open_device(text)
        return
    with pytest.raises(UserError) as caught:
        open_device(text)
    assert (
        str(caught.value) == f"device {text!r} is not known; allowed: adb:SERIAL, local, ssh:user@host[:port]"
    )


@pytest.mark.parametrize(
    "text",
    [
        "ssh:-oProxyCommand=touch x",
        "ssh:pi@-oProxyCommand=x",
        "ssh:-l@host",
        "ssh:pi@host:0",
        "ssh:pi@host:65536",
        "ssh:pi@host:22:22",
        "ssh:pi@ho st",
        "ssh:pi@host\n",
        "ssh:pi@host;reboot",
        "adb:",
        "adb:-d",
        "adb:a\nb",
        "adb:a;b",
        "local:here",
    ],
)
def test_an_address_that_is_none_is_refused_before_anything_starts(text: str, fakes: Fakes) -> None:
    with pytest.raises(UserError):
        open_device(text)
    assert fakes.calls() == []


def test_the_arguments_of_ssh(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    device = open_device(SSH)
    first, *later = fakes.calls()
    device.close()
    words = first.split()
    assert words[0] == "ssh"
    assert words[-1] == "pi@board.local"
    assert words[words.index("-p") + 1] == "2222"
    assert "-MNf" in words
    for option in ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=10", "RequestTTY=no"):
        assert option in words
    socket = next(word for word in words if word.startswith("ControlPath="))
    assert all(socket in call and " -T pi@board.local sh -c " in call for call in later)
    assert not Path(socket.removeprefix("ControlPath=")).parent.exists(), "the private folder is gone"


def test_without_room_for_the_path_of_a_socket_each_command_connects_anew(
    fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    device = open_device(SSH)
    assert device.execute(["echo", "fine"]).stdout == "fine\n"
    device.close()
    assert all("ControlPath=none" in call and "-MNf" not in call for call in fakes.calls())
    assert list(long.iterdir()) == []


def test_the_arguments_of_adb(fakes: Fakes) -> None:
    open_device(ADB).close()
    assert all(call.startswith("adb -s emulator-5554 shell -T sh -c ") for call in fakes.calls())


@pytest.mark.parametrize("text", [SSH, ADB])
def test_words_of_a_command_arrive_as_they_are(text: str, fakes: Fakes) -> None:
    nasty = ["a b", "$HOME", "`id`", "it's", '"', "\\", "*", "", "ä;exit 3", "two\nlines"]
    device = open_device(text)
    done = device.execute(["printf", "[%s]", *nasty])
    assert (done.code, done.stdout) == (0, "".join(f"[{word}]" for word in nasty))
    device.close()


@pytest.mark.parametrize("text", [SSH, ADB, "local"])
def test_bytes_codes_and_both_streams_come_back(text: str, fakes: Fakes) -> None:
    device = open_device(text)
    data = bytes(range(256)) * 500
    done = device.execute(["sh", "-c", "wc -c; echo out; echo err >&2; exit 255"], stdin=data)
    assert done.code == 255, "a command's own code, not the transport's"
    assert done.stdout.split() == [str(len(data)), "out"]
    assert done.stderr == "err\n"
    device.close()


@pytest.mark.parametrize("text", [SSH, ADB, "local"])
def test_a_pushed_file_is_there_complete_and_nothing_else(text: str, fakes: Fakes, tmp_path: Path) -> None:
    device = open_device(text)
    data = bytes(range(256)) * 2000
    (tmp_path / "file").write_bytes(data)
    remote = f"{device.root}/deep er/it's"
    assert not device.exists(remote, len(data))
    device.push(tmp_path / "file", remote)
    assert device.exists(remote, len(data))
    assert not device.exists(remote, len(data) - 1)
    listed = device.execute(["ls", "-A", f"{device.root}/deep er"])
    assert listed.stdout == "it's\n"
    device.remove(remote)
    assert not device.exists(remote, len(data))
    device.remove(f"{device.root}/deep er")
    device.remove(f"{device.root}/deep er")
    device.close()


def test_the_python_can_be_named(fakes: Fakes, tmp_path: Path) -> None:
    own = tmp_path / "my python"
    own.write_text(f'#!/bin/sh\nexec {shlex.quote(__import__("sys").executable)} "$@"\n')
    own.chmod(0o755)
    for text in (SSH, ADB, "local"):
        device = open_device(text, str(own))
        assert device.python == str(own)
        device.close()


@pytest.mark.parametrize("name", ["ssh", "adb"])
def test_a_program_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match=f"{name} cannot be started .*; install "):
        open_device({"ssh": SSH, "adb": ADB}[name])
