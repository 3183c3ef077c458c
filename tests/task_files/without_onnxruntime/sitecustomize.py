"""On PYTHONPATH, this makes onnxruntime look as if it were not installed."""

from importlib.machinery import PathFinder

ABSENT = "onnxruntime"
find_spec = PathFinder.find_spec


def without(fullname, path=None, target=None):  # type: ignore[no-untyped-def]
    return None if fullname.partition(".")[0] == ABSENT else find_spec(fullname, path, target)


PathFinder.find_spec = without
