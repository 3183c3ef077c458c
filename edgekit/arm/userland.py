"""The emulator and what it runs, set up once in the user's cache: qemu-user, an arm64 Python, a plugin that counts instructions.

Everything comes from Debian 12 packages that are unpacked and not installed, and runs through its own loader; nothing outside
the cache is changed. Debian 12's qemu, because later ones are built without plugins.
"""

import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgekit.arm import debian
from edgekit.arm.cpus import CPUS, cpuinfo
from edgekit.engine.user_cache import private_folder
from edgekit.errors import MissingRuntime

SUITE, FOLDER = "bookworm", "arm"
EDITION = "1"  # another one where what is set up changes
PYTHON = (3, 11)
RUNTIMES = ("onnxruntime", "litert")  # those with packages for aarch64 Linux
_HOST = ("qemu-user", "tcc")
_GUEST = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "libgomp1")
_QEMU, _PLUGIN = "qemu-aarch64", "count.so"
COMPILE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Userland:
    """What `prepare` set up.

    Attributes:
        place: Its folder: host/ with qemu, guest/ with the arm64 files, one folder for each CPU, the plugin.
        set_up_s: Seconds that setting it up took, whenever that was.
    """

    place: Path
    set_up_s: float

    def qemu(self, cpu: str) -> list[str]:
        """Returns how qemu is called to run an aarch64 program as that CPU, with instructions counted."""
        plugin, root = str(self.place / _PLUGIN), str(self.place / cpu)
        return [*_host_program(self.place, _QEMU), "-cpu", cpu, "-plugin", plugin, "-L", root]

    @property
    def python(self) -> Path:
        """The Python that qemu runs."""
        return self.place / "guest" / "usr" / "bin" / f"python{PYTHON[0]}.{PYTHON[1]}"

    def emulator(self) -> str:
        """Returns the emulator with its version, "qemu-aarch64 7.2.17"."""
        command = [*_host_program(self.place, _QEMU), "--version"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_S, check=False).stdout
        found = re.search(r"version (\d[\w.]*)", said)
        return f"{_QEMU} {found.group(1) if found else 'of an unknown version'}"


def check() -> None:
    """Raises MissingRuntime on a machine that cannot emulate."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise MissingRuntime(
            f"ARM is emulated on x86-64 Linux alone; this is {platform.machine()} {platform.system()}"
        )


def prepare(note: Callable[[str], None]) -> Userland:
    """Returns the userland, set up on first use: about 37 MB to fetch, 150 MB on disk.

    Args:
        note: Is told what happens where that takes time.

    Raises:
        MissingRuntime: It cannot be set up on this machine.
    """
    check()
    parent = private_folder(FOLDER)
    place = parent / f"debian-{SUITE}-{EDITION}"
    with _locked(parent / "lock"):
        if not place.is_dir():
            note("setting up the ARM userland, once: about 37 MB of Debian packages")
            began = time.monotonic()
            _set_up(place, began)
            note(f"the ARM userland is set up in {place}, which took {_seconds(place):.0f} s")
    return Userland(place=place, set_up_s=_seconds(place))


def _host_program(place: Path, name: str) -> list[str]:
    host = place / "host"
    return [*debian.loader(host), name, str(host / "usr" / "bin" / name)]


def _seconds(place: Path) -> float:
    return float((place / "seconds").read_text())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl

    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _set_up(place: Path, began: float) -> None:
    partial = place.with_name(f"{place.name}.part")
    shutil.rmtree(partial, ignore_errors=True)  # what a killed one left
    partial.mkdir()
    debian.unpack(_HOST, partial / "host", SUITE)
    debian.unpack(_GUEST, partial / "guest", SUITE, "arm64")
    _leave_out(partial)
    for cpu in CPUS:
        _lay_out(partial / cpu.name, cpuinfo(cpu))
    _compile(partial)
    (partial / "seconds").write_text(f"{time.monotonic() - began:.1f}\n")
    partial.rename(place)


def _leave_out(place: Path) -> None:
    """Removes the emulators of other CPUs, and what only people read."""
    for program in (place / "host" / "usr" / "bin").glob("qemu-*"):
        if program.name != _QEMU:
            program.unlink()
    for side in ("host", "guest"):
        shutil.rmtree(place / side / "usr" / "share", ignore_errors=True)


def _lay_out(root: Path, text: str) -> None:
    """A root for `qemu -L`: where a file is there it is taken, else the machine's own. The CPU's description is the root's own."""
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "cpuinfo").write_text(text)
    for name in ("usr", "lib"):
        (root / name).symlink_to(Path("..") / "guest" / name)


def _compile(place: Path) -> None:
    host = place / "host"
    libraries = next((host / "usr" / "lib").glob("*-linux-gnu/tcc"), None)
    if libraries is None:
        raise MissingRuntime(
            "Debian's package tcc lacks its own library; the plugin that counts instructions cannot be made"
        )
    command = [*_host_program(place, "tcc"), f"-B{libraries}", "-nostdlib", "-shared"]
    command += ["-o", str(place / _PLUGIN), str(Path(__file__).with_name("count.c"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_S, check=False)
    if done.returncode != 0 or not (place / _PLUGIN).is_file():
        raise MissingRuntime(
            f"the plugin that counts instructions cannot be compiled: {done.stderr.strip()[-300:]}"
        )
