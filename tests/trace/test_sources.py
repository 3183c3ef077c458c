"""Where a model may come from: files of PyTorch, weights with their builder, names; and the sentence about each that is none."""

import io
import json
import os
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.engine.specs import TraceSpec
from edgekit.engine.task_source import pickle_task
from edgekit.errors import ConversionError, EdgekitError, MissingRuntime, TaskError
from edgekit.records import Traced
from edgekit.task import Checkpoint, Dim, Task
from edgekit.trace import model as tracing
from edgekit.trace.sources import model_names, torch_file, weights_file
from edgekit.trace.stage import trace

pytestmark = pytest.mark.long

X = np.random.default_rng(0).standard_normal((6, 3, 8, 8)).astype(np.float32)


class Net(nn.Module):
    """[N, 3, 8, 8] -> logits, features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = torch.relu(self.conv(x)).mean((2, 3))
        return {"logits": self.head(features), "features": features}


def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


def fidelity(predict: Callable[..., Any]) -> float:
    with torch.no_grad():
        right = net()(torch.from_numpy(X))["logits"].numpy()
    return 1 - float(np.abs(predict(X)["logits"] - right).max())


def task(model: Any, **more: Any) -> Task:
    given = {"name": "t", "example_inputs": (torch.zeros(1, 3, 8, 8),), "metric": fidelity}
    return Task(model=model, **{**given, **more})


def traced(model: Any, work: Path, **more: Any) -> Traced:
    source = pickle_task(task(model, **more), work / "task.pkl")
    return trace(TraceSpec(source=source, work=str(work)))


def refused(model: Any, **more: Any) -> str:
    with pytest.raises(EdgekitError) as caught:
        tracing.model_of(task(model, **more))
    assert caught.value.exit_code in (2, 3) and "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("free", [False, True])
def test_an_exported_program(free: bool, tmp_path: Path) -> None:
    example = torch.zeros(2 if free else 1, 3, 8, 8)
    shapes = {"x": {0: torch.export.Dim("n")}} if free else None
    torch.export.save(torch.export.export(net(), (example,), dynamic_shapes=shapes), tmp_path / "net.pt2")
    found = traced(str(tmp_path / "net.pt2"), tmp_path)
    assert found.metric > 0.9999
    assert [s.name for s in (*found.inputs, *found.outputs)] == ["x", "logits", "features"]
    assert found.free is not None and not found.free.reason


def test_an_exported_program_in_hand() -> None:
    program = torch.export.export(net(), (torch.zeros(1, 3, 8, 8),))
    module = tracing.model_of(task(lambda: program))
    assert set(module(torch.zeros(1, 3, 8, 8))) == {"logits", "features"}


class Dense(nn.Module):
    """What is of one sample by its own arithmetic."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, 192) @ torch.ones(192, 2)


def test_a_program_of_one_sample_is_asked_one_by_one(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(Dense(), (torch.zeros(1, 3, 8, 8),)), tmp_path / "net.pt2")

    def metric(predict: Callable[..., Any]) -> float:
        return 1 - float(np.abs(predict(X)[:, 0] - X.reshape(6, -1).sum(1)).max())

    assert traced(tmp_path / "net.pt2", tmp_path, metric=metric).metric > 0.999


@pytest.mark.parametrize("suffix", [".pt", ".ts"])
def test_a_script_keeps_its_names(suffix: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(net(), torch.zeros(1, 3, 8, 8), strict=False).save(str(tmp_path / f"net{suffix}"))
    found = traced(str(tmp_path / f"net{suffix}"), tmp_path)
    assert found.metric > 0.9999
    assert [s.name for s in (*found.inputs, *found.outputs)] == ["x", "logits", "features"]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_script_keeps_its_parameters(frozen: bool, tmp_path: Path) -> None:
    script = torch.jit.script(net())
    (torch.jit.freeze(script) if frozen else script).save(str(tmp_path / "net.pt"))
    module = tracing.model_of(task(str(tmp_path / "net.pt")))
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in net().parameters())


def test_weights_with_their_builder(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in net().state_dict().items()}}, tmp_path / "net.pth"
    )
    save_file(net().state_dict(), tmp_path / "net.safetensors")
    for name in ("net.pth", "net.safetensors"):
        module = tracing.model_of(task(Checkpoint(tmp_path / name, Net)))
        torch.testing.assert_close(module.state_dict(), net().state_dict())
    assert traced(Checkpoint(str(tmp_path / "net.safetensors"), Net), tmp_path).metric > 0.9999


def test_weights_of_another_model(tmp_path: Path) -> None:
    torch.save({**net().state_dict(), "more": torch.zeros(1)}, tmp_path / "net.pth")
    said = refused(Checkpoint(tmp_path / "net.pth", Net))
    assert said == "net.pth is of another model than its builder's: it has also more"
    assert "it lacks 0.bias, 0.weight; it has also" in refused(
        Checkpoint(tmp_path / "net.pth", lambda: nn.Sequential(nn.Linear(2, 2)))
    )
    torch.save({**net().state_dict(), "head.bias": torch.zeros(7)}, tmp_path / "net.pth")
    assert refused(Checkpoint(tmp_path / "net.pth", Net)).endswith(
        "head.bias is [7] there and [5] in the module"
    )
    assert "returned a int; it must return an nn.Module" in refused(
        Checkpoint(tmp_path / "net.pth", lambda: 3)
    )


class Evil:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, (str(Path("was-run").absolute()),)


def test_no_pickle_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Evil()}, tmp_path / "net.pth")
    for model in (str(tmp_path / "net.pth"), Checkpoint(tmp_path / "net.pth", Net)):
        assert "is a pickle that would run code when it is read" in refused(model)
    assert not (tmp_path / "was-run").exists()


def replant(path: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    """Changes one member of a program's file."""
    with zipfile.ZipFile(path) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in found.items():
            archive.writestr(name, change(data) if name.endswith(member) else data)


def test_no_program_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a stranger: torch itself unpickles its example inputs, and calls whatever its nodes name."""
    monkeypatch.chdir(tmp_path)
    evil = io.BytesIO()
    torch.save(Evil(), evil)
    torch.export.save(torch.export.export(net(), (torch.zeros(1, 3, 8, 8),)), tmp_path / "net.pt2")
    for member, change, why in (
        ("sample_inputs/model.pt", lambda _: evil.getvalue(), "cannot be read by torch"),
        ("models/model.json", lambda data: data.replace(b"torch.ops.aten.relu.default", b"torch.os.mkdir"), "could run code when it is read: it calls 'torch.os.mkdir'"),
        ("models/model.json", lambda data: data.replace(b"torch.ops.aten.relu.default", b"torch.ops.aten.save.default"), "it calls 'torch.ops.aten.save.default'"),
    ):  # fmt: skip
        planted = tmp_path / "planted.pt2"
        planted.write_bytes((tmp_path / "net.pt2").read_bytes())
        replant(planted, member, change)
        assert planted.read_bytes() != (tmp_path / "net.pt2").read_bytes()
        assert why in refused(str(planted))
    assert not (tmp_path / "was-run").exists()


class Writes(nn.Module):
    """Writes a file where it is called."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "was-run")
        return x


def test_no_script_writes_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.jit.script(Writes()).save(str(tmp_path / "net.pt"))
    assert "net.pt calls 'save', which reads or writes files" in refused(str(tmp_path / "net.pt"))
    assert not (tmp_path / "was-run").exists()


def added(path: Path, name: str, data: bytes) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)


def test_no_script_hides_code_behind_capitals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To torch, which finds the members of an archive, capitals are the same as small letters: of two it takes the first."""
    monkeypatch.chdir(tmp_path)
    torch.jit.script(Writes()).save("net.pt")
    with zipfile.ZipFile("net.pt") as archive:
        found = {name: archive.read(name) for name in archive.namelist() if "debug_pkl" not in name}
    (code,) = (name for name, data in found.items() if b"torch.save" in data)
    harmless = re.sub(rb"torch\.save\(.*\)", b"torch.relu(x)", found[code])
    hidden = {code.replace("/code/", "/CODE/"): found[code], code: harmless}
    with zipfile.ZipFile("net.pt", "w") as archive:
        for name, data in ({name: data for name, data in found.items() if name != code} | hidden).items():
            archive.writestr(name, data)
    assert "net.pt calls 'save'" in refused("net.pt")
    assert not Path("was-run").exists()


def test_no_small_archive_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_file, "ALWAYS_BYTES", 0)
    monkeypatch.setattr(torch_file, "MOST_CODE_BYTES", 1 << 20)
    torch.save(net().state_dict(), tmp_path / "net.pth")
    torch.jit.script(net()).save(str(tmp_path / "net.pt"))
    added(tmp_path / "net.pth", "net/data/99", bytes(4 << 20))
    added(tmp_path / "net.pt", "net/code/more.py", bytes(2 << 20))
    assert "would take 4 MiB unpacked" in refused(Checkpoint(tmp_path / "net.pth", Net))
    assert "holds 2 MiB of code; edgekit reads 1 MiB at most" in refused(str(tmp_path / "net.pt"))
    with zipfile.ZipFile(tmp_path / "net.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(4 << 20))
    assert "would take 4 MiB unpacked" in refused(str(tmp_path / "net.keras"))


def test_files_that_are_no_model(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "net.pth")
    assert "net.pth holds weights and no model; give both: model=ek.Checkpoint" in refused(
        str(tmp_path / "net.pth")
    )
    (tmp_path / "net.safetensors").touch()
    assert "net.safetensors holds weights and no model" in refused(str(tmp_path / "net.safetensors"))
    (tmp_path / "net.pt2").write_bytes(b"PK\x03\x04 cut short")
    assert refused(str(tmp_path / "net.pt2")).startswith("net.pt2 is damaged, or no file that torch wrote")
    assert "does not exist" in refused(str(tmp_path / "gone.pt2"))
    (tmp_path / "net.onnx").touch()
    assert "is the file net.onnx; allowed are .keras files, .pt2 and" in refused(str(tmp_path / "net.onnx"))


def test_a_script_that_the_converter_changes_is_refused() -> None:
    script = torch.jit.script(nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(ConversionError, match="changed what the script computes"):
        torch_file._same(script, nn.Sequential(nn.Linear(3, 2)), (torch.ones(1, 3),))


# ------------------------------------------------------------------------------------------------ names


def test_names_of_torchvision() -> None:
    found = model_names.load("torchvision:shufflenet_v2_x0_5?weights=none")
    assert type(found).__name__ == "ShuffleNetV2"
    assert "torchvision has no model 'resnet19'; near it: resnet" in refused("torchvision:resnet19")
    assert "are not on this machine, and edgekit downloads nothing" in refused(
        "torchvision:shufflenet_v2_x0_5"
    )
    assert "has the setting ['width']; allowed is weights=FILE" in refused("torchvision:resnet18?width=2")


def test_names_of_timm() -> None:
    try:
        import timm  # noqa: F401
    except ImportError:
        with pytest.raises(MissingRuntime, match="pip install timm"):
            model_names.load("timm:resnet18")
        return
    assert (
        sum(p.numel() for p in model_names.load("timm:mobilenetv3_small_050?weights=none").parameters()) > 1e6
    )
    assert "has no model 'resnet19'; near it: " in refused("timm:resnet19")
    assert 'timm.create_model("mobilenetv3_small_050", pretrained=True)' in refused(
        "timm:mobilenetv3_small_050"
    )


def test_a_folder_of_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    ids = {name: torch.ones(1, 9, dtype=torch.int64) for name in ("input_ids", "attention_mask")}

    def metric(predict: Callable[..., Any]) -> float:
        found = predict(**{name: np.ones((2, 9), np.int64) for name in ids})
        assert type(found).__name__ == "SequenceClassifierOutput" and found.loss is None
        return float(found.logits.shape == (2, 2))

    free = {name: {0: "batch", 1: Dim("length", max=512)} for name in ids}
    named = {name: {1: "length"} for name in ids}
    with pytest.raises(
        TaskError, match=r'the axis length has limits in the model: ek.Dim\("length", max=512\)'
    ):
        traced(f"hf:{tmp_path / 'bert'}", tmp_path, example_inputs=ids, metric=metric, dynamic=named)
    found = traced(f"hf:{tmp_path / 'bert'}", tmp_path, example_inputs=ids, metric=metric, dynamic=free)
    assert found.metric == 1.0
    assert [s.name for s in (*found.inputs, *found.outputs)] == ["input_ids", "attention_mask", "logits"]


def test_folders_that_are_refused(tmp_path: Path) -> None:
    assert "holds no config.json; give a local folder" in refused(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.Net"}}))
    (tmp_path / "evil.py").write_text("raise SystemExit('was run')")
    assert "brings code of its own (auto_map in config.json), which edgekit never runs" in refused(
        f"hf:{tmp_path}"
    )
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["NoSuchNet"]}))
    assert "has no model 'NoSuchNet'" in refused(f"hf:{tmp_path}")
    for odd in (
        [],
        {"architectures": 3},
        {"architectures": [3]},
        {"architectures": ["pipeline"]},
        {"architectures": {"a": 1}},
    ):
        (tmp_path / "config.json").write_text(json.dumps(odd))
        said = refused(f"hf:{tmp_path}")
        assert any(words in said for words in ("is no object", "has no model", "names no class of the model"))
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert "nested more than" in refused(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"], "model_type": "bert"}))
    torch.save({}, tmp_path / "pytorch_model.bin")
    assert "Its weights must be .safetensors" in refused(f"hf:{tmp_path}")
