"""Programs on disk: whole or not at all, with the memory of where each operator came from."""

from pathlib import Path

import pytest
import torch
from quant_nets import build, quant, traced
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekit.errors import UserError
from edgekit.quant import program as programs
from edgekit.quant.quantizer import ProfileQuantizer


def test_a_program_comes_back(tmp_path: Path) -> None:
    model, x = build("residual")
    programs.save(traced(model, x), tmp_path / "deep" / "program.pt2")
    loaded = programs.load(tmp_path / "deep" / "program.pt2")
    torch.testing.assert_close(loaded.module()(x), model(x))
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["program.pt2"]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no exported program at .*gone\.pt2"):
        programs.load(tmp_path / "gone.pt2")


def test_not_a_program(tmp_path: Path) -> None:
    (tmp_path / "bad.pt2").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"bad\.pt2 is not a program that torch\.export\.save wrote"):
        programs.load(tmp_path / "bad.pt2")


def test_nothing_is_left_of_a_failed_write(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        programs.write(tmp_path / "file", "text")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_interfaces_keep_the_names_of_the_arguments() -> None:
    inputs, outputs = programs.specs(traced(*build("residual")))
    assert [(s.name, s.shape, s.dtype) for s in inputs] == [("x", (1, 3, 16, 16), "float32")]
    assert [(s.name, s.shape) for s in outputs] == [("output_0", (1, 5))]
    assert programs.layout(traced(*build("residual"))) == "NCHW"


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.export.ExportedProgram, torch.Tensor]:
    """A quantized program that was saved and loaded, and an input."""
    model, x = build("residual")
    program = traced(model, x)
    prepared = prepare_pt2e(program.module(), ProfileQuantizer(quant(), "minmax"))
    prepared(x)
    path = tmp_path_factory.mktemp("program") / "program.pt2"
    programs.save(programs.export(convert_pt2e(prepared, fold_quantize=False), program), path)
    return programs.load(path), x


def test_modules_are_remembered_through_quantizing_and_saving(quantized) -> None:
    paths = {programs.module_path(n) for n in programs.calls(quantized[0].graph_module) if "conv2d" in n.name}
    assert paths == {"stem", "deep"}
    assert programs.callers(quantized[0], "aten.linear.default") == " from fc (Linear)"
    assert programs.callers(quantized[0], "aten.erfinv.default") == ""


def test_folding_stores_integers_and_keeps_the_numbers(quantized) -> None:
    program, x = quantized
    folded = programs.fold_weights(program)
    torch.testing.assert_close(folded.module()(x), program.module()(x), rtol=0, atol=0)
    weights = [t for t in folded.state_dict.values() if t.dtype == torch.int8 and t.dim() > 1]
    weights += [
        t
        for t in folded.constants.values()
        if isinstance(t, torch.Tensor) and t.dtype == torch.int8 and t.dim() > 1
    ]
    assert len(weights) == 3
    assert all(int(w.abs().max()) <= 63 for w in weights)
    assert programs.is_quantized(folded)
