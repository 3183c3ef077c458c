"""Small networks that hold every construction the quantizer knows, and the way they become a prepared program."""

import torch
from torch import nn
from torch.nn import functional as F

from edgekit.quant.prepare import prepare_graph
from edgekit.records import Quant


class Residual(nn.Module):
    """In-place activations, batch norms, a residual add, pooling, a classifier: a ResNet in small."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8)
        self.deep, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn(self.stem(F.pad(x, [0, 1, 0, 1]))), inplace=True)
        y = self.bn2(self.deep(x))
        y += x
        y = F.max_pool2d(F.relu6(y, inplace=True), 2)
        return self.fc(F.dropout(F.adaptive_avg_pool2d(y, 1).flatten(1), 0.1, self.training))


class Squeeze(nn.Module):
    """Hardswish, SiLU, a squeeze-and-excite gate, a concatenation, a chunk, arithmetic with constants."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down, self.up = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.hardswish(self.stem(x), inplace=True)
        gate = F.hardsigmoid(self.up(F.silu(self.down(F.adaptive_avg_pool2d(x, 1)))))
        left, right = (x * gate).chunk(2, 1)
        return self.last(torch.cat([right, left, x - 0.5], 1))


class Attention(nn.Module):
    """One transformer block: linear layers are quantized, the attention, the norms and the residual sums are not."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.down(F.gelu(self.up(x)))


NETS = {
    "residual": (Residual, (1, 3, 16, 16)),
    "squeeze": (Squeeze, (1, 3, 8, 8)),
    "attention": (Attention, (1, 5, 8)),
}


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network in evaluation mode, its batch norms used to some data, and one input."""
    torch.manual_seed(0)
    kind, shape = NETS[name]
    model = kind()
    with torch.no_grad():
        model.train()(torch.randn(16, *shape[1:]))
    return model.eval(), torch.randn(shape)


def traced(model: nn.Module, *inputs: torch.Tensor) -> torch.export.ExportedProgram:
    """Exported and prepared, as edgekit.trace does it."""
    return torch.export.export(prepare_graph(torch.export.export(model, inputs).module()), inputs)


def quant(
    activation: str = "uint8",
    bits: int = 7,
    granularity: str = "per_channel",
    symmetric: bool = False,
    integer_io: bool = False,
    products: bool = False,
) -> Quant:
    return Quant(
        activation_dtype=activation,
        weight_bits=bits,
        granularity=granularity,
        symmetric_activations=symmetric,
        integer_io=integer_io,
        products=products,
    )


def targets(graph_module: torch.fx.GraphModule) -> list[str]:
    """The operators of a graph, as `relu.default`."""
    return [str(n.target).removeprefix("aten.") for n in graph_module.graph.nodes if n.op == "call_function"]
