"""Memory of this process, in bytes, without a sampling thread.

`ru_maxrss` is not used on Linux: it is inherited across fork and exec, so the child of a 600 MB parent
reports 600 MB. VmHWM belongs to the address space, is fresh in a fresh process, and writing 5 to
/proc/self/clear_refs resets it, which gives a peak per phase. Off Linux psutil fills in what it knows.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SELF = Path("/proc/self")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One sample; None where a figure could not be read.

    Attributes:
        rss_bytes: What is resident.
        uss_bytes: What is resident and shared with no other process.
        anonymous_bytes: What of it no file backs.
        file_bytes: What of it files back.
        peak_bytes: The highest RSS since the last reset that the system accepted.
    """

    rss_bytes: int | None
    uss_bytes: int | None
    anonymous_bytes: int | None
    file_bytes: int | None
    peak_bytes: int | None

    def minus(self, base: "Memory") -> dict[str, int | None]:
        """This sample less another one.

        The peak is less the RSS of the other one, because that is what the process held when the phases began.
        """
        pairs = {
            "rss_bytes": (self.rss_bytes, base.rss_bytes),
            "uss_bytes": (self.uss_bytes, base.uss_bytes),
            "anonymous_bytes": (self.anonymous_bytes, base.anonymous_bytes),
            "file_bytes": (self.file_bytes, base.file_bytes),
            "peak_bytes": (self.peak_bytes, base.rss_bytes),
        }
        return {key: None if a is None or b is None else a - b for key, (a, b) in pairs.items()}


def sample() -> Memory:
    """The memory of this process now."""
    return _sample_linux() if sys.platform == "linux" else _sample_psutil()


def reset_peak() -> bool:
    """Resets VmHWM to the present RSS; False where the system refuses or does not know it."""
    try:
        (_SELF / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _sample_linux() -> Memory:
    status = _kib_table(_SELF / "status")
    rollup = _kib_table(_SELF / "smaps_rollup")
    rss = rollup.get("Rss", status.get("VmRSS"))
    anonymous = rollup.get("Anonymous", status.get("RssAnon"))
    private = (rollup.get("Private_Clean"), rollup.get("Private_Dirty"))
    return Memory(
        rss_bytes=rss,
        uss_bytes=None if private[0] is None or private[1] is None else private[0] + private[1],
        anonymous_bytes=anonymous,
        file_bytes=None if rss is None or anonymous is None else rss - anonymous,
        peak_bytes=_at_least(status.get("VmHWM"), rss),
    )


def _at_least(peak: int | None, rss: int | None) -> int | None:
    # status and smaps_rollup are read at two moments, and VmRSS is counted in per-thread batches
    return peak if peak is None or rss is None else max(peak, rss)


def _kib_table(path: Path) -> dict[str, int]:
    """The "Name:  123 kB" lines of a /proc file, in bytes; empty when it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    parts = [line.split() for line in lines]
    return {p[0][:-1]: int(p[1]) * 1024 for p in parts if len(p) == 3 and p[2] == "kB"}


def _sample_psutil() -> Memory:
    try:
        import psutil
    except ImportError:
        return Memory(rss_bytes=None, uss_bytes=None, anonymous_bytes=None, file_bytes=None, peak_bytes=None)
    info: Any = psutil.Process().memory_full_info()
    peak = getattr(info, "peak_wset", None)
    if peak is None and sys.platform == "darwin":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB elsewhere
    uss = getattr(info, "uss", None)
    return Memory(rss_bytes=info.rss, uss_bytes=uss, anonymous_bytes=None, file_bytes=None, peak_bytes=peak)
