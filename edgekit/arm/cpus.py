"""The ARM CPUs that are emulated: one without and one with the dot product of int8, which decides which kernels run.

`max`, the CPU with everything that qemu knows, is left out: it emulates SVE, which takes ten times as long.
"""

from dataclasses import dataclass

from edgekit.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """A CPU as qemu calls it.

    Attributes:
        level: Its instruction-set level, as the runner names it.
        part: Its part number in /proc/cpuinfo.
        features: What the kernel lists there.
    """

    name: str
    level: str
    part: str
    features: str


_BASE = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
CPUS = (
    Cpu(name="cortex-a72", level="arm-neon", part="0xd08", features=f"{_BASE} cpuid"),
    Cpu(
        name="cortex-a76",
        level="arm-dotprod",
        part="0xd0b",
        features=f"{_BASE} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    ),
)


def cpu_of(name: str) -> Cpu:
    """Returns the CPU of that name. Raises UserError where it is not emulated."""
    for cpu in CPUS:
        if cpu.name == name:
            return cpu
    raise UserError(f"{name!r} is no CPU that is emulated; allowed: {', '.join(cpu.name for cpu in CPUS)}")


def serving(level: str) -> tuple[Cpu, ...]:
    """Returns the CPUs of that level and above: the machines that a file for the level is served on."""
    levels = [cpu.level for cpu in CPUS]
    return CPUS[levels.index(level) :] if level in levels else CPUS[-1:]


def cpuinfo(cpu: Cpu) -> str:
    """Returns /proc/cpuinfo as the guest must see it.

    qemu-user shows the host's, on which the runtimes' own reading of it crashes. The hardware's name says that it is emulated.
    """
    lines = {
        "processor": "0",
        "BogoMIPS": "100.00",
        "Features": cpu.features,
        "CPU implementer": "0x41",
        "CPU architecture": "8",
        "CPU variant": "0x0",
        "CPU part": cpu.part,
        "CPU revision": "3",
        "Hardware": f"{cpu.name}, emulated by qemu",
    }
    return "".join(f"{key}\t: {value}\n" for key, value in lines.items())
