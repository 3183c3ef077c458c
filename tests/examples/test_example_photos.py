"""The examples on photos: a folder and a tar give the same batches; what is wrong is named."""

import importlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgekit as ek

EXAMPLES = Path(__file__).parents[2] / "examples"
IMAGENET = f"{EXAMPLES / 'imagenet.py'}:task"
TORCHVISION = f"{EXAMPLES / 'torchvision_model.py'}:task"


def jpeg(seed: int, size: tuple[int, int]) -> bytes:
    pixels = np.random.RandomState(seed).randint(0, 255, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


PHOTOS = {
    f"{index:04d}_n0000000{index}_some_thing.jpg": jpeg(index, (224, 224) if index % 2 else (300, 260))
    for index in range(7)
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    place.mkdir()
    for name, content in PHOTOS.items():
        (place / name).write_bytes(content)
    (place / "notes.txt").write_text("not a photo")
    return place


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    place = tmp_path / "photos.tar"
    with tarfile.open(place, "w") as tar:
        for name, content in reversed(PHOTOS.items()):
            member = tarfile.TarInfo(f"inside/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return place


def load(photos: Path) -> ek.Task:
    return ek.load_task(IMAGENET, {"photos": str(photos)})


def batches(task: ek.Task) -> list[np.ndarray]:
    assert task.calibration is not None
    return list(task.calibration)


def test_folder_and_tar_give_the_same_batches(folder: Path, archive: Path) -> None:
    from_folder, from_tar = batches(load(folder)), batches(load(archive))
    assert [batch.shape for batch in from_tar] == [(2, 3, 224, 224)]
    assert all(np.array_equal(a, b) for a, b in zip(from_folder, from_tar, strict=True))
    assert from_tar[0].dtype == np.float32
    assert np.abs(from_tar[0]).max() <= 1


def test_metric_scores_the_photos_that_do_not_calibrate(archive: Path) -> None:
    seen: list[int] = []

    def always_one(inputs: np.ndarray) -> np.ndarray:
        seen.append(len(inputs))
        return np.eye(1000, dtype=np.float32)[[1] * len(inputs)]

    assert load(archive).metric(always_one) == pytest.approx(1 / 5)
    assert sum(seen) == 5


def test_labels_come_from_the_names(archive: Path) -> None:
    labels = load(archive).preprocessing.labels
    assert len(labels) == 1000
    assert labels[3] == "some thing"
    assert labels[999] == "999"


def test_calibration_is_limited_to_100_photos_evenly_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    split = importlib.import_module("imagenet").split
    for count in (2, 9, 500, 1234, 50_000):
        calibrate, score = split(count)
        assert sorted(calibrate + score) == list(range(count))
        assert 0 < len(calibrate) <= 100
    assert split(500)[0] == list(range(0, 500, 5))


def test_no_photos_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_PHOTOS", raising=False)
    with pytest.raises(
        ek.TaskError, match=r"no photos: give --set photos=PATH .* JPEG files named by class index"
    ):
        ek.load_task(IMAGENET)


def test_a_place_that_is_missing_or_no_archive_or_empty(tmp_path: Path) -> None:
    with pytest.raises(ek.TaskError, match="does not exist; give a folder or a tar of JPEG files"):
        load(tmp_path / "nowhere")
    text = tmp_path / "text.tar"
    text.write_text("no archive")
    with pytest.raises(ek.TaskError, match="neither a folder nor a readable tar archive"):
        load(text)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ek.TaskError, match="holds no JPEG file"):
        load(empty)


def test_a_name_without_class_and_a_file_that_is_no_image(folder: Path) -> None:
    (folder / "0000_first.jpg").write_bytes(b"no image")
    with pytest.raises(ek.TaskError, match=r"0000_first\.jpg is no readable image"):
        batches(load(folder))
    (folder / "holiday.jpg").write_bytes(jpeg(1, (224, 224)))
    with pytest.raises(ek.TaskError, match=r"'holiday\.jpg'.*no class index at the start"):
        load(folder)


def test_the_same_photos_serve_a_torchvision_net(archive: Path) -> None:
    task = ek.load_task(
        TORCHVISION, {"model": "squeezenet1_1", "photos": str(archive), "size": "64", "classes": "4"}
    )
    assert [batch.shape for batch in batches(task)] == [(12, 3, 64, 64)]
