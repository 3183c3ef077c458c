"""Experimental: converts what the technique binarize has made to one-bit kernels or one-bit storage.

python -m edgekit.binary out/model.onnx -o out/model.xml            OpenVINO on x86: faster if layers are large
python -m edgekit.binary work/program.pt2 -o out/model.safetensors  one bit for each binary weight: size only
"""

import sys
from pathlib import Path

import click
from edgekit_runner.host import telemetry

from edgekit.errors import EdgekitError, MissingRuntime, UserError
from edgekit.records.foreign import visible

ENDINGS = {".onnx": ".xml", ".pt2": ".safetensors"}


@click.command(help=(__doc__ or "").replace("\n    ", "\n\n    "))
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="File to write.")
def main(source: Path, out: Path) -> None:
    """Runs the command line; its help is the head of the module."""
    telemetry.switch_off()
    try:
        click.echo(visible(convert(source, out)))
    except EdgekitError as error:
        click.echo(visible(f"error: {error}"), err=True)
        sys.exit(error.exit_code)


def convert(source: Path, out: Path) -> str:
    """Writes `out`, and returns a line about it.

    Args:
        source: An .onnx or a .pt2 file.
        out: An .xml or a .safetensors file.

    Raises:
        UserError: There is no conversion between files of these kinds.
        MissingRuntime: OpenVINO is not installed.
        VerificationError: The kernels compute something else.
    """
    if ENDINGS.get(source.suffix) != out.suffix:
        pairs = ", ".join(f"*{a} to *{b}" for a, b in ENDINGS.items())
        raise UserError(f"{source.name} to {out.name} is no conversion; allowed are {pairs}")
    if source.suffix == ".pt2":
        from edgekit.binary import packed
        from edgekit.quant import program as programs

        return f"{out}: {packed.write(programs.load(source), out)} bytes, storage only"
    try:
        from edgekit.binary import openvino_ir
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise
        raise MissingRuntime.of("openvino", "kernels of one bit") from error
    made = openvino_ir.write(source, out)
    return (
        f"{out}: {len(made.layers)} binary layers, their weights {made.float_weight_bytes} -> {made.weight_bytes} bytes, "
        f"both files {made.size_bytes}; proven bit by bit, whole net {made.snr_db:.0f} dB"
    )


if __name__ == "__main__":
    main()
