"""A Core ML package that names its answer: the label of the highest score, and the probabilities by label."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import ConversionError
from edgekit.export import _coreml_edit as mil
from edgekit.records import TensorSpec

LABEL, PROBABILITIES = "classLabel", "classLabel_probs"  # as coremltools calls them


def add(package: Path, outputs: Sequence[TensorSpec], classes: Sequence[str]) -> None:
    """Rewrites the package in place; the scores stay an output. What does not end in a softmax gets one.

    Raises:
        ConversionError: No output, or more than one, is of one row with a score for each class.
    """
    fit = [spec for spec in outputs if spec.shape == (1, len(classes)) and spec.dtype == "float32"]
    if len(fit) != 1 or {LABEL, PROBABILITIES} & {spec.name for spec in outputs}:
        given = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in outputs)
        raise ConversionError(
            f"a classifier has one output of [1, {len(classes)}] scores, one for each label; the outputs are {given}"
        )
    with mil.edited(package) as (description, _, block):
        source = fit[0].name
        if not _ends_in_softmax(block, source):
            made = f"{source}_softmax"
            block.operations.append(mil.constant(f"{made}_axis", -1))
            block.operations.append(
                mil.operation("softmax", made, fit[0].shape, x=source, axis=f"{made}_axis")
            )
            source = made
        block.operations.append(mil.classify(source, classes, LABEL, PROBABILITIES))
        block.outputs.extend([LABEL, PROBABILITIES])
        description.output.add(name=LABEL).type.stringType.SetInParent()
        description.output.add(name=PROBABILITIES).type.dictionaryType.stringKeyType.SetInParent()
        description.predictedFeatureName = LABEL
        description.predictedProbabilitiesName = PROBABILITIES


def _ends_in_softmax(block: Any, name: str) -> bool:
    made = {output.name: each for each in block.operations for output in each.outputs}
    while name in made and made[name].type in ("cast", "identity"):
        name = made[name].inputs["x"].arguments[0].name
    return name in made and made[name].type == "softmax"
