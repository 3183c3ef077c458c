"""Which CPUs the measured process may use. On big.LITTLE chips the kernel moves a process between fast and
slow cores, so that one program has two speeds; pinning it makes the figure belong to one kind of core.
"""

import os
from pathlib import Path

from edgekit_runner.errors import UserError
from edgekit_runner.host.sensors import ROOT, number, usable_cpus


def resolve(text: str, root: Path = ROOT) -> tuple[int, ...]:
    """Reads which CPUs are meant.

    Args:
        text: "0,2-3", "all", "big" or "little".
        root: The root of the file system.

    Returns:
        The CPU numbers.

    Raises:
        UserError: For any other text, for CPUs that this process may not use, and for "big" and "little" where all
            cores are alike or the system does not tell.
    """
    usable = usable_cpus()
    if usable is None:
        raise UserError("this system cannot bind a process to CPUs; leave the affinity out.")
    if text == "all":
        return usable
    if text in ("big", "little"):
        return _cluster(text, usable, root)
    try:
        # a range is cut behind the last CPU: "0-999999999" is to be refused, not counted out
        wanted = sorted({cpu for part in text.split(",") for cpu in _range(part)[: usable[-1] + 2]})
    except ValueError:
        raise UserError(
            f"affinity {text!r} is not understood; allowed: a list such as 0,2-3, or all, big, little."
        ) from None
    if not set(wanted) <= set(usable):
        raise UserError(
            f"affinity {text!r} asks for more than the CPUs {list(usable)} that this process may use."
        )
    return tuple(wanted)


def apply(cpus: tuple[int, ...]) -> None:
    """Binds this process, and the threads it starts later.

    Raises:
        UserError: The system refuses.
    """
    try:
        os.sched_setaffinity(0, cpus)
    except (OSError, AttributeError) as error:
        raise UserError(f"this system does not bind the process to CPUs {list(cpus)}: {error}.") from None


def _range(part: str) -> range:
    """The CPUs of "2" or "2-3"; `ValueError` for any other text, and where no CPU lies between."""
    first, dash, last = part.partition("-")
    found = range(int(first), int(last if dash else first) + 1)
    if not found:
        raise ValueError(part)
    return found


def _cluster(kind: str, usable: tuple[int, ...], root: Path) -> tuple[int, ...]:
    """The CPUs of the highest or the lowest capacity (cpu_capacity, else the highest clock)."""
    folder = root / "sys/devices/system/cpu"
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        known = {cpu: number(folder / f"cpu{cpu}" / name) for cpu in usable}
        found = {cpu: value for cpu, value in known.items() if value is not None}
        if len(found) == len(usable) and len(set(found.values())) > 1:
            limit = max(found.values()) if kind == "big" else min(found.values())
            return tuple(cpu for cpu, value in found.items() if value == limit)
    raise UserError(
        f"affinity {kind!r}: the system shows no cores of different size here; give CPU numbers instead, "
        f"of {list(usable)}."
    )
