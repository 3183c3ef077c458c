"""What litert-torch cannot express, in operators that it can: equal on the graph, no complex number left."""

import pytest
import torch
from quant_nets import targets, traced
from torch import nn

from edgekit.export._tflite_forms import for_litert

X = torch.randn(2, 800, generator=torch.Generator().manual_seed(0))
READS = {
    "power": lambda z: z.abs().pow(2),
    "parts": lambda z: z.real * 2 + z.imag,
    "pairs": torch.view_as_real,
    "angle": lambda z: z.angle().cos(),
}


class Spectrum(nn.Module):
    def __init__(self, read, window: bool = True, **options) -> None:
        super().__init__()
        self.read, self.options = read, {"n_fft": 64, "return_complex": True} | options
        self.register_buffer("window", torch.hann_window(48) if window else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.read(torch.stft(x, win_length=48, window=self.window, **self.options))


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("options", [{}, {"hop_length": 20, "center": False}, {"normalized": True}])
def test_a_spectrum_is_two_convolutions(read: str, options: dict) -> None:
    model = Spectrum(READS[read], **options)
    graph_module = for_litert(traced(model, X).module())
    names = targets(graph_module)
    assert names.count("conv1d.default") == 2
    assert not any("stft" in name for name in names)
    torch.testing.assert_close(graph_module(X), model(X), rtol=1e-3, atol=1e-3)


def test_complex_numbers_that_something_else_reads_stay() -> None:
    model = Spectrum(lambda z: (z * z.conj()).real)
    assert "stft.default" in targets(for_litert(traced(model, X).module()))
