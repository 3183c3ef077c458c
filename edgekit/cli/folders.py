"""The verbs that take what an export left: `edgekit verify`, `edgekit report`, and the schemas of its files."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import emulation
from edgekit.cli.emulation import arm_options
from edgekit.cli.options import json_option
from edgekit.cli.printing import print_json, print_table, put, put_columns

if TYPE_CHECKING:
    from edgekit.engine.verify_specs import Recheck
    from edgekit.package.other_versions import VersionProof


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="The ed25519 public key that signed a bundle.")
@click.option(
    "--runtime",
    "in_versions",
    multiple=True,
    metavar="PACKAGE==VERSIONS",
    help="Prove it in these versions, too, installed beside: onnxruntime==1.18.1,1.20.1; oldest: in those that the manifest names.",
)
@arm_options
@json_option
def verify(
    folder: Path, key: Path | None, in_versions: tuple[str, ...], arm: bool, as_json: bool, **on_arm: Any
) -> None:
    """Re-prove an exported folder or a bundle: checksums, signature, golden answers in the runtime, the precision lint.

    A folder of updates is held to its index as an app does.
    """
    from edgekit.package.bundle import update_index
    from edgekit.package.reverify import recheck

    emulation.check(arm, on_arm)
    if update_index.is_index(folder):
        found = update_index.check_index(folder, key)
        signed = "signature and files match" if key else "files match, the signature was not checked (--key)"
        versions = ", ".join(version.version for version in found.versions)
        text = f"index {found.serial} of {found.name} {versions}: ok; {signed}"
        print_json(found) if as_json else put(text)
        return
    results = recheck(folder, key)
    if in_versions:
        sys.exit(_prove_in(folder, in_versions, as_json))
    if arm:
        sys.exit(emulation.prove(folder, on_arm, as_json))
    if as_json:
        print_json(results)
        return
    for name, result in results.items():
        put(f"{name}: ok; {_proof(result)}")


def _prove_in(folder: Path, versions: tuple[str, ...], as_json: bool) -> int:
    from edgekit.package import other_versions

    rows = other_versions.prove(folder, versions)
    if as_json:
        print_json(rows)
    else:
        put_columns(
            [("target", "runtime", "answers", "work in precision", "verdict"), *map(_version_cells, rows)]
        )
    return other_versions.exit_code(rows)


def _version_cells(row: "VersionProof") -> tuple[str, ...]:
    off = (
        "-" if row.max_abs_error is None else f"off by {row.max_abs_error:.4g} of {row.golden_atol or 0:.4g}"
    )
    share = "-" if row.share is None else f"{100 * row.share:.1f} % ({sum(row.ops.values())} operators)"
    verdict = (row.reason or "ok") if row.passed else f"failed: {row.reason}"
    return row.target, f"{row.package} {row.version}".strip(), off, share, verdict


def _proof(result: "Recheck") -> str:
    golden = f"golden output within {result.golden_atol:.4g} (off by {result.max_abs_error:.4g})"
    said = ["checksums match", golden]
    if result.float_snr_db is not None:
        said.append(f"{result.float_snr_db:.1f} dB to the float model's answer")
    if result.elsewhere:
        said.append(result.elsewhere)
    return "; precision lint: ".join([", ".join(said), *result.notes])


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write one HTML page for all of them.")
@json_option
def report(folders: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Show the report of exported folders; with -o write it as HTML."""
    from edgekit.report import html, load

    reports = [load.read(folder) for folder in folders]
    if out is not None:
        html.write(reports, out)
    if as_json:
        print_json(reports)
        return
    for single in reports:
        print_table(single)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--target", "-t", "targets", multiple=True, help="Only this target; several may be given.")
@json_option
def explain(folder: Path, targets: tuple[str, ...], as_json: bool) -> None:
    """Say which layers of an export cost time, size and accuracy, what would win next, and what was not measured.

    All of it is from what the export measured or noted; nothing is run.
    """
    from edgekit.report import explained, explanation, load

    found = explanation.explanations(load.read(folder), targets)
    if as_json:
        print_json(found)
        return
    for each in found:
        for line in explained.lines(each):
            put(line)


@click.command()
@click.argument(
    "name", type=click.Choice(["bundle", "index", "instructions", "manifest", "measured", "report"])
)
def schema(name: str) -> None:
    """Print the JSON Schema of bundle.json, index.json, instructions.json, manifest.json, measured.json or report.json."""
    from edgekit.package import schemas

    put(json.dumps(schemas.schema(name), indent=2, sort_keys=True))
