"""A Core ML package that takes an image: Xcode's class and Vision hand it a CVPixelBuffer, and it normalises by itself.

The factor and the summand of each channel stand in the program, so that any mean and deviation can be said; the scale of
Core ML's own ImageType is one number for all.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.errors import ConversionError
from edgekit.export import _coreml_edit as mil
from edgekit.export._app_layouts import permutation
from edgekit.records import Preprocessing, TensorSpec

GRAYSCALE, RGB, BGR = 10, 20, 30  # ImageFeatureType.ColorSpace


def take(
    package: Path,
    spec: TensorSpec,
    shape: Sequence[int],
    preprocessing: Preprocessing,
    factor: np.ndarray,
    summand: np.ndarray,
) -> None:
    """Rewrites the package in place; its input keeps its name.

    Args:
        package: The .mlpackage.
        spec: The input that it has, float32.
        shape: The same as [1, C, H, W], which is what an image is in Core ML.
        preprocessing: What an app did before it.
        factor: What a pixel is multiplied with, float32 [C] in the model's order of colours.
        summand: What is added then.

    Raises:
        ConversionError: The input is of several samples, or of a size that is not fixed.
    """
    if shape[0] != 1 or spec.free or min(shape) < 1:
        raise ConversionError(f"{spec.name} is {list(spec.shape)}; Core ML takes one image of a fixed size")
    name, inner = spec.name, f"{spec.name}_tensor"
    with mil.edited(package) as (description, function, block):
        (feature,) = (each for each in description.input if each.name == name)
        image = feature.type.imageType
        image.width, image.height = shape[3], shape[2]
        image.colorSpace = GRAYSCALE if shape[1] == 1 else BGR if preprocessing.color_order == "BGR" else RGB
        (value,) = (each for each in function.inputs if each.name == name)
        mil.set_shape(value.type, shape)
        mil.rename_reads(block, name, inner)
        made = [
            mil.constant(f"{inner}_factor", factor.reshape(1, -1, 1, 1)),
            mil.constant(f"{inner}_summand", summand.reshape(1, -1, 1, 1)),
            mil.operation("mul", f"{inner}_scaled", shape, x=name, y=f"{inner}_factor"),
        ]
        last = inner if preprocessing.layout == "NCHW" else f"{inner}_image"
        made.append(mil.operation("add", last, shape, x=f"{inner}_scaled", y=f"{inner}_summand"))
        if last != inner:
            made.append(mil.constant(f"{inner}_perm", permutation("NCHW", "NHWC")))
            made.append(mil.operation("transpose", inner, spec.shape, x=last, perm=f"{inner}_perm"))
        kept = list(block.operations)
        del block.operations[:]
        block.operations.extend([*made, *kept])
