"""Palettes: each layer stores a table of a few values and, for each weight, an index of 2 to 8 bits into it.

k-means chooses the values (`edgekit.sparse.palette`; Han et al. 2015, "Deep Compression", arXiv:1510.00149).
Batch norms are folded in first, because folding multiplies each channel by another number and would undo the
table. Arithmetic stays float.

What it means for each format:
- Core ML: stored as tables and indices (`constexpr_lut_to_dense`), bits / 16 of the size of a float16 file;
  runtimes decompress when they load, or weight by weight. One table for each `group` output channels needs
  iOS 18.
- ONNX, TFLite: the file holds every weight in full. Only its download is smaller: see the compressed sizes of
  the artifact.

Zeros that `sparsify` made stay, and take one of the values. Cost: seconds, no data. Loss: with 8 and 6 bits
almost none, with 4 bits some points if one table serves a whole layer, with 2 bits most of the accuracy
without training.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from edgekit.errors import NotApplicable
from edgekit.quant import program as programs
from edgekit.quant import proven, tensors
from edgekit.quant.fold import fold_batch_norms
from edgekit.records import Candidate, Settings
from edgekit.sparse import layers as weights
from edgekit.sparse import patterns
from edgekit.sparse.layers import Ignore, Keep
from edgekit.sparse.palette import palettized
from edgekit.techniques._figures import noted
from edgekit.techniques._score import metric_of

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

#: a smaller layer keeps its weights: its table would outweigh it
SMALLEST = 2048


class Options(Settings):
    """How large the tables are, and how many weights share one."""

    bits: Annotated[Literal[2, 4, 6, 8], Meta(description="bits of an index; a table has 2^bits values")] = 6
    group: Annotated[
        int, Meta(ge=0, description="output channels that share a table; 0 = all of a layer")
    ] = 0
    ignore: Ignore = ""
    keep: Keep = "none"


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Writes the program with few values in each layer to program.pt2 in the work folder.

    Raises:
        UserError: A name is not a layer.
        NotApplicable: The model has no layer with more than SMALLEST weights.
    """
    start = time.perf_counter()
    program = programs.load(candidate.program)
    like, graph = programs.user_inputs(program), program.module()
    del program
    before = metric_of(task, graph)
    fold_batch_norms(graph, proven.of_metric(graph, like, context.traced))
    found = weights.find(graph)
    allowed = weights.chosen(found, patterns.read("unstructured"), options.ignore, options.keep)
    chosen = [layer for layer in allowed if layer.size > SMALLEST]
    if not chosen:
        raise NotApplicable(
            f"no layer has more than {SMALLEST} weights: tables would outweigh what they save"
        )
    errors = signal = 0.0
    for layer in chosen:
        old = tensors.read(graph, layer.path)
        new = palettized(old, options.bits, options.group)
        errors += float((new - old).double().square().sum())
        signal += float(old.double().square().sum())
        tensors.write(graph, layer.path, new)
    path = Path(context.work) / "program.pt2"
    figures = {
        "metric before": (before, ""),
        "metric after": (metric_of(task, graph), ""),
        "layers with a palette": (len(chosen), "count"),
        "layers left as they were": (len(found) - len(chosen), "count"),
        "weights with a palette": (sum(c.size for c in chosen) / sum(f.size for f in found), "share"),
        "error of the weights": ((errors / signal) ** 0.5, "of their RMS"),
    }
    programs.save(programs.export(graph, like), path)
    done = msgspec.structs.replace(candidate, program=str(path))
    return noted(done, "palettize", {**figures, "seconds": (time.perf_counter() - start, "s")})
