"""Photos from a folder or a tar archive, decoded one batch at a time. Nothing is unpacked to disk."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

import edgekit as ek

JPEG = (".jpg", ".jpeg")


class Photos:
    """The JPEG files of a folder or a tar, ordered by name; `subset` picks some of them.

    Raises ek.TaskError if the place is missing, is neither a folder nor a tar, or holds no JPEG file.
    """

    def __init__(self, place: str | Path, names: Sequence[str] | None = None) -> None:
        self.place = Path(place)
        self.names = tuple(names) if names is not None else tuple(sorted(self._list(), key=base))
        if not self.names:
            raise ek.TaskError(f"{self.place} holds no JPEG file (*.jpg, *.jpeg)")

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, chosen: slice | Sequence[int]) -> "Photos":
        names = self.names[chosen] if isinstance(chosen, slice) else [self.names[i] for i in chosen]
        return Photos(self.place, names)

    def _list(self) -> list[str]:
        if self.place.is_dir():
            found = [path.name for path in self.place.iterdir() if path.is_file()]
        elif self.place.is_file():
            found = _tar_names(self.place)
        else:
            raise ek.TaskError(f"{self.place} does not exist; give a folder or a tar of JPEG files")
        return [
            name for name in found if base(name).lower().endswith(JPEG) and not base(name).startswith(".")
        ]

    def batches(self, size: int, resolution: int = 224) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
        """(names, pixels [N, 3, H, W] as float32 in [0, 1]), N <= `size`; one batch is in memory at a time."""
        names: list[str] = []
        pixels: list[np.ndarray] = []
        for name, stream in self._streams():
            names.append(base(name))
            pixels.append(_decode(stream, f"{self.place}: {name}", resolution))
            if len(names) == size:
                yield tuple(names), np.stack(pixels)
                names, pixels = [], []
        if names:
            yield tuple(names), np.stack(pixels)

    def _streams(self) -> Iterator[tuple[str, IO[bytes]]]:
        if self.place.is_dir():
            for name in self.names:
                with (self.place / name).open("rb") as stream:
                    yield name, stream
            return
        with tarfile.open(self.place) as tar:
            for name in self.names:
                stream = tar.extractfile(name)
                if stream is not None:
                    yield name, io.BytesIO(stream.read())


def base(name: str) -> str:
    """The file name without the folders of the archive."""
    return PurePosixPath(name).name


def _tar_names(place: Path) -> list[str]:
    try:
        with tarfile.open(place) as tar:
            return [member.name for member in tar if member.isfile()]
    except (tarfile.TarError, OSError) as error:
        raise ek.TaskError(f"{place} is neither a folder nor a readable tar archive: {error}") from error


def _decode(stream: IO[bytes], where: str, resolution: int) -> np.ndarray:
    """[3, H, W] float32 in [0, 1]. Other sizes: shorter side to 8/7 of the resolution, then a centre crop."""
    try:
        image = Image.open(stream).convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise ek.TaskError(f"{where} is no readable image: {error}") from error
    if image.size != (resolution, resolution):
        scale = round(resolution * 8 / 7) / min(image.size)
        image = image.resize(
            [max(resolution, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC
        )
        left, top = ((side - resolution) // 2 for side in image.size)
        image = image.crop((left, top, left + resolution, top + resolution))
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 255
