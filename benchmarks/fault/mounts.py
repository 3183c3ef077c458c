"""Outputs that are no ordinary folder: a mounted one, as Docker makes it of -v, is filled; what cannot be one is refused."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.api import deploy
from edgekit.engine.output import WORK
from edgekit.errors import UserError
from fault import Bench, Outcome, fault_of, private_key, served, skipped
from fault.disk import cannot_mount

KINDS = {
    "tmpfs": ["-t", "tmpfs", "tmpfs"],
    "bind": ["--bind"],
    "read-only": ["-t", "tmpfs", "-o", "ro", "tmpfs"],
}
REFUSED = (
    "/proc/out",
    "/dev/null",
    "/dev/full/x",
    "/sys/out",
    "a\0b",
    "n" * 300,
    "/" + "d/" * 3000,
    "/proc/self/mem",
)


def outcomes(bench: Bench) -> Iterator[Outcome]:
    why = cannot_mount()
    if why:
        yield skipped("a mounted folder as output", why)
    else:
        with served.servers(bench.place / "tmp"):
            yield _mounted(bench)
            yield _others(bench)
    failures = [f"{ascii(out)[:60]}: {fault}" for out in REFUSED if (fault := _refused(bench, out))]
    yield Outcome("outputs that can be no folder, refused before the work", len(REFUSED), failures)


def _mounted(bench: Bench) -> Outcome:
    """Each kind of mount: written, verified, written over."""
    failures, tried = [], 0
    for kind, how in KINDS.items():
        with mounted(bench.place / kind / "out", how) as out:
            for again in (False, True):
                tried += 1
                fault = _export_and_verify(bench, out, wanted=kind != "read-only")
                if fault:
                    failures.append(f"{kind}, {'over the former one' if again else 'empty'}: {fault}")
    return Outcome(
        "a mounted folder as output: filled, verified, replaced; read-only: refused", tried, failures
    )


def _others(bench: Bench) -> Outcome:
    """What else writes a folder: bundles, indexes of updates and files of ONNX Runtime's own format."""
    bundle, key = bench.place / "bundle", bench.place / "key.pem"
    key.write_bytes(private_key())
    named = ("--name", "net", "--version", "1.0.0", "--license", "MIT", "--for", "web", "--sign", key)
    served.edgekit(["package", bench.out, *named, "-o", bundle])
    verbs = {"package": (bench.out, *named), "index": (bundle, "--sign", key), "ort": (bench.out,)}
    failures, tried = [], 0
    for verb, given in verbs.items():
        with mounted(bench.place / verb / "out", KINDS["tmpfs"]) as out:
            for again in (False, True) if verb != "ort" else (False,):
                tried += 1
                done = served.edgekit([verb, *given, "-o", out])
                fault = fault_of(done, [0]) or _not_whole(verb, out)
                if fault:
                    failures.append(f"{verb}, {'again' if again else 'empty'}: {fault}")
    return Outcome("a mounted folder as output of package, index and ort", tried, failures)


def _not_whole(verb: str, out: Path) -> str:
    left = [path.name for path in (*out.iterdir(), *out.parent.iterdir()) if WORK in path.name]
    if left:
        return f"left {left}"
    return "" if verb == "ort" else fault_of(served.edgekit(["verify", out]), [0])


@contextmanager
def mounted(out: Path, how: list[str]) -> Iterator[Path]:
    """A mount point with nothing in it."""
    out.mkdir(parents=True)
    subprocess.run(["mount", *how, *([out] if "--bind" in how else []), out], check=True)
    try:
        yield out
    finally:
        subprocess.run(["umount", "-l", out], check=False)


def _export_and_verify(bench: Bench, out: Path, wanted: bool) -> str:
    done = served.edgekit([*bench.light(), "-o", out])
    if fault := fault_of(done):
        return fault
    if not wanted:
        return "" if done.returncode == 2 else f"exit code {done.returncode}: {done.stderr[-200:]!r}"
    verified = served.edgekit(["verify", out])
    left = [path.name for path in (*out.iterdir(), *out.parent.iterdir()) if WORK in path.name]
    if done.returncode or verified.returncode or left:
        return f"{done.stderr[-200:]!r} {verified.stderr[-200:]!r} left {left}"
    return ""


def _refused(bench: Bench, out: str) -> str:
    """Through Python, because no program can be given a zero byte."""
    try:
        deploy(bench.task, ["arm-mobile"], out, recipes=["float32"])
    except UserError:
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "was written"
