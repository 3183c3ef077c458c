"""Models in files of PyTorch: exported programs (.pt2), TorchScript, and weights that a builder's module takes.

Nothing that is read here can run code: exported programs are checked before torch reads them (`edgekit.quant.program_file`),
TorchScript computes alone, and weights are read with `weights_only` or as safetensors. A pickled module is refused.
"""

import inspect
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.engine.user_code import describe
from edgekit.errors import ConversionError, TaskError
from edgekit.quant import batching, first_states, program_file, stored, tensors
from edgekit.trace.sources import weights_file

ONE_SAMPLE = "edgekit_one_sample"  # an attribute of modules that take nothing but the batch of the example
SUFFIXES = (".pt2", ".pt", ".pth", ".ts", ".torchscript", ".jit")
MOST_CODE_BYTES = 64 << 20
_CODE = "/code/"
_WRITES = re.compile(rf"\.\s*({'|'.join(program_file.TOUCHES_FILES)})\b")
NEEDS_BUILDER = "holds weights and no model; give both: model=ek.Checkpoint(path, build), build being a function that returns the module"


def load(path: Path, examples: Sequence[Any]) -> nn.Module:
    """Reads a program or a script.

    Args:
        path: The file.
        examples: What forward takes by position, as torch's converter of scripts needs it.

    Raises:
        TaskError: There is no such file, it is damaged, or it holds something else.
    """
    if not path.is_file():
        raise TaskError(f"the model file {path} does not exist")
    if path.suffix == ".pt2":
        return of_program(weights_file.read_by_torch(path, lambda name: program_file.read(Path(name))))
    if _is_script(path):
        _check_script(path)
        return of_script(
            weights_file.read_by_torch(path, lambda name: torch.jit.load(name, map_location="cpu")), examples
        )
    weights_file.weights(path)  # raises where it is a pickled module, or damaged
    raise TaskError(f"{path.name} {NEEDS_BUILDER}")


def _is_script(path: Path) -> bool:
    return any(_CODE in each.filename.lower() for each in weights_file.members(path))


def _check_script(path: Path) -> None:
    """A script is run where it is read, too, and torch lets it write files.

    Raises:
        TaskError: It does.
    """
    for text in (each for whole in _code(path) for each in (whole, re.sub("#.*", "", whole))):
        call = _WRITES.search(text)
        if call:
            raise TaskError(
                f"{path.name} calls {call[1]!r}, which reads or writes files; edgekit runs scripts that compute: give the module "
                "that it was made of"
            )


def _code(path: Path) -> list[str]:
    """Returns all code of a script, found as torch finds it: to it capitals are the same as small letters.

    Raises:
        TaskError: It is damaged, or has more code than any module.
    """
    size_bytes = sum(each.file_size for each in weights_file.members(path) if _CODE in each.filename.lower())
    if size_bytes > MOST_CODE_BYTES:
        raise TaskError(
            f"{path.name} holds {size_bytes >> 20} MiB of code; edgekit reads {MOST_CODE_BYTES >> 20} MiB at most"
        )

    def records(name: str) -> list[bytes]:
        reader = torch._C.PyTorchFileReader(name)
        return [reader.get_record(each) for each in reader.get_all_records() if _CODE in f"/{each.lower()}"]

    return [code.decode("utf-8", "replace") for code in weights_file.read_by_torch(path, records)]


def of_program(program: torch.export.ExportedProgram) -> nn.Module:
    """Returns the module of an exported program, without its checks of input shapes; it is in inference mode as it was exported."""
    module = program.module()
    for node in list(module.graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            module.graph.erase_node(node)
    module.recompile()
    inputs = [node.meta.get("val") for node in module.graph.nodes if node.op == "placeholder"]
    free = any(
        isinstance(size, torch.SymInt)
        for value in inputs
        if isinstance(value, torch.Tensor)
        for size in value.shape
    )
    if not free and not _widened(module):
        setattr(module, ONE_SAMPLE, True)
    return module


def _widened(module: Any) -> bool:
    """Whether its operators keep any number of samples apart; shapes that fix it are rewritten."""
    found = batching.free(module)
    module.recompile()
    return found


class _Script(nn.Module):
    """A script as torch's converter reads it, called by the script's own names."""

    def __init__(self, program: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.script = program
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self._names = inspect.Signature([inspect.Parameter(name, kind) for name in names])

        def forward(*args: Any, **kwargs: Any) -> Any:
            return _plain(self.script(*self._names.bind(*args, **kwargs).arguments.values()))

        forward.__signature__ = self._names  # type: ignore[attr-defined]
        self.forward = forward

    def train(self, mode: bool = True) -> "_Script":
        """Does nothing: the script was converted in inference mode, and its program says so by raising."""
        return self


def _plain(result: Any) -> Any:
    """Turns torch's immutable dicts into plain ones."""
    return dict(result) if isinstance(result, Mapping) else result


def of_script(script: Any, examples: Sequence[Any]) -> nn.Module:
    """Converts TorchScript by torch's own converter, and proves that both answer the same.

    Raises:
        ConversionError: It cannot, or the result answers something else.
    """
    from torch._export.converter import TS2EPConverter

    given = tuple(torch.as_tensor(x) for x in examples)
    log = logging.getLogger("torch._export")
    level = log.level
    log.setLevel(logging.ERROR)
    script.eval()
    try:
        with warnings.catch_warnings(), first_states.Guard():
            warnings.simplefilter("ignore")
            program = TS2EPConverter(script, tuple(_two(x) for x in given), {}).convert()
    except Exception as error:
        raise ConversionError(
            f"torch's converter of TorchScript cannot read the script: {describe(error)}. Give the module that it was made of"
        ) from error
    finally:
        log.setLevel(level)
    names = [argument.name for argument in script.forward.schema.arguments[1:]]
    module = _Script(_with_parameters(of_program(program), script), names)
    setattr(module, ONE_SAMPLE, getattr(module.script, ONE_SAMPLE, False))
    _same(script, module, given)
    return module


def _with_parameters(module: Any, script: Any) -> nn.Module:
    """Makes parameters of what the converter holds as buffers, those of a script from a file, or as constants, those of a frozen one."""
    names = dict(script.named_parameters())
    for node in [node for node in module.graph.nodes if node.op == "get_attr"]:
        path, role = str(node.target), (stored.operand(node) or ("", ""))[1]
        ours = path in names if names else role in ("weight", "bias")
        if ours and not isinstance(tensors.held(module, path), nn.Parameter):
            tensors.to_parameter(module, path)
    return module  # type: ignore[no-any-return]


def _two(tensor: torch.Tensor) -> torch.Tensor:
    """Two samples of one, so that the converter does not take the number for a constant."""
    return torch.cat([tensor, tensor]) if tensor.dim() and tensor.shape[0] == 1 else tensor


def _same(script: Any, module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
    from torch.utils import _pytree as pytree

    with torch.no_grad(), first_states.Guard():
        sides = [pytree.tree_leaves(f(*(x.clone() for x in given))) for f in (script, module)]
    for was, now in zip(*sides, strict=True):
        close = was.shape == now.shape and torch.allclose(was.float(), now.float(), rtol=1e-3, atol=1e-5)
        if not close:
            raise ConversionError(
                "torch's converter of TorchScript changed what the script computes; give the module that it was made of"
            )
