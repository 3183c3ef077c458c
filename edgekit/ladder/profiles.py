"""Which profiles a run is for, and for which instruction set."""

from collections.abc import Iterable, Sequence

from edgekit_runner import __version__ as __version__
from edgekit_runner.host.environment import local_isa

from edgekit.errors import UserError
from edgekit.profile.reading import load_target, target_names
from edgekit.target import Target


def _of_all() -> list[str]:
    """Returns the built-in targets that "all" stands for."""
    return [name for name in target_names() if not load_target(name).on_request]


def load_targets(names: Iterable[str]) -> list[Target]:
    """Loads the profiles of `names`, each once, in the order given; "all" is every built-in one.

    Raises:
        UserError: There is none, or two that differ have one name.
    """
    found: dict[str, Target] = {}
    for name in [names] if isinstance(names, str) else names:
        for single in _of_all() if name == "all" else [name]:
            target = load_target(single)
            if found.setdefault(target.name, target) != target:
                raise UserError(
                    f"two targets that differ are called {target.name}, the second one by {single}; rename its file"
                )
    if not found:
        raise UserError(
            f"no target given; allowed: {', '.join(target_names())}, all, or the path of a .toml file"
        )
    return list(found.values())


def choose_isa(target: Target, isa: str | None, profiles: Sequence[Target]) -> str:
    """Returns `isa` where the target admits it, else the target's weakest level.

    Raises:
        UserError: None of the profiles admits it.
    """
    wanted = local_isa() if isa == "host" else isa
    if wanted is None:
        return target.default_isa
    if not any(wanted in profile.isa.levels for profile in profiles):
        allowed = ", ".join(dict.fromkeys(level for profile in profiles for level in profile.isa.levels))
        raise UserError(f"no target given admits the instruction set {wanted!r}; allowed: {allowed}, or host")
    return wanted if wanted in target.isa.levels else target.default_isa
