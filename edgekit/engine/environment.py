"""The environment variables of the processes that edgekit starts."""

import os
import sys
from contextlib import suppress

from edgekit_runner.host.telemetry import NO_TELEMETRY

from edgekit.engine.user_cache import home, private_folder

# Page faults are expensive on virtual machines: keeping big blocks on glibc's heap made torch CPU work up to 3x faster.
GLIBC_ENV = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}
# A Keras model is an nn.Module with this backend, and edgekit computes on the CPU. Keras reads both when it is imported.
KERAS_ENV = {"KERAS_BACKEND": "torch", "KERAS_TORCH_DEVICE": "cpu"}
# OpenMP threads that spin at barriers made a small training 5x slower beside two busy processes.
PASSIVE_ENV = {"OMP_WAIT_POLICY": "PASSIVE"}
QUIET_ENV = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
PRIVATE = (
    "PYTHONPATH",
    "KERAS_HOME",
    "TORCHINDUCTOR_CACHE_DIR",
)  # what of these names the user's folders, and is in no log


def environment(*, tuned: bool) -> dict[str, str]:
    """Returns the environment variables that a stage gets beside those of this process.

    Args:
        tuned: Whether the settings that make torch fast are among them; a stage that measures time gets none.
    """
    # so that the task's modules are found
    path = {"PYTHONPATH": os.pathsep.join(entry for entry in dict.fromkeys(sys.path) if entry)}
    if not tuned:
        return {**path, **NO_TELEMETRY}
    return {
        **QUIET_ENV,
        **path,
        **NO_TELEMETRY,
        **KERAS_ENV,
        **_caches(),
        **PASSIVE_ENV,
        **(GLIBC_ENV if sys.platform == "linux" else {}),
    }


def _caches() -> dict[str, str]:
    """Where frameworks keep what they compile or configure: in edgekit's cache, unless the user named a place.

    Keras writes ~/.keras/keras.json when it is imported; where the user has no such folder, it gets one.
    """
    wanted = {"TORCHINDUCTOR_CACHE_DIR": "torchinductor"}
    with suppress(OSError):
        if not (home() / ".keras").is_dir():
            wanted["KERAS_HOME"] = "keras"
    found = {}
    for variable, name in wanted.items():
        with suppress(OSError):  # a home that cannot be written
            found[variable] = os.environ.get(variable) or str(private_folder(name))
    return found
