"""The CIFAR-10 example: what files it reads, what it draws, and with the real ones the accuracy of the real weights."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import edgekit as ek
from edgekit.engine.task_reference import load_task

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10.py"
DATA = os.environ.get("EDGEKIT_CIFAR", "")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A data file of twelve images and the weights of a net of eight layers."""
    folder = tmp_path_factory.mktemp("cifar")
    jpegs = []
    for seed in range(12):
        pixels = np.random.RandomState(seed).randint(0, 255, (32, 32, 3), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG")
        jpegs.append(stream.getvalue())
    offset = np.cumsum([0, *map(len, jpegs)])
    content = {
        "jpeg": np.frombuffer(b"".join(jpegs), np.uint8),
        "offset": offset,
        "label": np.arange(12) % 10,
    }
    np.savez(folder / "data.npz", **content)
    load_task(f"{EXAMPLE}:task", {"weights": __file__, "train": __file__, "test": __file__})
    import sys

    net = sys.modules["edgekit_task_cifar10"].ResNet(1)
    save_file(net.state_dict(), str(folder / "net.safetensors"))
    data = str(folder / "data.npz")
    return {"weights": str(folder / "net.safetensors"), "train": data, "test": data}


def test_the_task(files: dict[str, str]) -> None:
    task = load_task(f"{EXAMPLE}:task", {**files, "batch": "5"})
    model = task.model()
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10) and len(model.layer2) == 1
    assert task.calibration is not None and [len(batch) for batch in task.calibration] == [12]
    right = task.metric(lambda x: np.eye(10)[np.zeros(len(x), int)])
    assert right == pytest.approx(2 / 12)


def test_training_batches_are_drawn(files: dict[str, str]) -> None:
    task = load_task(f"{EXAMPLE}:task", {**files, "batch": "5"})
    assert task.training is not None

    def epoch(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return [x for x, _ in task.training.batches]

    first, again, other = epoch(0), epoch(0), epoch(1)
    assert [len(x) for x in first] == [5, 5, 2]
    assert torch.equal(first[0], again[0]) and not torch.equal(first[0], other[0])


def test_what_is_wrong_is_named(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ek.TaskError, match="weights='' is no file; give --set weights=FILE"):
        load_task(f"{EXAMPLE}:task")
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"nothing")
    with pytest.raises(ek.TaskError, match=r"is no data file .* expected is an .npz with jpeg"):
        load_task(f"{EXAMPLE}:task", {**files, "test": str(bad)}).metric(lambda x: x)
    with pytest.raises(ek.TaskError, match="cannot be read"):
        load_task(f"{EXAMPLE}:task", {**files, "weights": str(bad)}).model()
    save_file({"layer1.0.conv1.weight": torch.zeros(1)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(ek.TaskError, match="are not of a ResNet of CIFAR"):
        load_task(f"{EXAMPLE}:task", {**files, "weights": str(tmp_path / "other.safetensors")}).model()


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="EDGEKIT_CIFAR names no folder with data/ and models/")
def test_the_real_weights_on_the_real_images() -> None:
    place = Path(DATA)
    data = {"train": place / "data" / "cifar10_train20k.npz", "test": place / "data" / "cifar10_test5k.npz"}
    given = {"weights": place / "models" / "resnet20_cifar10.safetensors", **data}
    task = load_task(f"{EXAMPLE}:task", {name: str(path) for name, path in given.items()})
    model = task.model()

    def predict(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(x)).numpy()

    assert task.metric(predict) == pytest.approx(0.834, abs=0.005)
