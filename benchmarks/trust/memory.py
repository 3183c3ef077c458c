"""Peak memory of one model: the same from run to run, and whoever starts the runner.

Half of the runs are started by a program that holds 2 GB: `ru_maxrss` of a process that it starts says 2 GB too,
which the row shows, and the runner's peak must not.
"""

import json
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from trust._place import RUNNER, Place, finished
from trust._records import Row, judged, told

TRIALS = {f"{form}, {who}": 10 for form in ("onnx", "tflite") for who in ("small parent", "2 GB parent")}
WITHIN_RATIO = 0.03
HELD_BYTES, QUICK_HELD_BYTES = 2_000_000_000, 200_000_000
MB = 1e6
# the parent: touches every page that it holds, then calls the runner as a program would
_PARENT = """
import json, subprocess, sys
job = json.load(sys.stdin)
held = b"x" * job["held_bytes"]
sys.path.insert(0, job["runner"])
from edgekit_runner import api
record = api.check(job["spec"])
empty = [sys.executable, "-I", "-c", "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"]
trap = int(subprocess.run(empty, capture_output=True, text=True, check=True).stdout) * 1024
with open("/proc/self/status") as status:
    rss = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))
print(json.dumps({"record": record, "parent_rss_bytes": rss, "empty_child_ru_maxrss_bytes": trap}))
"""


def measure(kind: str, index: int, place: Place) -> dict[str, Any]:
    """One `check` of the wide model, started by a parent of its own."""
    form, who = kind.split(", ")
    held = (QUICK_HELD_BYTES if place.quick else HELD_BYTES) if who.startswith("2") else 0
    job = {"held_bytes": held, "runner": str(RUNNER.parent), "spec": place.spec(f"wide.{form}")}
    found = json.loads(place.python("-c", _PARENT, text=json.dumps(job)).splitlines()[-1])
    memory = finished(found.pop("record"))["memory"]
    return found | {key: memory[key] for key in ("peak_bytes", "peak_over_baseline_bytes")}


def rows(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[Row, ...]:
    """For each format the spread of one parent's runs, then of both parents' runs together."""
    made = []
    for form in ("onnx", "tflite"):
        small, large = (found[f"{form}, {who}"] for who in ("small parent", "2 GB parent"))
        made += [
            _spread(f"peak memory, wide.{form}, {who}", trials, full)
            for who, trials, full in (
                ("small parent", small, TRIALS[f"{form}, small parent"]),
                ("both parents", [*small, *large], TRIALS[f"{form}, small parent"] * 2),
            )
            if trials
        ]
        if large:
            made.append(_trap(form, large))
    return tuple(made)


def _spread(what: str, trials: Sequence[Mapping[str, Any]], full: int) -> Row:
    """Largest less smallest over the median, of the peak as it is and over the baseline: both are claimed."""
    said, worst = [], 0.0
    for name, key in (("peak", "peak_bytes"), ("over baseline", "peak_over_baseline_bytes")):
        values = [t[key] for t in trials]
        spread = (max(values) - min(values)) / median(values)
        said.append(f"{name} {median(values) / MB:.1f} MB, spread {spread:.2%}")
        worst = max(worst, spread)
    holds = worst <= WITHIN_RATIO
    return judged("memory", what, len(trials), full, "; ".join(said), f"within {WITHIN_RATIO:.0%}", holds)


def _trap(form: str, trials: Sequence[Mapping[str, Any]]) -> Row:
    held, said = (
        median(t[key] for t in trials) / MB for key in ("parent_rss_bytes", "empty_child_ru_maxrss_bytes")
    )
    figure = f"parent holds {held:.0f} MB; ru_maxrss of an empty child of it: {said:.0f} MB"
    return told("memory", f"the large parent, {form}", len(trials), figure)
