"""What is compared between a student and a teacher: one term a file, found by its name.

A file holds `loss(student, teacher) -> scalar`, zero for equal tensors and about 1 for unrelated ones, so
that weights mean the same for each term, and `EQUAL`: which parts of the shapes it needs equal, "all" (widths
and positions), "positions" [H, W] alone, or "none".
"""

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

import torch

from edgekit.errors import UserError


class Term(NamedTuple):
    """A term with its loss and what it needs equal."""

    name: str
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    equal: str


def names() -> list[str]:
    """Returns the names of all terms."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def named(name: str) -> Term:
    """Returns a term.

    Raises:
        UserError: There is no such term; the message lists those there are.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"unknown term {name!r}{hint} Allowed are {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    return Term(name, module.loss, module.EQUAL)
