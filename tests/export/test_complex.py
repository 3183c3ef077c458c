"""Complex numbers in real ones, for converters that have none: equal on the graph, no complex number left."""

import pytest
import torch
import torch.nn.functional as F
from quant_nets import targets, traced
from torch import nn

from edgekit.errors import ConversionError
from edgekit.export._complex import concerned, to_real, without_complex
from edgekit.export._tflite_forms import for_litert

GENERATOR = torch.Generator().manual_seed(0)
IMAGE, SOUND = torch.randn(1, 4, 8, 8, generator=GENERATOR), torch.randn(2, 800, generator=GENERATOR)


class Of(nn.Module):
    """A function of an input, some complex weights and a window."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("w", torch.randn(4, 8, 5, dtype=torch.complex64, generator=GENERATOR))
        self.register_buffer("window", torch.hann_window(48))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, self.w, self.window)


def spectrum(x: torch.Tensor, window: torch.Tensor | None, **options) -> torch.Tensor:
    return torch.stft(x, win_length=48, window=window, **{"n_fft": 64, "return_complex": True} | options)


def lowest(x: torch.Tensor, w: torch.Tensor, _) -> torch.Tensor:
    """A layer of a Fourier neural operator, which writes a few frequencies."""
    z = torch.fft.rfft2(x)
    kept = torch.zeros_like(z)
    kept[:, :, :2, :3] = torch.einsum(
        "bixy,oixy->boxy", z[:, :, :2, :3], w[:, :4, None, :3].expand(4, 4, 2, 3)
    )
    return torch.fft.irfft2(kept, s=(8, 8))


def denoised(x: torch.Tensor, _, window: torch.Tensor, **options) -> torch.Tensor:
    z = spectrum(x, window, **options)
    options = {key: value for key, value in options.items() if key != "pad_mode"}
    return torch.istft(z * z.abs().sigmoid(), 64, win_length=48, window=window, **options)


def turned(x: torch.Tensor, w: torch.Tensor, _) -> torch.Tensor:
    """Places as turns of pairs, as Llama's first code says them."""
    pairs = torch.view_as_complex(x.reshape(1, 4, 8, 4, 2))
    return torch.view_as_real(pairs * w[:, :, :4]).flatten(3)


@pytest.mark.parametrize("read", [
    lambda z: z.abs().pow(2), lambda z: z.real * 2 + z.imag, torch.view_as_real, lambda z: z.angle().cos(), lambda z: (z * z.conj()).real,
])  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"hop_length": 20, "center": False}, {"normalized": True}])
def test_a_spectrum_is_two_convolutions(read, options: dict) -> None:
    names = checked(lambda x, w, window: read(spectrum(x, window, **options)), SOUND)
    assert names.count("conv1d.default") == 2
    assert not any("stft" in name for name in names)


@pytest.mark.parametrize("function", [
    lambda x, w, _: torch.fft.rfft(x).abs(),
    lambda x, w, _: torch.fft.irfft(torch.fft.rfft(x, dim=2) * w[:, :5, :1], n=8, dim=2),
    lambda x, w, _: torch.fft.irfft(torch.fft.rfft(x, n=13), n=13) - torch.fft.irfft(torch.fft.rfft(x, n=5), n=13),
    lambda x, w, _: torch.fft.fft2(x, norm="ortho").real,
    lambda x, w, _: torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho") * w, s=(8, 8), norm="ortho"),
    lambda x, w, _: torch.view_as_real(torch.fft.ifftn(torch.fft.fftn(x, dim=(1, 3)) * 1j + 2)),
    lambda x, w, _: torch.fft.irfftn(torch.fft.rfftn(x, s=(4, 8, 6)), s=(4, 8, 6)),
    lambda x, w, _: torch.fft.hfft(torch.fft.ihfft(x) * w),
    lambda x, w, _: torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1)).abs().log1p(),
    lambda x, w, _: torch.view_as_real(torch.cat([torch.fft.fft(x), x.to(torch.complex64) - w[..., :1]], 1).sum(-1) - 3j),
    lambda x, w, _: torch.view_as_real(torch.where(x > 0, torch.fft.fft(x) / w[..., :1], 0)),
    lambda x, w, _: (torch.polar(x.exp(), x) / (1 + torch.complex(x, x))).angle(),
    lambda x, w, _: torch.exp(w @ torch.fft.fft(x[:, :, :5]).pow(2) / 30).real,
    lambda x, w, _: torch.view_as_real(torch.stack(torch.fft.fft(x).split(4, -1), 2)[0, None]),
    lowest,
    turned,
])  # fmt: skip
def test_a_transform_is_a_product(function) -> None:
    checked(function, IMAGE)


@pytest.mark.parametrize("options", [{}, {"hop_length": 20}, {"normalized": True}])
def test_frames_are_added_by_a_transposed_convolution(options: dict) -> None:
    names = checked(lambda x, w, window: denoised(x, w, window, **options), SOUND)
    assert names.count("conv_transpose1d.default") == 1


def test_a_length_beyond_the_frames_is_silence() -> None:
    def function(x, w, window):
        return torch.istft(spectrum(x, window), 64, win_length=48, window=window, length=801)

    checked(function, SOUND)


def checked(function, x: torch.Tensor) -> list[str]:
    """The operators of the real form, which answers as the model does."""
    model = Of(function)
    graph_module = for_litert(traced(model, x).module())
    assert not concerned(graph_module)
    torch.testing.assert_close(graph_module(x), model(x), rtol=1e-3, atol=1e-3)
    return targets(graph_module)


@pytest.mark.parametrize("function", [lambda x, w, _: torch.fft.fft(x).log().real, lambda x, w, _: torch.fft.fft(F.pad(x, (0, 5000))).real])  # fmt: skip
def test_what_has_no_real_form_is_named(function) -> None:
    graph_module = traced(Of(function), IMAGE).module()
    with pytest.raises(
        ConversionError, match=r"TFLite has no complex numbers, and aten\.(log|fft_fft)\.default from"
    ):
        to_real(graph_module, "TFLite")


def test_a_program_without_complex_numbers_is_left() -> None:
    program = traced(Of(lambda x, w, _: x.abs()), IMAGE)
    assert without_complex(program, "Core ML") is program
