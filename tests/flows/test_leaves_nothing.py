"""Every verb, with an empty home and no way out: it asks for no name, sends nothing, and writes to work, cache and output only."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL

pytestmark = pytest.mark.long

TOOL = Path(__file__).parents[1] / "support" / "no_network.py"
APART = ["unshare", "-rnm"]
OUT = "out"
VERBS = (
    ("targets",),
    ("techniques",),
    ("schema", "manifest"),
    ("doctor",),
    ("cache", "list"),
    ("new", "torchvision:mobilenet_v3_small", "-o", "new.py"),
    ("inspect", f"{SMALL}:task"),
    ("plan", f"{SMALL}:task", "-t", "x86-server"),
    ("export", f"{SMALL}:task", "-t", "x86-server", "-t", "tflite-int8", "--recipe", "ptq", "--recipe", "fp16", "-o", OUT),
    ("verify", OUT),
    ("report", OUT, "-o", "page.html"),
    ("explain", OUT),
    ("check", OUT, "--budget", "budget.toml"),
    ("compare-models", f"{OUT}/x86-server", "float"),
    ("bench", f"{OUT}/x86-server", "--protocol", "quick"),
    ("package", OUT, "--name", "small-net", "--version", "1.0.0", "--license", "MIT", "--for", "web", "--sign", "key.pem", "-o", "bundle"),
    ("diff", "bundle", "bundle"),
    ("index", "bundle", "--sign", "key.pem", "-o", "updates"),
    ("verify", "bundle"),
    ("verify", "updates"),
)  # fmt: skip


def run_apart(place: Path, *command: str) -> dict[str, Any]:
    (place / "home").mkdir(exist_ok=True)
    (place / "temporary").mkdir(exist_ok=True)
    clean = {
        k: v for k, v in os.environ.items() if "TELEMETRY" not in k and not k.startswith(("XDG_", "KERAS_"))
    }
    variables = {
        **clean,
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "temporary"),
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    answer = place / "answer.json"
    subprocess.run(
        [*APART, sys.executable, TOOL, answer, *command], cwd=place, env=variables, check=True, timeout=600
    )
    return json.loads(answer.read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module", autouse=True)
def _can_be_apart() -> None:
    if shutil.which("unshare") is None or subprocess.run([*APART, "true"], capture_output=True).returncode:
        pytest.skip("this system makes no namespaces for an ordinary user")


def test_the_instrument_sees_a_name_and_a_packet(tmp_path: Path) -> None:
    program = """
import socket
for ask in (lambda: socket.getaddrinfo("example.org", 80), lambda: socket.create_connection(("192.0.2.1", 80))):
    try:
        ask()
    except OSError:
        pass
"""
    found = run_apart(tmp_path, sys.executable, "-c", program)
    assert found["names"] and "example" in found["names"][0]
    assert found["unrouted"] == 1


def private_key() -> bytes:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return Ed25519PrivateKey.generate().private_bytes(*form)


def test_no_verb_reaches_out_or_leaves_a_file(tmp_path: Path) -> None:
    (tmp_path / "budget.toml").write_text("[every]\nmax_size_bytes = 1e9\n")
    (tmp_path / "key.pem").write_bytes(private_key())
    for verb in VERBS:
        found = run_apart(tmp_path, sys.executable, "-m", "edgekit", *verb)
        assert (found["names"], found["unrouted"]) == ([], 0), verb
        assert found["code"] == 0, (verb, found["stderr"])
        for private in ("home", "temporary"):
            left = [
                p
                for p in (tmp_path / private).rglob("*")
                if p.relative_to(tmp_path).parts[1:3] != (".cache", "edgekit")
            ]
            assert [str(p) for p in left if p.name != ".cache"] == [], verb
    assert {p.name for p in tmp_path.iterdir()} == {
        "answer.json",
        "home",
        "temporary",
        OUT,
        "page.html",
        "bundle",
        "updates",
        "new.py",
        "budget.toml",
        "key.pem",
    }
