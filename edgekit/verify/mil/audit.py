"""Finds the operation where a float16 program breaks: overflow, NaN, underflow.

    audit = Audit()
    interpreter = Interpreter(package, hook=audit)
    for feeds in calibration: interpreter.run(feeds)
    report = audit.report()          # report.first_bad names the first operation that broke

Only float16 results are judged for overflow and underflow; a float32 result may hold such values. An
infinite result counts as overflow where it is born, that is when everything the operation read was finite:
a mask of -inf is no error. The first bad operation is the cause, those after it usually only follow. To
repair a model, keep the overflowing operations in float32, convert again and audit again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgekit.verify.mil.interpreter import Result

MAX_FLOAT16 = 65504.0
MIN_NORMAL_FLOAT16 = 2.0**-14
_FLUSHED_BELOW = 2.0**-25  # half of the smallest denormal: such a value becomes zero


@dataclass(slots=True)
class Finding:
    """What one output showed over all runs.

    Attributes:
        operation: The type of the operation.
        name: The name of the output.
        dtype: Its type in the program.
        absmax: The largest finite magnitude.
        overflow: How many values exceed 65504, or became infinite here.
        nan: How many values are NaN.
        flushed_ratio: The share of nonzero values that became zero, in the worst run.
        denormal_ratio: The share of nonzero values that are denormal, in the worst run.
    """

    operation: str
    name: str
    dtype: str
    absmax: float = 0.0
    overflow: int = 0
    nan: int = 0
    flushed_ratio: float = 0.0
    denormal_ratio: float = 0.0

    @property
    def is_bad(self) -> bool:
        """Whether a value overflowed or became NaN."""
        return self.overflow > 0 or self.nan > 0

    def __str__(self) -> str:
        facts = [f"largest finite value {self.absmax:.6g}"]
        if self.overflow:
            facts.append(f"{self.overflow} values beyond {MAX_FLOAT16:.0f}")
        if self.nan:
            facts.append(f"{self.nan} NaN")
        if self.flushed_ratio or self.denormal_ratio:
            facts.append(f"{self.flushed_ratio:.1%} flushed to zero, {self.denormal_ratio:.1%} denormal")
        return f"{self.operation} {self.name!r} ({self.dtype}): {', '.join(facts)}"


@dataclass(frozen=True)
class AuditReport:
    """The findings of an audit, each group in execution order.

    Attributes:
        bad: Overflow or NaN.
        near: Within the headroom of overflow.
        underflow: Too small to be exact.
        absmax: The largest finite magnitude of all.
    """

    bad: tuple[Finding, ...]
    near: tuple[Finding, ...]
    underflow: tuple[Finding, ...]
    absmax: float

    @property
    def first_bad(self) -> Finding | None:
        """The first bad operation in execution order."""
        return self.bad[0] if self.bad else None

    def __str__(self) -> str:
        first = self.first_bad
        if first is None:
            return f"no overflow, no NaN; largest value {self.absmax:.6g}"
        return f"{first}; {len(self.bad)} operations are bad, this is the first"


@dataclass
class Audit:
    """A hook for Interpreter; it may watch many runs.

    Attributes:
        findings: Output name -> finding, in execution order.
    """

    findings: dict[str, Finding] = field(default_factory=dict)

    def __call__(self, result: Result) -> None:
        """Adds the result of one operation."""
        spec = result.spec
        row = self.findings.setdefault(spec.name, Finding(result.operation.type, spec.name, spec.dtype))
        size = result.exact.abs()
        row.nan += int(torch.isnan(size).sum())
        finite = size[torch.isfinite(size)]
        row.absmax = max(row.absmax, float(finite.max()) if finite.numel() else 0.0)
        if spec.dtype != "float16":
            return
        row.overflow += int((finite > MAX_FLOAT16).sum()) + _born_infinite(size, result.inputs)
        nonzero = finite[finite > 0]
        if nonzero.numel():
            row.flushed_ratio = max(row.flushed_ratio, _share(nonzero <= _FLUSHED_BELOW))
            row.denormal_ratio = max(row.denormal_ratio, _share(nonzero < MIN_NORMAL_FLOAT16))

    def report(
        self, headroom: float = 4.0, flushed_ratio: float = 0.05, denormal_ratio: float = 0.5
    ) -> AuditReport:
        """Sorts the findings.

        Args:
            headroom: Values above 65504 / headroom are near overflow.
            flushed_ratio: The share of values flushed to zero above which an output counts as underflow.
            denormal_ratio: The share of denormal values above which an output counts as underflow.
        """
        half = [row for row in self.findings.values() if row.dtype == "float16"]
        small = [r for r in half if r.flushed_ratio > flushed_ratio or r.denormal_ratio > denormal_ratio]
        return AuditReport(
            bad=tuple(row for row in self.findings.values() if row.is_bad),
            near=tuple(r for r in half if not r.is_bad and r.absmax > MAX_FLOAT16 / headroom),
            underflow=tuple(small),
            absmax=max((row.absmax for row in self.findings.values()), default=0.0),
        )


def _born_infinite(size: Tensor, inputs: list[Tensor]) -> int:
    """How many values are infinite although every value that was read is finite."""
    count = int(torch.isinf(size).sum())
    if count and any(t.is_floating_point() and bool(torch.isinf(t).any()) for t in inputs):
        return 0
    return count


def _share(chosen: Tensor) -> float:
    return float(chosen.float().mean())
