"""`new` writes a task file that lacks nothing but the user's data; `inspect` says what a model is, before any work."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from commands import SMALL, edgekit, in_process  # noqa: F401  a fixture

from edgekit.cli.task_text import task_text
from edgekit.engine.task_reference import load_task
from edgekit.errors import TaskError

pytestmark = pytest.mark.long

NET = "torchvision:mobilenet_v3_small?weights=none"


def test_the_file_lacks_only_the_data(tmp_path: Path) -> None:
    done = edgekit("new", NET, "-o", tmp_path / "mine.py")
    assert done.exit_code == 0 and "read your data in load()" in done.stdout
    task = load_task(f"{tmp_path / 'mine.py'}:task", {})
    assert (task.name, task.model) == ("mobilenet_v3_small", NET)
    assert [tuple(each.shape) for each in task.example_inputs] == [(1, 3, 224, 224)]
    with pytest.raises(TaskError, match=r"^load in mine\.py reads no data yet"):
        next(iter(task.calibration))
    with pytest.raises(TaskError, match=r"^load in mine\.py reads no data yet"):
        task.metric(lambda x: x)


def test_inputs_have_shapes_and_types(tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(b"")
    out = tmp_path / "task.py"
    assert (
        edgekit("new", tmp_path / "net.pt2", "--input", "1,8:int64", "--input", "2,1,4", "-o", out).exit_code
        == 0
    )
    task = load_task(f"{out}:task", {})
    assert [(tuple(x.shape), str(x.dtype)) for x in task.example_inputs] == [
        ((1, 8), "torch.int64"),
        ((2, 1, 4), "torch.float32"),
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["resnet18"], "resnet18 names no model; give timm:NAME, torchvision:NAME, "),
        (["net.pt2"], "model file net.pt2 does not exist"),
        (["hf:folder"], "say what hf:folder takes for one sample: --input "),
        ([NET, "--input", "3,x"], "--input '3,x' is no shape such as 1,3,224,224"),
        ([NET, "--input", "1,0"], "--input '1,0' is no shape"),
        ([NET, "--input", "1,3:float8"], "allowed types: float32, float16, "),
        ([NET, "-o", "no/such/task.py"], "cannot write no/such/task.py: No such file or directory"),
    ],
)
def test_bad_models(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = edgekit("new", *arguments)
    assert done.exit_code == 2 and sentence in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "task.py"
    out.write_text("mine")
    done = edgekit("new", NET, "-o", out)
    assert (done.exit_code, out.read_text()) == (2, "mine")


@pytest.mark.usefixtures("in_process")
def test_inspect_a_task() -> None:
    found = json.loads(edgekit("inspect", f"{SMALL}:task", "--json").stdout)
    assert [spec["shape"] for spec in found["model"]["inputs"]] == [[1, 3, 8, 8]]
    assert found["model"]["parameters"] == 64 * 27 + 64 + 650
    assert {plan["target"] for plan in found["plans"]} > {"x86-server", "coreml-fp16"}


@pytest.mark.usefixtures("in_process")
def test_inspect_a_model_by_name() -> None:
    said = edgekit("inspect", NET, "--input", "1,3,64,64").stdout
    assert "mobilenet_v3_small: 2,542,856 parameters" in said
    assert "input input_0: float32 [1, 3, 64, 64]" in said and "x86-server: would try ptq(mse)" in said


def onnx_file(place: Path, shape: list[int | str]) -> Path:
    nodes = [onnx.helper.make_node("Relu", ["ids"], ["out"])]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("ids", "out")
    ]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    place.write_bytes(model.SerializeToString())
    return place


@pytest.mark.usefixtures("in_process")
def test_a_file_says_itself_what_it_takes(tmp_path: Path) -> None:
    said = edgekit("inspect", onnx_file(tmp_path / "own.onnx", ["N", 3, 8])).stdout
    assert "input ids: float32 [1, 3, 8]" in said
    program = tmp_path / "own.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(4, 2), (torch.zeros(1, 4),)), program)
    assert "float32 [1, 4]" in edgekit("inspect", program).stdout


@pytest.mark.usefixtures("in_process")
def test_lengths_that_a_file_leaves_free_are_asked_for(tmp_path: Path) -> None:
    done = edgekit("inspect", onnx_file(tmp_path / "own.onnx", ["N", 3, "length"]))
    assert done.exit_code == 2 and "leaves axes of ids free" in done.stderr
    assert "ids [N, 3, length] float32" in done.stderr
    (tmp_path / "own.onnx").write_bytes(b"no file")
    done = edgekit("inspect", tmp_path / "own.onnx")
    assert done.exit_code == 2 and "own.onnx" in done.stderr and "--input" not in done.stderr


@pytest.mark.parametrize(
    "name", ['hf:"+__import__("os").mkdir("was-run")+"', 'hf:\\"\\', "hf:a\nb", "hf:ä\udc80", "hf:{x}"]
)
def test_a_name_is_text_in_the_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.py").write_text(task_text(name, ("1,3",), 'a"b.py'), encoding="utf-8")
    task = load_task("task.py:task", {})
    assert task.model == name
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["task.py"]
