"""What litert-torch says when it fails, in one sentence, without the program that it prints."""

import re

import torch
from quant_nets import traced
from torch import nn

from edgekit.export._tflite_errors import explain, unloadable

MLIR = """Failed to run converter passes: <eval_with_key>.193:28:0: error: failed to legalize operation 'mhlo.convolution' that
was explicitly marked illegal: %76 = "mhlo.convolution"(%71, %75) <{batch_group_count = 1 : i64}> : (tensor<1x4x4xf32>)
/home/me/net.py:12:0: note: see current operation: %75"""
ROUND = torch.ops.quantized_decomposed.quantize_per_tensor.default  # which no user calls
SORT = "Didn't find op for builtin opcode 'STABLEHLO_SORT' version '1'. Are you using an old TFLite binary?"


class Sorted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sort(-1).values


PROGRAM = traced(nn.Sequential(Sorted()), torch.randn(1, 4))


def test_the_converters_own_program_is_not_quoted() -> None:
    said = str(explain(ValueError(MLIR), PROGRAM))
    assert said.startswith("litert-torch cannot express mhlo.convolution: TFLite has no operator for it")
    assert not any(sign in said for sign in ("%", "tensor<", "batch_group_count"))


def test_an_operator_in_half_precision_is_told_by_its_type() -> None:
    said = str(explain(ValueError(MLIR.replace("1x4x4xf32", "1x4x4xf16")), PROGRAM))
    assert "mhlo.convolution: TFLite has no operator for it in float16: compute in float32 there" in said


def test_an_empty_message_is_a_sentence() -> None:
    said = str(explain(ValueError("Failed to export flatbuffer: "), PROGRAM))
    assert said.startswith(
        "litert-torch cannot convert the model: TFLite has no operator for it in this form."
    )


def test_a_missing_kernel_is_said_in_torchs_word_with_the_module() -> None:
    said = str(unloadable(SORT, PROGRAM))
    assert said.startswith("TFLite has no kernel for sort from 0 (Sorted), written as STABLEHLO_SORT.")


def test_what_it_has_no_form_of_is_told_without_its_own_words() -> None:
    program = traced(nn.Sequential(nn.Linear(4, 4)), torch.zeros(1, 4))
    said = str(explain(RuntimeError("Lowering not found: aten.linear.default"), program))
    assert said.startswith("litert-torch cannot express aten.linear.default from 0 (Linear), called at ")
    assert ": it has no form of it. Replace" in said
    error = TypeError(
        "_aten_sub_tensor() got an unexpected keyword argument 'alpha'\ntarget=torch.ops.aten.sub.Tensor"
    )
    assert "aten.sub.Tensor: not with the argument alpha." in str(explain(error, program))


def test_a_source_line_alone_is_told_with_the_operators_that_it_calls() -> None:
    class Best(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return ROUND(x.sort(-1)[0], 1.0, 0, -128, 127, torch.int8).cumsum(-1)

    program = traced(Best(), torch.zeros(1, 4))
    (node,) = (node for node in program.graph.nodes if "cumsum" in str(node.target))
    line = re.findall(r"line (\d+), in forward", node.meta["stack_trace"])[-1]
    what = "litert-torch cannot express sort or cumsum from the model itself (Best)"
    said = str(explain(RuntimeError(f"{__file__}:{line}:0: error: failed to legalize"), program))
    assert said.startswith(f"{what}, called at {__file__}:{line}: ")
    said = str(
        explain(RuntimeError(f"{__file__}:{line}:0: error: 'tfl.equal' op failed to legalize"), program)
    )
    assert said.startswith(f"{what}, written as tfl.equal, called at {__file__}:{line}: ")


def test_an_operator_of_tensorflow_is_told_in_torchs_words() -> None:
    program = traced(nn.Sequential(nn.Conv3d(1, 2, 3)), torch.zeros(1, 1, 4, 4, 4))
    said = str(
        explain(RuntimeError("error: 'tf.Conv3D' op is neither a custom op nor a flex op\nlegalize"), program)
    )
    assert "cannot express conv3d from 0 (Conv3d), written as tf.Conv3D: TFLite has no operator" in said


def test_a_mask_as_an_index_is_told_as_such() -> None:
    program = traced(nn.Sequential(nn.Linear(4, 4)), torch.zeros(1, 4))
    text = "Array boolean indices must be concrete; got bool[1,10]\nSee https://docs.jax.dev\ntarget=torch.ops.aten.index.Tensor"
    said = str(explain(IndexError(text), program))
    assert "aten.index.Tensor: its result is as long as values say, and TFLite files have fixed sizes" in said
