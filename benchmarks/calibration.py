"""What calibrating alone costs: edgekit's ranges beside those of ONNX Runtime's MinMax, in turns.

    python benchmarks/calibration.py --photos photos.tar --repeat 5

Each run is a fresh process that has the float model loaded and one batch decoded. Counted is what follows: preparing the
graph, running every calibration sample, and finding the range of each tensor; not the quantized file. `ptq_peers.py`
has the whole way to the file.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import result_file
from edgekit_runner.host.environment import local_isa
from peers._flow import Flow
from peers._records import Settings, StageRun
from ptq_task import MODELS

from edgekit.engine.machine import machine_facts
from edgekit.errors import EdgekitError

ROWS = ("edgekit", "ort-minmax")
HEAD = ("row", "wall s", "CPU s", "extra memory MB", "runs")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="lite0", help=f"{MODELS} (default lite0)")
    parser.add_argument("--photos", default="", help="folder or tar of JPEG files, named by class index")
    parser.add_argument("--calibrate", type=int, default=100, help="samples that calibrate (default 100)")
    parser.add_argument("--repeat", type=int, default=5, help="fresh processes of each row (default 5)")
    asked = parser.parse_args(argv)
    try:
        runs = measured(asked.model, asked.photos, asked.calibrate, asked.repeat)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    rows = [list(HEAD), *(cells(name, found) for name, found in runs.items())]
    print("\n".join(result_file.markdown(rows)))
    print(
        ", ".join(f"{what} {ratio:.2f}" for what, ratio in ratios(runs).items()), "of ONNX Runtime's MinMax"
    )
    return 0


def measured(model: str, photos: str, calibrate: int, repeat: int) -> dict[str, list[StageRun]]:
    """Each row `repeat` times, the rows in turns."""
    place = str(Path(photos).resolve()) if photos else ""
    settings = Settings(
        model=model, photos=place, calibrate=calibrate, score=1, isa="avx2", emulator="", rounds=1, processes=1,
        repeat=repeat, seed=0,
    )  # fmt: skip
    runs: dict[str, list[StageRun]] = {name: [] for name in ROWS}
    with tempfile.TemporaryDirectory(prefix="calibration-") as work:
        flow = Flow(settings, Path(work))
        flow.start(machine_facts(), ROWS)
        for number in range(repeat):
            for name in ROWS:
                runs[name].append(flow.run(name, "ranges", Path(work) / f"{name}-{number}"))
                print(f"{name}: run {number + 1} of {repeat} on {local_isa()}", file=sys.stderr, flush=True)
    return runs


def cells(name: str, runs: Sequence[StageRun]) -> list[str]:
    """Median and range of each figure."""
    memory = [run.extra_peak_bytes / 1e6 for run in runs if run.extra_peak_bytes is not None]
    figures = ([run.wall_s for run in runs], [run.cpu_s for run in runs], memory)
    return [name, *(_spread(values) for values in figures), str(len(runs))]


def ratios(runs: dict[str, list[StageRun]]) -> dict[str, float]:
    """edgekit over ONNX Runtime, medians of the pairs."""
    pairs = list(zip(runs[ROWS[0]], runs[ROWS[1]], strict=True))
    found = {
        "wall": [a.wall_s / b.wall_s for a, b in pairs],
        "CPU": [a.cpu_s / b.cpu_s for a, b in pairs],
        "extra memory": [a.extra_peak_bytes / b.extra_peak_bytes for a, b in pairs if a.extra_peak_bytes and b.extra_peak_bytes],
    }  # fmt: skip
    return {what: statistics.median(values) for what, values in found.items() if values}


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "unknown"
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


if __name__ == "__main__":
    sys.exit(main())
