"""Transfer learning on digits: what is frozen stays, the result names the new classes."""

from pathlib import Path

import numpy as np
import pytest
import torch

import edgekit as ek

REFERENCE = f"{Path(__file__).parents[2] / 'examples' / 'transfer_learning.py'}:task"


def test_the_new_classes_are_learned_and_the_backbone_stays() -> None:
    task = ek.load_task(REFERENCE, {"epochs": "2"})
    model = task.model()

    def predict(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(x)))

    assert task.metric(predict) > 0.5, "two short epochs, five classes"
    assert predict(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 5)
    from sys import modules

    example = modules["edgekit_task_transfer_learning"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    head = example.replace_head(model, 5)
    example.train(model, example.Part("", 32, example.NEW, held_out=False), 1, 1e-2, (head,))
    after = model.state_dict()
    assert {n for n in before if not torch.equal(before[n], after[n])} == {f"{head}.weight", f"{head}.bias"}


def test_parts_do_not_overlap() -> None:
    task = ek.load_task(REFERENCE)
    assert task.training is not None
    seen = {x.numpy().tobytes() for batch, _ in task.training.batches for x in batch}
    held = {x.numpy().tobytes() for batch, _ in task.metric.part for x in batch}
    assert seen
    assert held
    assert not seen & held


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model": "resnet_18"}, "no classifier 'resnet_18'"),
        ({"size": "8"}, "size must be at least 32"),
    ],
)
def test_bad_settings(settings: dict[str, str], expected: str) -> None:
    with pytest.raises(ek.TaskError, match=expected):
        ek.load_task(REFERENCE, settings)


def test_data_that_is_not_there_or_something_else(tmp_path: Path) -> None:
    gone = ek.load_task(REFERENCE, {"data": str(tmp_path / "gone.npz")})
    with pytest.raises(ek.TaskError, match=r"does not exist; give an \.npz with jpeg"):
        gone.model()
    np.savez(tmp_path / "other.npz", image=np.zeros(3))
    other = ek.load_task(REFERENCE, {"data": str(tmp_path / "other.npz")})
    with pytest.raises(ek.TaskError, match="lacks jpeg, offset, label; it holds image"):
        other.model()


def test_jpegs_are_read(tmp_path: Path) -> None:
    """Twelve one-coloured images: the first of them in the place that the shuffle gives it."""
    import torchvision

    images = [torch.full((3, 32, 32), 20 * i, dtype=torch.uint8) for i in range(12)]
    files = [torchvision.io.encode_jpeg(image).numpy() for image in images]
    offset = np.cumsum([0, *map(len, files)])
    np.savez(tmp_path / "few.npz", jpeg=np.concatenate(files), offset=offset, label=np.arange(12) % 10)
    task = ek.load_task(REFERENCE, {"data": str(tmp_path / "few.npz")})
    assert task.calibration is not None
    shown = torch.cat(list(task.calibration))
    colours = torch.tensor([(20 * i / 255 - 0.5) / 0.5 for i in range(12)])
    assert (shown.flatten()[:, None] - colours).abs().min(1).values.max() < 0.02
