"""Writes the packages that the tests read: `python mil_build.py FOLDER GROUP...`, in a process of its own.

A process that imports coremltools must import torch and torchvision first, and shares no memory with the
tests.
"""

from __future__ import annotations

import gc
import sys
import traceback
from pathlib import Path

import numpy as np
import torch
import torchvision

import coremltools as ct  # isort: skip
import coremltools.optimize.coreml as cto  # isort: skip
from coremltools.converters.mil.mil import Builder as mb  # isort: skip

from mil_cases_data import CASES, Case  # isort: skip
from mil_nets import NETS, SLOW_NETS, convnet, overflow_net  # isort: skip


def write_case(case: Case, name: str, path: Path) -> None:
    """The program as it is written here: no pass may rewrite it."""
    target = getattr(ct.target, case.opset)
    keys = list(case.inputs(name))
    specs = [mb.TensorSpec(shape=shape) for shape in case.shapes]
    build = {  # the builder takes the names of the inputs from the signature
        1: lambda x: case.build(mb, x),
        2: lambda x, y: case.build(mb, x, y),
        3: lambda x, y, z: case.build(mb, x, y, z),
    }[len(keys)]
    program = mb.program(input_specs=specs, opset_version=target)(build)
    ct.convert(
        program,
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=target,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    ).save(str(path))


def convert(model: torch.nn.Module, x: torch.Tensor, half: bool, target: str = "iOS17") -> ct.models.MLModel:
    return ct.convert(
        torch.export.export(model, (x,)).run_decompositions({}),
        convert_to="mlprogram",
        inputs=[ct.TensorType(name="x", shape=x.shape, dtype=np.float32)],
        outputs=[ct.TensorType(name="y", dtype=np.float32)],
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        minimum_deployment_target=getattr(ct.target, target),
        skip_model_load=True,
    )


def convert_lstm(model: torch.nn.Module, x: torch.Tensor, half: bool) -> ct.models.MLModel:
    """By TorchScript, which keeps the recurrent layer as one operation."""
    return ct.convert(
        torch.jit.trace(model, x),
        convert_to="mlprogram",
        inputs=[ct.TensorType(name="x", shape=x.shape, dtype=np.float32)],
        outputs=[ct.TensorType(name="y", dtype=np.float32)],
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS17,
        skip_model_load=True,
    )


def write_net(name: str, out: Path, slow: bool = False) -> None:
    net = (SLOW_NETS if slow else NETS)[name]
    torch.manual_seed(0)
    model, x = net.model().eval(), torch.randn(net.shape)
    for half in (False, True):
        converter = convert_lstm if name.startswith("lstm") else convert
        converter(model, x, half).save(str(out / f"{name}_{'float16' if half else 'float32'}.mlpackage"))
    with torch.inference_mode():
        np.savez(out / f"{name}.npz", x=x.numpy(), y=model(x).numpy())


def write_compressed(out: Path) -> None:
    """A small net in every compressed form, each beside what coremltools itself decompresses it to."""
    torch.manual_seed(0)
    model, x = convnet().eval(), torch.randn(1, 3, 16, 16)
    old, new = convert(model, x, True), convert(model, x, True, "iOS18")

    def quantized(**options: object) -> cto.OptimizationConfig:
        return cto.OptimizationConfig(cto.OpLinearQuantizerConfig(weight_threshold=0, **options))

    def palettized(**options: object) -> cto.OptimizationConfig:
        return cto.OptimizationConfig(cto.OpPalettizerConfig(mode="uniform", weight_threshold=0, **options))

    sparse = cto.OptimizationConfig(cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=0))
    pruned = cto.prune_weights(new, sparse)
    models = {
        "int8": cto.linear_quantize_weights(old, quantized()),
        "int8_asymmetric": cto.linear_quantize_weights(old, quantized(mode="linear")),
        "int4_blocks": cto.linear_quantize_weights(
            new, quantized(dtype="int4", granularity="per_block", block_size=4)
        ),
        "table4": cto.palettize_weights(old, palettized(nbits=4)),
        "table6": cto.palettize_weights(new, palettized(nbits=6)),
        "table4_grouped": cto.palettize_weights(
            new, palettized(nbits=4, granularity="per_grouped_channel", group_size=4)
        ),
        "sparse": cto.prune_weights(old, sparse),
        "sparse_ios18": pruned,
        "sparse_table4": cto.palettize_weights(pruned, palettized(nbits=4), joint_compression=True),
    }
    for name, compressed in models.items():
        compressed.save(str(out / f"{name}.mlpackage"))
        cto.decompress_weights(compressed).save(str(out / f"{name}_dense.mlpackage"))


def write_flexible(out: Path) -> None:
    """A batch of 1 to 8: the program computes shapes while it runs."""
    torch.manual_seed(0)
    model, x = NETS["convnet"].model().eval(), torch.randn(3, 3, 16, 16)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=8)},))
    ct.convert(
        exported.run_decompositions({}),
        convert_to="mlprogram",
        inputs=[ct.TensorType(name="x", shape=(ct.RangeDim(1, 8, 1), 3, 16, 16), dtype=np.float32)],
        outputs=[ct.TensorType(name="y", dtype=np.float32)],
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS17,
        skip_model_load=True,
    ).save(str(out / "flexible.mlpackage"))
    with torch.inference_mode():
        np.savez(out / "flexible.npz", x=x.numpy(), y=model(x).numpy())


def write_overflow(out: Path) -> None:
    torch.manual_seed(0)
    model, x = overflow_net().eval(), torch.randn(1, 3, 12, 12)
    for half in (False, True):
        convert(model, x, half).save(str(out / f"overflow_{'float16' if half else 'float32'}.mlpackage"))
    np.savez(out / "overflow.npz", x=x.numpy(), y=model(x).detach().numpy())


def main(out: Path, group: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    gc.freeze()  # ct.convert collects garbage: 0.35 s each time over all that the imports made
    if group == "slow":
        for name in SLOW_NETS:
            write_net(name, out, slow=True)
        return
    failed = 0
    for name, case in CASES.items():
        try:
            write_case(case, name, out / f"{name}.mlpackage")
        except Exception:
            failed += 1
            print(f"--- {name}", file=sys.stderr)
            traceback.print_exc()
    for name in NETS:
        write_net(name, out)
    write_compressed(out)
    write_flexible(out)
    write_overflow(out)
    print(f"torchvision {torchvision.__version__}, {failed} cases failed")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
