"""The command that writes one-bit files: what it writes, what it refuses, and that nothing is left then."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from edgekit.binary import layer_choice
from edgekit.binary.__main__ import convert, main
from edgekit.binary.layer import lower, replace
from edgekit.errors import MissingRuntime, UserError, VerificationError
from edgekit.export import onnx
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.quant import tensors
from edgekit.records import Candidate, Recipe

pytest.importorskip("openvino")
from edgekit.binary import openvino_ir


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """program.pt2 and model.onnx of an untrained net with one binary layer."""
    place = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, 1, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 36, 4),
    )
    x = torch.zeros(1, 3, 8, 8)
    graph = torch.export.export(net.eval(), (x,)).module()
    for node in layer_choice.chosen(graph, ""):
        replace(graph, node, factorised=False)
    tensors.drop_unread(graph)
    assert lower(graph) == 1
    programs.save(programs.export(graph, (x,)), place / "program.pt2")
    recipe = Recipe(name="t", precision="float32", steps=())
    candidate = Candidate(program=str(place / "program.pt2"), recipe=recipe)
    onnx.export(candidate, load_target("x86-server"), place / "model.onnx")
    return place


def test_both_files_are_written_and_said(folder, tmp_path) -> None:
    asked = [str(folder / "model.onnx"), "-o", str(tmp_path / "model.xml")]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    assert "1 binary layers, their weights 13824 -> 432 bytes" in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    asked = [str(folder / "program.pt2"), "-o", str(tmp_path / "model.safetensors")]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0 and "storage only" in done.output


def test_a_kernel_that_is_wrong_in_the_net_leaves_nothing(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(openvino_ir, "reference", lambda x, layer: np.zeros(1))
    with pytest.raises(VerificationError, match=r"of its sums are wrong in the net.*nothing is written"):
        openvino_ir.write(folder / "model.onnx", tmp_path / "model.xml")
    assert not list(tmp_path.iterdir())


def test_a_net_that_answers_unlike_float_arithmetic_leaves_nothing(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(openvino_ir, "LEAST_DB", 1000.0)
    with pytest.raises(VerificationError, match=r"answers unlike float arithmetic.*1000 are asked for"):
        openvino_ir.write(folder / "model.onnx", tmp_path / "model.xml")
    assert not list(tmp_path.iterdir())


def test_what_it_refuses(folder, tmp_path, monkeypatch) -> None:
    with pytest.raises(
        UserError, match=r"model\.onnx to m\.bin is no conversion; allowed are \*\.onnx to \*\.xml"
    ):
        convert(folder / "model.onnx", tmp_path / "m.bin")
    done = CliRunner().invoke(main, [str(tmp_path / "none.onnx"), "-o", str(tmp_path / "m.xml")])
    assert done.exit_code == 2 and "error: no file at" in done.output
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(UserError, match="OpenVINO cannot read"):
        convert(tmp_path / "text.onnx", tmp_path / "m.xml")


def test_a_missing_package_is_named(folder, tmp_path, monkeypatch) -> None:
    whole = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "edgekit.binary" and "openvino_ir" in (rest[2] or ()):
            raise ModuleNotFoundError("No module named 'openvino'", name="openvino")
        return whole(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingRuntime, match="pip install openvino"):
        convert(folder / "model.onnx", tmp_path / "m.xml")
