"""`edgekit bench --apk`: a bundle's model in an app of its own on an Android phone, in several fresh processes."""

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from edgekit_runner import artifact
from edgekit_runner import record as records
from edgekit_runner.kinds import bench
from edgekit_runner.spec import SCHEMA_VERSION, from_dict

from edgekit.bench import app_record
from edgekit.bench.app_record import Malformed
from edgekit.device import NO_PYTHON, TIMEOUT_S, Completed, Device, open_device
from edgekit.device import phone as phones
from edgekit.device.run import stage
from edgekit.device.scratch import Scratch
from edgekit.errors import DeviceError, UserError
from edgekit.package import manifest_file
from edgekit.package.bundle import phone_apk
from edgekit.records import Artifact
from edgekit.records.foreign import visible

_ANSWER = "INSTRUMENTATION_RESULT: edgekit="
_CRASH = (
    "INSTRUMENTATION_RESULT: longMsg=",
    "INSTRUMENTATION_RESULT: shortMsg=",
    "INSTRUMENTATION_STATUS: Error=",
)
QUOTED = 200


def run(
    name: str,
    bundle: Path,
    runtime: Path | None,
    threads: int,
    protocol: str,
    tell: Callable[[str], None],
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any]:
    """Builds the test APK of a bundle, runs it, and removes it again.

    Args:
        name: The device, "adb:SERIAL".
        bundle: What `edgekit package --for android` wrote.
        runtime: ONNX Runtime's AAR; None looks into the caches of Maven and Gradle.
        threads: Threads of the runtime.
        protocol: The runner's protocol.
        tell: Is told what happens.
        timeout_s: When to give up on one process, in seconds.

    Returns:
        The runner's record of kind bench.

    Raises:
        UserError: The device is no phone, or the bundle holds no ONNX model for Android.
        MissingRuntime: A tool is not installed.
        DeviceError: The phone does not answer, or does not take the app.
    """
    if not name.startswith("adb:"):
        raise UserError(f"--apk runs an app on an Android phone: give --device adb:SERIAL, not {name}")
    with Scratch() as folder, closing(open_device(name, NO_PYTHON)) as device:
        app = phone_apk.build(bundle, runtime, folder)
        tell(f"{name}  {app.package}, with {app.aar.name}")
        target = bundle / "targets" / app.target
        file, manifest = manifest_file.artifact_of(target)
        asked = {
            "schema_version": SCHEMA_VERSION, "kind": "bench", "artifact": file.path, "format": file.format,
            "golden": str(target / manifest.golden.path), "golden_atol": manifest.golden.atol, "threads_count": threads,
            "protocol": protocol,
        }  # fmt: skip
        spec = from_dict(asked)
        assert isinstance(spec, bench.Spec)
        remote = stage(device, app.path, f"{artifact.sha256(app.path)}.apk")
        _must(
            device, device.execute(["pm", "install", "-r", "-t", remote], timeout_s=timeout_s), "take the app"
        )
        try:
            return _measured(device, app, spec, file, timeout_s)
        finally:
            with suppress(DeviceError):
                device.execute(["pm", "uninstall", app.package])
                device.remove(remote)


def _must(device: Device, done: Completed, what: str) -> None:
    if done.code != 0 or "Failure" in done.stdout:
        said = visible(" ".join((done.stdout + done.stderr).split())[:QUOTED])
        raise DeviceError(f"{device.name} does not {what}: {said}")


def _measured(
    device: Device, app: phone_apk.PhoneApk, spec: bench.Spec, file: Artifact, timeout_s: float
) -> dict[str, Any]:
    cpuinfo = device.execute(["cat", "/proc/cpuinfo"]).stdout
    single = bench.repetition(spec)
    parts: list[Any] = []
    for _ in range(spec.processes_min_count):
        before = phones.ask(device)
        done = device.execute(command(app, single), timeout_s=timeout_s)
        try:
            answer = app_record.read(_answer(done))
            part = app_record.of_process(answer, single, file, cpuinfo, before, phones.ask(device))
        except Malformed as error:
            return _failed(
                f"the answer of the app is not understood ({visible(str(error))[:QUOTED]})", "internal"
            )
        except DeviceError as error:
            return _failed(str(error), "crash")
        if part["status"] != "ok":
            return {**part, "samples": None}
        parts.append(part)
    return dict(bench.combine(parts, spec, "processes_max_count"))


def _failed(reason: str, kind: str) -> dict[str, Any]:
    return dict(records.fail(records.blank("bench"), f"{reason}.", kind))


def command(app: phone_apk.PhoneApk, spec: bench.Spec) -> list[str]:
    """Gives how one process of the app is started."""
    settings = {
        "threads": spec.threads_count, "warmup_count": spec.warmup_count, "warmup_s": spec.warmup_s,
        "runs": spec.min_runs_count, "min_s": spec.min_duration_s, "max_s": spec.max_duration_s,
    }  # fmt: skip
    pairs = [part for key, value in settings.items() for part in ("-e", key, f"{value:g}")]
    return ["am", "instrument", "-w", *pairs, app.component]


def _answer(done: Completed) -> str:
    """The app's own words. Raises DeviceError where it crashed."""
    lines = [line.strip() for line in done.stdout.splitlines()]
    found = next((line.removeprefix(_ANSWER) for line in lines if line.startswith(_ANSWER)), None)
    if found is not None:
        return found
    said = next((line.partition("=")[2] for begin in _CRASH for line in lines if line.startswith(begin)), "")
    last = said or " ".join((done.stdout + done.stderr).split())[:QUOTED] or "it said nothing"
    raise DeviceError(f"the app gave no answer: {visible(last)}")
