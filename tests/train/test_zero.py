"""DeepSpeed's ZeRO for real: two processes of this machine's CPU, offloaded, stopped and resumed; losses of one process."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from train_nets import net, task

from edgekit.errors import MissingRuntime, UserError
from edgekit.train import zero
from edgekit.train.loop import fit
from edgekit.train.settings import Options

pytestmark = pytest.mark.long

INSTALLED = importlib.util.find_spec("deepspeed") is not None


def test_the_configuration() -> None:
    two = zero.configuration(Options(strategy="zero2", offload=True, accumulate=4, precision="bfloat16"))
    assert two["zero_optimization"]["stage"] == 2
    assert two["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    assert "offload_param" not in two["zero_optimization"]
    assert (two["gradient_accumulation_steps"], two["gradient_clipping"]) == (4, 1.0)
    assert two["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"} and "bf16" not in two
    three = zero.configuration(Options(strategy="zero3", offload=True))["zero_optimization"]
    assert three["stage"] == 3 and three["offload_param"]["device"] == "cpu"
    assert "offload_optimizer" not in zero.configuration(Options(strategy="zero3"))["zero_optimization"]


@pytest.mark.skipif(INSTALLED, reason="deepspeed is installed")
def test_without_deepspeed() -> None:
    with pytest.raises(MissingRuntime, match=r"strategy zero2 needs it: pip install 'edgekit\[zero\]'"):
        zero.check(Options(strategy="zero2"))


@pytest.mark.skipif(not INSTALLED, reason="deepspeed is not installed: pip install 'edgekit[zero]'")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(strategy="zero2", precision="float16"), "float16, which strategy zero2 does not train in"),
        (Options(strategy="zero3", ema=0.9), "leave ema out, or use zero2 or fsdp"),
        (Options(strategy="zero3"), "no launcher started this process: start it with torchrun"),
    ],
)
def test_what_does_not_go_with_it(options: Options, message: str) -> None:
    with pytest.raises(UserError, match=message):
        zero.check(options)


@pytest.mark.skipif(not INSTALLED, reason="deepspeed is not installed: pip install 'edgekit[zero]'")
def test_offloaded_stopped_and_resumed(tmp_path: Path) -> None:
    """Batches of 15: the parts are of 7 and 8 samples, and weights of an odd number fall to two processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    argv = [*launch, str(Path(__file__).with_name("zero_worker.py")), str(tmp_path)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    alone = fit(net(), task(size=15).training, Options(images=160, learning_rate=0.01, device="cpu"))
    for row in json.loads((tmp_path / "found.json").read_text()).values():
        assert row["losses"] == pytest.approx(alone.losses, rel=1e-3, abs=1e-4)
        assert row["resumed losses"] == row["losses"] and 0 < row["resumed at"] < len(row["losses"])
        assert row["same weights"] and row["parts"] == 2
        half = row["losses in bfloat16"]
        assert half == pytest.approx(alone.losses, rel=0.05) and half != row["losses"]
        assert row["weights of that"] == "torch.float32"
