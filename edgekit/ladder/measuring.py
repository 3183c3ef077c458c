"""Where a target's files are timed: on a device that the user named, where it is one of the target's machines, else here."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from edgekit.device import check_form
from edgekit.device.inquiry import ask as ask_one
from edgekit.errors import UserError
from edgekit.records import DeviceFacts, Measurement
from edgekit.target import Target

DEVICE_GOLDEN = "device-golden.npz"  # beside the golden pair: more samples


def named(devices: Iterable[str], targets: Sequence[Target]) -> tuple[str, ...]:
    """Collects the devices of a run and of its targets, each once.

    Raises:
        UserError: One is not written as a device is.
    """
    found = tuple(dict.fromkeys([*devices, *(name for target in targets for name in target.devices)]))
    for name in found:
        check_form(name)
    return found


def ask(
    names: Sequence[str], targets: Sequence[Target], note: Callable[[str], None]
) -> tuple[DeviceFacts, ...]:
    """Asks every device what it is, side by side. One that does not answer is noted, and the run goes on.

    Raises:
        UserError: One answers, and is no machine of any target.
    """
    if not names:
        return ()
    with ThreadPoolExecutor(len(names)) as pool:
        found = tuple(pool.map(ask_one, names))
    for device in found:
        if device.error:
            note(device.error)
        elif not any(_serves(device, target) for target in targets):
            admitted = "; ".join(
                f"{target.name}: {', '.join(target.isa.arch)} with {', '.join(target.isa.levels)}"
                for target in targets
            )
            what = f"{device.arch} {device.isa}" + (
                "" if device.emulated == "no" else f", emulated: {device.emulated}"
            )
            raise UserError(
                f"{device.name} is {what}, which is no machine of the targets asked for ({admitted})"
            )
    return found


def device_for(target: Target, devices: Sequence[DeviceFacts]) -> str:
    """Returns the device that measures for a target, "" for this machine. Its own ones come first."""
    fit = [device.name for device in devices if not device.error and _serves(device, target)]
    return next((name for name in target.devices if name in fit), fit[0] if fit else "")


def with_silent(measurement: Measurement, devices: Sequence[DeviceFacts]) -> Measurement:
    """Adds the devices that never answered to a measurement that does not decide: one of them might have."""
    silent = [device.error for device in devices if device.error]
    if measurement.on_target or not silent:
        return measurement
    return msgspec.structs.replace(measurement, reason="; ".join([measurement.reason, *silent]))


def _serves(device: DeviceFacts, target: Target) -> bool:
    return device.emulated == "no" and target.admits(device.arch, device.isa)
