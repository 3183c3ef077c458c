"""The real servers in a device of this machine, and the clients on PATH that reach them.

See `device_world` for the rules that adbd runs under.
"""

import os
import shutil
import subprocess

from device_world import USER_ID, Program, World, wait_for

from edgekit.arm import debian

SSH_PORT, ADBD_PORT, ADB_SERVER_PORT = 10222, 15555, 15037
SERIAL = f"127.0.0.1:{ADBD_PORT}"


def start_sshd(world: World) -> Program:
    """sshd with one key; `ssh` on PATH below world.base/bin knows it."""
    folder, inside = world.root / "opt" / "ssh", "/opt/ssh"
    folder.mkdir(parents=True)
    for name in ("host", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    os.chown(folder / "host", USER_ID, USER_ID)
    (folder / "id").rename(world.base / "id")
    for name in ("sshd-session", "sshd-auth"):
        call = " ".join(world.tool(f"usr/lib/openssh/{name}"))
        world.write(f"opt/ssh/{name}", f'#!/bin/sh\nexec {call} "$@"\n')
    settings = {
        "Port": SSH_PORT, "ListenAddress": "127.0.0.1", "HostKey": f"{inside}/host", "PidFile": "none",
        "AuthorizedKeysFile": f"{inside}/id.pub", "UsePAM": "no", "StrictModes": "no",
        "PasswordAuthentication": "no", "KbdInteractiveAuthentication": "no",
        "SshdSessionPath": f"{inside}/sshd-session", "SshdAuthPath": f"{inside}/sshd-auth",
    }  # fmt: skip
    world.write("opt/ssh/config", "".join(f"{key} {value}\n" for key, value in settings.items()), 0o644)
    known = (folder / "host.pub").read_text()
    (world.base / "known_hosts").write_text(f"[127.0.0.1]:{SSH_PORT} {known}")
    (world.base / "ssh_config").write_text(
        f"IdentityFile {world.base}/id\nIdentitiesOnly yes\nUserKnownHostsFile {world.base}/known_hosts\n"
    )
    world.client("ssh", [shutil.which("ssh") or "ssh", "-F", str(world.base / "ssh_config")])
    program = world.start([*world.tool("usr/sbin/sshd"), "-D", "-e", "-f", f"{inside}/config"], "sshd.log")
    wait_for("sshd", lambda: world.listening(SSH_PORT))
    return program


def start_adb_server(world: World) -> Program:
    """The adb server; `adb` on PATH below world.base/bin speaks to it."""
    place = "usr/lib/android-sdk/platform-tools/adb"
    own = [*debian.loader(world.tools), "adb", str(world.tools / place)]
    # with -H the client never starts a server of its own
    world.client("adb", [*own, "-H", "127.0.0.1", "-P", str(ADB_SERVER_PORT)])
    program = world.start([*world.tool(place), "-P", str(ADB_SERVER_PORT), "nodaemon", "server"], "adb.log")
    wait_for("the adb server", lambda: world.listening(ADB_SERVER_PORT))
    return program


def start_adbd(world: World) -> Program:
    """adbd, and the adb server's connection to it."""
    place = "usr/lib/android-sdk/platform-tools/adbd"
    program = world.start(world.tool(place), "adbd.log", ADBD_PORT=str(ADBD_PORT))
    wait_for("adbd", lambda: world.listening(ADBD_PORT))
    adb = str(world.base / "bin" / "adb")
    subprocess.run([adb, "connect", SERIAL], capture_output=True, check=True, timeout=60)
    listed = [adb, "devices"]
    wait_for(
        "the connection to adbd",
        lambda: f"{SERIAL}\tdevice" in subprocess.run(listed, capture_output=True, text=True).stdout,
    )
    return program
