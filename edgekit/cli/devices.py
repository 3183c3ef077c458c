"""The verbs of the command line that measure artifacts: `bench` and `compare`."""

import shutil
import sys
from pathlib import Path

import click
import msgspec

from edgekit.cli.options import device_options, json_option, read_given, read_threads
from edgekit.cli.printing import print_json, put, say


@click.command()
@click.argument("place", type=click.Path(path_type=Path))
@click.option(
    "--device",
    "devices",
    multiple=True,
    default=["local"],
    show_default=True,
    help="local, ssh:user@host[:port] or adb:SERIAL; several run side by side.",
)
@click.option("--threads", default="1", show_default=True, help="Thread counts, e.g. 1,2.")
@click.option(
    "--native",
    type=click.Path(path_type=Path),
    metavar="PROGRAM",
    help="By a program without Python, built for the device: benchmark_model, onnxruntime_perf_test or executor_runner.",
)
@click.option(
    "--apk",
    is_flag=True,
    help="By an app made from a bundle (edgekit package --for android): PLACE is the bundle.",
)
@click.option(
    "--runtime-aar",
    "runtime",
    type=click.Path(path_type=Path),
    metavar="AAR",
    help="With --apk: ONNX Runtime's, in place of the one in Maven's or Gradle's cache.",
)
@device_options
@json_option
def bench(
    place: Path,
    devices: tuple[str, ...],
    threads: str,
    native: Path | None,
    apk: bool,
    runtime: Path | None,
    protocol: str,
    python: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Measure latency and memory of an artifact, or of each one in an exported folder, here or on devices."""
    if apk:
        sys.exit(_bench_as_app(place, devices, read_threads(threads), runtime, protocol, timeout_s, as_json))
    if native is not None:
        sys.exit(_bench_natively(place, devices, read_threads(threads), native, protocol, timeout_s, as_json))
    from edgekit.bench.figures import as_data, text
    from edgekit.bench.on_devices import bench_on, exit_code

    found = bench_on(devices, place, read_threads(threads), protocol, python, timeout_s, say)
    if as_json:
        put(msgspec.json.encode(as_data(found)).decode())
    else:
        put(text(found, shutil.get_terminal_size((140, 0)).columns), nl=False)
    sys.exit(exit_code(found))


def _bench_natively(
    place: Path,
    devices: tuple[str, ...],
    threads: list[int],
    program: Path,
    protocol: str,
    timeout_s: float,
    as_json: bool,
) -> int:
    from edgekit.bench import native_figures, native_programs

    found = [
        record
        for device in devices
        for count in threads
        for record in native_programs.bench(device, place, program, count, protocol, timeout_s)
    ]
    print_json(found) if as_json else put(native_figures.text(found), nl=False)
    return 0 if all(record.status == "ok" for record in found) else 1


def _bench_as_app(
    place: Path,
    devices: tuple[str, ...],
    threads: list[int],
    runtime: Path | None,
    protocol: str,
    timeout_s: float,
    as_json: bool,
) -> int:
    from edgekit_runner import record as records
    from edgekit_runner.cli import table

    from edgekit.bench import phone_app

    found = [
        phone_app.run(device, place, runtime, count, protocol, say, timeout_s)
        for device in devices
        for count in threads
    ]
    for record in found:
        put(records.to_line(record) if as_json else table.render(record))
    return max(records.exit_code(record) for record in found)


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "--device", default="local", show_default=True, help="local, ssh:user@host[:port] or adb:SERIAL."
)
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of the runtime."
)
@click.option("--tolerance", type=click.FloatRange(0), help="Ratio that counts as equal (0.05).")
@device_options
@json_option
def compare(
    a: Path,
    b: Path,
    device: str,
    threads: int,
    tolerance: float | None,
    protocol: str,
    python: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Time A against B in turns: exit code 0 when A is faster, 1 slower, 4 inconclusive.

    Each is an artifact file, a target's folder that export wrote, or a runner's record (.json).
    """
    from edgekit_runner import record as records
    from edgekit_runner.cli import table

    from edgekit.bench.on_devices import compare_on

    settings = {"threads_count": threads, "protocol": protocol, **read_given({"tolerance_ratio": tolerance})}
    record = compare_on(device, a, b, settings, python, timeout_s)
    if as_json:
        put(records.to_line(record))
    else:
        put(table.render(record))
    sys.exit(records.exit_code(record))
