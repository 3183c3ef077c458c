"""Tasks of every structure: `doors.py:dict_result`, `doors.py:recurrent`, ... Each metric calls predict as the model is called."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

import edgekit as ek

Batch = Sequence[Any] | Mapping[str, Any]


@dataclasses.dataclass
class Found:
    """What a detector of the user's own returns."""

    logits: Any
    aux: Any
    maps: dict[str, Any]


class DictResult(nn.Module):
    """[N, 3, 16, 16] -> logits, None, features (onnxruntime#14501)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> Any:
        features = torch.relu(self.conv(x)).mean((2, 3))
        return {"logits": self.head(features), "aux": None, "features": features}


class ObjectResult(DictResult):
    """The same, in a dataclass with a dict and a list inside."""

    def forward(self, x: torch.Tensor) -> Any:
        maps = torch.relu(self.conv(x))
        features = maps.mean((2, 3))
        return Found(self.head(features), None, {"p1": maps, "p2": [features, 2 * features]})


class Recurrent(nn.Module):
    """A state whose samples are on the second axis, and a number that all samples share."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(6, 8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor, threshold: torch.Tensor) -> Any:
        y, (h_out, c_out) = self.cells(x, (h, c))
        return {"y": self.head(y[:, -1]) + threshold, "h_out": h_out, "c_out": c_out}


class Keywords(nn.Module):
    """An encoder that is called by names, with a setting among them."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(30, 16), nn.Linear(16, 4)

    def forward(self, input_ids: Any, attention_mask: Any = None, *, pooled: bool = False) -> Any:
        x = self.table(input_ids) * attention_mask[..., None].float()
        return {"hidden": x, "pooled": {"logits": self.head(x.mean(1))} if pooled else None}


class Bytes(nn.Module):
    """A uint8 frame that is normalized inside, and a truth value (flutter_tflite#53)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 5)

    def forward(self, frame: torch.Tensor, flip: torch.Tensor) -> Any:
        x = frame.permute(0, 3, 1, 2).float() / 255
        x = torch.where(flip[:, None, None, None], x.flip(3), x)
        return self.head(torch.relu(self.conv((x - 0.45) / 0.22)).mean((2, 3)))


def arrays(result: Any) -> list[np.ndarray]:
    """All arrays of a result of any structure."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = vars(result)
    if isinstance(result, dict | list | tuple):
        values = result.values() if isinstance(result, dict) else result
        return [array for value in values for array in arrays(value)]
    return [] if result is None else [np.asarray(result)]


class Fidelity:
    """1 - the relative error of the worst output."""

    def __init__(self, build: Callable[[], nn.Module], batches: Sequence[Batch]) -> None:
        self.build, self.batches = build, batches

    def __call__(self, predict: Callable[..., Any]) -> float:
        net = self.build().eval()
        pairs = []
        for batch in self.batches:
            with torch.no_grad():
                right = arrays(called(net, batch))
            pairs.append((right, arrays(called(predict, batch))))
        columns = zip(*(zip(a, b, strict=True) for a, b in pairs), strict=True)
        return float(min(1 - _error(column) for column in columns))


def _error(column: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    right, found = (np.concatenate([pair[i].ravel() for pair in column]) for i in (0, 1))
    return float(np.linalg.norm(found - right) / np.linalg.norm(right))


def called(function: Callable[..., Any], batch: Batch) -> Any:
    return function(**batch) if isinstance(batch, Mapping) else function(*batch)


def _task(kind: type[nn.Module], data: Callable[[int], Batch], **more: Any) -> ek.Task:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return kind()

    example = data(1)
    return ek.Task(
        name=kind.__name__,
        model=build,
        example_inputs=example if isinstance(example, dict) else tuple(example),
        calibration=[data(4) for _ in range(4)],
        metric=Fidelity(build, [data(3) for _ in range(2)]),
        **more,
    )


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def dict_result() -> ek.Task:
    g = _generator()
    return _task(DictResult, lambda n: (torch.randn(n, 3, 16, 16, generator=g),))


def object_result() -> ek.Task:
    g = _generator()
    return _task(ObjectResult, lambda n: (torch.randn(n, 3, 16, 16, generator=g),))


def recurrent() -> ek.Task:
    g = _generator()

    def data(n: int) -> Batch:
        states = [torch.randn(2, n, 8, generator=g) for _ in range(2)]
        return (torch.randn(n, 7, 6, generator=g), *states, torch.tensor(0.5))

    return _task(Recurrent, data, state={"h_out": "h", "c_out": "c"})


def keywords() -> ek.Task:
    g = _generator()

    def data(n: int) -> Batch:
        ids = torch.randint(0, 30, (n, 9), generator=g)
        return {"input_ids": ids, "attention_mask": torch.ones(n, 9, dtype=torch.int64), "pooled": True}

    return _task(Keywords, data)


def whole_numbers() -> ek.Task:
    g = _generator()

    def data(n: int) -> Batch:
        frames = torch.randint(0, 256, (n, 16, 16, 3), generator=g, dtype=torch.uint8)
        return (frames, torch.rand(n, generator=g) > 0.5)

    return _task(Bytes, data)


class Encoder(nn.Module):
    """A transformer layer over token ids with a mask: batch and length are free, and positions follow the length."""

    longest = 64

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(30, 16), nn.Embedding(self.longest, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        x = self.table(ids) + self.places(torch.arange(ids.shape[1]))
        x = self.layer(x, src_key_padding_mask=mask == 0)
        return {"logits": self.head(x.mean(1)), "hidden": x}


class LongEncoder(Encoder):
    """The same, for long texts."""

    longest = 512


class Pixels(nn.Module):
    """A small convolutional net."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Linear(512, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).flatten(1))


class Fixed(Pixels):
    """One that writes the number of samples into its own arithmetic."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).reshape(1, 5)


def _ids(g: torch.Generator, n: int, length: int) -> Batch:
    return {
        "ids": torch.randint(0, 30, (n, length), generator=g),
        "mask": torch.ones(n, length, dtype=torch.int64),
    }


def encoder(least: int = 2, batch: bool = True, most: int = 64) -> ek.Task:
    g = _generator()
    axes = {**({0: "batch"} if batch else {}), 1: ek.Dim("length", min=least, max=most)}
    kind = Encoder if most <= Encoder.longest else LongEncoder
    task = _task(kind, lambda n: _ids(g, n, 9), dynamic={"ids": axes, "mask": axes})
    more = Fidelity(task.model, [_ids(g, 3, 9), _ids(g, 2, 30), _ids(g, 1, 5)])
    return dataclasses.replace(task, metric=more)


def pixels() -> ek.Task:
    g = _generator()
    return _task(Pixels, lambda n: (torch.randn(n, 3, 16, 16, generator=g),))


def fixed_batch(said: bool = False) -> ek.Task:
    g = _generator()
    task = _task(Fixed, lambda n: (torch.randn(1, 3, 16, 16, generator=g),))
    return dataclasses.replace(task, dynamic={"x": {0: "batch"}} if said else None)


class Picked(nn.Module):
    """Each sample is read where its own mask says, picked by numbers as the encoders of transformers 5 do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rows, columns = torch.arange(x.shape[0])[:, None], torch.arange(x.shape[1])[None]
        seen = mask[rows, columns].to(x.dtype).unsqueeze(-1)
        return (self.layer(x) * seen).sum(1) + torch.zeros(x.shape[0], 5)


def picked() -> ek.Task:
    g = _generator()
    return _task(
        Picked, lambda n: (torch.randn(n, 8, 4, generator=g), torch.randint(0, 2, (n, 8), generator=g))
    )


class NoState(nn.Module):
    """A recurrent layer that begins with zeros of as many samples as it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(6, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cells(x)[0]


def no_state(said: bool = False) -> ek.Task:
    g = _generator()
    task = _task(NoState, lambda n: (torch.randn(n, 7, 6, generator=g),))
    return dataclasses.replace(task, dynamic={"x": {0: "batch"}} if said else None)
