"""The user's model, its example inputs, and the program that is exported of it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from edgekit.engine.user_code import describe
from edgekit.errors import ConversionError, EdgekitError, TaskError
from edgekit.quant import prepare, prepare_keras, proven, single_precision, unwrapped
from edgekit.quant.free_arguments import mark
from edgekit.records import FreeAxes
from edgekit.task import MODEL_NAMES, Checkpoint, Task
from edgekit.trace import fixed_sizes, untraced
from edgekit.trace.flat import FlatTask, flattened
from edgekit.trace.forward import called, shapes_of
from edgekit.trace.leaves import example_tensor
from edgekit.trace.sources import (
    keras,
    keras_policy,
    model_names,
    other_precisions,
    state,
    torch_file,
    weights_file,
)


def model_of(task: Task) -> torch.nn.Module:
    """Returns the user's model in eval mode; a Keras model is wrapped with the call of a torch module."""
    model = _given(task)
    if not isinstance(model, torch.nn.Module):
        raise TaskError(
            f"the model of task {task.name!r} is a {type(model).__name__}; it must be a torch.nn.Module or a Keras model"
            f"{keras.other_backend(model)}"
        )
    if keras.is_model(model):
        model = keras.KerasModule(model)
    keras_policy.compute_in_float32(model)
    if not isinstance(model, GraphModule):  # an exported program is in inference mode, and says so by raising
        model = model.eval()
    model = other_precisions.in_float32(model)
    return flattened(model, task.interface) if isinstance(task, FlatTask) else model


def _given(task: Task) -> object:
    """Returns what the task gives as its model: itself, read from a file, found by name, or built."""
    model = task.model
    if isinstance(model, Checkpoint):
        return weights_file.built(model)
    if isinstance(model, str | Path):
        if str(model).partition(":")[0] in MODEL_NAMES:
            return model_names.load(str(model))
        if Path(model).suffix in torch_file.SUFFIXES:
            return torch_file.load(Path(model), _positional(task))
        if Path(model).suffix == ".safetensors":
            raise TaskError(f"{Path(model).name} {torch_file.NEEDS_BUILDER}")
        return keras.load(Path(model))
    if not isinstance(model, torch.nn.Module | ExportedProgram):
        try:
            model = model()
        except EdgekitError:
            raise
        except Exception as error:
            raise TaskError(f"the model function of task {task.name!r} raised {describe(error)}") from error
    if isinstance(model, ExportedProgram):
        return torch_file.of_program(model)
    if isinstance(model, torch.jit.ScriptModule):
        return torch_file.of_script(model, _positional(task))
    return model


def _positional(task: Task) -> list[object]:
    """Returns the example inputs in the order of forward, for what cannot be asked for names."""
    given = task.example_inputs
    return list(given.values()) if isinstance(given, Mapping) else list(given)


def examples_of(task: Task) -> tuple[torch.Tensor, ...]:
    """Returns the example inputs as tensors, floats in float32.

    Raises:
        TaskError: They are not tensors of batch 1.
    """
    if isinstance(task, FlatTask):
        return task.example_inputs
    examples = []
    for i, value in enumerate(task.example_inputs):
        if not isinstance(value, torch.Tensor | np.ndarray):
            raise TaskError(f"example_inputs[{i}] is a {type(value).__name__}; give torch tensors")
        tensor = torch.as_tensor(value)
        if tensor.dim() == 0 or tensor.shape[0] != 1:
            raise TaskError(
                f"example_inputs[{i}] has shape {list(tensor.shape)}; the first dimension is the batch and must be 1"
            )
        examples.append(example_tensor(tensor, f"example_inputs[{i}]"))
    return tuple(examples)


def checked(
    model: torch.nn.Module, examples: tuple[torch.Tensor, ...]
) -> tuple[list[torch.Tensor], tuple[str, ...]]:
    """Runs the model on the examples.

    Returns:
        What forward answers, and doubts about it.

    Raises:
        TaskError: forward keeps a state.
    """
    return state.check(lambda *inputs: _forward(model, inputs), examples, lambda: state.of_module(model))


def _forward(model: torch.nn.Module, examples: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    with called(model, examples):
        outputs = model(*examples)
    found = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    if not all(torch.isfinite(t).all() for t in found if t.is_floating_point()):
        raise TaskError(
            f"the model's forward returned NaN or infinity for example_inputs ({shapes_of(examples)})"
        )
    return found


def program_of(task: Task) -> torch.export.ExportedProgram:
    """Exports the task's model as `trace` does.

    Raises:
        EdgekitError: Whatever `trace` raises for the model.
    """
    examples, model = examples_of(task), model_of(task)
    checked(model, examples)
    return export(model, examples)


def export(model: torch.nn.Module, examples: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """Runs torch.export, then the graph preparation that every target profits from, proven to answer as the model does."""
    return export_with_doubts(model, examples)[0]


def export_with_doubts(
    model: torch.nn.Module, examples: tuple[torch.Tensor, ...], free: FreeAxes | None = None
) -> tuple[torch.export.ExportedProgram, tuple[str, ...]]:
    """Exports a model as `export` does.

    Args:
        model: The model.
        examples: Its example inputs.
        free: The axes that the user leaves free: what is as long as they are is not stored.

    Returns:
        The program, and a sentence for each pass that was undone because it would have changed what it computes.
    """
    before = proven.reference(model, examples)
    try:
        with keras.layers_named(model):
            graph = torch.export.export(model, examples).module()
        prepare.check_norms(graph)
        unwrapped.check_autocast(graph)
        if free is not None:
            mark(graph, free.arguments)
        undone: tuple[str, ...] = ()
        doubts = single_precision.said(single_precision.doubles(graph))
        if keras.has_layers(model):
            keras.note_origins(graph)
            undone = prepare_keras.prepared(graph, before)
        undone += prepare.prepared(graph, before)
        if undone:  # by no pass, it may be
            before.demand(graph, "torch.export")
        exported = _without_checks(torch.export.export(graph, examples))
        fixed_sizes.check(exported)
        _check_dense(exported)
        return exported, (*undone, *doubts)
    except (ConversionError, TaskError):
        raise
    except Exception as error:
        raise untraced.explain(error) from error


def _check_dense(exported: torch.export.ExportedProgram) -> None:
    stored = {**exported.state_dict, **exported.constants}
    name = next(
        (n for n, t in stored.items() if isinstance(t, torch.Tensor) and t.layout is not torch.strided), None
    )
    if name is not None:
        raise TaskError(
            f"the model holds {name} as a sparse tensor ({str(stored[name].layout).removeprefix('torch.')}), and no artifact has them; "
            "store to_dense() of it, and multiply with torch.matmul"
        )


def _without_checks(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Drops checks of types, which the shapes and types of a program's inputs have settled."""
    for node in list(exported.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            exported.graph.erase_node(node)
    exported.graph_module.recompile()
    return exported


def count_weights(exported: torch.export.ExportedProgram) -> int:
    """Counts the numbers that a file cannot do without: the tensors of two or more dimensions that some operator reads."""
    names = exported.graph_signature.inputs_to_parameters
    read = {
        names[n.name] for n in exported.graph.nodes if n.op == "placeholder" and n.name in names and n.users
    }
    return sum(t.numel() for name in read if (t := exported.state_dict[name]).dim() >= 2)
