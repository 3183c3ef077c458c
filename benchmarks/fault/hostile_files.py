"""Files of torch, safetensors, Keras and Hugging Face of strangers, with code, links, numbers and texts that no model has."""

import base64
import json
import os
import pickle
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

Maker = Callable[[Path], Path]


class Payload:
    """Writes a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self._mark = str(place / "was-run")

    def __reduce__(self) -> Any:
        return os.mkdir, (self._mark,)


def _sparse(name: str, size_bytes: int) -> Maker:
    def make(place: Path) -> Path:
        with (place / name).open("wb") as file:
            file.truncate(size_bytes)
        return place / name

    return make


def _linked_file(name: str, to: str) -> Maker:
    def make(place: Path) -> Path:
        (place / name).symlink_to(to)
        return place / name

    return make


def _pipe(name: str) -> Maker:
    def make(place: Path) -> Path:
        os.mkfifo(place / name)
        return place / name

    return make


def _pickled(name: str) -> Maker:
    def make(place: Path) -> Path:
        (place / name).write_bytes(pickle.dumps(Payload(place)))
        return place / name

    return make


def _archive(name: str, member: str, size_bytes: int = 0) -> Maker:
    """A zip file with a pickle, or so many zeros."""

    def make(place: Path) -> Path:
        with zipfile.ZipFile(place / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("net/version", "3\n")
            with archive.open(member, "w", force_zip64=True) as file:
                if not size_bytes:
                    file.write(pickle.dumps(Payload(place)))
                for _ in range(size_bytes >> 20):
                    file.write(bytes(1 << 20))
        return place / name

    return make


def _script(text: str) -> Maker:
    def make(place: Path) -> Path:
        import torch

        source = f"def forward(self, x: Tensor) -> Tensor:\n    {text.format(place=place)}\n    return x\n"
        name = f"Net{zlib.crc32(source.encode())}"  # torch keeps one class of a name
        module = type(name, (torch.jit.ScriptModule,), {"__module__": "net"})()
        module.define(source)
        module.save(str(place / "net.pt"))
        return place / "net.pt"

    return make


def _hidden(place: Path) -> Path:
    """A script with a member that differs by capitals alone from the one that torch reads."""
    file = _script("torch.save(x, '{place}/was-run')")(place)
    with zipfile.ZipFile(file) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if "debug_pkl" not in name}
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in found.items():
            if b"torch.save" in data:
                archive.writestr(name.replace("/code/", "/CODE/"), data)
                data = re.sub(rb"torch\.save\(.*\)", b"torch.relu(x)", data)
            archive.writestr(name, data)
    return file


def _tensors(header: bytes, length: int | None = None) -> Maker:
    def make(place: Path) -> Path:
        head = (len(header) if length is None else length).to_bytes(8, "little")
        (place / "net.safetensors").write_bytes(head + header)
        return place / "net.pt" if (place / "net.pt").exists() else place / "net.safetensors"

    return make


ESCAPES = "\\033[2J" * 500  # as a script writes them
BYTES: dict[str, Maker] = {
    **{f"{name} of 40 GB of zeros": _sparse(name, 40 << 30) for name in ("net.onnx", "net.pt2", "net.pt", "net.keras")},
    **{f"{name} that is /dev/zero": _linked_file(name, "/dev/zero") for name in ("net.onnx", "net.pt2", "net.pth", "net.keras")},
    **{f"{name} that is a pipe": _pipe(name) for name in ("net.onnx", "net.pt2", "net.pt", "net.keras")},
    **{f"{name} that is a pickle": _pickled(name) for name in ("net.pt", "net.pth", "net.pt2", "net.keras", "net.onnx")},
    **{f"{name} that is an archive with a pickle": _archive(name, f"net/{member}") for name, member in (("net.pt", "data.pkl"), ("net.pt", "constants.pkl"), ("net.pt2", "data/weights/model.pt"), ("net.keras", "config.json"))},
    **{f"{name} that unpacks to 1 GB": _archive(name, f"net/{member}", 1 << 30) for name, member in (("net.pt", "code/net.py"), ("net.pth", "data/0"), ("net.keras", "model.weights.h5"))},
    "a script that writes": _script("torch.save(x, '{place}/was-run')"),
    "a script that writes behind a comment": _script("y = torch.relu(x)\n    torch . save (x, '{place}/was-run') # save"),
    "a script that reads": _script("x = torch.from_file('{place}/../secret', False, 8)"),
    "a script that asks for 10^15 numbers": _script("x = torch.zeros([1048576, 1048576, 1024])"),
    "a script that prints": _script(f"print('{ESCAPES}')"),
    "a script that raises": _script(f"raise RuntimeError('{ESCAPES}')"),
    "a script hidden behind another": _hidden,
    "weights with a header of 2^62 bytes": _tensors(b"{}", 1 << 62),
    "weights with a header that is nested": _tensors(b'{"a":' * 50_000),
}  # fmt: skip


# ------------------------------------------------------------------------------------------ Keras, Hugging Face


def _layer(kind: str, module: str = "keras.layers", **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": {"name": "l", **config}, "registered_name": None}


def _net(*layers: dict[str, Any]) -> dict[str, Any]:
    given = _layer("InputLayer", batch_shape=[None, 3, 8, 8], dtype="float32")
    return _layer("Sequential", "keras", layers=[given, *layers])


def keras_maker(config: Callable[[Path], Any]) -> Maker:
    def make(place: Path) -> Path:
        with zipfile.ZipFile(place / "net.keras", "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "x"}))
            found = config(place)
            archive.writestr("config.json", found if isinstance(found, str) else json.dumps(found))
            archive.writestr("model.weights.h5", b"")
            archive.writestr("../../was-written", b"x")
        return place / "net.keras"

    return make


def _pickle_of(place: Path) -> str:
    return base64.b64encode(pickle.dumps(Payload(place))).decode("ascii")


KERAS: dict[str, Callable[[Path], Any]] = {
    "a Lambda": lambda place: _net(_layer("Lambda", function={"class_name": "__lambda__", "config": {"code": _pickle_of(place)}})),
    "a wrapped torch module": lambda place: _net(_layer("TorchModuleWrapper", module={"class_name": "__bytes__", "config": {"value": _pickle_of(place)}})),
    "a class of the system": lambda place: _net(_layer("mkdir", "os", path=str(place / "was-run"))),
    "a function of the system": lambda place: _net(_layer("Activation", activation={"module": "os", "class_name": "function", "config": "mkdir", "registered_name": "mkdir"})),
    "a class of subprocess": lambda place: _layer("Popen", "subprocess", args=["mkdir", str(place / "was-run")]),
    "a SavedModel in it": lambda place: _net(_layer("TFSMLayer", filepath=str(place))),
    "a vocabulary of another file": lambda place: _net(_layer("StringLookup", vocabulary=str(place.parent / "secret"))),
    "a download": lambda _: _layer("get_file", "keras.utils", fname="x", origin="http://127.0.0.1:1/x"),
    "10^13 units": lambda _: _net(_layer("Flatten"), _layer("Dense", units=10**13)),
    "a name of control characters": lambda _: _net({**_layer("ReLU"), "config": {"name": "a\x1b[2J\n"}}),
    "nesting": lambda _: '{"config":' * 20_000,
    "no object": lambda _: "[1, 2]",
    "a layer of itself": lambda _: _net(_net(_net(_net(_layer("ReLU"))))),
}  # fmt: skip


def _bert(**more: Any) -> dict[str, Any]:
    small = {
        "vocab_size": 30,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    return {"architectures": ["BertModel"], "model_type": "bert", **small, **more}  # fmt: skip


def folder_maker(config: Any) -> Maker:
    return with_files({"config.json": config if isinstance(config, bytes) else json.dumps(config).encode()})


def with_files(files: dict[str, bytes | str]) -> Maker:
    """A folder of files; a text is where a link leads."""

    def make(place: Path) -> Path:
        folder = place / "folder"
        folder.mkdir()
        for name, data in files.items():
            if isinstance(data, str):
                (folder / name).symlink_to(data)
            else:
                (folder / name).write_bytes(data)
        for name in ("pytorch_model.bin", "adapter_model.bin"):
            (folder / name).write_bytes(pickle.dumps(Payload(place)))
        (folder / "modeling_evil.py").write_text(f"import os\nos.mkdir({str(place / 'was-run')!r})\n")
        return folder

    return make


_CONFIG = json.dumps(_bert()).encode()
FOLDERS: dict[str, Any] = {
    "code of its own": _bert(auto_map={"AutoModel": "modeling_evil.EvilModel"}),
    "code of its own, for its parts": _bert(text_config={"auto_map": {"AutoModel": "modeling_evil.EvilModel"}}),
    "a pickle for weights": _bert(),
    "10^12 channels": _bert(hidden_size=10**12),
    "10^9 layers": _bert(num_hidden_layers=10**9),
    "a text for a number": _bert(hidden_size="sixteen"),
    "a class that is no model": _bert(architectures=["AutoModel"]),
    "a class of the library's own": _bert(architectures=["PreTrainedModel"]),
    "a name of control characters": _bert(architectures=["\x1b]0;x\x07\n" * 1000]),
    "attention of a foreign repository": _bert(attn_implementation="evil/kernels", _attn_implementation="evil/kernels", _attn_implementation_internal="evil/kernels"),
    "quantization by a foreign package": _bert(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "quantization that is none": _bert(quantization_config={"quant_method": ["x"]}),
    "weights of another folder": _bert(_name_or_path="/etc", transformers_weights="../../secret"),
    "no object": [1],
    "nesting": b'{"a":' * 100_000,
    "a type that is none": _bert(model_type="evil", dtype="evil", torch_dtype="os.system"),
}  # fmt: skip
FILES: dict[str, dict[str, bytes | str]] = {
    "a configuration that is /dev/zero": {"config.json": "/dev/zero"},
    "weights that are /dev/zero": {"config.json": _CONFIG, "model.safetensors": "/dev/zero"},
    "an index that leads elsewhere": {"config.json": _CONFIG, "model.safetensors.index.json": json.dumps({"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": "../../secret"}}).encode()},
    "an index that is nested": {"config.json": _CONFIG, "model.safetensors.index.json": b"[" * 100_000},
    "an adapter": {"config.json": _CONFIG, "adapter_config.json": json.dumps({"base_model_name_or_path": "/etc", "peft_type": "LORA"}).encode()},
    "a configuration of generation that is none": {"config.json": _CONFIG, "generation_config.json": b"[" * 100_000},
}  # fmt: skip
