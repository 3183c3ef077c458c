"""What torch.onnx writes against the rules of ONNX: in other operators, or refused in one sentence."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from quant_nets import traced
from torch import nn

from edgekit.errors import ConversionError
from edgekit.export import onnx as exporter
from edgekit.export._onnx_errors import valid_onnx
from edgekit.quant import program as programs
from edgekit.records import Candidate, Recipe


class Denoised(nn.Module):
    """Frames, a mask and the way back: torch.onnx adds complex frames with indices of a type that ScatterND does not take."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.stft(x, 32, 8, window=self.window, return_complex=True)
        return torch.istft(z * z.abs().sigmoid(), 32, 8, window=self.window, length=x.shape[-1])


def answers(model: nn.Module, x: torch.Tensor, folder: Path) -> list[np.ndarray]:
    """What ONNX Runtime answers by the file of a model."""
    programs.save(traced(model, x), folder / "float.pt2")
    recipe = Recipe(name="r", precision="float32", steps=())
    given = Candidate(program=str(folder / "float.pt2"), recipe=recipe)
    artifact = exporter.export(given, None, folder / "m.onnx")  # type: ignore[arg-type]
    session = onnxruntime.InferenceSession(artifact.path)
    return list(session.run(None, {session.get_inputs()[0].name: x.numpy()}))


def test_complex_numbers_that_torch_onnx_writes_wrongly_become_real_ones(tmp_path: Path) -> None:
    model, x = Denoised(), torch.randn(1, 200, generator=torch.Generator().manual_seed(0))
    (found,) = answers(model, x, tmp_path)
    torch.testing.assert_close(torch.from_numpy(found), model(x), rtol=1e-3, atol=1e-4)


def test_a_projected_lstm_is_taken_apart(tmp_path: Path) -> None:
    model, x = nn.LSTM(4, 6, proj_size=3, batch_first=True).eval(), torch.randn(1, 5, 4)
    found = answers(nn.Sequential(model), x, tmp_path)
    for got, want in zip(found, [model(x)[0], *model(x)[1]], strict=True):
        torch.testing.assert_close(torch.from_numpy(got), want, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "No Op registered for DeformConv with domain_version of 18",
        "[ShapeInferenceError] (op_type:DeformConv, node name: n): x",
    ],
)
def test_what_onnx_says_of_a_file_is_one_sentence(text: str) -> None:
    with (
        pytest.raises(
            ConversionError, match=r"^torch\.onnx writes DeformConv of this model against the rules of ONNX;"
        ),
        valid_onnx(),
    ):
        raise onnx.checker.ValidationError(text)
