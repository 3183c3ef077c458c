"""What is compared of a student and a teacher: one term a file, found by its name.

A file holds `loss(student, teacher) -> scalar`, zero for equal tensors and about 1 for unrelated ones, so that weights mean the same for
each, and `EQUAL`: what of the shapes it needs equal, "all" (widths and positions), "positions" [H, W] alone, or "none".
"""

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

import torch

from edgekit.errors import UserError


class Term(NamedTuple):
    name: str
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    equal: str


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def named(name: str) -> Term:
    """Raises UserError that lists the terms there are."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"unknown term {name!r}{hint} Allowed are {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    return Term(name, module.loss, module.EQUAL)
