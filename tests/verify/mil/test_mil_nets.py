"""Whole networks: the graph in float32, the emulation in float16, compressed weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mil_nets import NETS, SLOW_NETS

from edgekit.verify.mil.interpreter import Interpreter
from edgekit.verify.mil.package import Package

pytestmark = pytest.mark.long

COMPRESSED = {
    "int8": "constexpr_affine_dequantize",
    "int8_asymmetric": "constexpr_affine_dequantize",
    "int4_blocks": "constexpr_blockwise_shift_scale",
    "table4": "constexpr_lut_to_dense",
    "table6": "constexpr_lut_to_dense",
    "table4_grouped": "constexpr_lut_to_dense",
    "sparse": "constexpr_sparse_to_dense",
    "sparse_ios18": "constexpr_sparse_to_dense",
    "sparse_table4": "constexpr_lut_to_sparse",
}
Error = Callable[[np.ndarray, np.ndarray], float]


def run_net(folder: Path, name: str, stored: str, precision: str) -> tuple[np.ndarray, np.ndarray]:
    """What the package `name` in the type `stored` computes, and what torch does."""
    saved = np.load(folder / f"{name}.npz")
    interpreter = Interpreter(Package(folder / f"{name}_{stored}.mlpackage"), precision)
    return interpreter.run({"x": saved["x"]})["y"], saved["y"]


@pytest.mark.parametrize("name", NETS)
def test_float32_package_agrees_with_torch(name: str, packages: Path, relative_error: Error) -> None:
    assert relative_error(*run_net(packages, name, "float32", "float32")) < 1e-4


@pytest.mark.parametrize("name", NETS)
def test_float16_package_is_close(name: str, packages: Path, relative_error: Error) -> None:
    weights_only = relative_error(*run_net(packages, name, "float16", "float32"))
    everything = relative_error(*run_net(packages, name, "float16", "float16"))
    assert 0 < weights_only < 2e-2
    assert 0 < everything < 2e-2


@pytest.mark.parametrize("batch", [1, 3])
def test_flexible_batch(batch: int, packages: Path, relative_error: Error) -> None:
    saved = np.load(packages / "flexible.npz")
    package = Package(packages / "flexible.mlpackage")
    assert package.inputs[0].shape == (-1, 3, 16, 16)
    y = Interpreter(package, "float32").run({"x": saved["x"][:batch]})["y"]
    assert relative_error(y, saved["y"][:batch]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_NETS)
def test_large_nets(name: str, slow_packages: Path, relative_error: Error) -> None:
    graph = relative_error(*run_net(slow_packages, name, "float32", "float32"))
    half = relative_error(*run_net(slow_packages, name, "float16", "float16"))
    print(f"{name}: float32 {graph:.1e}, float16 {half:.1e}")
    assert graph < 1e-4
    assert half < 3e-2


@pytest.mark.parametrize("name", COMPRESSED)
def test_decompression_agrees_with_coremltools(name: str, packages: Path) -> None:
    x = np.load(packages / "convnet.npz")["x"]
    compressed = Package(packages / f"{name}.mlpackage")
    dense = Package(packages / f"{name}_dense.mlpackage")
    assert COMPRESSED[name] in {op.type for op in compressed.operations}
    assert not any(op.type.startswith("constexpr_") for op in dense.operations)
    got = Interpreter(compressed, "float16").run({"x": x})["y"]
    expected = Interpreter(dense, "float16").run({"x": x})["y"]
    np.testing.assert_array_equal(got, expected)
