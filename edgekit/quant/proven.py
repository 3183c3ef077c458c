"""Whether a rewritten float graph computes what it did: one input through both, every output compared.

Rewriting sums in another order moves float outputs by 120 dB or less of noise; CLOSE_DB is far from that and farther
from what a wrong rewrite does. A net that swells the last bits of its input (a deep one with random weights, an argmax
between equals) is allowed the noise that it makes of an input changed by NUDGE, but never less than LEAST_DB.
"""

import copy
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edgekit_runner.stats.deviation import ratio_db
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from edgekit.errors import ConversionError, EdgekitError
from edgekit.records import Traced

log = logging.getLogger("edgekit")

Run = Callable[..., Any]
Pass = Callable[[GraphModule], None]
Sample = tuple[torch.Tensor, ...]

CLOSE_DB = 80.0
LEAST_DB = 40.0
NUDGE = 1e-6  # relative; some units in the last place
_SPARE_DB = 20.0  # rounding happens in every layer, the nudge in the first alone


class Reference:
    """What a model answers to one sample, to be compared after each rewrite."""

    def __init__(self, run: Run, sample: Sample) -> None:
        self.sample = sample
        self.outputs = _answers(run, sample)

    def difference(self, run: Run) -> str:
        """Returns an empty string where `run` answers the same, else what became of the first output that differs."""
        outputs = _answers(run, self.sample)
        if len(outputs) != len(self.outputs):
            return f"it has {len(outputs)} outputs where it had {len(self.outputs)}"
        pairs = list(zip(self.outputs, outputs, strict=True))
        if not any(_noise(was, now) for was, now in pairs):
            return ""
        shaken = _answers(run, tuple(map(_nudged, self.sample)))
        for number, ((was, now), moved) in enumerate(zip(pairs, shaken, strict=True)):
            found = _noise(was, now)
            if found and not _is_rounding(was, now, moved):
                return f"output {number} {found}"
        return ""

    def demand(self, run: Run, what: str) -> None:
        """Checks that `run` answers the same.

        Args:
            run: The rewritten model.
            what: What was done to it, for the error message.

        Raises:
            ConversionError: `run` answers something else.
        """
        found = self.difference(run)
        if found:
            raise ConversionError(
                f"{what} changed what the model computes: {found}. Report it with this model, and skip the technique"
            )


def reference(run: Run, examples: Sample) -> Reference:
    """Asks a model about noise in place of the floats of `examples`.

    The examples themselves are used where noise gives no numbers; ones in place of their whole numbers where these are no lengths or
    indices of it, as the zeros of `inputs_of` may not be.

    Raises:
        ConversionError: It raises for all of them.
    """
    noisy = _asked(run, sample_of(examples))
    if isinstance(noisy, Reference) and all(map(_is_finite, noisy.outputs)):
        return noisy
    ones = tuple(x if x.is_floating_point() else torch.ones_like(x) for x in examples)
    raised: Exception | None = None
    for given in (examples, sample_of(ones), ones):
        found = _asked(run, given)
        if isinstance(found, Reference):
            return found
        raised = found
    if isinstance(raised, EdgekitError):
        raise raised
    raise ConversionError(
        "no rewrite of the model can be proven: it raises for whole numbers of 0 and of 1 alike. Let forward clamp its indices and lengths "
        "to those that it has"
    ) from raised


def _asked(run: Run, sample: Sample) -> Reference | Exception:
    try:
        return Reference(run, sample)
    except Exception as error:  # whatever the user's forward raises for values that it does not expect
        log.info("the model does not take this sample: %s", error)
        return error


def of_graph(graph_module: GraphModule) -> Reference:
    """Asks a graph about noise in the shape of its inputs."""
    return reference(graph_module, inputs_of(graph_module))


def sample_of(examples: Sequence[torch.Tensor]) -> Sample:
    """Returns noise from a fixed seed in place of floats; whole numbers stay, since they may be indices."""
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(x.shape, generator=generator).to(x.dtype) if x.is_floating_point() else x
        for x in examples
    )


def of_metric(run: Run, examples: Sample, traced: Traced | None) -> Reference:
    """Asks a model about a sample of the metric, where there is one like `examples`; otherwise as `reference` does."""
    if traced is None or not Path(traced.samples_file).is_file():
        return reference(run, examples)
    with np.load(traced.samples_file, allow_pickle=False) as kept:
        found = tuple(
            torch.from_numpy(kept[name][:1]) for name in sorted(kept.files) if name.startswith("input_")
        )
    fits = [(t.shape, t.dtype) for t in found] == [(t.shape, t.dtype) for t in examples]
    return Reference(run, found) if fits else reference(run, examples)


def inputs_of(graph_module: GraphModule) -> Sample:
    """Returns zeros in the shapes and types of a graph's inputs."""
    values = [node.meta["val"] for node in graph_module.graph.nodes if node.op == "placeholder"]
    return tuple(torch.zeros([int(d) for d in v.shape], dtype=v.dtype) for v in values)


def rewrite(graph_module: GraphModule, passes: Sequence[Pass], before: Reference) -> tuple[str, ...]:
    """Runs all passes, in order, and undoes each that changes what the graph computes.

    One run proves them all. Only where it fails is each run and proven by itself.

    Args:
        graph_module: The graph, rewritten in place.
        passes: The passes.
        before: The answers that the graph must keep.

    Returns:
        A sentence for each pass that was undone.
    """
    start = _Kept(graph_module)
    for step in passes:
        _run(graph_module, step)
    if not before.difference(graph_module):
        return ()
    start.put_back()
    return tuple(filter(None, [_alone(graph_module, step, before) for step in passes]))


def _alone(graph_module: GraphModule, step: Pass, before: Reference) -> str:
    start = _Kept(graph_module)
    _run(graph_module, step)
    found = before.difference(graph_module)
    if not found:
        return ""
    start.put_back()
    name = getattr(step, "func", step).__name__.strip("_")
    said = f"the pass {name} is left out, since it would change what the model computes: {found}"
    log.warning("%s", said)
    return said


def _run(graph_module: GraphModule, step: Pass) -> None:
    step(graph_module)
    graph_module.graph.eliminate_dead_code()
    graph_module.graph.lint()
    graph_module.recompile()


class _Kept:
    """A graph and the tensors it holds, to go back to. The tensors are shared: no pass writes into one."""

    def __init__(self, graph_module: GraphModule) -> None:
        self._module, self._graph = graph_module, copy.deepcopy(graph_module.graph)
        self._held = [
            (owned, dict(owned))
            for module in graph_module.modules()
            for owned in (module._parameters, module._buffers, module._modules)
        ]
        self._plain = [
            (module, {name: value for name, value in vars(module).items() if isinstance(value, torch.Tensor)})
            for module in graph_module.modules()
        ]
        self._unsaved = [(m, set(m._non_persistent_buffers_set)) for m in graph_module.modules()]

    def put_back(self) -> None:
        for owned, held in self._held:
            owned.clear()
            owned.update(held)  # type: ignore[arg-type]
        for module, held in self._plain:
            vars(module).update(held)
        for module, names in self._unsaved:
            module._non_persistent_buffers_set = names
        self._module.graph = self._graph
        self._module.recompile()


@torch.no_grad()
def _answers(run: Run, sample: Sample) -> list[torch.Tensor]:
    """Returns all outputs; a model that draws random numbers draws the same ones each time."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        outputs = run(*(x.clone() for x in sample))
    return [t for t in pytree.tree_leaves(outputs) if isinstance(t, torch.Tensor)]


def _noise(was: torch.Tensor, now: torch.Tensor) -> str:
    """Returns an empty string where both are the same within rounding, else the difference."""
    if was.shape != now.shape or was.dtype != now.dtype:
        return f"is {_kind(now)} where it was {_kind(was)}"
    if not was.is_floating_point():
        others = _others(was, now)
        return f"has {others} of {was.numel()} numbers changed" if others else ""
    found = snr_db(was, now)
    return f"keeps {found:.1f} dB to what it was" if found < CLOSE_DB else ""


def _is_rounding(was: torch.Tensor, now: torch.Tensor, moved: torch.Tensor) -> bool:
    """Whether a change in the last bits of the input moves the output of the model as much."""
    if was.shape != now.shape or was.dtype != now.dtype:
        return False
    if not was.is_floating_point():
        return _others(was, now) <= _others(now, moved)
    return snr_db(was, now) >= max(LEAST_DB, min(CLOSE_DB, snr_db(now, moved) - _SPARE_DB))


def snr_db(was: torch.Tensor, now: torch.Tensor) -> float:
    """Returns signal to noise in dB; minus infinity unless NaN and infinities are in the same places."""
    finite = torch.isfinite(was)
    same = (was == now) | (was.isnan() & now.isnan())
    if not same[~finite].all() or not _is_finite(now[finite]):
        return -math.inf
    signal, noise = (float(t.double().square().sum()) for t in (was[finite], (was - now)[finite]))
    return ratio_db(signal, noise)


def _nudged(x: torch.Tensor) -> torch.Tensor:
    if not x.is_floating_point():
        return x
    generator = torch.Generator().manual_seed(1)
    return x * (1 + NUDGE * torch.randn(x.shape, generator=generator).to(x.dtype))


def _others(was: torch.Tensor, now: torch.Tensor) -> int:
    return int((was != now).sum())


def _is_finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
