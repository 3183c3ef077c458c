"""Files of the target's own format that are only timed: their weights are random, or those of the network to be pruned."""

from pathlib import Path
from types import SimpleNamespace

import msgspec
import torch
from torch import nn

from edgekit.engine.specs import ExportSpec
from edgekit.export import _stage
from edgekit.quant import program as programs
from edgekit.records import Artifact, Candidate, Precision, Recipe
from edgekit.target import Target
from edgekit.techniques import _quantized_program, ptq
from edgekit.trace.model import export

SEED = 0
FAST = ptq.Options(estimator="minmax", batches=1, equalize="off", bias_correction="off")


def write(
    module: nn.Module,
    examples: tuple[torch.Tensor, ...],
    precision: Precision,
    target: Target,
    isa: str,
    folder: Path,
) -> Artifact:
    """Writes the file of a module in a precision, below `folder`."""
    path = folder / "program.pt2"
    programs.save(export(module.eval().requires_grad_(False), examples), path)
    return of_program(str(path), precision, target, isa, folder)


def of_program(program: str, precision: Precision, target: Target, isa: str, folder: Path) -> Artifact:
    """Writes the file of a float program, below `folder`.

    Integers get their ranges from one random input: ranges do not change the time.
    """
    recipe = Recipe(name=precision, precision=precision, steps=())
    candidate = Candidate(program=program, recipe=recipe)
    if precision == "int8":
        quant = target.quant_for(isa)
        candidate = msgspec.structs.replace(candidate, quant=quant)
        candidate = _integers(candidate, folder / "int8")
    spec = ExportSpec(candidate=candidate, target=target, folder=str(folder / f"export-{precision}"))
    return _stage.export(spec)


def _integers(candidate: Candidate, work: Path) -> Candidate:
    generator = torch.Generator().manual_seed(SEED)
    like = programs.user_inputs(programs.load(candidate.program))
    inputs = tuple(torch.randn(x.shape, generator=generator) if x.is_floating_point() else x for x in like)
    task = SimpleNamespace(calibration=[inputs if len(inputs) > 1 else inputs[0]])
    found = ptq.calibrated(candidate, task, FAST)  # type: ignore[arg-type]
    return _quantized_program.written(
        candidate, _quantized_program.converted(found.model), found.like, work, "ptq", ""
    )
