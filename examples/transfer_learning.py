"""Transfer learning, end to end: a backbone learns some classes, is frozen, gets a new head for others, and ships.

    edgekit export examples/transfer_learning.py:task --target tflite-int8 -o out/
    edgekit export examples/transfer_learning.py:task --set data=cifar10_train20k.npz --set model=resnet18 ...

1. Pre-train the net on the classes 0 to 4. (With weights of your own, start at 2.)
2. Replace the last layer by one for the classes 5 to 9, freeze all others with their batch-norm statistics, train it.
3. Fine-tune: thaw the last stage, at a tenth of the learning rate; batch norms stay frozen, because their statistics
   over small batches of new data would undo what the backbone knows.
4. The task takes the result to quantization and export like any other module.

Data: scikit-learn's bundled digits, enlarged to 32 x 32, and torchvision's MobileNetV2 with three stages. Or `data`: an
.npz of JPEG images (`jpeg` all files end to end, `offset` [n + 1], `label` [n]; classes 0 to 9), and any torchvision
classifier by name. A sixth of the images is held out for the metric, and no training step sees them.

The net is trained once, where edgekit traces it, with fixed seeds: under a minute on digits. `scratch=true` leaves
step 1 out and trains everything on the new classes: what the transfer is worth, with the same number of images.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from sklearn.datasets import load_digits
from torch import nn

import edgekit as ek

OLD, NEW = range(5), range(5, 10)
STAGES = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 40, 2, 2]]  # expansion, channels, repeats, stride
BATCH = 32
MEAN, STD = 0.5, 0.5
CALIBRATION_BATCHES = 4


@cache
def load(data: str, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All images as [N, 3, size, size], normalised, and their labels 0 to 9, in a fixed shuffled order."""
    if data:
        images, labels = _read_npz(Path(data), size)
    else:
        pixels, found = load_digits(return_X_y=True)
        images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8).expand(-1, 3, -1, -1) / 16
        images, labels = _resized(images, size), torch.tensor(found)
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)))
    return (images[order] - MEAN) / STD, labels[order].long()


def _read_npz(path: Path, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    if not path.is_file():
        raise ek.TaskError(f"data {path} does not exist; give an .npz with jpeg, offset and label")
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in ("jpeg", "offset", "label") if name not in file.files]
        if missing:
            raise ek.TaskError(f"data {path} lacks {', '.join(missing)}; it holds {', '.join(file.files)}")
        jpeg, offset, labels = (file[name] for name in ("jpeg", "offset", "label"))
    encoded = (torch.from_numpy(jpeg[a:b].copy()) for a, b in pairwise(offset))
    images = [torchvision.io.decode_jpeg(one, torchvision.io.ImageReadMode.RGB) for one in encoded]
    return _resized(torch.stack(images).float() / 255, size), torch.from_numpy(labels)


def _resized(images: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False)


class Part:
    """Re-iterable batches of the images of some classes: those for training, or the sixth that is held out."""

    def __init__(
        self, data: str, size: int, classes: range, *, held_out: bool, labelled: bool = True
    ) -> None:
        self.data, self.size, self.classes = data, size, classes
        self.held_out, self.labelled = held_out, labelled

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = load(self.data, self.size)
        first_held_out = len(labels) - len(labels) // 6
        place = torch.arange(len(labels)) >= first_held_out
        chosen = (place == self.held_out) & (labels >= self.classes.start) & (labels < self.classes.stop)
        return images[chosen], labels[chosen] - self.classes.start

    def __iter__(self) -> Iterator[torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        images, labels = self.tensors()
        if self.labelled:
            yield from zip(images.split(BATCH), labels.split(BATCH), strict=True)
        else:
            yield from images.split(BATCH)[:CALIBRATION_BATCHES]


class Top1:
    """Share of held-out images of the new classes that are named right."""

    def __init__(self, part: Part) -> None:
        self.part = part

    def __call__(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        pairs = [(np.asarray(predict(x.numpy())).argmax(1) == y.numpy()) for x, y in self.part]
        return float(np.concatenate(pairs).mean())


def new_net(model: str, classes: int) -> nn.Module:
    if model:
        return torchvision.models.get_model(model, weights=None, num_classes=classes)
    return torchvision.models.MobileNetV2(num_classes=classes, inverted_residual_setting=STAGES, dropout=0.1)


def replace_head(net: nn.Module, classes: int) -> str:
    """A fresh last linear layer; returns its name."""
    name = [n for n, module in net.named_modules() if isinstance(module, nn.Linear)][-1]
    old = net.get_submodule(name)
    assert isinstance(old, nn.Linear)
    net.set_submodule(name, nn.Linear(old.in_features, classes))
    return name


def train(net: nn.Module, part: Part, epochs: int, rate: float, names: tuple[str, ...] = ("",)) -> None:
    """Trains the parameters below `names`; with any named, batch norms keep their statistics."""
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name.startswith(names))
    chosen = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr=rate, weight_decay=1e-2)
    images, labels = part.tensors()
    steps = epochs * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    net.train(names == ("",))
    for _ in range(epochs):
        for index in torch.randperm(len(labels)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(net(images[index]), labels[index], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
    net.requires_grad_(True).eval()


def build(data: str, size: int, model: str, seed: int, epochs: int, scratch: bool) -> nn.Module:
    """The net for the new classes, trained now."""
    new = Part(data, size, NEW, held_out=False)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        if scratch:
            net = new_net(model, len(NEW))
            train(net, new, epochs, 5e-3)
            return net
        net = new_net(model, len(OLD))
        train(net, Part(data, size, OLD, held_out=False), epochs, 5e-3)
        head = replace_head(net, len(NEW))
        train(net, new, max(1, epochs // 2), 5e-3, (head,))
        train(net, new, max(1, epochs // 2), 5e-4, (head, _last_stage(net, head)))
    return net


def _last_stage(net: nn.Module, head: str) -> str:
    """The name of the last part with weights before the head: "features.6" of a MobileNet, "layer4" of a ResNet."""
    names = [n for n, _ in net.named_parameters() if not n.startswith(head)]
    first, _, rest = names[-1].partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first == "features" else first


def task(
    data: str = "", model: str = "", size: int = 32, seed: int = 0, epochs: int = 6, scratch: bool = False
) -> ek.Task:
    """The task of the new classes. model: a torchvision classifier in place of the small MobileNetV2."""
    names = torchvision.models.list_models(module=torchvision.models)
    if model and model not in names:
        raise ek.TaskError(f"torchvision has no classifier {model!r}; allowed: {', '.join(names)}")
    if size < 32 or epochs < 1:
        raise ek.TaskError(f"size={size}, epochs={epochs}; size must be at least 32, epochs at least 1")
    training = Part(data, size, NEW, held_out=False)
    return ek.Task(
        name="transfer-learning",
        model=partial(build, data, size, model, seed, epochs, scratch),
        example_inputs=(torch.zeros(1, 3, size, size),),
        calibration=Part(data, size, NEW, held_out=False, labelled=False),
        metric=Top1(Part(data, size, NEW, held_out=True)),
        training=ek.Training(batches=training, loss=F.cross_entropy),
        preprocessing=ek.Preprocessing(
            mean=(MEAN,), std=(STD,), layout="NCHW", labels=tuple(str(c) for c in NEW)
        ),
    )
