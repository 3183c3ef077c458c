"""The precision lint: is an artifact really what it claims to be?

An "int8" file full of float operators, with conversions around each of them, is the most common silent failure
of converters. The lint reads what the runtime executes, weighs it by multiply-accumulates, and gives the file the name
that it has earned: "int8" where the profile's share of the work runs in integers, else "mixed, 38 % of the work in integers".
A file breaks its promise when nothing in it runs, and nothing is stored, in the promised precision. Whether a file with a
lesser name may compete is left to the gate.
"""

import re
from collections.abc import Sequence

import msgspec

from edgekit.records import Artifact, Lint, Work
from edgekit.verify.work import ExecutedGraph, Operator

INTEGER = ("int8", "uint8", "int16")
CONVERSION = re.compile(
    r"^(QUANTIZE|DEQUANTIZE|CAST|QuantizeLinear|DequantizeLinear|Cast|cast|quantize|dequantize|DynamicQuantizeLinear|"
    r"FakeQuantize|Convert)$"
)
# Operators that move or reindex data, and compute nothing
MOVES = re.compile(
    r"^(TRANSPOSE|RESHAPE|SQUEEZE|EXPAND_DIMS|SLICE|STRIDED_SLICE|SPLIT|SPLIT_V|PACK|UNPACK|GATHER|SHAPE|DELEGATE|"
    r"Transpose|Reshape|Squeeze|Unsqueeze|Flatten|Slice|Split|Shape|Gather|Expand|Identity|Concat|CONCATENATION|PAD|Pad|"
    r"reshape|transpose|squeeze|expand_dims|slice_by_index|slice_by_size|split|identity|gather|shape|concat|tile|pad|"
    r"constexpr_\w+|Reorder|Concatenation|StridedSlice|ShapeOf|Broadcast)$"
)
# An operator with float inputs and integer weights, which rounds its input itself: the promise of a dynamic file alone
HYBRID = "hybrid"
#: a file with a smaller share of its multiply-accumulates in the promised precision is called mixed; profiles may set another
MIN_SHARE = 0.8
#: a file with a smaller share of its work in the promised precision is a file of another kind
NOTHING = 0.01
MANY_FLOAT = 0.5  # a share of the computing operators that is worth a finding, whatever they weigh
STORED = 0.9  # the share of the weight bytes to expect where the promise is one of storage
SHOWN = 4


def build_lint(
    artifact: Artifact,
    graph: ExecutedGraph,
    findings: Sequence[str] = (),
    *,
    min_share: float = MIN_SHARE,
    stored_only: bool = False,
) -> Lint:
    """Judges what the runtime executes against what the artifact promises.

    Args:
        artifact: The file, with the precision that it promises.
        graph: What the runtime executes of it.
        findings: Findings of the backend, which come first in the result.
        min_share: The share of the multiply-accumulates that must run in the promised precision.
        stored_only: Whether the precision is one of storage only (float16 weights widened at load); arithmetic is
            not judged then.

    Returns:
        The findings, the share of the work in the promised precision, and the name that the file has earned.
    """
    compute = [op for op in graph.operators if not CONVERSION.match(op.kind) and not MOVES.match(op.kind)]
    left = [op for op in compute if not _kept(op.dtype, artifact)]
    share = 1.0 if stored_only else _share(compute, artifact)
    weights = _weight_share(graph.weight_bytes, artifact)
    own = _not_stored(weights, artifact) if stored_only else _nothing_kept(compute, share, weights, artifact)
    broken = [*findings, *own]
    return Lint(
        promised=artifact.precision,
        ops=dict(sorted(graph.counts().items())),
        ops_in_precision=len(compute) - len(left),
        ops_float=sum("float" in op.dtype or op.dtype == HYBRID for op in left),
        conversions=sum(bool(CONVERSION.match(op.kind)) for op in graph.operators),
        transposes=sum(op.kind.lower() == "transpose" for op in graph.operators),
        input_dtypes=tuple(t.dtype for t in artifact.inputs),
        output_dtypes=tuple(t.dtype for t in artifact.outputs),
        passed=not broken,
        findings=tuple(broken),
        work=_work(compute, artifact),
        share=None if stored_only else share,
        weight_share=weights,
        called=_called(artifact, share, weights, min_share),
        notes=()
        if stored_only
        else (*_left_over(compute, share, artifact), *_mostly_float(compute, artifact)),
    )


def demand_integers(lint: Lint) -> Lint:
    """Adds the finding that operators compute in float, for a target that has none; only an int8 file promises integers."""
    kinds = {name: count for name, count in lint.ops.items() if "float" in name}
    if lint.promised != "int8" or not kinds:
        return lint
    listed = ", ".join(f"{count} x {name}" for name, count in kinds.items())
    found = f"{sum(kinds.values())} of {sum(lint.ops.values())} operators compute in float, and this target has integers only: {listed}"
    return msgspec.structs.replace(lint, passed=False, findings=(*lint.findings, found))


def keeps(dtype: str, promised: str) -> bool:
    """Whether an operator of `dtype` ("int8", or "int8->int8" in TFLite) keeps the promise."""
    parts = dtype.split("->")
    return all(p in INTEGER for p in parts) if promised == "int8" else all(p == promised for p in parts)


def _kept(dtype: str, artifact: Artifact) -> bool:
    return keeps(dtype, artifact.precision) or (dtype == HYBRID and artifact.scheme == "dynamic")


def _share(compute: Sequence[Operator], artifact: Artifact) -> float | None:
    """The share of the multiply-accumulates, or of the operators in a file that has none; None where nothing computes."""
    weighs = any(op.macs for op in compute)
    weights = [(op.macs if weighs else 1, _kept(op.dtype, artifact)) for op in compute]
    total = sum(weight for weight, _ in weights)
    return sum(weight for weight, kept in weights if kept) / total if total else None


def _weight_share(weight_bytes: dict[str, int], artifact: Artifact) -> float | None:
    total = sum(weight_bytes.values())
    return (
        sum(n for dtype, n in weight_bytes.items() if keeps(dtype, artifact.precision)) / total
        if total
        else None
    )


def _work(compute: Sequence[Operator], artifact: Artifact) -> tuple[Work, ...]:
    """The work by kind and dtype, the largest first."""
    groups: dict[tuple[str, str], list[Operator]] = {}
    for op in compute:
        if op.macs:
            groups.setdefault((op.kind, op.dtype), []).append(op)
    rows = [
        Work(
            kind=kind,
            dtype=dtype,
            operators=len(ops),
            macs=sum(op.macs for op in ops),
            in_precision=_kept(dtype, artifact),
        )
        for (kind, dtype), ops in groups.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.macs, row.kind, row.dtype)))


def _called(artifact: Artifact, share: float | None, weight_share: float | None, min_share: float) -> str:
    """The name that the file has earned."""
    if share is None or share >= min_share:
        return artifact.precision
    what = "integers" if artifact.precision == "int8" else artifact.precision
    if share >= NOTHING:
        return f"mixed, {100 * share:.0f} % of the work in {what}"
    if weight_share is None or weight_share < NOTHING:
        return "float32"
    return f"float32, with {100 * weight_share:.0f} % of the weight bytes stored in {what}"


def _nothing_kept(
    compute: Sequence[Operator], share: float | None, weight_share: float | None, artifact: Artifact
) -> list[str]:
    """The finding that nothing runs in the promised precision, nor is stored in it."""
    if share is None or share >= NOTHING or (weight_share is not None and weight_share >= NOTHING):
        return []
    macs = sum(op.macs for op in compute)
    what = f"{macs} multiply-accumulates" if macs else f"{len(compute)} operators"
    return [
        f"{100 * share:.0f} % of the {what} run in {artifact.precision}: the file is not what it is called"
    ]


def _not_stored(weight_share: float | None, artifact: Artifact) -> list[str]:
    if weight_share is None or weight_share >= STORED:
        return []
    return [f"only {weight_share:.0%} of the weight bytes are {artifact.precision}"]


def _left_over(compute: Sequence[Operator], share: float | None, artifact: Artifact) -> list[str]:
    """Which part of the work runs in another precision, by kind."""
    total = sum(op.macs for op in compute)
    if not total or share is None or share > 1 - NOTHING / 10:
        return []
    others = [row for row in _work(compute, artifact) if not row.in_precision]
    parts = [f"{row.kind} {row.dtype} {100 * row.macs / total:.1f} %" for row in others[:SHOWN]]
    more = f" and {len(others) - SHOWN} other kinds" if len(others) > SHOWN else ""
    return [
        f"{100 * (1 - share):.1f} % of the multiply-accumulates do not run in {artifact.precision}: {', '.join(parts)}{more}"
    ]


def _mostly_float(compute: Sequence[Operator], artifact: Artifact) -> list[str]:
    """The finding on operators that weigh little but may still cost time: conversions stand around each of them."""
    others = [op.kind for op in compute if not _kept(op.dtype, artifact)]
    if artifact.precision != "int8" or len(others) <= MANY_FLOAT * len(compute):
        return []
    kinds = list(dict.fromkeys(others))
    more = f" and {len(kinds) - SHOWN} other kinds" if len(kinds) > SHOWN else ""
    return [
        f"{len(others)} of {len(compute)} computing operators do not run in int8: {', '.join(kinds[:SHOWN])}{more}"
    ]
