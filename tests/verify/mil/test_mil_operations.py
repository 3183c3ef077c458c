"""Every operation against torch, and every operation that is offered has a case."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mil_cases_data import CASES
from mil_nets import NETS

from edgekit.verify.mil.interpreter import Interpreter
from edgekit.verify.mil.ops import supported
from edgekit.verify.mil.package import Package

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", CASES)
def test_operation_agrees_with_torch(name: str, packages: Path) -> None:
    case = CASES[name]
    feeds = case.inputs(name)
    package = Package(packages / f"{name}.mlpackage")
    results = list(Interpreter(package, "float32").run(feeds).values())
    expected = case.torch(*(torch.from_numpy(array) for array in feeds.values()))
    expected = list(expected) if isinstance(expected, tuple) else [expected]
    assert len(results) == len(expected)
    for got, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_operation_of_the_case_is_in_its_package(packages: Path) -> None:
    """A converter pass could otherwise have replaced what the case means to test."""
    for name in CASES:
        kinds = {op.type for op in Package(packages / f"{name}.mlpackage").operations}
        assert any(name == kind or name.startswith(f"{kind}_") for kind in kinds), (name, kinds)


def test_every_supported_operation_is_tested(packages: Path) -> None:
    files = [*(f"{name}.mlpackage" for name in CASES), *(f"{name}_float32.mlpackage" for name in NETS)]
    files += ["sparse_table4.mlpackage"]
    tested = {op.type for file in files for op in Package(packages / file).operations}
    written_by_package = {
        "classify"
    }  # no converter writes it; tests/export/test_app_interface.py executes it
    assert set(supported()) - tested == written_by_package


def test_flexible_reshape_is_computed(packages: Path) -> None:
    package = Package(packages / "reshape_flexible.mlpackage")
    assert {"shape", "gather", "concat", "reshape"} <= {op.type for op in package.operations}
