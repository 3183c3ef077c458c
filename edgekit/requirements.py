"""Which Python packages each target needs, and whether they are here. Looks, never imports."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from edgekit.errors import MissingRuntime
from edgekit.formats import FORMATS, RUNTIMES
from edgekit.target import Target

ALWAYS = {"torch": "torch", "torchvision": "torchvision", "torchao": "torchao"}
# what stages rest on: their versions are part of a run's fingerprint
_OF_FILES = [row.packages for row in FORMATS.values()]
_OF_FILES += [row.packages for row in RUNTIMES.values() if not row.optional]
PACKAGES = tuple(
    dict.fromkeys(
        package
        for packages in (ALWAYS, *_OF_FILES, {"": "ai-edge-quantizer", "numpy": "numpy"})
        for package in packages.values()
    )
)


def missing(target: Target) -> list[str]:
    """Returns the packages, as pip names them, that `target` still needs here."""
    needed = {**ALWAYS, **FORMATS[target.format].packages, **RUNTIMES[target.runtime].packages}
    return [package for module, package in needed.items() if find_spec(module) is None]


def lacking(runtime: str) -> list[str]:
    """Returns the packages, as pip names them, that running files in `runtime` still needs here."""
    return [package for module, package in RUNTIMES[runtime].packages.items() if find_spec(module) is None]


def runtime_version(runtime: str) -> str:
    """Returns the version of a runtime that is installed here."""
    return installed(next(iter(RUNTIMES[runtime].packages.values())))


def check(targets: Iterable[Target]) -> None:
    """Checks that the packages of all targets are installed.

    Raises:
        MissingRuntime: Something is missing; the message holds one pip line for everything.
    """
    lacking = {target.name: missing(target) for target in targets}
    packages = sorted({package for names in lacking.values() for package in names})
    if packages:
        who = ", ".join(name for name, names in lacking.items() if names)
        raise MissingRuntime(
            f"{', '.join(packages)} not installed, needed for {who}: pip install {' '.join(packages)}"
        )


def check_cluster() -> None:
    """Raises MissingRuntime where Dask is not installed, which runs stages on other machines."""
    if find_spec("distributed") is None:
        raise MissingRuntime.of("edgekit[cluster]", "--cluster")


def installed(package: str) -> str:
    """Returns the version of a package, as pip names it, or that it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
