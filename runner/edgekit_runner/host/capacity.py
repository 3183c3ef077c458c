"""Refusing a model that cannot fit before the system kills whoever tries.

A runtime holds at least the model's own bytes, or maps them from the file (LiteRT) and then reads storage during
every inference, so a file larger than what is available is refused with both figures. A smaller one may still not
fit, which then ends as a runtime's error or as a killed worker. Files that the kernel merely caches are no use of
memory: reading the model to hash it has just filled that cache (Documentation/admin-guide/cgroup-v2.rst).
"""

import sys
from pathlib import Path

from edgekit_runner.errors import RunnerError
from edgekit_runner.host.environment import cgroups
from edgekit_runner.host.sensors import ROOT, number, text

# limit, use, and the lines of memory.stat (v1: with the groups below) that the kernel gives back when it must
_FILES = (
    ("memory.max", "memory.current", ("active_file", "inactive_file")),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")),
)


def memory_guard(size_bytes: int, root: Path = ROOT) -> None:
    """Refuses a model that cannot fit.

    Args:
        size_bytes: The size of its files.
        root: The root of the file system.

    Raises:
        RunnerError: The files alone exceed the memory that is available now.
    """
    available = available_bytes(root)
    if available is not None and size_bytes > available:
        raise RunnerError(
            f"the model's files are {size_bytes / 1e9:.3g} GB and {available / 1e9:.3g} GB of memory are "
            "available; run it on a larger device, or compress the model."
        )


def available_bytes(root: Path = ROOT) -> int | None:
    """What a new program may take: the kernel's estimate, bounded by the memory cgroups. None: unknown."""
    if sys.platform != "linux":
        return _available_psutil()
    lines = (text(root / "proc/meminfo") or "").splitlines()
    kernel = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    folders = cgroups(root / "sys/fs/cgroup", root / "proc/self/cgroup", "memory")
    left = [size for folder in folders if (size := _left(folder)) is not None]
    return min([*kernel, *left], default=None)


def _left(folder: Path) -> int | None:
    """What the limit of one memory cgroup (v2, then v1) leaves; None without a limit."""
    for limit_name, used_name, cached_names in _FILES:
        limit, used = number(folder / limit_name), number(folder / used_name)
        if limit is not None and used is not None:
            lines = (text(folder / "memory.stat") or "").splitlines()
            cached = sum(
                int(words[1]) for words in map(str.split, lines) if words and words[0] in cached_names
            )
            return min(limit, max(0, limit - used + cached))
    return None


def _available_psutil() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)
