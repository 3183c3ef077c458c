"""What each verb asks the network for, as the kernel is asked: nothing. Seen by strace, in every process that a verb starts."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from fault import EDGEKIT, Bench, Outcome, fault_of, marked, said, skipped

WHAT = "verbs that ask for no network, seen by strace"
INCONCLUSIVE = 4  # of `compare`, which has to say that a file is as fast as itself
OUTSIDE = re.compile(r"\b(AF_(?!UNIX\b|LOCAL\b|UNSPEC\b)[A-Z0-9]+)")


def verbs(bench: Bench, out: Path) -> dict[str, list[str]]:
    """Every verb that runs without a device, in the order that they need."""
    model = f"{out}/arm-mobile/model.onnx"
    bundle = ["--name", "small-net", "--version", "1.0.0", "--license", "MIT"]
    new = bench.place / "new.py"
    return {
        "targets": ["targets"],
        "techniques": ["techniques"],
        "schema": ["schema", "manifest"],
        "doctor": ["doctor"],
        "plan": ["plan", bench.task, "-t", "x86-server"],
        "inspect": ["inspect", bench.task],
        "new": ["new", "torchvision:mobilenet_v3_small", "-o", str(new)],
        "export": ["export", bench.task, *(f"--target={name}" for name in bench.targets), "--recipe", "ptq", "--recipe", "fp16", "--recipe", "float32", "--no-cache", "-q", "-o", str(out)],
        "verify": ["verify", str(out)],
        "report": ["report", str(out), "-o", str(bench.place / "page.html")],
        "bench": ["bench", model, "--protocol", "quick"],
        "compare": ["compare", model, model, "--protocol", "quick"],
        "package": ["package", str(out), *bundle, "--for", "web", "-o", str(bench.place / "bundle")],
        "diff": ["diff", str(bench.place / "bundle"), str(bench.place / "bundle")],
        "cache": ["cache", "list"],
    }  # fmt: skip


def outcomes(bench: Bench) -> Iterator[Outcome]:
    if shutil.which("strace") is None or said(["strace", "-qq", "true"]).returncode:
        yield skipped(WHAT, "strace is not here, or not allowed")
        return
    out, log, failures = bench.place / "out", bench.place / "strace.txt", []
    asked = verbs(bench, out)
    order = sorted(asked, key=lambda name: name != "export")  # others look at what it made
    for verb in order:
        log.unlink(missing_ok=True)
        trace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=network", "-o", log]
        done = said([*trace, *EDGEKIT, *asked[verb]], env=marked(XDG_CACHE_HOME=str(bench.place / "cache")))
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        reached = [line for line in lines if OUTSIDE.search(line)]
        ended = "" if done.returncode == INCONCLUSIVE else fault_of(done, (0, 1))
        fault = ended or (f"{len(reached)} times, first {reached[0]}" if reached else "")
        if fault:
            failures.append(f"{verb}: {fault}")
    yield Outcome(WHAT, len(order), failures)
