"""How little the runner weighs: its wheel, its imports, and its memory beside numpy and the runtime.

Everything is of the wheel, unpacked and byte-compiled as pip does it. Imports are CPU seconds of fresh interpreters in
turns, each less those of one that imports numpy alone. Memory is that of a worker which has its golden arrays and
the runtime and is about to load the model, less that of an interpreter with numpy and the runtime alone.
"""

import json
import os
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from trust._place import Place, finished
from trust._records import Row, judged

TRIALS = {"wheel": 1, "import": 15, "onnx": 5, "tflite": 5}
WHEEL_BYTES, IMPORT_S, RSS_BYTES = 100_000, 0.050, 5_000_000
MB = 1e6
IMPORTS = {
    "numpy": "import numpy",
    "worker": "import numpy; from edgekit_runner import worker, backends; from edgekit_runner.kinds import bench, compare, _phases, _timing, _ab_worker; backends.find('a.onnx')",
    "command line": "import numpy; from edgekit_runner import __main__, api; from edgekit_runner.cli import table",
}
RUNTIMES = {"onnx": "onnxruntime", "tflite": "ai_edge_litert.interpreter"}
_CPU = "import sys; sys.path.insert(0, sys.argv[1]); {}; import time; print(time.process_time())"
# the runtime at its lightest: the runner switches the telemetry of ONNX Runtime off too
_RSS = """
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy, {}
with open("/proc/self/smaps_rollup") as lines:
    print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:")))
"""
_CHECK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from edgekit_runner import api
print(json.dumps(api.check(json.load(sys.stdin))))
"""


def measure(kind: str, index: int, place: Place) -> dict[str, Any]:
    """The wheel, one round of imports, or the memory with one runtime."""
    if kind == "wheel":
        return {"wheel_bytes": place.wheel.stat().st_size}
    where = str(place.installed)
    if kind == "import":
        return {
            f"{name.replace(' ', '_')}_cpu_s": float(place.python("-c", _CPU.format(code), where))
            for name, code in IMPORTS.items()
        }
    text = json.dumps(place.spec(f"conv20.{kind}", warmup_s=0.0))
    record = finished(json.loads(place.python("-c", _CHECK, where, text=text).splitlines()[-1]))
    return {
        "worker_rss_bytes": record["memory"]["phases"]["import"]["rss_bytes"],
        "control_rss_bytes": int(place.python("-c", _RSS.format(RUNTIMES[kind]))),
        "page_size_bytes": os.sysconf("SC_PAGE_SIZE"),
    }


def rows(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[Row, ...]:
    """The wheel, each import, each runtime."""
    made = []
    if wheels := found["wheel"]:
        size, claim = wheels[-1]["wheel_bytes"], f"at most {WHEEL_BYTES / 1e3:.0f} KB"
        made.append(judged("light", "wheel", 1, 1, f"{size / 1e3:.1f} KB", claim, size <= WHEEL_BYTES))
    if found["import"]:
        made += [_import(name, found["import"]) for name in IMPORTS if name != "numpy"]
    return tuple(made + [_rss(kind, found[kind]) for kind in RUNTIMES if found[kind]])


def _import(name: str, trials: Sequence[Mapping[str, Any]]) -> Row:
    key = f"{name.replace(' ', '_')}_cpu_s"
    above = [t[key] - t["numpy_cpu_s"] for t in trials]
    figure = f"{median(above) * 1e3:.1f} ms ({min(above) * 1e3:.1f} to {max(above) * 1e3:.1f}) above numpy"
    holds, claim = median(above) <= IMPORT_S, f"at most {IMPORT_S * 1e3:.0f} ms"
    return judged("light", f"import of the {name}, CPU", len(trials), TRIALS["import"], figure, claim, holds)


def _rss(kind: str, trials: Sequence[Mapping[str, Any]]) -> Row:
    worker, control = (median(t[f"{who}_rss_bytes"] for t in trials) for who in ("worker", "control"))
    figure = f"{(worker - control) / MB:.2f} MB above {control / MB:.1f} MB"
    holds, claim = worker - control <= RSS_BYTES, f"at most {RSS_BYTES / MB:.0f} MB"
    what = f"RSS before the load, numpy + {RUNTIMES[kind].split('.')[0]}"
    return judged("light", what, len(trials), TRIALS[kind], figure, claim, holds)
