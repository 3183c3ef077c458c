"""What `verify` says of a file whose manifest names another runtime as the fastest."""

from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest
from commands import edgekit, in_process
from exported_net import write_export

from edgekit import requirements
from edgekit.package import manifest_file, sums
from edgekit.records.runtimes import RuntimeChoice, RuntimeTrial

pytestmark = pytest.mark.usefixtures(in_process.__name__)


def export_named(place: Path, fastest: str) -> Path:
    """An export whose manifest says that the file is served by `fastest`."""
    folder = write_export(place, target="x86-server", isa="avx2")
    trials = tuple(RuntimeTrial(runtime=name, accepted=True, reason="") for name in ("onnxruntime", fastest))
    choice = RuntimeChoice(fastest=fastest, reason="", trials=trials)
    manifest_file.write(msgspec.structs.replace(manifest_file.read(folder), runtimes=choice), folder)
    sums.seal(folder)
    return folder


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed: pip install openvino")
def test_the_golden_pair_is_asked_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "find_spec", find_spec)
    folder = export_named(tmp_path, "openvino")
    assert "in openvino, where it is the fastest, off by " in edgekit("verify", folder, exit_code=0).output


def test_where_it_is_not_installed_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        requirements, "find_spec", lambda name: None if name == "openvino" else find_spec(name)
    )
    said = edgekit("verify", export_named(tmp_path, "openvino"), exit_code=0).output
    assert "not checked in openvino, where it is the fastest: not installed; pip install openvino" in said


def test_a_runtime_that_nobody_knows_is_one_sentence(tmp_path: Path) -> None:
    result = edgekit("verify", export_named(tmp_path, "toaster"), exit_code=2)
    assert "runtime is 'toaster'; allowed: " in result.output
