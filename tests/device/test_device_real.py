"""The drivers against a real sshd and a real adbd, in a device of this machine (see `device_world`)."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from device_servers import (
    ADB_SERVER_PORT,
    ADBD_PORT,
    SERIAL,
    SSH_PORT,
    start_adb_server,
    start_adbd,
    start_sshd,
)
from device_world import USER, USER_ID, World, vsock_listeners, wait_for
from waiting import WAIT_S

from edgekit.device import Device, open_device
from edgekit.device.run import run
from edgekit.errors import DeviceError, MissingRuntime

pytestmark = pytest.mark.long

TEXTS = {"ssh": f"ssh:{USER}@127.0.0.1:{SSH_PORT}", "adb": f"adb:{SERIAL}"}
ROOTS = {"ssh": "home/.cache/edgekit-runner", "adb": "data/local/tmp/edgekit-runner"}
RUNNING = "run -"


@pytest.fixture(scope="module")
def servers(world: World) -> Iterator[World]:
    before = os.environ["PATH"]
    start_sshd(world)
    start_adb_server(world)
    assert vsock_listeners() == "", "something here listens on vsock already"
    start_adbd(world)
    os.environ["PATH"] = f"{world.base / 'bin'}{os.pathsep}{before}"
    yield world
    os.environ["PATH"] = before


@pytest.fixture(params=["ssh", "adb"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def device(servers: World, kind: str) -> Iterator[Device]:
    opened = open_device(TEXTS[kind])
    yield opened
    opened.close()
    assert not busy(servers), "a process was left on the device"


def busy(world: World) -> list[str]:
    return [line for line in world.processes() if RUNNING in line]


def cache(world: World, kind: str) -> Path:
    return world.root / ROOTS[kind]


def files(folder: Path) -> dict[str, int]:
    """Names and inodes: a file that was written anew has another one."""
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def runs(folder: Path) -> list[str]:
    """The folders of runs in a cache."""
    return [name for name in files(folder) if name.startswith("run-")]


# ------------------------------------------------------------------------------------ the device is what it should be


def test_adbd_listens_in_the_device_only_and_not_on_vsock(servers: World) -> None:
    assert servers.listening(ADBD_PORT)
    assert servers.run_as_root("ss", "--vsock", "--listening", "--no-header").strip() == ""
    assert vsock_listeners() == ""
    for port in (ADBD_PORT, ADB_SERVER_PORT, SSH_PORT):
        with socket.socket() as outside:
            assert outside.connect_ex(("127.0.0.1", port)) != 0, "reachable from outside of its namespace"


def test_nothing_of_the_device_runs_as_root_or_may_become_it(servers: World) -> None:
    for program in servers.programs:
        status = Path(f"/proc/{program.pid}/status").read_text()
        values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert values["Uid"].split() == [str(USER_ID)] * 4
        assert int(values["CapEff"], 16) == int(values["CapBnd"], 16) == 0
        assert values["NoNewPrivs"] == "1"
        assert Path(f"/proc/{program.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


def test_the_network_of_the_device_is_its_loopback(servers: World) -> None:
    links = servers.run_as_root("ip", "-oneline", "link").splitlines()
    assert [line.split()[1] for line in links] == ["lo:"]


# ------------------------------------------------------------------------------------------------------- what goes well


def test_a_command_and_its_streams(device: Device) -> None:
    data = bytes(range(256)) * 4000
    done = device.execute(["sh", "-c", "wc -c; echo err >&2; exit 7"], stdin=data)
    assert (done.code, done.stdout.strip(), done.stderr) == (7, str(len(data)), "err\n")
    assert device.execute(["printf", "[%s]", "a b", "$HOME", "it's", "ä"]).stdout == "[a b][$HOME][it's][ä]"


def test_a_model_is_measured_and_sent_once(
    servers: World, device: Device, kind: str, model: Path, runner: Path, quick: dict[str, object]
) -> None:
    spec = {"artifact": str(model), "kind": "bench", **quick}
    record = run(device, spec, runner)
    assert (record["status"], record["reason"]) == ("ok", None)
    assert record["latency"]["p50_s"] > 0
    assert record["artifact"]["path"] == str(model)
    there = files(cache(servers, kind))
    assert sorted(there) == sorted([runner.name, f"{record['artifact']['sha256']}.onnx"])
    assert all((cache(servers, kind) / name).stat().st_uid == USER_ID for name in there)
    run(device, spec, runner)
    assert files(cache(servers, kind)) == there, "sent once, and the folder of the run is gone"


def test_bytes_arrive_as_they_are(servers: World, device: Device, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    device.push(tmp_path / "file", f"{device.root}/a b/it's")
    assert (servers.root / device.root.lstrip("/") / "a b" / "it's").read_bytes() == data
    device.remove(f"{device.root}/a b")


def test_comparing_there(device: Device, model: Path, runner: Path, quick: dict[str, object]) -> None:
    record = run(
        device,
        {"kind": "compare", "artifact": str(model), "baseline": str(model), "rounds_count": 4, **quick},
        runner,
    )
    assert (record["status"], record["reason"]) == ("ok", None)
    assert record["comparison"]["rounds_count"] >= 4
    assert record["baseline"]["path"] == str(model)


# ------------------------------------------------------------------------------------------------------ what goes wrong


def test_a_runtime_that_is_missing_there(device: Device, runner: Path, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"the runtime is looked for first")
    record = run(device, {"kind": "check", "artifact": str(tmp_path / "model.tflite")}, runner)
    assert record["error_kind"] == "missing_runtime"
    assert "pip install ai-edge-litert" in record["reason"]


def test_pythons_that_do_not_do(servers: World, kind: str) -> None:
    with pytest.raises(MissingRuntime, match=r"python-old there is Python 3\.9"):
        open_device(TEXTS[kind], "/usr/local/bin/python-old")
    with pytest.raises(DeviceError, match="no Python there"):
        open_device(TEXTS[kind], "/usr/local/bin/no-python")


def test_a_time_out_ends_all_there(
    servers: World, device: Device, kind: str, model: Path, runner: Path, long: dict[str, object]
) -> None:
    with pytest.raises(DeviceError, match="no answer within 3 s"):
        run(device, {"artifact": str(model), **long}, runner, timeout_s=3.0)
    assert busy(servers) == []
    assert not [name for name in files(cache(servers, kind)) if name.startswith("run-")]


def test_a_full_disk_there(
    servers: World, device: Device, kind: str, model: Path, runner: Path, quick: dict[str, object]
) -> None:
    """The device's cache lies on a file system with room for the runner only."""
    cache(servers, kind).mkdir(parents=True, exist_ok=True)
    room = (runner.stat().st_size // 4096 + 2) * 4096
    servers.run_as_root(
        "mount",
        "-t",
        "tmpfs",
        "-o",
        f"size={room},uid={USER_ID},mode=700",
        "tmpfs",
        str(cache(servers, kind)),
    )
    try:
        with pytest.raises(
            DeviceError, match=r"the disk there is full, it cannot store model.onnx \(\d+ bytes\)"
        ):
            run(device, {"artifact": str(model), **quick}, runner)
        assert device.execute(["ls", "-A", device.root]).stdout == f"{runner.name}\n"
    finally:
        servers.run_as_root("umount", str(cache(servers, kind)))


def test_a_device_that_was_never_there(servers: World) -> None:
    with pytest.raises(DeviceError, match=r"login refused .*Permission denied"):
        open_device(f"ssh:nobody@127.0.0.1:{SSH_PORT}")
    with pytest.raises(DeviceError, match=r"cannot connect .*Connection refused"):
        open_device(f"ssh:{USER}@127.0.0.1:10999")
    with pytest.raises(DeviceError, match="its host key is not known here"):
        open_device(f"ssh:{USER}@localhost:{SSH_PORT}")
    with pytest.raises(DeviceError, match=r"cannot connect .*'nothing' not found"):
        open_device("adb:nothing")


def kill_when_running(world: World, pids: list[int]) -> threading.Thread:
    """Ends the servers' processes once the runner works on the device."""

    def watch() -> None:
        wait_for("the runner", lambda: any("-I -c" in line for line in world.processes()))
        for pid in pids or sessions(world):
            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def sessions(world: World) -> list[int]:
    """Process ids of sshd's connections."""
    said = subprocess.run(["pgrep", "-u", str(USER_ID), "-f", "sshd-session"], capture_output=True, text=True)
    inside = Path(f"/proc/{world.programs[0].pid}/ns/pid").readlink()
    return [pid for pid in map(int, said.stdout.split()) if Path(f"/proc/{pid}/ns/pid").readlink() == inside]


def test_a_connection_that_breaks_mid_run_over_ssh(
    servers: World, model: Path, runner: Path, long: dict[str, object]
) -> None:
    """The run is ended all the same: the driver connects again to clean up."""
    device = open_device(TEXTS["ssh"])
    thread = kill_when_running(servers, [])
    with pytest.raises(DeviceError, match="vanished before the command there ended"):
        run(device, {"artifact": str(model), **long}, runner)
    thread.join()
    wait_for("the end of the runner", lambda: not busy(servers))
    assert not runs(cache(servers, "ssh"))
    device.close()


def test_a_device_that_vanishes_mid_run_over_adb(
    servers: World, model: Path, runner: Path, long: dict[str, object]
) -> None:
    """Nobody can end what runs there, but it sees that its stdin was closed: it ends, and removes its folder."""
    device = open_device(TEXTS["adb"])
    adbd = servers.programs[-1]
    thread = kill_when_running(servers, [adbd.pid])
    begin = time.monotonic()
    with pytest.raises(DeviceError, match=f"{TEXTS['adb']} vanished before the command there ended"):
        run(device, {"artifact": str(model), **long}, runner)
    assert time.monotonic() - begin < WAIT_S, "the run of ten minutes was waited for"
    thread.join()
    with pytest.raises(DeviceError, match=r"cannot connect .*(offline|not found)"):
        open_device(TEXTS["adb"])
    start_adbd(servers)
    wait_for("the end of the runner", lambda: not busy(servers))
    wait_for("the end of its folder", lambda: not runs(cache(servers, "adb")))


def test_an_interrupted_command_leaves_nothing_behind(
    servers: World, kind: str, model: Path, tmp_path: Path
) -> None:
    """Ctrl-C reaches the client programs too; the driver ends what runs on the device, and removes its folder."""
    command = [sys.executable, "-m", "edgekit", "bench", str(model), "--device", TEXTS[kind]]
    process = subprocess.Popen(
        [*command, "--protocol", "strict"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for("the runner", lambda: any("-I -c" in line for line in servers.processes()))
    os.killpg(process.pid, signal.SIGINT)
    stdout, _ = process.communicate(timeout=WAIT_S)
    assert (process.returncode, stdout) == (130, b"")
    # a device is told to end by a connection that closes, or sees it: it may be a moment behind
    wait_for("the end of the runner", lambda: not busy(servers))
    wait_for("the end of its folder", lambda: not runs(cache(servers, kind)))
    assert list(tmp_path.iterdir()) == []
