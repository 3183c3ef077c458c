"""Another user of the same machine: what a stranger plants is refused or ignored, and an ordinary user's export works.

Root plays both, by numbers: a stranger who plants files in a shared folder, and a victim, with a home of its own, who exports
there. Once the victim has no name in /etc/passwd, as in a container. The interpreter may lie in a home that others cannot
enter; then both see it through a mount of their own.
"""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import edgekit_runner

import edgekit
from edgekit.engine.output import WORK
from fault import Bench, Outcome, fault_of, marked, skipped

VICTIM, NAMELESS, STRANGER = 65534, 64533, 64532
WHAT = "what another user planted: refused or ignored, nothing of the victim's touched, no code run"
# argv: a folder that others cannot enter, a folder in it that they need, then the command
_SEEN = r"""
set -e
hidden=$1; needed=$2; shift 2
aside=$(mktemp -d); mount --bind "$needed" "$aside"; mount -t tmpfs -o mode=755 none "$hidden"
mkdir -p "$needed"; mount --move "$aside" "$needed"; rmdir "$aside"
exec "$@"
"""


class Place(NamedTuple):
    """Where both are: a folder that all may write, the victim's home, and what of the victim's must stay as it is."""

    shared: Path
    home: Path
    documents: Path
    pwned: Path

    @property
    def work(self) -> Path:
        return self.shared / f".out.{WORK}"

    @property
    def cache(self) -> Path:
        return self.shared / "cache"


class Payload:
    """Touches a file where it is unpickled."""

    def __init__(self, pwned: Path) -> None:
        self._pwned = pwned

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self._pwned}",)


def outcomes(bench: Bench) -> Iterator[Outcome]:
    absent = [name for name in ("setpriv", "unshare", "mount") if shutil.which(name) is None]
    if os.geteuid() != 0 or absent:
        yield skipped(WHAT, "needs root" if not absent else f"not installed: {', '.join(absent)}")
        return
    with tempfile.TemporaryDirectory(prefix="faults-users-") as folder:
        base = Path(folder)
        base.chmod(0o755)
        yield _ordinary(bench, base)
        failures = []
        for name, plant in PLANTS.items():
            place = _place(base, name)
            plant(place)
            _give(place.shared, STRANGER)
            if fault := _planted(bench, place):
                failures.append(f"{name}: {fault}")
        yield Outcome(WHAT, len(PLANTS), failures)


def _ordinary(bench: Bench, base: Path) -> Outcome:
    failures = []
    for user in (VICTIM, NAMELESS):
        place = _place(base, str(user), user)
        arguments = _arguments(bench, place)
        done = [_as(user, place, command) for command in (arguments, ["verify", str(place.shared / "out")])]
        fault = next(filter(None, (fault_of(each, [0]) for each in done)), "")
        left = sorted({path.name for path in place.shared.iterdir()} - {"out", "task.py", "cache"})
        if fault or left:
            failures.append(f"user {user}: {fault} left {left}")
    return Outcome(
        "exports and verifications by another user than root, with and without a name", 2, failures
    )


def _place(base: Path, name: str, user: int = VICTIM) -> Place:
    top = base / name.replace(" ", "-")
    place = Place(top / "shared", top / "home", top / "home" / "documents", top / "shared" / "pwned")
    place.documents.mkdir(parents=True)
    place.shared.mkdir()
    place.shared.chmod(0o1777)
    (place.documents / "thesis.txt").write_text("mine")
    _give(place.home, user)
    return place


def _give(folder: Path, user: int) -> None:
    """Everything in a folder, and not the folder; a home itself, too."""
    places = [folder] if folder.name == "home" else []
    for path in (*places, *folder.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)


def _arguments(bench: Bench, place: Place) -> list[str]:
    file, _, name = bench.task.partition(":")
    own = place.home / "task.py"
    shutil.copyfile(file, own)
    own.chmod(0o644)
    light = [part if part != bench.task else f"{own}:{name}" for part in bench.light()]
    return [*light, "--resume", "-o", str(place.shared / "out")]


def _as(user: int, place: Place, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    """Runs edgekit in the shared folder, as an installed command would: the folder it stands in is not on the path."""
    roots = os.pathsep.join(
        str(Path(module.__file__ or "").parents[1]) for module in (edgekit, edgekit_runner)
    )
    variables = marked(
        HOME=str(place.home), PYTHONPATH=roots, XDG_CACHE_HOME=str(place.cache), PYTHONDONTWRITEBYTECODE="1"
    )
    code = "import sys; sys.argv[0] = 'edgekit'; from edgekit.__main__ import main; main()"
    command = [sys.executable, "-P", "-c", code, *arguments]
    priv = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all", *command]
    if hidden := _hidden(Path(sys.base_prefix).resolve()):
        priv = [
            "unshare",
            "-m",
            "sh",
            "-c",
            _SEEN,
            "sh",
            str(hidden),
            str(Path(sys.base_prefix).resolve()),
            *priv,
        ]
    for name in ("TMPDIR",):
        variables.pop(name, None)
    return subprocess.run(
        priv, capture_output=True, text=True, errors="replace", check=False, env=variables, cwd=place.shared
    )


def _hidden(needed: Path) -> Path | None:
    """The topmost folder on the way to `needed` that others cannot enter."""
    return next((path for path in reversed(needed.parents) if not path.stat().st_mode & 0o001), None)


def _planted(bench: Bench, place: Place) -> str:
    done = _as(VICTIM, place, _arguments(bench, place))
    if place.pwned.exists():
        return "the stranger's code ran"
    if {path.name: path.read_text() for path in place.documents.iterdir()} != {"thesis.txt": "mine"}:
        return f"the victim's files were changed: {sorted(place.documents.iterdir())}"
    if fault := fault_of(done, (0, 2)):
        return fault
    return "" if done.returncode == 2 or (place.shared / "out" / "report.json").is_file() else "no output"


# ----------------------------------------------------------------------------------------- what the stranger plants


def _stages(place: Place, folder: Path) -> None:
    """Stages that look finished, with a pickle wherever one might be loaded."""
    for name in ("all/trace", "arm-mobile/export-onnx-01", "stage"):
        stage = folder / name
        stage.mkdir(parents=True)
        for file in ("program.pt2", "task.pkl", "model.onnx", "state.pt"):
            (stage / file).write_bytes(pickle.dumps(Payload(place.pwned)))
        (stage / "result.json").write_text('{"result": {}, "files": {}}')
    (folder / "fingerprint.json").write_text("{}")


def _work(mode: int) -> Callable[[Place], None]:
    def plant(place: Place) -> None:
        _stages(place, place.work)
        place.work.chmod(mode)

    return plant


def _link(name: str, to: Callable[[Place], Path]) -> Callable[[Place], None]:
    def plant(place: Place) -> None:
        (place.shared / name).parent.mkdir(parents=True, exist_ok=True)
        (place.shared / name).symlink_to(to(place))

    return plant


def _victims_work_with_a_strangers_lock(place: Place) -> None:
    place.work.mkdir()
    (place.work / "lock").symlink_to(place.documents / "thesis.txt")


def _cache(name: str) -> Callable[[Place], None]:
    def plant(place: Place) -> None:
        folder = place.cache / "edgekit" / name
        _stages(place, folder)
        (folder / "keras.json").write_text("{}")

    return plant


def _output(mark: str) -> Callable[[Place], None]:
    def plant(place: Place) -> None:
        out = place.shared / "out"
        out.mkdir()
        out.chmod(0o777)
        if mark:
            (out / "report.json").write_text(mark)

    return plant


def _modules(place: Place) -> None:
    """Modules in the current folder, under the names of those that everybody imports."""
    for name in (
        "json",
        "numpy",
        "torch",
        "edgekit",
        "sitecustomize",
        "usercustomize",
        "msgspec",
        "onnx",
        "psutil",
    ):
        (place.shared / f"{name}.py").write_text(f"open({str(place.pwned)!r}, 'w')\n")


def _fifo(place: Place) -> None:
    os.mkfifo(place.work)


def _scratch(place: Place) -> None:
    (place.cache / "edgekit" / "stages" / "edgekit-scratch-x").mkdir(parents=True)


PLANTS: dict[str, Callable[[Place], None]] = {
    "a work folder": _work(0o755),
    "a work folder that all may write": _work(0o777),
    "a work folder of its own": _work(0o700),
    "a link as work folder, to the documents": _link(f".out.{WORK}", lambda place: place.documents),
    "a link as work folder, to nowhere": _link(f".out.{WORK}", lambda place: place.home / "nowhere"),
    "a link as work folder, to a folder of its own": _link(f".out.{WORK}", lambda place: place.shared),
    "a pipe as work folder": _fifo,
    "a lock that is a link": _victims_work_with_a_strangers_lock,
    "a link as output, to the documents": _link("out", lambda place: place.documents),
    "a link as output, to nowhere": _link("out", lambda place: place.home / "nowhere"),
    "an empty output": _output(""),
    "an output of edgekit's": _output('{"edgekit_version": "0.1"}'),
    "a cache of stages": _cache("stages"),
    "a cache of torch's": _cache("torchinductor"),
    "a cache of Keras": _cache("keras"),
    "a link as cache, to the documents": _link("cache/edgekit/stages", lambda place: place.documents),
    "a link as the cache of all, to the documents": _link("cache/edgekit", lambda place: place.documents),
    "a half written entry of the cache": _scratch,
    "modules where the command is run": _modules,
}
