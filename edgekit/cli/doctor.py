"""What this machine has and what each target still needs. Looks at metadata, imports no framework."""

import platform

from edgekit_runner.host.environment import local_isa
from edgekit_runner.host.isa import int8_saturates

from edgekit import requirements
from edgekit.profile.reading import load_target, target_names
from edgekit.records import Record


class TargetHealth(Record):
    """What one target still needs.

    Attributes:
        target: Its name.
        ready: Whether nothing is missing.
        missing: Packages to install.
        speed: Whether this machine's timings count for the target.
    """

    target: str
    ready: bool
    missing: tuple[str, ...]
    speed: str


class Health(Record):
    """The answer of `edgekit doctor`."""

    machine: str
    isa: str
    int8_saturates: bool
    packages: dict[str, str]
    targets: tuple[TargetHealth, ...]


def examine() -> Health:
    """Examines this machine, its packages and every target."""
    isa = local_isa()
    return Health(
        machine=platform.machine(),
        isa=isa,
        int8_saturates=int8_saturates(isa),
        packages={name: requirements.installed(name) for name in requirements.PACKAGES},
        targets=tuple(_target(name, isa) for name in target_names()),
    )


def _target(name: str, isa: str) -> TargetHealth:
    target = load_target(name)
    missing = tuple(requirements.missing(target))
    here = f"{platform.machine()} {isa}"
    decides = target.admits(platform.machine(), isa)
    speed = f"measured here ({here})" if decides else f"not measured here: {here} is not one of its machines"
    return TargetHealth(target=name, ready=not missing, missing=missing, speed=speed)


def lines(health: Health) -> list[str]:
    """Puts the answer into lines for a person: the machine, the packages, then one line for each target."""
    saturates = (
        "u8 x s8 products saturate: weights of 7 bits"
        if health.int8_saturates
        else "8-bit products are summed in 32 bits"
    )
    found = [f"machine  {health.machine}, instruction set {health.isa} ({saturates})"]
    found += [f"package  {name} {number}" for name, number in health.packages.items()]
    for target in health.targets:
        state = "ready" if target.ready else f"pip install {' '.join(target.missing)}"
        found.append(f"target   {target.target}: {state}; speed {target.speed}")
    return found
