"""Fixtures: the runner as a zipapp, a small model, loopback stand-ins for ssh and adb, and a real device."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from device_world import Unavailable, World

sys.path.insert(0, str(Path(__file__).parents[1] / "runner"))

from runner_models import QUICK, write_onnx

from edgekit.device import zipapp

# runs the last argument of ssh, or the command of `adb shell`, in a shell of this machine
_FAKE = r"""#!/bin/sh
echo "${0##*/} $*" >>"$FAKE_LOG"
case "$FAKE_FAULT" in
  refused) echo "$FAKE_WORDS" >&2; exit "$FAKE_CODE";;
esac
case "${0##*/} $*" in
  "ssh "*" -MNf "*|"ssh "*" -O exit "*) exit 0;;
  "adb "*" push "*) mode=push; from=$4; to=$5;;
esac
for command in "$@"; do :; done
case "$command" in *"$FAKE_WHEN"*) fault=$FAKE_FAULT;; *) fault=;; esac
inside() { printf %s "$1" | sed "s#/data/local/tmp#$FAKE_HOME#g"; }
[ "$mode" = push ] && { mkdir -p "$(dirname "$(inside "$to")")" && cp "$from" "$(inside "$to")"; exit; }
export HOME="$FAKE_HOME"
case "${0##*/} $command" in
  "adb "*" run - --held")  # paths in the first line; the rest of stdin stays open as long as the host keeps it
    mkfifo "$FAKE_HOME/.stdin"; exec 3<&0
    { IFS= read -r line <&3; printf '%s\n' "$line" | sed "s#/data/local/tmp#$FAKE_HOME#g"; exec cat <&3; } >"$FAKE_HOME/.stdin" &
    feeder=$!; exec <"$FAKE_HOME/.stdin"; rm "$FAKE_HOME/.stdin";;
esac
case "$fault" in
  vanish) echo "$FAKE_WORDS" >&2; exit "$FAKE_CODE";;
  torn) sh -c "$(inside "$command")" 2>"$FAKE_HOME/.stderr" | head -c 300; cat "$FAKE_HOME/.stderr" >&2; exit 0;;
  full) command=$(printf %s "$command" | sed 's#cat >"\$1"#echo "cat: write error: No space left on device" >\&2; false#');;
  hang) exec sleep 60;;
  noise) echo "Welcome to my board"; printf "no end of line";;
esac
setsid sh -c "$(inside "$command")"
code=$?
[ -n "$feeder" ] && kill "$feeder"
[ "$fault" = noise ] && echo "logout"
exit $code
"""


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zipapp.build(tmp_path_factory.mktemp("zipapp"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    write_onnx(path)
    return path


@pytest.fixture
def quick() -> dict[str, object]:
    """Keys of a spec that ends within a second or two."""
    return {**QUICK, "processes_min_count": 1, "processes_max_count": 1}


@pytest.fixture
def long() -> dict[str, object]:
    """Keys of a spec that would run for minutes."""
    return {"processes_min_count": 1, "warmup_s": 300.0}


class Fakes:
    """Stand-ins for ssh and adb on PATH: the device is a folder of this machine."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self._monkeypatch = folder / "home", monkeypatch
        self._log = folder / "log"
        self.home.mkdir()
        programs = folder / "bin"
        programs.mkdir()
        for name in ("ssh", "adb"):
            (programs / name).write_text(_FAKE)
            (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_HOME", str(self.home))
        monkeypatch.setenv("FAKE_LOG", str(self._log))
        monkeypatch.setenv("FAKE_FAULT", "")
        monkeypatch.setenv("FAKE_WHEN", "")

    def fault(self, kind: str, words: str = "", code: int = 255, when: str = "") -> None:
        """From now on, commands that hold `when` fail this way."""
        for name, value in (("FAULT", kind), ("WORDS", words), ("CODE", str(code)), ("WHEN", when)):
            self._monkeypatch.setenv(f"FAKE_{name}", value)

    def calls(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def cache(self, kind: str) -> Path:
        return self.home / (".cache/edgekit-runner" if kind == "ssh" else "edgekit-runner")


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    return Fakes(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    try:
        with World() as made:
            yield made
    except Unavailable as error:
        pytest.skip(f"no device can be made on this machine: {error}")
