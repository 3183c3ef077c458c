"""The measuring stage: an artifact against the float file of its runtime, in turns.

It is a process of its own, so that it can be ended with its run, and its figures be kept for --resume.
"""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edgekit.engine.measure_specs import MeasureSpec
from edgekit.golden import Golden, golden_atol, of_float
from edgekit.measure import comparison
from edgekit.records import Measurement


def measure(spec: MeasureSpec) -> Measurement:
    """Measures with the runner. Raises VerificationError if it refuses one of the two files, DeviceError if a device fails."""
    golden = Golden(path=spec.golden, atol=golden_atol(Path(spec.golden), spec.artifact.precision))
    reference = of_float(spec.traced, spec.baseline, Path(spec.work) / "float.npz")
    runtime = spec.runtime or spec.target.runtime
    found = comparison.compare(
        spec.artifact, golden, spec.baseline, reference, spec.target, spec.isa, runtime, spec.device
    )
    return msgspec.structs.replace(found, measured=datetime.now(UTC).isoformat(timespec="minutes"))
