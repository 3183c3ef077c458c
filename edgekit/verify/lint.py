"""The precision lint: is an artifact really what it claims to be?

An "int8" file full of float operators, with conversions around each of them, is the most common silent failure
of converters. The lint counts what the runtime executes and names what does not keep the promise.
"""

import re

from edgekit.records import Artifact, Lint

INTEGER = ("int8", "uint8")
CONVERSION = re.compile(
    r"^(QUANTIZE|DEQUANTIZE|CAST|QuantizeLinear|DequantizeLinear|Cast|cast|quantize|dequantize|DynamicQuantizeLinear)$"
)
# Operators that move or reindex data and compute nothing
MOVES = re.compile(
    r"^(TRANSPOSE|RESHAPE|SQUEEZE|EXPAND_DIMS|SLICE|STRIDED_SLICE|SPLIT|SPLIT_V|PACK|UNPACK|GATHER|SHAPE|DELEGATE|"
    r"Transpose|Reshape|Squeeze|Unsqueeze|Flatten|Slice|Split|Shape|Gather|Expand|Identity|Concat|CONCATENATION|PAD|Pad|"
    r"reshape|transpose|squeeze|expand_dims|slice_by_index|slice_by_size|split|identity|gather|shape|concat|tile|pad)$"
)
HEAVY = re.compile(r"(CONV|FULLY_CONNECTED|BATCH_MATMUL|Conv|Gemm|MatMul|LSTM|GRU|RNN|conv|linear|matmul)")
CELL = re.compile(r"^(LSTM|GRU|RNN)$")
# An operator with float inputs and integer weights, which rounds its input itself: the promise of a dynamic file alone
HYBRID = "hybrid"
# of the multiply-accumulate operators must keep the promise, or all but those that the recipe leaves float
MIN_SHARE = 0.5


def build_lint(
    artifact: Artifact, ops: dict[str, int], findings: list[str], stored_only: bool = False
) -> Lint:
    """Judges `ops` ("OP:dtype" -> count) against what the artifact promises.

    stored_only: the precision is one of storage (float16 weights widened at load); arithmetic is not judged.
    """
    split = [(*key.partition(":")[::2], count) for key, count in ops.items()]
    compute = [(op, dtype, n) for op, dtype, n in split if not CONVERSION.match(op) and not MOVES.match(op)]
    kept = sum(n for _, dtype, n in compute if _kept(dtype, artifact))
    left = [(op, dtype, n) for op, dtype, n in compute if not _kept(dtype, artifact)]
    inputs, outputs = (tuple(t.dtype for t in side) for side in (artifact.inputs, artifact.outputs))
    notes = list(findings)
    if not stored_only:
        notes += _shares(compute, artifact)
    return Lint(
        promised=artifact.precision,
        ops=dict(sorted(ops.items())),
        ops_in_precision=kept,
        ops_float=sum(n for _, dtype, n in left if "float" in dtype or dtype == HYBRID),
        conversions=sum(n for op, _, n in split if CONVERSION.match(op)),
        transposes=sum(n for op, _, n in split if op.lower() == "transpose"),
        input_dtypes=inputs,
        output_dtypes=outputs,
        passed=not notes,
        findings=tuple(notes),
    )


def keeps(dtype: str, promised: str) -> bool:
    """Whether an operator of `dtype` ("int8", or "int8->int8" in TFLite) keeps the promise."""
    parts = dtype.split("->")
    return all(p in INTEGER for p in parts) if promised == "int8" else all(p == promised for p in parts)


def _kept(dtype: str, artifact: Artifact) -> bool:
    return keeps(dtype, artifact.precision) or (dtype == HYBRID and artifact.scheme == "dynamic")


def _shares(compute: list[tuple[str, str, int]], artifact: Artifact) -> list[str]:
    heavy = [(op, dtype, n) for op, dtype, n in compute if HEAVY.search(op)]
    what = "multiply-accumulate operators" if heavy else "operators"
    heavy = heavy or compute  # a file without any is judged by all that computes
    total = sum(n for _, _, n in heavy)
    kept = sum(n for op, dtype, n in heavy if _kept(dtype, artifact) or _integer_kernel(op, artifact))
    declared = total - artifact.float_layers if artifact.float_layers else total
    cells = sum(n for op, dtype, n in heavy if CELL.match(op) and not _kept(dtype, artifact))
    if artifact.scheme == "dynamic" and cells > artifact.float_layers:
        return [f"{cells} recurrent operators run in float, the recipe leaves {artifact.float_layers}"]
    if total and kept < min(MIN_SHARE * total, declared):
        return [f"only {kept} of {total} {what} run in {artifact.precision}"]
    return []


def _integer_kernel(op: str, artifact: Artifact) -> bool:
    """QGemm with a float32 output multiplies integers all the same."""
    return artifact.precision == "int8" and op == "QGemm"
