"""More small nets of situations that users of converters reported, judged as those of `reported.py`."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from reported import Inputs, Kept
from torch import nn

import edgekit as ek


class WideBiases(nn.Module):
    """Weights of 1e-9 with biases of 5, which no int32 of their scale holds (onnxruntime#22020, #21000)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3),
        )
        with torch.no_grad():
            self.b.weight[:4] *= 1e-9
            self.b.weight[0] = 0
            self.b.bias[:] = torch.tensor([5, -4.5, 3, 2, 0.1, -0.1, 0.2, 0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.b(torch.relu(self.a(x))))


class Written(nn.Module):
    """Parts of a tensor written in place (coremltools#2188, #1422)."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.d = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.c(x)
        y[:, 2:5, 1:-1] = y[:, 2:5, 1:-1] * 2
        y[:, ::2, 0] = 0.5
        z = y.clone()
        z[..., 0] += 1
        z[:, 7].relu_()
        return self.d(z)


class Scaled(nn.Module):
    """A MobileNetV3 block with channels whose folded weights are 1e-8 (onnxruntime#11415)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        self.deep = nn.Sequential(
            nn.Conv2d(16, 16, 5, 1, 2, groups=16, bias=False), nn.BatchNorm2d(16), nn.Hardswish()
        )
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Conv2d(8, 16, 1), nn.Hardsigmoid()
        )
        self.last = nn.Linear(16, 10)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
                module.bias.data.normal_()
        with torch.no_grad():
            self.deep[1].weight[:5] = 1e-8
            self.deep[0].weight[3] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.deep(self.stem(x))
        return self.last((y * self.scale(y)).mean((2, 3)))


class Same(nn.Module):
    """Even kernels padded by unequal halves, and channels of very different range added (executorch#20517, #21831)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (
            nn.Conv2d(1, 16, (8, 1), padding="same"),
            nn.Conv2d(16, 8, 4, padding="same", dilation=(2, 1)),
        )
        self.o = nn.Conv2d(4, 4, 1)
        with torch.no_grad():
            self.b.weight[:4] *= 50

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.b(torch.relu(self.a(x)))
        return self.o(y[:, :4] * 0.02 + y[:, 4:])


class Alphas(nn.Module):
    """A class token; sums and differences with a factor (executorch#20280, #11683)."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.token = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.randn(1, 1, 16) * 4)
        self.l, self.norm, self.last = nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.cut(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(x.shape[0], -1, -1), y], 1)
        z = self.l(y)
        y = torch.rsub(torch.sub(torch.add(y, z, alpha=10), z, alpha=3), z, alpha=2)
        return self.last(self.norm(y)).mean(1)


class LargeNorms(nn.Module):
    """Norms of groups and samples with weights of 500 and a mean far from zero (litert-torch#100)."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.o = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 4, 1)
        self.groups, self.each = nn.GroupNorm(4, 16), nn.InstanceNorm2d(16, affine=True)
        with torch.no_grad():
            self.c.bias += 200
            self.groups.weight *= 500
            self.groups.bias += 1000
            self.o.weight *= 0.01

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.o(self.each(torch.relu(self.groups(self.c(x)))))


class Warped(nn.Module):
    """Places read by a grid that is computed (tensorflow#46565)."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.f, self.o = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 2, 3, padding=1),
            nn.Conv2d(8, 3, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.c(x))
        straight = F.affine_grid(torch.eye(2, 3).expand(x.shape[0], 2, 3), list(x.shape), align_corners=False)
        grid = straight + torch.tanh(self.f(y)).permute(0, 2, 3, 1) * 0.3
        return self.o(F.grid_sample(y, grid, align_corners=False, padding_mode="border"))


class Summed(nn.Module):
    """Attention between places as einsum says it."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.o = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.c(x))
        a = torch.einsum("bchw,bcHW->bhwHW", y, y).flatten(3).softmax(-1)
        return self.o(torch.einsum("bhwk,bck->bchw", a, y.flatten(2)))


class Pixels(nn.Module):
    """Bytes in, made numbers inside (flutter_tflite#53, tensorflow#40681)."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = (x.permute(0, 3, 1, 2).float() / 255 - 0.45) / 0.22
        return self.last(torch.relu(self.c(y)).mean((2, 3)))


class Doubles(nn.Module):
    """A buffer of 64 bits, and a number of numpy's, make a part of the model double (coremltools#1689)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(np.array([0.4, 0.5, 0.6])).view(1, 3, 1, 1))
        self.c, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = ((x - self.mean) / np.float64(0.25)).float()
        return self.last(torch.relu(self.c(y)).mean((2, 3)))


class WholeNumbers(nn.Module):
    """Buffers of whole numbers that are constants, places and factors (coremltools#2633, #2632)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("k", torch.tensor(10))
        self.register_buffer("places", torch.tensor([[0, 2], [3, 1]]))
        self.c, self.last = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.c(x))
        y = y[:, self.places].flatten(1, 2) * (self.k * 5 // 3) / 16
        row = torch.arange(y.shape[2]).view(1, 1, -1, 1)
        return self.last(torch.where(row % 2 == 0, y, -y).mean((2, 3)))


class Spectrum(nn.Module):
    """A front end of short Fourier transforms (coremltools#1990, #2504)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(64))
        self.register_buffer("bands", torch.rand(33, 16))
        self.c, self.last = nn.Conv1d(16, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        power = torch.stft(x, 64, 32, window=self.window, return_complex=True).abs().pow(2)
        bands = torch.log(power.transpose(1, 2) @ self.bands + 1e-6).transpose(1, 2)
        return self.last(torch.relu(self.c(bands)).mean(2))


class Resized(nn.Module):
    """Every way of resizing (coremltools#1747, #951, #673)."""

    WAYS: dict[str, dict[str, object]] = {
        "bicubic": {"size": (21, 17), "mode": "bicubic"},
        "corners": {"size": (23, 19), "mode": "bilinear", "align_corners": True},
        "fraction": {"scale_factor": 1.7, "mode": "nearest"},
        "exact": {"size": (17, 11), "mode": "nearest-exact"},
        "area": {"size": (5, 7), "mode": "area"},
        "smooth": {"size": (7, 7), "mode": "bilinear", "antialias": True},
    }

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.c, self.d = self.WAYS[way], nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.d(F.interpolate(torch.relu(self.c(x)), **self.way))


def upwards(kind: str) -> nn.Module:
    """Transposed convolutions as decoders have them (litert-torch#316, onnxruntime#19694)."""
    kinds: dict[str, tuple[int, dict[str, int]]] = {
        "output_padding": (8, {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}),
        "groups": (8, {"kernel_size": 4, "stride": 2, "padding": 1, "groups": 2}),
        "depthwise": (16, {"kernel_size": 4, "stride": 2, "padding": 1, "groups": 16}),
        "dilated": (8, {"kernel_size": 3, "dilation": 2, "padding": 2}),
    }
    made, given = kinds[kind]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, made, **given))  # type: ignore[arg-type]


def normed(kind: str) -> nn.Module:
    """Weights that are computed, by the old hook and the new parametrization (coremltools#1347)."""
    norm = nn.utils.weight_norm if kind == "old" else nn.utils.parametrizations.weight_norm
    return nn.Sequential(
        norm(nn.Conv2d(3, 32, 3)), nn.ReLU(), norm(nn.Conv2d(32, 32, 3)), nn.ReLU(), nn.Flatten(1)
    )


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "biases": (WideBiases, (3, 12, 12)),
    "written": (Written, (4, 10, 10)),
    "scaled": (Scaled, (3, 24, 24)),
    "same": (Same, (1, 32, 6)),
    "alphas": (Alphas, (3, 16, 16)),
    "large_norms": (LargeNorms, (3, 12, 12)),
    "warped": (Warped, (3, 9, 9)),
    "summed": (Summed, (3, 9, 9)),
    "pixels": (Pixels, (16, 16, 3)),
    "doubles": (Doubles, (3, 10, 10)),
    "whole_numbers": (WholeNumbers, (4, 9, 9)),
    "spectrum": (Spectrum, (512,)),
    **{f"resize_{way}": (lambda way=way: Resized(way), (3, 13, 13)) for way in Resized.WAYS},  # type: ignore[misc]
    **{
        f"up_{kind}": (lambda kind=kind: upwards(kind), (3, 16, 16))  # type: ignore[misc]
        for kind in ("output_padding", "groups", "depthwise", "dilated")
    },
    **{f"normed_{kind}": (lambda kind=kind: normed(kind), (3, 8, 8)) for kind in ("old", "new")},  # type: ignore[misc]
}


def _drawn(name: str, count: int, seed: int) -> list[Inputs]:
    generator, shape = torch.Generator().manual_seed(seed), (1, *NETS[name][1])
    if name == "pixels":
        return [(torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),) for _ in range(count)]
    return [(torch.randn(shape, generator=generator),) for _ in range(count)]


def task(net: str = "biases") -> ek.Task:
    """The task of one of NETS."""
    torch.manual_seed(0)
    model = NETS[net][0]().eval()
    return ek.Task(
        name=net,
        model=model,
        example_inputs=_drawn(net, 1, 3)[0],
        calibration=_drawn(net, 16, 0),
        metric=Kept(model, _drawn(net, 12, 1)),
    )
