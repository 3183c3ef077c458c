"""What each verb asks the network for, as the kernel is asked: nothing. Seen by strace, in every process that a verb starts."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from fault import EDGEKIT, Bench, Outcome, fault_of, marked, private_key, said, skipped

WHAT = "verbs that ask for no network, seen by strace"
INCONCLUSIVE = ("compare", 4)  # it has to say that a file is as fast as itself
REFUSED = {"inspect a name": (2,)}  # weights that are not here are not fetched
OUTSIDE = re.compile(r"\b(AF_(?!UNIX\b|LOCAL\b|UNSPEC\b)[A-Z0-9]+)")


def verbs(bench: Bench, out: Path) -> dict[str, list[str]]:
    """Every verb that runs without a device, in the order that they need; two words where one verb stands there twice."""
    place = bench.place
    model, bundle, updates = f"{out}/arm-mobile/model.onnx", str(place / "bundle"), str(place / "updates")
    named = ["--name", "small-net", "--version", "1.0.0", "--license", "MIT"]
    budget, key = place / "budget.toml", place / "key.pem"
    budget.write_text("[every]\nmax_size_bytes = 1e9\n")
    key.write_bytes(private_key())
    return {
        "targets": ["targets"],
        "techniques": ["techniques"],
        "schema": ["schema", "manifest"],
        "doctor": ["doctor"],
        "plan": ["plan", bench.task, "-t", "x86-server"],
        "inspect": ["inspect", bench.task],
        "inspect a name": ["inspect", "torchvision:squeezenet1_1"],  # its weights are not here, and not fetched
        "new": ["new", "torchvision:mobilenet_v3_small", "-o", str(place / "new.py")],
        "export": ["export", bench.task, *(f"--target={name}" for name in bench.targets), "--recipe", "ptq", "--recipe", "fp16", "--recipe", "float32", "--no-cache", "-q", "-o", str(out)],
        "verify": ["verify", str(out)],
        "report": ["report", str(out), "-o", str(place / "page.html")],
        "explain": ["explain", str(out)],
        "ort": ["ort", str(out), "-o", str(place / "ort")],
        "check": ["check", str(out), "--budget", str(budget)],
        "compare-models": ["compare-models", str(Path(model).parent), "float"],
        "bench": ["bench", model, "--protocol", "quick"],
        "compare": ["compare", model, model, "--protocol", "quick"],
        "package": ["package", str(out), *named, "--for", "web", "--sign", str(key), "-o", bundle],
        "diff": ["diff", bundle, bundle],
        "index": ["index", bundle, "--sign", str(key), "-o", updates],
        "verify a bundle": ["verify", bundle],
        "verify an index": ["verify", updates],
        "cache": ["cache", "list"],
        "demo": ["demo", "-q", "-o", str(place / "demo")],
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
        fault = (
            "" if (verb, done.returncode) == INCONCLUSIVE else fault_of(done, (0, 1, *REFUSED.get(verb, ())))
        )
        fault = fault or (f"{len(reached)} times, first {reached[0]}" if reached else "")
        if fault:
            failures.append(f"{verb}: {fault}")
    yield Outcome(WHAT, len(order), failures)
