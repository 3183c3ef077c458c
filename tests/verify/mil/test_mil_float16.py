"""The float16 emulation: what is rounded, and what the audit finds."""

from pathlib import Path

import numpy as np
import torch

from edgekit.verify.mil.audit import Audit
from edgekit.verify.mil.interpreter import Interpreter, Result
from edgekit.verify.mil.package import Package


def _x(packages: Path, name: str) -> dict[str, np.ndarray]:
    return {"x": np.load(packages / f"{name}.npz")["x"]}


def test_float16_results_lie_on_the_grid(packages: Path) -> None:
    seen: list[Result] = []
    package = Package(packages / "convnet_float16.mlpackage")
    Interpreter(package, "float16", hook=seen.append).run(_x(packages, "convnet"))
    half = [r for r in seen if r.spec.dtype == "float16"]
    assert len(half) > 8
    for result in half:
        assert torch.equal(result.stored, result.stored.half().float()), result.spec.name
        assert torch.equal(result.stored, result.exact.half().float()), result.spec.name
    assert any(not torch.equal(r.exact, r.stored) for r in half)


def test_float32_precision_never_rounds(packages: Path) -> None:
    seen: list[Result] = []
    package = Package(packages / "convnet_float16.mlpackage")
    Interpreter(package, "float32", hook=seen.append).run(_x(packages, "convnet"))
    assert all(torch.equal(r.exact, r.stored) for r in seen)
    assert any(not torch.equal(r.exact, r.exact.half().float()) for r in seen)


def test_lstm_rounds_its_state(packages: Path) -> None:
    package = Package(packages / "lstm_float16.mlpackage")
    seen: list[Result] = []
    Interpreter(package, "float16", hook=seen.append).run(_x(packages, "lstm"))
    states = [r for r in seen if r.operation.type == "lstm"]
    assert states
    assert all(torch.equal(r.exact, r.exact.half().float()) for r in states)


def test_audit_names_the_operation_that_overflows(packages: Path) -> None:
    audit = Audit()
    package = Package(packages / "overflow_float16.mlpackage")
    y = Interpreter(package, "float16", hook=audit).run(_x(packages, "overflow"))["y"]
    assert not np.isfinite(y).all()
    report = audit.report()
    convolutions = [op.name for op in package.operations if op.type == "conv"]
    assert report.first_bad is not None
    assert (report.first_bad.operation, report.first_bad.name) == ("conv", convolutions[1])
    assert report.first_bad.absmax > 65504
    assert report.first_bad.overflow > 0
    assert convolutions[1] in str(report)
    assert report.bad[-1].nan > 0


def test_audit_passes_a_healthy_net_and_float32(packages: Path) -> None:
    for name, data in (("convnet_float16", "convnet"), ("overflow_float32", "overflow")):
        audit = Audit()
        Interpreter(Package(packages / f"{name}.mlpackage"), "float16", hook=audit).run(_x(packages, data))
        report = audit.report()
        assert report.first_bad is None, str(report)
        assert report.near == ()
        assert "no overflow" in str(report)


def test_audit_reports_underflow(packages: Path) -> None:
    audit = Audit()
    feeds = {"x": _x(packages, "convnet")["x"] * np.float32(1e-8)}
    Interpreter(Package(packages / "convnet_float16.mlpackage"), "float16", hook=audit).run(feeds)
    report = audit.report()
    assert report.first_bad is None
    assert report.underflow[0].operation == "cast"  # the input itself is too small
    assert report.underflow[0].flushed_ratio > 0.5


def test_infinite_masks_are_no_overflow_but_born_infinities_are() -> None:
    from edgekit.verify.mil.package import Operation, TensorSpec

    spec = TensorSpec("y", (2,), "float16")
    operation = Operation("add", {}, (spec,), {})
    infinite, finite = torch.tensor([1.0, -torch.inf]), torch.tensor([1.0, 2.0])
    for inputs, expected in (([infinite, finite], False), ([finite], True)):
        audit = Audit()
        audit(Result(operation, spec, infinite, infinite, inputs))
        assert (audit.report().first_bad is not None) is expected
