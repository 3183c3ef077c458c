"""What the pages say of targets and techniques is written from the profiles and the sources when the site is built.

A page holds a line such as `<!-- generate: targets -->`, which is replaced. Sources are read, never imported.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"^<!-- generate: (\w+) -->$", re.MULTILINE)
RUNTIMES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT / TensorFlow Lite", "coreml": "Core ML"}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by MkDocs for each page, before its Markdown is read."""
    return MARK.sub(lambda mark: GENERATORS[mark[1]](), markdown)


def _targets() -> str:
    """One row a profile."""
    rows = ["| profile | runtime | precisions | machines | levels, weakest first |", "|---|---|---|---|---|"]
    for name, profile in _profiles().items():
        cells = (
            f"`{name}`",
            RUNTIMES.get(profile["runtime"], profile["runtime"]),
            ", ".join(profile["precisions"]),
            ", ".join(profile["isa"]["arch"]),
            ", ".join(profile["isa"]["levels"]),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _ladders() -> str:
    """The rungs of each profile, with their reasons."""
    parts = []
    for name, profile in _profiles().items():
        parts += [f"### {name}", "", profile["summary"] + ".", "", "| recipe | needs | why it is tried |", "|---|---|---|"]
        for rung in profile["ladder"]:
            steps = [*rung.get("before", ()), rung]
            recipe = " > ".join(map(_step, steps))
            parts.append(f"| `{recipe}` | {', '.join(rung.get('needs', ())) or 'nothing'} | {rung['reason']} |")
        parts.append("")
    return "\n".join(parts)


def _step(step: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key}={value}" for key, value in step.get("options", {}).items())
    return f"{step['technique']}({options})" if options else str(step["technique"])


def _techniques() -> str:
    """The docstring and the options of each technique, read by mkdocstrings."""
    files = sorted((ROOT / "edgekit" / "techniques").glob("[a-z]*.py"))
    options = "\n".join(
        ("    options:", "      members: [Options]", "      show_if_no_docstring: true", "      show_labels: false")
    )
    return "\n\n".join(f"## {file.stem}\n\n::: edgekit.techniques.{file.stem}\n{options}\n      show_root_heading: false\n      show_root_toc_entry: false\n      heading_level: 3" for file in files)


def _profiles() -> dict[str, dict[str, Any]]:
    files = sorted((ROOT / "targets").glob("*.toml"))
    return {file.stem: tomllib.loads(file.read_text(encoding="utf-8")) for file in files}


GENERATORS: dict[str, Callable[[], str]] = {
    "targets": _targets,
    "ladders": _ladders,
    "techniques": _techniques,
}
