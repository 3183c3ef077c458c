"""Programs without Python that time a model on a phone, one a file: `benchmark_model` of LiteRT and the like.

A module is named as the program is and found by that name. It holds

    FORMATS                                   what it opens, as suffixes
    PROVES                                    whether it checks answers
    command(program, model, threads, runs)    -> argv on the device
    parse(text)                               -> Output; raises Unknown where the text is not what the program is known to print

None of them is installed with a runtime: the user builds or downloads the program and names its path.
"""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from edgekit.errors import UserError
from edgekit.records import Record


class Unknown(Exception):
    """A text that is not what the program is known to print."""


class Output(Record):
    """What one process of a program said; times are of one inference, None where it does not tell.

    Attributes:
        load_s: Of loading and preparing the model.
        first_s: Of the first inference.
        delegated: How many nodes of the graph a delegate took, and of how many; None where it does not tell.
        delegate: Its name.
        memory_bytes: What the process grew by, by its own account.
    """

    runs: int
    mean_s: float
    median_s: float | None = None
    min_s: float | None = None
    max_s: float | None = None
    std_s: float | None = None
    load_s: float | None = None
    first_s: float | None = None
    delegated: tuple[int, int] | None = None
    delegate: str = ""
    memory_bytes: int | None = None

    @property
    def typical_s(self) -> float:
        """The median where it is told, else the mean."""
        return self.mean_s if self.median_s is None else self.median_s


def names() -> list[str]:
    """The programs that are known."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def of(program: Path) -> ModuleType:
    """Returns the module of a program, by the name of its file: "benchmark_model", "android_aarch64_benchmark_model".

    Raises:
        UserError: None of the known ones has that name.
    """
    stem = program.name.removesuffix(".exe")
    found = [
        name for name in names() if stem == name or stem.endswith(f"_{name}") or stem.startswith(f"{name}_")
    ]
    if not found:
        raise UserError(
            f"--native {program} is no program that is known; allowed are {', '.join(names())}, by their file's name"
        )
    return importlib.import_module(f"{__name__}.{found[0]}")
