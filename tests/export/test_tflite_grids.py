"""Fixed grids, concatenations and the operators at the ends of a network in int8 TFLite files, on tiny networks.

As in test_tflite.py all networks are built and converted in one child process.
"""

from pathlib import Path
from typing import Any

import own_process
import pytest

pytestmark = pytest.mark.long

FLOAT = "float32"


# ------------------------------------------------------------------------------------------------ the tests
@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return own_process.found_by(__file__, tmp_path_factory.mktemp("grids"), "tflite")


@pytest.mark.parametrize("net", ["squeezed", "joined", "kept", "normalized", "clamped", "decoder"])
def test_input_and_output_are_integers_and_so_is_all_between(found: dict[str, Any], net: str) -> None:
    case = found[net]
    assert (case["inputs"], case["outputs"], case["stated"]) == (["int8"], ["int8"], [])
    integers = {"int8->int8", "int32->int8"}  # a transposed convolution reads its shape first
    assert {name.partition(":")[2] for name in case["ops"]} <= integers


@pytest.mark.parametrize(
    "net",
    [
        "squeezed",
        "joined",
        "kept",
        "normalized",
        "clamped",
        "boxes",
        "stretched",
        "masked",
        "decoder",
        "written",
    ],
)
def test_the_file_answers_as_the_program_does(found: dict[str, Any], net: str) -> None:
    assert found[net]["steps"] <= 2.01


def test_a_binary_head_keeps_the_grid_of_its_sigmoid(found: dict[str, Any]) -> None:
    assert found["squeezed"]["grid"] == [1 / 256, -128]


def test_a_sigmoid_map_is_rounded_anew_before_a_concatenation(found: dict[str, Any]) -> None:
    ops = found["joined"]["ops"]
    assert (ops["RELU:int8->int8"], ops["CONCATENATION:int8->int8"]) == (1, 1)


def test_a_signed_operand_of_another_grid_is_rounded_by_a_product(found: dict[str, Any]) -> None:
    assert found["kept"]["ops"]["MUL:int8->int8"] == 2


def test_a_division_by_the_norm_is_one_operator(found: dict[str, Any]) -> None:
    assert found["normalized"]["ops"]["L2_NORMALIZATION:int8->int8"] == 1
    assert found["normalized"]["grid"] == [1 / 128, 0]


@pytest.mark.parametrize("net", ["boxes", "stretched"])
def test_boxes_and_scores_are_joined_in_float_and_that_is_said(found: dict[str, Any], net: str) -> None:
    case = found[net]
    assert (case["inputs"], case["outputs"]) == (["int8"], [FLOAT])
    (sentence,) = case["stated"]
    said = float(sentence.removeprefix("output output_0 stays float32: its parts differ by ").split()[0])
    assert said == pytest.approx(640, rel=0.5)
    assert case["scores"] < 0.01


def test_a_pad_that_is_read_in_float_keeps_its_number(found: dict[str, Any]) -> None:
    assert found["padded"]["steps"] < 0.02, (
        "in parts of 2.5; on the grid of the relu it would be zero, 0.84 off"
    )


def test_masked_scores_keep_their_mask(found: dict[str, Any]) -> None:
    """On an integer grid -1e9 is the smallest score, and what is masked would count."""
    assert found["masked"]["ops"]["SELECT_V2:bool->float32"] == 1
    assert found["masked"]["float_error"] < 0.02


def test_the_state_of_a_recurrent_layer_is_not_put_on_the_grid_of_its_outputs(found: dict[str, Any]) -> None:
    assert found["state"]["outputs"] == [FLOAT, "int8"]
    assert found["state"]["state_error"] < 1e-4


def test_transposed_layers_with_groups_or_one_axis_are_convolutions(found: dict[str, Any]) -> None:
    ops = found["decoder"]["ops"]
    assert ops["TRANSPOSE_CONV:int32->int8"] == 1
    assert sum(count for name, count in ops.items() if "CONV_2D:" in name) == 2


# ------------------------------------------------------------------------------------------------ the child
def child(folder: Path) -> dict[str, Any]:
    import torch
    import torchvision  # noqa: F401

    torch.manual_seed(0)
    torch.set_num_threads(1)
    return {name: convert(folder / name, *case) for name, case in networks().items()}


def networks() -> dict[str, tuple[Any, tuple[int, ...]]]:
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Squeezed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(16, 8), nn.Linear(8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.b(torch.relu(self.a((x - 0.5) / 0.25)))).squeeze(1)

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(12, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            f = self.a(x).relu() * 6
            return self.c(torch.cat((f, torch.sigmoid(self.b(f))), 1)).softmax(1)

    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(16, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            f = self.a(x)
            return self.c(torch.cat((f, self.b(f) * 40), 1)).tanh().view(1, -1)

    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.a, self.b = nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.Linear(8, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.normalize(self.b(self.a(self.norm(x)).relu().mean((2, 3))), dim=1)

    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            large = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            return (large - F.pixel_shuffle(self.b(self.a(x).relu()), 2)).clamp(0, 1)

    class Boxes(nn.Module):
        def __init__(self, stretched: bool) -> None:
            super().__init__()
            self.a, self.box, self.score = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 1)
            self.stretched = stretched

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            f = self.a(x).relu()
            box, score = self.box(f).sigmoid(), self.score(f).sigmoid()
            if self.stretched:
                sizes = torch.tensor([640.0, 640.0, 640.0, 640.0, 1.0, 1.0]).view(1, 6, 1)
                return torch.cat((box, score), 1).flatten(2) * sizes
            return torch.cat((box * 640, score), 1).flatten(2)

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(9, 9), nn.Linear(9, 4)
            self.register_buffer("mask", torch.ones(9, 9).triu(1).bool())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x).masked_fill(self.mask, -1e9).softmax(-1))

    class State(nn.Module):
        """The last states of both layers come first: the harness compares the first output."""

        def __init__(self) -> None:
            super().__init__()
            self.cells, self.head = nn.LSTM(6, 8, 2, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y, (state, _) = self.cells(x * 4)
            return state.transpose(0, 1), self.head(y)

    class Padded(nn.Module):
        """A number that no relu gives, read in float."""

        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sin(F.pad(self.a(x).relu(), (1, 1, 0, 2), value=-1.0))

    class Written(nn.Module):
        """Parts of a feature map written in place, some with larger numbers."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            y[:, 2:5, 1:-1] = y[:, 2:5, 1:-1] * 4
            y[:, ::2, 0] = 0.5
            z = y.clone()
            z[..., 0] += 1
            return self.b(z)

    decoder = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 8, 3, 2, 1, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=4),
    )
    return {
        "masked": (Masked(), (9, 9)),
        "padded": (Padded(), (3, 6, 6)),
        "state": (State(), (5, 6)),
        "decoder": (decoder, (3, 4, 4)),
        "squeezed": (Squeezed(), (16,)),
        "joined": (Joined(), (3, 8, 8)),
        "kept": (Kept(), (3, 4, 4)),
        "normalized": (Normalized(), (3, 8, 8)),
        "clamped": (Clamped(), (3, 6, 6)),
        "boxes": (Boxes(stretched=False), (3, 8, 8)),
        "stretched": (Boxes(stretched=True), (3, 8, 8)),
        "written": (Written(), (3, 8, 8)),
    }


def convert(folder: Path, model: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    import torch
    from test_tflite import compare, lower, operators

    from edgekit.quant.boundaries import float_interfaces

    batches = [torch.rand(1, *shape) for _ in range(8)]
    converted = quantize(model.eval(), batches)
    program = torch.export.export(converted, (batches[0],))
    artifact = lower(folder, program, "int8")
    output = artifact.outputs[0]
    with torch.no_grad():
        errors = [(first(program.module()(batch)) - first(model(batch))).abs() for batch in batches]
    return {
        "ops": operators(artifact.path),
        "inputs": [spec.dtype for spec in artifact.inputs],
        "outputs": [spec.dtype for spec in artifact.outputs],
        "grid": [output.scale, output.zero_point],
        "stated": float_interfaces(converted),
        "steps": max(compare(artifact, program, batch) for batch in batches) / (output.scale or 2.5)
        if len(artifact.outputs) == 1
        else 0.0,
        "state_error": state_error(artifact, program, batches) if len(artifact.outputs) == 2 else 0.0,
        "float_error": max(float(error.max()) for error in errors),
        "scores": max(
            float(error[:, 4:].max()) if error.dim() == 3 and error.shape[1] > 4 else 0.0 for error in errors
        ),
    }


def first(answer: Any) -> Any:
    return answer[0] if isinstance(answer, tuple) else answer


def state_error(artifact: Any, program: Any, batches: list[Any]) -> float:
    """Largest difference of the first of two outputs between the file and the program."""
    from edgekit.quant import program as programs
    from edgekit.verify.backends import litert
    from edgekit.verify.predict import Predictor

    predict = Predictor(litert.open_session(artifact.path), artifact, programs.specs(program)[0])
    errors = [abs(predict(b.numpy())[0] - program.module()(b)[0].detach().numpy()).max() for b in batches]
    return float(max(errors))


def quantize(model: Any, batches: list[Any]) -> Any:
    """Calibrated and converted for a profile of integer inputs and outputs."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    from edgekit.quant.prepare import prepare_graph
    from edgekit.quant.quantizer import ProfileQuantizer
    from edgekit.records import Quant

    quant = Quant(
        activation_dtype="int8",
        weight_bits=8,
        granularity="per_channel",
        symmetric_activations=False,
        integer_io=True,
    )
    graph = prepare_graph(torch.export.export(model, (batches[0],)).module())
    prepared = prepare_pt2e(
        graph, ProfileQuantizer(quant, "minmax", samples=lambda: [(batch,) for batch in batches])
    )
    with torch.no_grad():
        for batch in batches:
            prepared(batch)
    return convert_pt2e(prepared, fold_quantize=False)
