"""From which width on is a GRU faster in integers, in ONNX Runtime? The dynamic file against the float file, in turns, on one thread.

    python benchmarks/gru_integers.py            # hidden widths 256, 320, 512; 50 steps, one sample, free batch

Weights are random: time does not depend on them. The ratio is of CPU time, the median over rounds with its lower and upper decile.
"""

import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from edgekit.engine.specs import Context
from edgekit.export import onnx as exporter
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.quant import rules
from edgekit.quant.prepare import prepare_graph
from edgekit.records import Candidate, Recipe
from edgekit.techniques import dynamic

WIDTHS = (256, 320, 512)
STEPS, ROUNDS = 50, 40


class Cell(nn.Module):
    """[1, STEPS, width] -> [1, width], the last state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell = nn.GRU(width, width, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cell(x)[0][:, -1]


def files(width: int, folder: Path) -> list[Path]:
    """Writes the float file and the dynamic one."""
    torch.manual_seed(0)
    x = torch.zeros(1, STEPS, width)
    graph = prepare_graph(torch.export.export(Cell(width).eval(), (x,)).module())
    programs.save(torch.export.export(graph, (x,)), folder / "cell.pt2")
    target = load_target("x86-server")
    plain = Candidate(
        program=str(folder / "cell.pt2"), recipe=Recipe(name="t", precision="float32", steps=())
    )
    integers = msgspec.structs.replace(
        plain, recipe=Recipe(name="t", precision="int8", steps=()), quant=target.quant_for(target.default_isa)
    )
    rules.INTEGER_GRU_HIDDEN = 1  # the narrow ones too: this is the question
    integers = dynamic.apply(integers, None, dynamic.Options(), Context(work=str(folder), target=target))  # type: ignore[arg-type]
    made = {"float.onnx": plain, "int8.onnx": integers}
    return [Path(exporter.export(c, target, folder / name).path) for name, c in made.items()]


def cpu_s(session: ort.InferenceSession, x: np.ndarray) -> float:
    start = time.thread_time()
    session.run(None, {session.get_inputs()[0].name: x})
    return time.thread_time() - start


def main() -> None:
    """Prints a line for each width."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    for width in WIDTHS:
        with tempfile.TemporaryDirectory() as folder:
            paths = files(width, Path(folder))
            pair = [ort.InferenceSession(str(path), options) for path in paths]
            sizes = [path.stat().st_size for path in paths]
        x = np.random.default_rng(0).standard_normal((1, STEPS, width)).astype(np.float32)
        times = np.array([[cpu_s(session, x) for session in pair] for _ in range(ROUNDS + 5)])[5:]
        ratio = np.quantile(times[:, 1] / times[:, 0], (0.1, 0.5, 0.9))
        answers = [session.run(None, {session.get_inputs()[0].name: x})[0] for session in pair]
        snr_db = 10 * np.log10((answers[0] ** 2).sum() / ((answers[1] - answers[0]) ** 2).sum())
        print(
            f"hidden {width}: {ratio[1]:.2f} of float's CPU time [{ratio[0]:.2f}, {ratio[2]:.2f}], n={ROUNDS}; "
            f"size {sizes[1] / sizes[0]:.2f}; SNR {snr_db:.1f} dB"
        )


if __name__ == "__main__":
    main()
