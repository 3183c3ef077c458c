"""ONNX Runtime's own file format and the list of operators that a build for one app needs, by ONNX Runtime's own tool.

A minimal build of ONNX Runtime for mobile reads .ort files alone and holds only the operators and types of such a list. The file
is optimized for ARM beforehand, so that it holds what ARM's kernels run.
"""

import shutil
from pathlib import Path

from edgekit_runner.artifact import describe

from edgekit.engine.specs import OrtFiles, OrtSpec
from edgekit.errors import ConversionError

OPERATORS = "model.required_operators_and_types.config"


def convert(spec: OrtSpec) -> OrtFiles:
    """Writes model.ort and the list of operators into the folder of the stage.

    Raises:
        ConversionError: The tool refuses the file.
    """
    from onnxruntime.tools import convert_onnx_models_to_ort as tool

    folder = Path(spec.folder)
    source = folder / "model.onnx"
    shutil.copyfile(spec.path, source)
    try:
        tool.convert_onnx_models_to_ort(
            source,
            optimization_styles=[tool.OptimizationStyle.Fixed],
            target_platform="arm",
            enable_type_reduction=True,
        )
    except Exception as error:  # the tool raises what it likes
        raise ConversionError(f"ONNX Runtime's tool makes no .ort file of {spec.path}: {error}") from error
    source.unlink()
    file, operators = folder / "model.ort", folder / OPERATORS
    if not file.is_file() or not operators.is_file():
        raise ConversionError(f"ONNX Runtime's tool made no .ort file of {spec.path}; its log says why")
    _without_place(operators, folder)
    found = describe(file, "onnx")
    return OrtFiles(
        path=str(file), operators=str(operators), sha256=found.sha256, size_bytes=found.size_bytes
    )


def _without_place(operators: Path, folder: Path) -> None:
    """The list names the file that it was made of, not where that lay."""
    text = operators.read_text(encoding="utf-8")
    operators.write_text(text.replace(f"{folder.resolve()}/", ""), encoding="utf-8")
