"""Small nets of every build that pruning must know, with random weights."""

import torch
from torch import nn
from torch.nn import functional as F


def conv(inputs: int, outputs: int, kernel: int = 3, groups: int = 1, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Plain(nn.Module):
    """Convolutions in a row, flattened into two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(1, 16), conv(16, 32, stride=2)
        self.c, self.head = nn.Linear(32 * 16, 24), nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.c(torch.flatten(self.b(self.a(x)), 1))))


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, padded: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.stride, self.more = stride, outputs - inputs
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if self.more and not padded else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.short is not None:
            x = self.short(x)
        elif self.more:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], [0, 0, 0, 0, self.more // 2, self.more // 2])
        return F.relu(y + x)


class Residual(nn.Module):
    """padded: shortcuts of option A of He et al., which make channels of zeros."""

    def __init__(self, padded: bool = False, width: int = 16) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(Block(width, width, 1, padded), Block(width, width, 1, padded))
        self.layer2 = nn.Sequential(
            Block(width, 2 * width, 2, padded), Block(2 * width, 2 * width, 1, padded)
        )
        self.linear = nn.Linear(2 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 8, 1), nn.Conv2d(8, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class Mobile(nn.Module):
    """Inverted residuals: wide, depthwise, gated, narrow."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(1, 16)
        self.wide, self.deep, self.gate = conv(16, 48, 1), conv(48, 48, 3, groups=48), Gate(48)
        self.narrow, self.norm = nn.Conv2d(48, 16, 1, bias=False), nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.norm(self.narrow(self.gate(self.deep(self.wide(x)))))
        return self.head(x.mean((2, 3)))


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(1, 32), conv(32, 32, 3, groups=4), conv(32, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.c(self.b(self.a(x))).mean((2, 3)))


class Joined(nn.Module):
    """Two branches of other widths, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = conv(1, 16), conv(16, 24), conv(16, 16, 1)
        self.after, self.head = conv(40, 32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(self.after(torch.cat([self.left(x), self.right(x)], 1)).mean((2, 3)))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.attention = (
            nn.LayerNorm(width),
            nn.MultiheadAttention(width, heads, batch_first=True),
        )
        self.second = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.second(x))


class Transformer(nn.Module):
    """Patches, a token for the class, positions, two layers; it wrote its width down, as torchvision's does."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.hidden_dim = width
        self.patch = nn.Conv2d(1, width, 2, 2)
        self.token, self.place = (
            nn.Parameter(torch.randn(1, 1, width)),
            nn.Parameter(torch.randn(1, 17, width)),
        )
        self.layers = nn.Sequential(Layer(width, heads), Layer(width, heads))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[0]
        x = self.patch(x).reshape(n, self.hidden_dim, 16).permute(0, 2, 1)
        x = torch.cat([self.token.expand(n, -1, -1), x], 1) + self.place
        return self.head(self.norm(self.layers(x))[:, 0])


def made(kind: type[nn.Module], **given: object) -> nn.Module:
    """With statistics and scales of norms that are not those of the start."""
    torch.manual_seed(0)
    net = kind(**given)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


class Generator(nn.Module):
    """A linear layer whose outputs a view makes maps of, for transposed convolutions (Torch-Pruning#125)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.first, self.one = nn.Linear(32, 48 * 16), nn.ConvTranspose2d(48, 32, 4, 2, 1)
        self.norm, self.two = nn.BatchNorm2d(32), nn.ConvTranspose2d(32, 16, 4, 2, 1, groups=groups)
        self.last = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x)).view(-1, self.one.in_channels, 4, 4)
        return self.last(torch.relu(self.two(torch.relu(self.norm(self.one(y))))))
