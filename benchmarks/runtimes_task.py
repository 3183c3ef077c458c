"""The networks of `benchmarks/runtimes.py`, each as a task: EfficientNet-Lite0 with its weights, torchvision's seeded and fitted."""

import sys
from pathlib import Path

import edgekit as ek

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))


def task(net: str, photos: str = "", size: str = "224") -> ek.Task:
    """Lite0 on photos, which score it; another net on copies of images that its last layer has learned to tell apart."""
    if net == "lite0":
        import imagenet

        return imagenet.task(photos)
    import torchvision_model

    return torchvision_model.task(model=net, size=int(size))
