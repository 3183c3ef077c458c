"""What an Android phone says of its heat and its battery, by `dumpsys`; None for what it does not say."""

import re

from edgekit.device import Device
from edgekit.records import Record

# android.os.PowerManager, from API 29 on
STATUSES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_STATUS = re.compile(r"^\s*Thermal Status:\s*(\d+)", re.MULTILINE)
_HAL = re.compile(r"Current temperatures from HAL:(.*?)(?:Current cooling devices|\Z)", re.DOTALL)
_HEAT = re.compile(r"mValue=(-?[0-9.]+), mType=(\d+)")
_SKIN, _COLDEST = "3", -50.0  # type of a sensor; what is below means that there is none
COULOMBS_PER_UAH = 3.6e-3


class Phone(Record):
    """A phone at a moment.

    Attributes:
        thermal: One of STATUSES.
        skin_celsius: The hottest reading of the case.
        plugged: Whether it is charged by anything.
        charge_uah: What the battery still holds, in microampere hours.
    """

    thermal: str | None = None
    skin_celsius: float | None = None
    battery_percent: int | None = None
    battery_celsius: float | None = None
    plugged: bool | None = None
    voltage_v: float | None = None
    charge_uah: int | None = None


def ask(device: Device) -> Phone:
    """Asks a device. One that is no Android phone says nothing."""
    heat, battery = (_dumpsys(device, name) for name in ("thermalservice", "battery"))
    return read(heat, battery)


def _dumpsys(device: Device, name: str) -> str:
    done = device.execute(["sh", "-c", 'command -v dumpsys >/dev/null && dumpsys "$1"', "sh", name])
    return done.stdout if done.code == 0 else ""


def read(heat: str, battery: str) -> Phone:
    """Reads the texts of `dumpsys thermalservice` and `dumpsys battery`."""
    status = _STATUS.search(heat)
    current = _HAL.search(heat)
    skin = [float(value) for value, kind in _HEAT.findall(current[1] if current else "") if kind == _SKIN]
    warm = [value for value in skin if value > _COLDEST]
    number = int(status[1]) if status else None
    plugged = re.findall(r"^\s*(?:AC|USB|Wireless|Dock) powered:\s*(true|false)", battery, re.MULTILINE)
    tenths, millivolts = _whole("temperature", battery), _whole("voltage", battery)
    return Phone(
        thermal=None if number is None else STATUSES[min(number, len(STATUSES) - 1)],
        skin_celsius=max(warm, default=None),
        battery_percent=_whole("level", battery),
        battery_celsius=None if tenths is None else tenths / 10,
        plugged="true" in plugged if plugged else None,
        voltage_v=None if millivolts is None else millivolts / 1e3,
        charge_uah=_whole("Charge counter", battery),
    )


def _whole(name: str, text: str) -> int | None:
    found = re.search(rf"^\s*{name}:\s*(-?\d+)\s*$", text, re.MULTILINE)
    return int(found[1]) if found else None


def energy_j(before: Phone, after: Phone) -> tuple[float | None, str]:
    """Joules that the battery gave between two moments, or None and why there is no figure."""
    if before.plugged or after.plugged:
        return None, "the phone is being charged; unplug it and use adb over the network"
    if (
        None in (before.charge_uah, after.charge_uah, before.voltage_v, after.voltage_v)
        or before.plugged is None
    ):
        return None, "the battery has no charge counter and voltage that can be read"
    assert before.charge_uah and after.charge_uah and before.voltage_v and after.voltage_v
    used = before.charge_uah - after.charge_uah
    if used <= 0:
        return None, "the charge counter did not move; measure longer"
    return used * COULOMBS_PER_UAH * (before.voltage_v + after.voltage_v) / 2, ""
