"""CPU time against the float file: the runner's interleaved comparison, one thread, fresh processes.

The runner finds backends by the name of their file and has none for OpenVINO: that comparison is made by a copy of
the runner with one more file in it.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import edgekit_runner
from edgekit_runner import api

from edgekit.errors import VerificationError
from edgekit.golden import Golden
from peers._records import Settings, Timing

SCRIPT = "import json, sys; sys.path.insert(0, sys.argv[1]); from edgekit_runner import api; print(json.dumps(api.compare(json.load(sys.stdin))))"


def compare(
    runtimes: tuple[str, str],
    path: str,
    golden: Golden,
    float_path: str,
    float_golden: Golden,
    settings: Settings,
) -> tuple[Timing, tuple[str, ...]]:
    """The timing of `path` against a float file, and the runner's doubts. runtimes: of the file, of the float file.

    Raises VerificationError if the runner refuses one of the two.
    """
    formats = [{"onnxruntime": "onnx", "litert": "tflite"}.get(runtime, runtime) for runtime in runtimes]
    spec = {
        "artifact": path,
        "format": formats[0],
        "golden": golden.path,
        "golden_atol": golden.atol,
        "baseline": float_path,
        "baseline_format": formats[1],
        "baseline_golden": float_golden.path,
        "baseline_golden_atol": float_golden.atol,
        "rounds_count": settings.rounds,
        "processes_min_count": settings.processes,
        "processes_max_count": settings.processes,
    }
    record = _with_openvino(spec) if "openvino" in runtimes else api.compare(spec)
    if record["status"] != "ok":
        raise VerificationError(f"the runner does not time it: {record['reason']}")
    return _timing(record, runtimes[1]), tuple(record["doubts"])


def _with_openvino(spec: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "edgekit_runner"
        shutil.copytree(
            Path(edgekit_runner.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copyfile(
            Path(__file__).with_name("_openvino_backend.py"), package / "backends" / "openvino.py"
        )
        command = [sys.executable, "-c", SCRIPT, folder]
        done = subprocess.run(command, input=json.dumps(spec), capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise VerificationError(
            f"the runner with OpenVINO ended with exit code {done.returncode}: {done.stderr[-400:]}"
        )
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _timing(record: dict[str, Any], against: str) -> Timing:
    figures = record["comparison"]
    return Timing(
        against=against,
        cpu_ratio=figures["cpu_p50_ratio"],
        low=figures["cpu_p50_ci95_low_ratio"],
        high=figures["cpu_p50_ci95_high_ratio"],
        rounds=figures["rounds_count"],
        cpu_s=figures["artifact_cpu_p50_s"],
        float_cpu_s=figures["baseline_cpu_p50_s"],
    )
