"""Runs one file on recorded inputs; a script of its own, so that an emulator need not load any framework.

python _emulated.py RUNTIME FILE IN.npz OUT.npz      each array [N, ...] holds one inference a row
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np


def main(runtime: str, path: str, asked: str, answered: str) -> None:
    session = _backend(runtime).open(path, len(os.sched_getaffinity(0)), {})
    with np.load(asked, allow_pickle=False) as stored:
        inputs = dict(stored)
    rows = [
        session.run({name: array[i] for name, array in inputs.items()})
        for i in range(len(next(iter(inputs.values()))))
    ]
    np.savez(answered, **{name: np.stack([row[name] for row in rows]) for name in rows[0]})


def _backend(runtime: str):
    if runtime != "openvino":
        return importlib.import_module(f"edgekit_runner.backends.{runtime}")
    spec = importlib.util.spec_from_file_location("backend", Path(__file__).with_name("_openvino_backend.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(*sys.argv[1:5])
