"""The instruction set, normalised: the flags that decide how int8 is computed, and one class per machine.

On x86 without VNNI an int8 dot product goes through a 16-bit pair sum (vpmaddubsw) that saturates, so
full-range weights lose accuracy there; `int8_saturates` says on which classes.
"""

import ctypes
import platform
import sys

# weakest first within a family; a profile may name any of them
ISA_CLASSES = (
    "unknown", "x86-64", "avx2", "avx512", "avx-vnni", "avx512-vnni", "arm-neon", "arm-dotprod", "arm-i8mm",
)  # fmt: skip
_SATURATING = ("x86-64", "avx2", "avx512")
_X86_FLAGS = ("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8")
_ARM_FLAGS = ("neon", "asimd", "asimdhp", "asimddp", "i8mm", "sve")
_DARWIN_FLAGS = {"asimddp": "FEAT_DotProd", "i8mm": "FEAT_I8MM", "asimdhp": "FEAT_FP16"}
_WINDOWS_FEATURES = {"avx2": 40, "avx512f": 41, "asimddp": 43}
_HWCAP_BITS = {"asimd": 1, "asimdhp": 10, "asimddp": 20, "sve": 22}
_HWCAP2_I8MM_BIT = 13


def isa_flags(cpuinfo: dict[str, str], machine: str) -> tuple[str, ...] | None:
    """The flags of `_X86_FLAGS` or `_ARM_FLAGS` that this machine has; None when they cannot be read."""
    arm = is_arm(machine)
    words = cpuinfo.get("features" if arm else "flags")
    if words is not None:
        present = set(words.lower().split())
        return tuple(flag for flag in (_ARM_FLAGS if arm else _X86_FLAGS) if flag in present)
    if sys.platform == "darwin":
        return _darwin_arm() if arm else _darwin_x86(cpuinfo)
    if sys.platform == "win32":
        return _windows(arm)
    return _hwcap() if machine == "aarch64" and platform.machine() == "aarch64" else None


def isa_class(flags: tuple[str, ...] | None, machine: str) -> str:
    """The class of a machine.

    Args:
        flags: What `isa_flags` returned; without them it is what the architecture guarantees.
        machine: The machine as `platform.machine` names it.

    Returns:
        One of `ISA_CLASSES`.
    """
    present = flags or ()
    if is_arm(machine):
        if "i8mm" in present:
            return "arm-i8mm"
        if "asimddp" in present:
            return "arm-dotprod"
        return "arm-neon" if machine in ("aarch64", "arm64", "ARM64") or "neon" in present else "unknown"
    if machine.lower() not in ("x86_64", "amd64"):
        return "unknown"
    for flag, name in (("avx512_vnni", "avx512-vnni"), ("avx_vnni", "avx-vnni"), ("avx512f", "avx512")):
        if flag in present:
            return name
    return "avx2" if "avx2" in present else "x86-64"


def int8_saturates(isa: str) -> bool:
    """True where u8 x s8 products saturate at 16 bits, so that int8 weights should keep to 7 bits."""
    return isa in _SATURATING


def is_arm(machine: str) -> bool:
    """True for 32- and 64-bit ARM names as `platform.machine` gives them."""
    return machine.lower().startswith(("arm", "aarch64"))


def _hwcap() -> tuple[str, ...] | None:
    """aarch64 Linux without a Features line (emulated, or a masked /proc): what the kernel tells libc."""
    try:
        getauxval = ctypes.CDLL(None).getauxval
    except (OSError, AttributeError):
        return None
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    hwcap, hwcap2 = getauxval(16), getauxval(26)
    found = {name for name, bit in _HWCAP_BITS.items() if hwcap >> bit & 1}
    if hwcap2 >> _HWCAP2_I8MM_BIT & 1:
        found.add("i8mm")
    return tuple(flag for flag in _ARM_FLAGS if flag in found)


def _darwin_arm() -> tuple[str, ...]:
    import subprocess

    found = {"neon", "asimd"}
    for flag, name in _DARWIN_FLAGS.items():
        try:
            value = subprocess.check_output(
                ["sysctl", "-n", f"hw.optional.arm.{name}"], stderr=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError):
            continue
        if value.strip() == b"1":
            found.add(flag)
    return tuple(flag for flag in _ARM_FLAGS if flag in found)


def _darwin_x86(cpuinfo: dict[str, str]) -> tuple[str, ...] | None:
    keys = ("machdep.cpu.features", "machdep.cpu.leaf7_features")
    if not any(cpuinfo.get(key) for key in keys):
        return None
    present = set(
        " ".join(cpuinfo.get(key, "") for key in keys).lower().replace("avx512vnni", "avx512_vnni").split()
    )
    return tuple(flag for flag in _X86_FLAGS if flag in present)


def _windows(arm: bool) -> tuple[str, ...] | None:
    """Windows tells AVX2, AVX-512F and the ARM dot product; VNNI it does not tell."""
    kernel32 = getattr(ctypes, "windll", None)
    if kernel32 is None:
        return None
    has = kernel32.kernel32.IsProcessorFeaturePresent
    found = {flag for flag, number in _WINDOWS_FEATURES.items() if has(number)}
    return tuple(flag for flag in (_ARM_FLAGS if arm else _X86_FLAGS) if flag in found)
