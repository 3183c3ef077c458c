"""The comparison with peers: two quantizers end to end on the bundled digits, what is missing, what is resumed."""

import contextlib
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import peers
import ptq_peers
from peers._records import Result, Results

pytestmark = pytest.mark.long

DIGITS = ["--model", "digits", "--calibrate", "20", "--rounds", "6", "--processes", "2", "--emulator", "env"]


def run(*arguments: str) -> int:
    return ptq_peers.main([*DIGITS, *arguments])


Run = tuple[Path, str]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two peers end to end and one that is not installed: the JSON file, and what was printed."""
    place = tmp_path_factory.mktemp("peers") / "out.json"
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(peers.load("nncf_openvino"), "NEEDS", {"no_such_module_here": "no-such-package"})
        assert run("--only", "nncf-openvino,ort-minmax,edgekit", "--json", str(place)) == 0
    return place, printed.getvalue()


def kept(place: Path) -> Results:
    return msgspec.json.decode(place.read_bytes(), type=Results)


@pytest.mark.slow
def test_two_peers_end_to_end_and_the_pip_line_of_a_third(first: Run) -> None:
    place, out = first
    assert "- nncf-openvino: not installed: pip install no-such-package" in out
    assert [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("|")] == [
        "peer", "-" * len("ort-minmax") + "--", "float32", "edgekit", "ort-minmax",
    ]  # fmt: skip
    results = kept(place)
    assert [row.status for row in results.rows] == ["ok", "ok", "missing"]
    for row in results.rows[:2]:
        check_figures(row, results)


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_the_rows_that_are_not_done(
    first: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = kept(first[0])
    asked: list[str] = []

    class Stopping:
        """Gives the rows of the real run, and is stopped before the second."""

        stop_at = "ort-minmax"

        def __init__(self, *_: object) -> None:
            pass

        def start(self, *_: object) -> Results:
            return msgspec.structs.replace(done, rows=())

        def row(self, name: str) -> Result:
            asked.append(name)
            if name == self.stop_at:
                raise KeyboardInterrupt
            return next(row for row in done.rows if row.name == name)

    monkeypatch.setattr(ptq_peers, "Flow", Stopping)
    place = str(tmp_path / "stopped.json")
    arguments = ["--only", "edgekit,ort-minmax,nncf-openvino", "--json", place]
    with pytest.raises(KeyboardInterrupt):
        run(*arguments)
    assert [row.name for row in kept(Path(place)).rows] == ["edgekit"]
    Stopping.stop_at = "none"
    asked.clear()
    assert run(*arguments, "--resume") == 0
    assert asked == ["ort-minmax", "nncf-openvino"]
    assert "edgekit: kept" in capsys.readouterr().err
    assert kept(Path(place)) == done
    asked.clear()
    assert run(*arguments, "--resume") == 0
    assert asked == ["nncf-openvino"], "a peer that was missing is tried again"


@pytest.mark.slow
def test_rows_of_another_float_model_are_not_kept(
    first: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = msgspec.structs.replace(kept(first[0]), rows=(), float_metric=0.5)
    monkeypatch.setattr(ptq_peers, "Flow", lambda *_: SimpleNamespace(start=lambda *_: other))
    assert run("--json", str(first[0]), "--resume") == 2
    assert "was made with float_metric 0.9" in capsys.readouterr().err


def check_figures(row: Result, results: Results) -> None:
    """The digits lose next to nothing in int8, and every figure is there."""
    assert row.judged is not None
    assert abs(row.judged.native.metric - results.float_metric) < 0.02
    assert row.judged.native.parity.agreement is not None
    assert row.judged.native.parity.agreement > 0.97
    assert row.judged.native.parity.samples == results.samples == 600
    assert row.judged.emulated == row.judged.native, (
        "`env` emulates nothing: the replay gives the same answers"
    )
    assert all(stage.wall_s > 0 and stage.cpu_s > 0 for stage in row.stages[0])
    assert all(stage.extra_peak_bytes for stage in row.stages[0])
    assert row.size_bytes is not None
    assert row.size_bytes < 0.5 * results.float_sizes["onnx"]
    (timing,) = row.timings
    assert timing.against == "onnxruntime"
    assert timing.cpu_ratio is not None
    assert timing.cpu_ratio > 0


@pytest.mark.slow
def test_edgekit_walks_its_own_stages_and_names_the_recipe(first: Run) -> None:
    row = kept(first[0]).rows[0]
    assert [stage.stage for stage in row.stages[0]] == ["calibrate", "export"]
    assert "ptq(mse), planned for avx2: uint8 activations, 7-bit per_channel weights" in row.summary


@pytest.mark.slow
def test_a_file_is_never_mixed_with_other_settings(first: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", str(first[0])) == 2
    assert "exists; give --resume to add to it" in capsys.readouterr().err
    assert run("--json", str(first[0]), "--resume", "--calibrate", "30") == 2
    assert "was made with calibrate=20; give the same" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--only", "tflite"],
            "--only names 'tflite', which is no row; allowed: edgekit, edgekit-tflite, ort-",
        ),
        (["--resume"], "--resume needs --json"),
        (["--repeat", "0"], "--repeat is 0; it must be at least 1"),
        (["--isa", "neon"], "does not admit the instruction set 'neon'"),
        (["--emulator", "no-such-program -x"], "--emulator names 'no-such-program', which is no program"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_something_else_is_not_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "other.json"
    place.write_text('{"rows": 3}')
    assert run("--json", str(place), "--resume") == 2
    assert "is not a result of this benchmark" in capsys.readouterr().err


def test_every_row_has_a_peer_and_every_peer_its_stages() -> None:
    for module, row in peers.rows().values():
        peer = peers.load(module)
        assert all(callable(getattr(peer, stage)) for stage in peer.STAGES)
        assert row.summary
    assert peers.choose("ort-minmax, edgekit") == ["edgekit", "ort-minmax"]
    assert peers.choose("") == list(peers.rows())


@pytest.mark.slow
def test_the_results_survive_json(first: Run) -> None:
    place = first[0]
    assert json.loads(place.read_bytes()) == json.loads(json.dumps(msgspec.to_builtins(kept(place))))
