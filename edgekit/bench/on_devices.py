"""What a user asks to measure: artifacts alone or one against another, here or on devices."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit_runner import record as records

from edgekit.bench import subjects
from edgekit.device import TIMEOUT_S, check_form, open_device, run, zipapp
from edgekit.device.exchange import kill_children
from edgekit.device.scratch import Scratch
from edgekit.errors import EdgekitError, UserError

Listener = Callable[[str], None]


def quiet(text: str) -> None:
    """Says nothing: the listener by default."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one device said about one artifact: a record, or the sentence why there is none.

    Attributes:
        device: The device as the user wrote it.
        record: The runner's record.
        error: Why there is none.
        exit_code: 0, or the exit code of the failure.
    """

    device: str
    record: dict[str, Any] | None
    error: str | None
    exit_code: int


def bench_on(
    devices: Sequence[str],
    place: Path,
    thread_counts: Sequence[int],
    protocol: str = "default",
    python: str | None = None,
    timeout_s: float = TIMEOUT_S,
    listener: Listener = quiet,
) -> list[Outcome]:
    """Measures every artifact of `place` with every thread count on every device, the devices side by side.

    A device that fails gives one Outcome with its sentence in the place of those still due, and does not
    disturb the others.

    Args:
        devices: The devices as the user writes them, each once.
        place: An artifact file or an exported folder.
        thread_counts: How many threads the runtime uses.
        protocol: The runner's protocol.
        python: Which interpreter to use on the devices.
        timeout_s: When to give up on one measurement, in seconds.
        listener: Gets a line for what happens.

    Raises:
        UserError: `place` or a device is not one, or a device is given twice.
        VerificationError: A file was altered after export.
    """
    twice = [name for name in devices if list(devices).count(name) > 1]
    if twice:
        raise UserError(f"device {twice[0]!r} is given twice: two runs on it would disturb each other")
    for name in devices:
        check_form(name)
    specs = [
        {**spec, "kind": "bench", "protocol": protocol, "threads_count": count}
        for spec in subjects.read_all(place)
        for count in thread_counts
    ]
    stop = threading.Event()
    with Scratch() as folder, ThreadPoolExecutor(len(devices)) as pool:
        runner = zipapp.build(folder)
        begun = [pool.submit(_on_one, n, specs, runner, python, timeout_s, listener, stop) for n in devices]
        try:
            return [outcome for done in begun for outcome in done.result()]
        except BaseException:
            stop.set()
            kill_children(os.getpid())  # each thread then cleans up behind its own
            raise


def compare_on(
    device: str,
    a: Path,
    b: Path,
    settings: Mapping[str, Any],
    python: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any]:
    """Measures artifact A against artifact B, in turns.

    Args:
        device: The device as the user writes it.
        a: An artifact file, a target's folder, or a runner's record.
        b: Likewise.
        settings: More keys of the runner's spec.
        python: Which interpreter to use on the device.
        timeout_s: When to give up, in seconds.

    Returns:
        The runner's record.

    Raises:
        UserError: A path or the device is not one.
        VerificationError: A file was altered after export.
        MissingRuntime: The device lacks a runtime.
        DeviceError: The device failed.
    """
    spec = {**subjects.pair(a, b), "kind": "compare", **settings}
    return run.run_on(device, spec, python, timeout_s)


def _on_one(
    name: str,
    specs: Sequence[dict[str, Any]],
    runner: Path,
    python: str | None,
    timeout_s: float,
    tell: Listener,
    stop: threading.Event,
) -> list[Outcome]:
    done: list[Outcome] = []
    try:
        with closing(open_device(name, python)) as device:
            for spec in specs:
                if stop.is_set():
                    break
                tell(f"{name}  {spec['artifact']}, threads: {spec['threads_count']}")
                record = run.run(device, spec, runner, timeout_s)
                code = records.exit_code(record)
                done.append(Outcome(device=name, record=record, error=record["reason"], exit_code=code))
    except EdgekitError as error:
        done.append(Outcome(device=name, record=None, error=str(error), exit_code=error.exit_code))
    return done


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 if all were measured; else the exit code of the failures where they agree, or 1."""
    codes = {outcome.exit_code for outcome in outcomes} - {0}
    return codes.pop() if len(codes) == 1 else int(bool(codes))
