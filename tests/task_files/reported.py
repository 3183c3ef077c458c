"""Small nets of situations that users of converters reported; each task is a function, judged by what it keeps of its float answers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import edgekit as ek

Inputs = tuple[torch.Tensor, ...]


class Outlier(nn.Module):
    """RMS norms of activations with one number of 3000, whose square no float16 holds (coremltools#2821)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.mix = nn.Linear(16, 64), nn.RMSNorm(64, 1e-6), nn.Linear(64, 64)
        self.last_norm, self.last = nn.RMSNorm(64), nn.Linear(64, 8)
        with torch.no_grad():
            self.first.bias[5] = 3000.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return self.last(self.last_norm(h + self.mix(self.norm(h))))


class BothWays(nn.Module):
    """A GRU of two layers and directions whose last states are the answer (coremltools#755, #824)."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.last = nn.GRU(8, 12, 2, batch_first=True, bidirectional=True), nn.Linear(24, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, h = self.cells(x)
        return self.last(torch.cat([h[-2], h[-1]], -1))


class Flat(nn.Module):
    """torch.flatten without a first axis: works for one sample alone (litert-torch#150)."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.last = nn.Conv2d(1, 6, 3), nn.Linear(6 * 36, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.flatten(torch.relu(self.look(x))))


class Normed(nn.Module):
    """Parametrized weights, and weights that do not lie in memory as they are read (executorch#3946)."""

    def __init__(self) -> None:
        super().__init__()
        normed = nn.utils.parametrizations
        self.a = normed.weight_norm(nn.Conv2d(3, 8, 3, padding=1))
        self.b = normed.spectral_norm(nn.Conv2d(8, 8, 3, padding=1))
        self.w = nn.Parameter(torch.randn(8, 6).t())
        self.k = nn.Parameter(torch.randn(1, 8, 1, 1).expand(1, 8, 14, 14))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (torch.relu(self.b(torch.relu(self.a(x)))) + self.k).mean((2, 3)) @ self.w.t()


class SharedConvolution(nn.Module):
    """One convolution behind two branches, each with a batch norm of its own (pytorch/ao#2795)."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.mix, self.last = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Linear(8, 5),
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        for norm, least in zip(self.norms, (1.0, 3.0), strict=True):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
            norm.weight.data.uniform_(least, least + 1)
            norm.bias.data.normal_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sides = zip(self.norms, (x, F.avg_pool2d(x, 3, 1, 1)), strict=True)
        one, other = (torch.relu(norm(self.shared(side))) for norm, side in sides)
        return self.last((torch.relu(self.mix(one)) + torch.relu(self.mix(other))).mean((2, 3)))


class Gated(nn.Module):
    """NAFNet's block: a chunk times the other, channels scaled by their mean (Torch-Pruning#203, #393)."""

    def __init__(self, c: int = 16) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, c, 3, padding=1), nn.Conv2d(c, 3, 3, padding=1)
        self.norm, self.wide, self.out = nn.GroupNorm(1, c), nn.Conv2d(c, 2 * c, 1), nn.Conv2d(c, c, 1)
        self.deep = nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c, 1))
        self.beta = nn.Parameter(torch.full((1, c, 1, 1), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = self.first(x)
        one, other = self.deep(self.wide(self.norm(start))).chunk(2, dim=1)
        gate = one * other
        return x + self.last(start + self.out(gate * self.scale(gate)) * self.beta)


class Patches(nn.Module):
    """A transformer with a class token and places (Torch-Pruning#57, neural-compressor#525)."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, "gelu", batch_first=True, norm_first=True)
        self.cut, self.last = nn.Conv2d(3, 32, 4, 4), nn.Linear(32, 7)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 32)), nn.Parameter(torch.randn(1, 17, 32))
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.cut(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(y.shape[0], -1, -1), y], 1) + self.places
        return self.last(self.layers(y)[:, 0])


class TwiceWithStates(nn.Module):
    """An LSTM of two layers called twice, its states inputs and outputs (coremltools#2643, #776)."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.last = nn.LSTM(10, 20, 2, batch_first=True), nn.Linear(20, 4)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Inputs:
        states = (h.transpose(0, 1).contiguous(), c.transpose(0, 1).contiguous())
        for _ in range(2):
            y, states = self.cells(x, states)
        return self.last(y), states[0].transpose(0, 1), states[1].transpose(0, 1)


class PaddedRows(nn.Module):
    """Rows that are all padding are NaN inside, and zero in the answer (onnxruntime#23749)."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.last = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        known = keep > 0.5
        scores = self.q(x) @ self.k(x).transpose(1, 2) / 3
        outside = ~(known[:, None, :] & known[:, :, None])
        mixed = scores.masked_fill(outside, float("-inf")).softmax(-1) @ self.v(x)
        return self.last(torch.nan_to_num(torch.where(known[..., None], mixed, torch.zeros(()))).sum(1))


class PaddedSamples(nn.Module):
    """The same in MultiheadAttention: a layer reads the NaN before it is masked."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.last = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        known = keep > 0.5
        mixed = self.mix(x, x, x, key_padding_mask=~known)[0]  # with the weights asked for: NaN
        return self.last(torch.where(known[..., None], mixed, torch.zeros(())).sum(1))


class Best(nn.Module):
    """The largest values, where they are, and the best class (onnxruntime#13792, tensorflow#21870)."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.last = nn.Conv2d(3, 16, 3, 2, 1), nn.Linear(16, 300)

    def forward(self, x: torch.Tensor) -> Inputs:
        scores = self.last(torch.relu(self.look(x)).mean((2, 3))) * 20
        values, places = torch.topk(scores, 5)
        return values, places, scores.argmax(1)


class Padded(nn.Module):
    """Every kind of padding, a number that no grid holds and less than nothing (tensorflow#62585, #43129, #62499)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=2, padding_mode="circular"),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, padding_mode="replicate"),
            nn.ReLU(),
        )
        self.last = nn.Conv2d(8, 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.pad(F.pad(self.layers(x), (2, 1, 0, 3), value=-1.0), (-1, 0, 0, -2)))


class Decoder(nn.Module):
    """A transposed convolution with its norm, and a norm without weights (litert-torch#122, #588, #595)."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(16, affine=False), nn.BatchNorm2d(8)])
        self.down, self.up = nn.Conv2d(4, 16, 3, 2, bias=False), nn.ConvTranspose2d(16, 8, 2, 2, bias=False)
        self.last = nn.Conv2d(8, 3, 1)
        for norm in self.norms:
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self.norms[0](self.down(F.pad(x, (0, 1, 0, 1)))))
        return self.last(torch.relu(self.norms[1](self.up(y))))


STATE = (2, 20)
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "outlier": (Outlier, ((10, 16),)),
    "both_ways": (BothWays, ((9, 8),)),
    "flat": (Flat, ((1, 8, 8),)),
    "normed": (Normed, ((3, 14, 14),)),
    "shared": (SharedConvolution, ((3, 16, 16),)),
    "gated": (Gated, ((3, 16, 16),)),
    "patches": (Patches, ((3, 16, 16),)),
    "twice": (TwiceWithStates, ((3, 10), STATE, STATE)),
    "padded_rows": (PaddedRows, ((6, 8), (6,))),
    "padded_samples": (PaddedSamples, ((6, 8), (6,))),
    "best": (Best, ((3, 16, 16),)),
    "padded": (Padded, ((3, 11, 11),)),
    "decoder": (Decoder, ((4, 16, 16),)),
}
MASKED = ("padded_rows", "padded_samples")


def _drawn(name: str, count: int, seed: int) -> list[Inputs]:
    generator = torch.Generator().manual_seed(seed)
    found = [
        tuple(torch.randn(1, *shape, generator=generator) for shape in NETS[name][1]) for _ in range(count)
    ]
    if name in MASKED:
        for number, (_, keep) in enumerate(found):
            keep.fill_(1)
            keep[:, (6, 4, 0)[number % 3] :] = 0  # all known, some, none
    return found


class Kept:
    """One less the relative error to the float answers, of the output that is worst; indices count as numbers."""

    def __init__(self, model: nn.Module, data: list[Inputs]) -> None:
        self.model, self.data = model, data

    def __call__(self, predict: Callable[..., Any]) -> float:
        with torch.no_grad():
            right = [_arrays(self.model(*inputs)) for inputs in self.data]
        got = [_arrays(predict(*(x.numpy() for x in inputs))) for inputs in self.data]
        columns = zip(zip(*got, strict=True), zip(*right, strict=True), strict=True)
        return min(map(_kept, columns))


def _arrays(answer: Any) -> list[np.ndarray]:
    return [np.asarray(each) for each in (answer if isinstance(answer, tuple | list) else (answer,))]


def _kept(column: tuple[tuple[np.ndarray, ...], ...]) -> float:
    got, right = (np.stack(side) for side in column)
    if right.dtype.kind == "i":  # places: how many of the best are the best
        assert got.dtype.kind == "i", f"indices came back as {got.dtype}"
        return float((got.reshape(len(got), -1)[:, 0] == right.reshape(len(right), -1)[:, 0]).mean())
    return float(1 - np.linalg.norm(got - right) / np.linalg.norm(right))


def task(net: str = "outlier") -> ek.Task:
    """The task of one of NETS; its float answers are the labels that it trains on."""
    torch.manual_seed(0)
    model = NETS[net][0]().eval()
    if net == "normed":
        model = model.to(memory_format=torch.channels_last)
    data = _drawn(net, 12, 1)
    with torch.no_grad():
        lessons = [(inputs, model(*inputs)) for inputs in _drawn(net, 12, 2)]
    return ek.Task(
        name=net,
        model=model,
        example_inputs=_drawn(net, 1, 3)[0],
        calibration=_drawn(net, 16, 0),
        metric=Kept(model, data),
        training=ek.Training(batches=lessons, loss=F.mse_loss) if len(NETS[net][1]) == 1 else None,
    )
