"""A real export whose accepted file is proven and timed in a second runtime."""

from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from edgekit import requirements
from edgekit.api import deploy
from edgekit.records.manifest import Manifest

TASK = Path(__file__).parents[1] / "task_files" / "small.py"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed: pip install openvino")
def test_the_file_in_both_runtimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "find_spec", find_spec)
    report = deploy(f"{TASK}:task", ["x86-server"], tmp_path / "out", recipes=["float32"])
    assert report.accepted, str(report)
    manifest = msgspec.json.decode((tmp_path / "out/x86-server/manifest.json").read_bytes(), type=Manifest)
    assert manifest.runtimes is not None
    own, other = manifest.runtimes.trials
    assert (own.runtime, other.runtime) == ("onnxruntime", "openvino")
    assert own.metric == other.metric and own.cpu_ratio and other.cpu_ratio
    assert own.version and other.version and other.share == 1.0
    assert manifest.runtimes.fastest in ("onnxruntime", "openvino")
    chosen = report.targets[0].chosen
    assert chosen is not None and chosen.runtimes == manifest.runtimes
