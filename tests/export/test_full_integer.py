"""Every operator of a TFLite file in integers: a vision transformer and a text encoder in small, 8 and 16 bits.

As in test_tflite.py the converter stays out of the test process: `child` here makes all files in one
child and writes what it found as JSON.
"""

from pathlib import Path
from typing import Any

import numpy as np
import old_runtimes
import own_process
import pytest

from edgekit.profile.reading import load_target

pytestmark = pytest.mark.long

CASES = [(net, bits) for net in ("vision", "text") for bits in (8, 16)]
FLOOR_DB = {8: 28.0, 16: 40.0}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return own_process.found_by(__file__, tmp_path_factory.mktemp("integers"), "tflite")


@pytest.mark.parametrize(("net", "bits"), CASES)
def test_no_operator_is_float(found: dict[str, Any], net: str, bits: int) -> None:
    ops = found[f"{net}{bits}"]["ops"]
    assert not any("float" in name for name in ops), ops
    assert sum(name.startswith("SOFTMAX") for name in ops) == 1
    assert any(f"int{bits}->int{bits}" in name for name in ops)


@pytest.mark.parametrize(("net", "bits"), CASES)
def test_the_answers_are_close_to_float(found: dict[str, Any], net: str, bits: int) -> None:
    assert found[f"{net}{bits}"]["db"] > FLOOR_DB[bits]


@pytest.mark.parametrize(("net", "bits"), CASES)
def test_the_lint_demands_it(found: dict[str, Any], net: str, bits: int) -> None:
    assert found[f"{net}{bits}"]["findings"] == []


def test_a_float_operator_is_listed(found: dict[str, Any]) -> None:
    finding = found["float"][-1]
    assert "operators compute in float, and this target has integers only" in finding
    assert "SOFTMAX:float32->float32" in finding


# ------------------------------------------------------------------------------------------------ the oldest runtime named
@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return old_runtimes.beside(tmp_path_factory.mktemp("oldest"), old_runtimes.LITERT_16_BITS)


@pytest.mark.parametrize(("net", "bits"), CASES)
def test_the_oldest_runtime_that_the_profile_names_answers_the_same(
    found: dict[str, Any], oldest: Path, tmp_path: Path, net: str, bits: int
) -> None:
    assert load_target("tflite-integer").deployment.min_runtime == "litert 1.3"
    path = found[f"{net}{bits}"]["path"]
    version, old = old_runtimes.answers(old_runtimes.IN_LITERT, path, tmp_path / "old.npy", old=oldest)
    _, present = old_runtimes.answers(old_runtimes.IN_LITERT, path, tmp_path / "present.npy")
    assert version == "1.3.0"
    assert np.abs(old - present).max() <= 1


# ------------------------------------------------------------------------------------------------ the child
def networks() -> dict[str, Any]:
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = nn.LayerNorm(16), nn.LayerNorm(16)
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
            self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.qkv(self.before(x)).reshape(-1, x.shape[1], 3, 2, 8).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
            x = x + self.out(y)
            return x + self.down(F.gelu(self.up(self.after(x))))

    class Vision(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.block, self.head = nn.Conv2d(3, 16, 4, 4), Block(), nn.Linear(16, 5)
            self.token, self.place = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
            return self.head(self.block(x)[:, 0])

    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.block, self.head = nn.Embedding(40, 16), Block(), nn.Linear(16, 5)

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            return self.head(self.block(self.table(words)).mean(1))

    return {
        "vision": (Vision(), lambda n: torch.randn(n, 3, 16, 16)),
        "text": (Text(), lambda n: torch.randint(0, 40, (n, 8))),
    }


def child(folder: Path) -> dict[str, Any]:
    import torch
    import torchvision  # noqa: F401

    torch.manual_seed(0)
    torch.set_num_threads(1)
    answers: dict[str, Any] = {}
    for name, (model, draw) in networks().items():
        for bits in (8, 16):
            answers[f"{name}{bits}"] = convert(folder / f"{name}{bits}", model.eval(), draw, bits)
    answers["float"] = convert(folder / "float", model.eval(), draw, 0)["findings"]
    return answers


def convert(folder: Path, model: Any, draw: Any, bits: int) -> dict[str, Any]:
    """The file's operators, what the lint says of them, and what it keeps to torch; 0 bits: a float file."""
    from types import SimpleNamespace

    import msgspec
    import torch

    from edgekit.engine.specs import Context
    from edgekit.export import tflite
    from edgekit.quant import program as programs
    from edgekit.quant.prepare import prepare_graph
    from edgekit.records import Candidate, Recipe
    from edgekit.techniques import full_integer
    from edgekit.verify.backends import litert
    from edgekit.verify.lint import demand_integers
    from edgekit.verify.predict import Predictor

    folder.mkdir()
    graph = prepare_graph(torch.export.export(model, (draw(1),)).module())
    programs.save(torch.export.export(graph, (draw(1),)), folder / "float.pt2")
    recipe = Recipe(name="t", precision="int8" if bits else "float32", steps=())
    candidate = Candidate(program=str(folder / "float.pt2"), recipe=recipe)
    if bits:
        task: Any = SimpleNamespace(calibration=[draw(4) for _ in range(40)])
        options = full_integer.Options(activation_bits=bits)
        candidate = full_integer.apply(candidate, task, options, Context(work=str(folder)))
    artifact = tflite.export(candidate, None, folder / "model.tflite")  # type: ignore[arg-type]
    inputs, _ = programs.specs(programs.load(candidate.program))
    x = draw(16)
    answer = Predictor(litert.open_session(artifact.path), artifact, inputs)(x.numpy())
    right = model(x).detach().numpy()
    lint = litert.lint(msgspec.structs.replace(artifact, precision="int8"))
    return {
        "path": artifact.path,
        "ops": lint.ops,
        "findings": list(demand_integers(lint).findings),
        "db": float(10 * np.log10((right**2).sum() / ((right - np.asarray(answer)) ** 2).sum())),
    }
