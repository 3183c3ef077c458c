"""`edgekit ort`: files for a minimal build of ONNX Runtime."""

from pathlib import Path

import click

from edgekit.cli.options import json_option
from edgekit.cli.printing import print_json, put, say


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder to write; a new one."
)
@click.option("--arm", is_flag=True, help="Prove the files on emulated ARM CPUs, too.")
@json_option
def ort(folder: Path, out: Path, arm: bool, as_json: bool) -> None:
    """Convert the ONNX files for ARM of an exported FOLDER to model.ort and the operators that a minimal build needs.

    ONNX Runtime's own tool converts; the result is loaded and held to the golden answer of the export.
    """
    from edgekit.package.ort_files import convert

    found = convert(folder, out, arm, say)
    if as_json:
        print_json(found)
        return
    for each in found:
        off = f"off by {each.max_abs_error:.4g} of {each.golden_atol:.4g}"
        put(
            f"{each.target}: {each.path}, {each.size_bytes} bytes, by onnxruntime {each.runtime_version}; golden output within "
            f"the tolerance on {', '.join(each.proven_on)} ({off}); {each.operators}"
        )
