"""Small encoders of transformers with random weights: its own classes as they are, nothing is downloaded.

    edgekit export benchmarks/zoo_encoders.py:task --set kind=bert --target all -o out/

What random weights answer is judged by what an artifact keeps of it: one less the relative error.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

import edgekit as ek

SAMPLES = 16
ENCODERS = (
    "bert", "distilbert", "electra", "roberta", "mobilebert", "albert", "vit", "deit", "mobilevit", "segformer",
)  # fmt: skip


class Fidelity:
    """One less the relative error to the float model's own answers."""

    def __init__(self, model: Callable[[], nn.Module], inputs: dict[str, torch.Tensor]) -> None:
        self.model, self.inputs = model, inputs

    def __call__(self, predict: Callable[..., Any]) -> float:
        right = _first(self.model(), self.inputs)
        got = predict(**{name: value.numpy() for name, value in self.inputs.items()})
        answer = np.asarray(
            next(iter(got.values())) if isinstance(got, dict) else getattr(got, "logits", got)
        )
        return float(1 - np.linalg.norm(answer - right) / np.linalg.norm(right))


def _first(model: nn.Module, inputs: dict[str, torch.Tensor]) -> np.ndarray:
    with torch.no_grad():
        found = model(**inputs)
    return np.asarray(next(iter(found.values())).numpy())


def build(kind: str) -> nn.Module:
    """A small net of transformers with random weights: its own classes, nothing is downloaded."""
    import transformers as t

    small = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    text = {"vocab_size": 500, "max_position_embeddings": 64, "num_labels": 6, **small}
    image = {"image_size": 64, "patch_size": 8, "num_labels": 6, **small}
    stages = {
        "hidden_sizes": [16, 32, 64, 96],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 2, 4, 4],
        "decoder_hidden_size": 64,
    }
    makers: dict[str, Callable[[], nn.Module]] = {
        "bert": lambda: t.BertForSequenceClassification(t.BertConfig(**text)),
        "distilbert": lambda: t.DistilBertForSequenceClassification(
            t.DistilBertConfig(
                vocab_size=500,
                max_position_embeddings=64,
                dim=128,
                n_layers=2,
                n_heads=4,
                hidden_dim=256,
                num_labels=6,
            )
        ),
        "electra": lambda: t.ElectraForSequenceClassification(t.ElectraConfig(embedding_size=64, **text)),
        "roberta": lambda: t.RobertaForSequenceClassification(
            t.RobertaConfig(**{**text, "max_position_embeddings": 70})
        ),
        "mobilebert": lambda: t.MobileBertForSequenceClassification(
            t.MobileBertConfig(intra_bottleneck_size=64, embedding_size=64, **text)
        ),
        "albert": lambda: t.AlbertForSequenceClassification(t.AlbertConfig(embedding_size=64, **text)),
        "vit": lambda: t.ViTForImageClassification(t.ViTConfig(**image)),
        "deit": lambda: t.DeiTForImageClassification(t.DeiTConfig(**image)),
        "mobilevit": lambda: t.MobileViTForImageClassification(
            t.MobileViTConfig(image_size=64, num_labels=6)
        ),
        "segformer": lambda: t.SegformerForSemanticSegmentation(t.SegformerConfig(num_labels=6, **stages)),
    }
    torch.manual_seed(0)
    return makers[kind]().eval()


def task(kind: str = "bert") -> ek.Task:
    """The task of one of ENCODERS."""
    if kind not in ENCODERS:
        raise ek.TaskError(f"no encoder {kind!r}; allowed: {', '.join(ENCODERS)}")
    random = torch.Generator().manual_seed(1)
    if ENCODERS.index(kind) < ENCODERS.index("vit"):
        ids = torch.randint(5, 500, (3 * SAMPLES, 32), generator=random)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    else:
        inputs = {"pixel_values": torch.randn(3 * SAMPLES, 3, 64, 64, generator=random)}
    model = partial(build, kind)
    held = {name: value[:SAMPLES] for name, value in inputs.items()}
    seen = {name: value[SAMPLES:] for name, value in inputs.items()}
    return ek.Task(
        name=f"hf-{kind}",
        model=model,
        example_inputs={name: value[:1] for name, value in inputs.items()},
        calibration=[
            {name: value[i : i + 8] for name, value in seen.items()} for i in range(0, 2 * SAMPLES, 8)
        ],
        metric=Fidelity(model, held),
    )
