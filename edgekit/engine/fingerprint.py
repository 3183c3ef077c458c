"""What a run rests on, as hashes of content: two runs with one fingerprint make the same artifacts.

The bytes of a saved program are not its content: they hold what differs between two savings. So the graph is hashed as
text and the weights as numbers. Data that comes out differently each time it is read is noted as such.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import edgekit_runner
import numpy as np

from edgekit import requirements
from edgekit.arrays import digest
from edgekit.engine.parts import CODE, RANDOM, TRAINING, UNREADABLE
from edgekit.engine.user_code import describe
from edgekit.task import Task

TRAINING_BATCHES = 2  # a training set may hold millions of samples: the first batches stand for it


def of_tools() -> dict[str, str]:
    """Returns edgekit's version with its code, and the versions of the packages that stages rest on."""
    folders = (Path(__file__).parents[1], Path(edgekit_runner.__file__).parent)
    own = " ".join([edgekit_runner.__version__, *map(of_folder, folders)])
    versions = {f"the version of {name}": requirements.installed(name) for name in requirements.PACKAGES}
    return {"the version of edgekit": own, **versions}


def of_task(task: Task, seed: Callable[[], None]) -> dict[str, str]:
    """Hashes the task's code and its training data; calibration and metric are hashed as they are read.

    Args:
        task: The task.
        seed: Seeds every random generator, so that a shuffled set is read in the same order.

    Returns:
        What was hashed -> the hash.
    """
    training = task.training
    functions = [task.metric, *([training.loss] if training else [])]
    found = {CODE: _of_code(functions)}
    if training is not None:
        found[TRAINING] = _of_training(training.batches, seed)
    return found


def _of_training(batches: Iterable[Any], seed: Callable[[], None]) -> str:
    """Hashes the first batches, if they are the same twice.

    Data that cannot be read is left to the technique that needs it to report.
    """
    found = []
    for _ in range(2):
        seed()
        try:
            found.append(of_text(*(of_batch(batch) for batch in islice(batches, TRAINING_BATCHES))))
        except Exception as error:
            return f"{UNREADABLE}{describe(error)}"
    return found[0] if found[0] == found[1] else RANDOM


def of_tensors(tensors: Mapping[str, Any]) -> str:
    """Hashes the names, shapes, types and numbers of weights."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        array = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(str(value))
        state.update(f"{name} {array.shape} {array.dtype}\n".encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def of_text(*texts: str) -> str:
    """Hashes texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def of_batch(batch: Any) -> str:
    """Hashes the content of one batch: an array, a tensor, or any nesting of them in tuples, lists and mappings."""
    if isinstance(batch, Mapping):
        return of_text(*(f"{key} {of_batch(value)}" for key, value in batch.items()))
    if isinstance(batch, tuple | list):
        return of_text(*(of_batch(value) for value in batch))
    return digest([np.asarray(batch.detach().cpu() if hasattr(batch, "detach") else batch)])


def of_folder(folder: Path) -> str:
    """Hashes the Python files of a package: between two releases the version number does not tell them apart."""
    files = sorted(folder.rglob("*.py"))
    return of_text(*(f"{p.relative_to(folder).as_posix()} {of_text(p.read_text('utf-8'))}" for p in files))


def of_classes(classes: Iterable[type]) -> str:
    """Hashes the files in which classes are written; "" where one is in none, and its code could have changed unseen."""
    known = set(classes)
    return _of_code(known) if all(map(_source_file, known)) else ""


def _of_code(written: Iterable[Any]) -> str:
    """Hashes the files in which functions or classes are written."""
    files = sorted({name for name in map(_source_file, written) if name})
    return of_text(*(Path(name).read_text("utf-8") for name in files if Path(name).is_file()))


def _source_file(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    try:
        return inspect.getsourcefile(inspect.unwrap(function)) or ""
    except TypeError:  # an object with __call__
        return _source_file(type(function)) if not isinstance(function, type) else ""
