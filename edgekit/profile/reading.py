"""Reads a target profile, as closed TOML: an unknown key is an error that lists the allowed ones.

`load_target("x86-server")` reads a built-in one, `load_target("my/board.toml")` the user's own.
"""

import difflib
import re
from pathlib import Path
from typing import Any, get_args

import msgspec

from edgekit.errors import TargetError, UserError
from edgekit.profile.rungs import drop_what_the_table_says, expand
from edgekit.records import Record, convert
from edgekit.records.foreign import read_toml
from edgekit.target import Target
from edgekit.technique import TECHNIQUES, check_chain

RUNGS = "_rungs.toml"  # those that ladders share
MOST_NAME = 100
NOT_NAMES = ("baselines", "report.html", "report.json", "SHA256SUMS")  # what else an export holds


def profile_dir() -> Path:
    """Returns the folder of built-in profiles, in a wheel and in a checkout alike."""
    package = Path(__file__).parents[1]
    packaged = package / "targets"
    return packaged if packaged.is_dir() else package.parent / "targets"


def target_names() -> list[str]:
    """Lists the built-in profiles; a file that begins with an underscore is not one."""
    return sorted(path.stem for path in profile_dir().glob("[!_]*.toml"))


def load_target(name_or_path: str) -> Target:
    """Reads a profile by its name, or by the path of a TOML file.

    Raises:
        TargetError: There is no such profile, it is not TOML, a key is unknown, or a value has a wrong type or is out of
            range.
    """
    path = _find(name_or_path)
    try:
        data = read_toml(path)
    except ValueError as error:
        raise TargetError(f"{path}: not a TOML file: {error}") from error
    except OSError as error:
        raise TargetError(f"{path}: cannot be read: {error.strerror}") from error
    _check_name(path)
    if "name" in data:
        raise TargetError(f"{path}: unknown key 'name'; the file's stem is the target's name")
    expand(data, path, profile_dir() / RUNGS)
    drop_what_the_table_says(data, path)
    _check_keys(data, Target, "", path, hidden=frozenset({"name"}))
    try:
        target = convert({"name": path.stem, **data}, Target)
    except msgspec.ValidationError as error:
        raise TargetError(f"{path}: {error}") from error
    _check_techniques(target, path)
    return target


def _check_name(path: Path) -> None:
    name = path.stem
    if not re.fullmatch(r"\w[\w.+ -]*", name) or len(name) > MOST_NAME or name in NOT_NAMES:
        raise TargetError(
            f"{path}: the file's stem names the target and its folder, and {name[:MOST_NAME]!r} cannot; give it letters, digits, "
            f"spaces, '.', '_', '+' and '-', {MOST_NAME} at most, and none of {', '.join(NOT_NAMES)}"
        )


def _check_techniques(target: Target, path: Path) -> None:
    for rung in target.ladder:
        names = [step.technique for step in rung.steps]
        for name in names:
            if name not in TECHNIQUES:
                raise TargetError(
                    f"{path}: unknown technique {name!r}; allowed: {', '.join(sorted(TECHNIQUES))}"
                )
        try:
            check_chain(names)
        except UserError as error:
            raise TargetError(f"{path}: {' > '.join(names)}: {error}") from error


def _find(name_or_path: str) -> Path:
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise TargetError(f"target file {name_or_path} does not exist")
        return path
    names = target_names()
    if name_or_path not in names:
        close = difflib.get_close_matches(name_or_path, names, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise TargetError(
            f"unknown target {name_or_path!r}{hint}; allowed: {', '.join(names)}, or the path of a .toml file"
        )
    return profile_dir() / f"{name_or_path}.toml"


def _check_keys(data: Any, kind: Any, where: str, path: Path, hidden: frozenset[str] = frozenset()) -> None:
    """Refuses a key that the record `kind` does not declare, at any depth, and lists the allowed ones."""
    record = _record_in(kind)
    if isinstance(data, list):
        for i, item in enumerate(data):
            _check_keys(item, kind, f"{where}[{i}]", path)
    elif isinstance(data, dict) and record is not None:
        fields = {f.encode_name: f.type for f in msgspec.structs.fields(record) if f.name not in hidden}
        for key, value in data.items():
            if key not in fields:
                table = f" in [{where}]" if where else ""
                raise TargetError(f"{path}: unknown key {key!r}{table}; allowed: {', '.join(fields)}")
            _check_keys(value, fields[key], f"{where}.{key}".lstrip("."), path)


def _record_in(kind: Any) -> type[Record] | None:
    """Returns the record type inside `kind`, `tuple[kind, ...]` or `kind | None`."""
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind
    return next((found for found in map(_record_in, get_args(kind)) if found is not None), None)
