"""The host: as reports name it, and how many stages it has room for."""

from pathlib import Path

from edgekit_runner.host import capacity, environment

BOOT = Path("/proc/sys/kernel/random/boot_id")  # Linux's
STAGE_BYTES = 2 << 30  # what a stage of a usual network takes of its own


def machine_facts() -> dict[str, str]:
    """Returns CPU, instruction set, kernel and Python of this machine, as text."""
    facts = environment.describe()
    keys = ("machine", "cpu_model", "cpu_usable_count", "isa", "os", "python", "hypervisor")
    return {key: str(facts[key]) for key in keys}


def jobs_at_once(root: Path = Path("/")) -> int:
    """Returns how many stages this machine has room for at once: one a usable core, as far as memory reaches.

    Args:
        root: Where /proc and /sys are, with the memory limits of a container.
    """
    cores = int(environment.describe()["cpu_usable_count"])
    free_bytes = capacity.available_bytes(root)
    return cores if free_bytes is None else max(1, min(cores, free_bytes // STAGE_BYTES))


def boot() -> str:
    """Returns what tells one start of this machine from another: what was timed holds until then; "" where it cannot be told."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return ""
