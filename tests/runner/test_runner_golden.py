"""Quantization of inputs and outputs, golden files, tolerances; on a session that needs no runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runner import feeds
from edgekit_runner.backends import Session, TensorInfo
from edgekit_runner.errors import UserError, VerificationError
from edgekit_runner.feeds import as_feed, dequantize, quantize
from edgekit_runner.golden import archive, proof
from edgekit_runner.stats import deviation

INT8 = TensorInfo(name="t", shape=(1, 4), dtype="int8", scale=0.5, zero_point=-3)


class Doubling(Session):
    """y = 2 x, float32 [1, 2]."""

    inputs = (TensorInfo(name="x", shape=(1, 2), dtype="float32"),)
    outputs = (TensorInfo(name="y", shape=(1, 2), dtype="float32"),)
    runtime_version = "0"

    def feed(self, feeds: Any) -> None:
        self.x = feeds["x"]

    def invoke(self) -> None:
        self.y = 2 * self.x

    def fetch(self) -> dict[str, Any]:
        return {"y": self.y}

    def placement(self) -> dict[str, Any]:
        return {}


def made(x: Any, y: Any) -> archive.Golden:
    return archive.Golden(inputs=(np.asarray(x, np.float32),), outputs=(np.asarray(y, np.float32),))


def test_quantize_rounds_shifts_and_saturates() -> None:
    stored = quantize(np.array([0.0, 0.5, 0.75, 1000.0, -1000.0]), INT8)
    assert stored.dtype == np.int8 and stored.tolist() == [-3, -2, -1, 127, -128]
    assert dequantize(stored[:2], INT8).tolist() == [0.0, 0.5]


def test_feeds_convert_only_where_nothing_is_lost() -> None:
    assert as_feed(np.float32([[1.0]]), INT8).dtype == np.int8
    wide = TensorInfo(name="ids", shape=(1,), dtype="int64")
    assert as_feed(np.array([3], np.int32), wide).dtype == np.int64
    assert as_feed(np.array([3.0]), TensorInfo(name="f", shape=(1,), dtype="float16")).dtype == np.float16
    with pytest.raises(UserError, match="without scale"):
        as_feed(np.array([0.5], np.float32), wide)
    with pytest.raises(UserError, match="int8"):
        as_feed(np.array([300]), INT8)


def test_check_tells_how_many_values_are_equal_and_whose_largest_is_in_place() -> None:
    found = proof.check(Doubling(), made([[1, 2], [3, 4], [6, 5]], [[2, 4], [6, 8], [10, 12]]), 10.0)
    assert (found.equal_ratio, found.top1_ratio) == (4 / 6, 2 / 3)
    single = proof.check(Doubling(), made([[1, 2]], [[2, 4]]), None)
    assert (single.equal_ratio, single.top1_ratio) == (1.0, 1.0)


def test_check_runs_every_slice_and_reports_the_worst() -> None:
    found = proof.check(Doubling(), made([[1, 2], [3, 4], [5, 6]], [[2, 4], [6, 8], [10, 12.001]]), None)
    assert found.status == "passed" and found.samples_count == 3
    assert found.max_abs_error == pytest.approx(0.001, rel=1e-2)
    assert found.atol == pytest.approx(12.001e-3 + 1e-5)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([[1, 2]], [[2, 5]], "differs from golden by 1"),
        ([[1, np.nan]], [[2, 4]], "NaN or infinity"),
        ([[1, 2]], [[2, 4, 6]], "has shape"),
        ([[1, 2, 3]], [[2, 4]], "golden input"),
        ([[1, 2], [1, 2]], [[2, 4], [2, 4], [2, 4]], "split"),
    ],
)
def test_check_refuses(x: Any, y: Any, words: str) -> None:
    with pytest.raises(VerificationError, match=words):
        proof.check(Doubling(), made(x, y), None)


def test_infinity_is_fine_where_golden_has_it() -> None:
    assert proof.check(Doubling(), made([[-np.inf, 2]], [[-np.inf, 4]]), None).status == "passed"


def test_default_tolerance_is_two_steps_of_a_quantized_output() -> None:
    assert deviation.default_atol(INT8, np.zeros(1))[0] == 1.0


def test_nan_without_golden_is_refused() -> None:
    with pytest.raises(VerificationError, match="NaN"):
        proof.refuse_nan({"y": np.float32([np.nan])})


def test_files_that_are_no_golden(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    with pytest.raises(UserError, match="no such file"):
        archive.load(str(path))
    path.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(UserError, match=r"not a golden \.npz"):
        archive.load(str(path))
    np.savez(path, input_0=np.zeros(1), output_1=np.zeros(1))
    with pytest.raises(UserError, match=r"input_0\.\."):
        archive.load(str(path))
    np.savez(path, input_0=np.array([object()], dtype=object), output_0=np.zeros(1))
    with pytest.raises(UserError):
        archive.load(str(path))


def test_random_inputs_are_seeded_and_fit() -> None:
    kinds = {"a": ((-1, 3), "float16"), "b": ((2,), "uint8"), "c": ((4,), "int64"), "d": ((4,), "bool")}
    infos = tuple(TensorInfo(name=name, shape=shape, dtype=dtype) for name, (shape, dtype) in kinds.items())
    one, two = feeds.random_inputs(infos, 3), feeds.random_inputs(infos, 3)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert one["a"].shape == (1, 3) and one["a"].dtype == np.float16
    assert set(one["c"].tolist()) <= {0, 1} and one["d"].dtype == np.bool_


def test_random_inputs_are_splitmix64_and_cover_their_range() -> None:
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert feeds._noise(1234567, 0, 4).tolist() == known
    assert feeds._noise(1234567, 2, 2).tolist() == known[2:]
    infos = tuple(
        TensorInfo(name=dtype, shape=(5000,), dtype=dtype) for dtype in ("float32", "int8", "int32")
    )
    made = feeds.random_inputs(infos, 0)
    assert 0 <= made["float32"].min() < 0.01 and 0.99 < made["float32"].max() < 1
    assert abs(float(made["float32"].mean()) - 0.5) < 0.02
    assert (made["int8"].min(), made["int8"].max()) == (-128, 127)
    assert 0.45 < made["int32"].mean() < 0.55
    assert not np.array_equal(made["float32"], feeds.random_inputs(infos, 1)["float32"])


def beside_float(answer: Any, least_db: float) -> archive.Golden:
    """The pair that `Doubling` reproduces exactly, with what the float model answered."""
    return archive.Golden(
        inputs=(np.float32([[1, 2]]),),
        outputs=(np.float32([[2, 4]]),),
        floats=(np.float32(answer),),
        float_min_snr_db=(least_db,),
    )


def test_the_artifact_keeps_its_distance_to_the_float_model() -> None:
    """|4 - 4.2| beside sqrt(2^2 + 4.2^2): 10 log10(21.64 / 0.04) = 27.3 dB."""
    found = proof.check(Doubling(), beside_float([[2, 4.2]], 20.0), None)
    assert found.float_snr_db == pytest.approx(27.33, abs=0.01)
    assert proof.check(Doubling(), beside_float([[2, 4]], 40.0), None).float_snr_db is None


def test_a_file_that_is_wrong_on_every_device_is_refused() -> None:
    """It answers its own golden output, but not the float model's: the file is wrong, and not the device."""
    with pytest.raises(
        VerificationError,
        match=r"keeps 27\.3 dB to the float model's answer; it was exported with at least 30",
    ):
        proof.check(Doubling(), beside_float([[2, 4.2]], 30.0), None)


def test_an_output_that_is_not_asked_is_not_judged() -> None:
    assert proof.check(Doubling(), beside_float([[9, 9]], np.nan), None).status == "passed"


def test_floats_come_with_their_limits(tmp_path: Path) -> None:
    pair = {"input_0": np.zeros(1), "output_0": np.zeros(1), "float_0": np.zeros(1)}
    np.savez(tmp_path / "g.npz", **pair)
    with pytest.raises(UserError, match="as many as outputs, float_0"):
        archive.load(str(tmp_path / "g.npz"))
    np.savez(tmp_path / "g.npz", **pair, float_min_snr_db=np.array([12.0]))
    assert archive.load(str(tmp_path / "g.npz")).float_min_snr_db == (12.0,)
