"""A program's file is data: whatever in it could run code is refused before torch sees it."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from quant_nets import build, traced

from edgekit.errors import UserError
from edgekit.quant import program as programs

Members = dict[str, bytes]


class Planted:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code ran')",)


def pickled() -> bytes:
    data = io.BytesIO()
    torch.save(Planted(), data)
    return data.getvalue()


def weight_as_pickle(members: Members) -> None:
    place = "data/weights/model_weights_config.json"
    config = json.loads(members[place])
    next(iter(config["config"].values())).update(use_pickle=True)
    members[place] = json.dumps(config).encode()
    members["data/weights/weight_0"] = pickled()


def constant_as_object(members: Members) -> None:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    members["data/constants/model_constants_config.json"] = json.dumps({"config": {"c": entry}}).encode()
    members["data/constants/opaque_obj_0"] = pickle.dumps(Planted())


def inputs_as_pickle(members: Members) -> None:
    members["data/sample_inputs/model.pt"] = pickled()


def changed_graph(change: Callable[[dict[str, Any]], None]) -> Callable[[Members], None]:
    def apply(members: Members) -> None:
        model = json.loads(members["models/model.json"])
        change(model)
        members["models/model.json"] = json.dumps(model).encode()

    return apply


def calls(target: str) -> Callable[[Members], None]:
    return changed_graph(lambda model: model["graph_module"]["graph"]["nodes"][0].update(target=target))


def shape(text: str) -> Callable[[Members], None]:
    size = {"as_expr": {"expr_str": text, "hint": {"as_int": 1}}}
    return changed_graph(
        lambda model: next(iter(model["graph_module"]["graph"]["tensor_values"].values()))[
            "sizes"
        ].__setitem__(0, size)
    )


PLANTS: dict[str, tuple[Callable[[Members], None], str]] = {
    "a weight": (weight_as_pickle, "is a pickle"),
    "an object": (constant_as_object, "is a pickle"),
    "example inputs": (inputs_as_pickle, "is not a program"),
    "a library": (lambda m: m.update({"data/aotinductor/model/x.so": b""}), "no part of a program"),
    "guards": (changed_graph(lambda model: model.update(guards_code=["exec('1')"])), "guards, which are code"),
    "the system": (calls("torch.os.system"), r"calls 'torch\.os\.system', which is no operator"),
    "a library of operators": (calls("torch.ops.load_library"), "no operator"),
    "a method of all operators": (calls("torch.ops.import_module.default"), "no operator"),
    "an attribute": (calls("torch.ops.aten.add.__globals__"), "no operator"),
    "any function": (calls("_operator.call"), "no operator"),
    "an extension": (calls("#x:y"), "no operator"),
    "an expression": (shape("__import__('os').getpid()"), "is no size"),
    "an expression without quotes": (shape("eval(chr(49))"), "is no size"),
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "program.pt2"
    programs.save(traced(*build("residual")), path)
    return path


@pytest.mark.parametrize("what", PLANTS)
def test_what_could_run_code_is_refused(saved: Path, tmp_path: Path, what: str) -> None:
    plant, why = PLANTS[what]
    with zipfile.ZipFile(saved) as archive:
        root = archive.namelist()[0].split("/")[0]
        members = {name.removeprefix(root + "/"): archive.read(name) for name in archive.namelist()}
    plant(members)
    with zipfile.ZipFile(tmp_path / "planted.pt2", "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{root}/{name}", data)
    with pytest.raises(UserError, match=why):
        programs.load(tmp_path / "planted.pt2")


def test_a_second_archive_in_the_file_is_refused(saved: Path, tmp_path: Path) -> None:
    """torch reads the older form where the newer one fails."""
    (tmp_path / "two.pt2").write_bytes(saved.read_bytes())
    with zipfile.ZipFile(tmp_path / "two.pt2", "a") as archive:
        archive.writestr("serialized_example_inputs.pt", pickled())
    with pytest.raises(UserError, match="more than one archive"):
        programs.load(tmp_path / "two.pt2")


def test_a_compressed_file_is_refused(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(tmp_path / "bomb.pt2", "w") as bomb:
        for name in archive.namelist():
            bomb.writestr(name, archive.read(name))
        bomb.writestr(
            f"{archive.namelist()[0].split('/')[0]}/extra/zeros", bytes(10**8), zipfile.ZIP_DEFLATED
        )
    with pytest.raises(UserError, match="it is compressed"):
        programs.load(tmp_path / "bomb.pt2")


def test_symbolic_sizes_are_data(tmp_path: Path) -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(x.shape[0] * 3, -1) + x.shape[0] % 3 + (x[:, :1, 0] > 0).__and__(True)[0]

    program = torch.export.export(
        Net(), (torch.zeros(6, 3, 4),), dynamic_shapes={"x": {0: torch.export.Dim("n", min=2, max=64)}}
    )
    programs.save(program, tmp_path / "program.pt2")
    x = torch.randn(8, 3, 4)
    torch.testing.assert_close(programs.load(tmp_path / "program.pt2").module()(x), Net()(x))


def test_what_torch_does_not_repeat_changes_no_byte_that_it_writes(tmp_path: Path) -> None:
    program = traced(*build("residual"))
    torch.export.save(program, tmp_path / "torch.pt2")
    programs.save(program, tmp_path / "ours.pt2")
    records = []
    for name in ("torch", "ours"):
        with zipfile.ZipFile(tmp_path / f"{name}.pt2") as archive:
            records.append({m.partition("/")[2]: archive.read(m) for m in archive.namelist()})
    same = [name for name in records[0] if "serialization_id" not in name]
    assert same and all(records[0][name] == records[1].get(name) for name in same)
    loaded = torch.export.load(tmp_path / "ours.pt2"), programs.load(tmp_path / "ours.pt2")
    assert str(loaded[0].graph) == str(loaded[1].graph)
    assert loaded[0].graph_signature == loaded[1].graph_signature
