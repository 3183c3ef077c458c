"""An emulated ARM CPU as a device of this machine: it reads this machine's files, and its Python runs the runner there.

The runner starts workers by `sys.executable`, which the kernel must be able to start without any setting for foreign programs.
So the guest's Python is an environment whose `bin/python` is a script of this machine that calls qemu with the real one.
"""

import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

from edgekit.arm.cpus import Cpu
from edgekit.arm.userland import PYTHON, Userland
from edgekit.device import zipapp
from edgekit.device.local import Local
from edgekit.device.run import run as run_on
from edgekit.device.scratch import Scratch
from edgekit.engine import beside
from edgekit.formats import RUNTIMES
from edgekit.requirements import installed

_VERSION = f"{PYTHON[0]}.{PYTHON[1]}"
_TAGS = ("manylinux_2_28", "manylinux_2_27", "manylinux2014", "manylinux_2_17")
_PLATFORM = [option for tag in _TAGS for option in ("--platform", f"{tag}_aarch64")]
_PIP = (*_PLATFORM, "--python-version", _VERSION, "--implementation", "cp")
_FOREIGN = "PYTHONPATH PYTHONHOME PYTHONSTARTUP LD_LIBRARY_PATH LD_PRELOAD"
TIMEOUT_S = 3600.0


def wheels(runtime: str) -> Path:
    """Returns the folder of the aarch64 packages of a runtime, in the versions that are installed here.

    Raises:
        MissingRuntime: pip has none for that platform, or cannot be reached.
    """
    packages = ("numpy", *RUNTIMES[runtime].packages.values())
    return beside.cached([f"{name}=={installed(name)}" for name in packages], f"py{_VERSION}-aarch64", _PIP)


def run(
    userland: Userland, cpu: Cpu, site: Path, spec: dict[str, Any], timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Runs a spec of the runner on an emulated CPU.

    Args:
        userland: What is emulated with.
        cpu: Which CPU.
        site: The folder of the packages.
        spec: As the runner's spec.py defines it.
        timeout_s: When to give up, in seconds.

    Returns:
        The runner's record; one that refused or failed says so in it.

    Raises:
        DeviceError: There is no record.
    """
    with Scratch() as folder:
        python = _environment(folder / "environment", userland, cpu, site)
        with closing(Local(str(python))) as device:
            device.name = f"{cpu.name}, emulated"
            return run_on(device, spec, zipapp.build(folder), timeout_s)


def _environment(place: Path, userland: Userland, cpu: Cpu, site: Path) -> Path:
    """Makes a virtual environment of the guest's Python with the packages of a folder; returns its `bin/python`."""
    packages = place / "lib" / f"python{_VERSION}"
    packages.mkdir(parents=True)
    (packages / "site-packages").symlink_to(site)
    (place / "pyvenv.cfg").write_text(f"home = {userland.python.parent}\nversion = {_VERSION}\n")
    python = place / "bin" / "python"
    python.parent.mkdir()
    call = shlex.join(userland.qemu(cpu.name))
    python.write_text(
        f'#!/bin/sh\nunset {_FOREIGN}\nPYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 exec {call} -0 "$0" '
        f'{shlex.quote(str(userland.python))} "$@"\n'
    )
    python.chmod(0o755)
    return python
