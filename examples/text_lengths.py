"""Text of any length through a Hugging Face encoder: the batch and the number of words are chosen with every call.

    edgekit export examples/text_lengths.py:task -t x86-server -t arm-mobile -o out

`Task(dynamic=...)` names the two axes, one name one length wherever it stands; ONNX files have them as symbols, Core ML packages as
ranges, and each is executed at the shortest, the longest and two lengths between. TFLite files have fixed shapes: for them leave
the length as it is, `--set free=false`, and pad.

A BERT of two layers (transformers' own class, built from a configuration and trained here: nothing is downloaded) tells four topics of
the texts that `text.py` makes. The metric asks with batches padded to their own longest text.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from text import LENGTH, PADDING, texts
from torch import nn

import edgekit as ek

BATCH = 25
SHORTEST, TYPICAL = 4, 24  # words


def build(words: int, labels: int) -> nn.Module:
    """A small BERT that answers logits by name, as every classifier of transformers does."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=words, hidden_size=96, num_hidden_layers=2, num_attention_heads=4, intermediate_size=192,
        max_position_embeddings=LENGTH, num_labels=labels, attn_implementation="eager",
    )  # fmt: skip
    return BertForSequenceClassification(config)


def train(steps: int, seed: int) -> nn.Module:
    """Trains a fresh net: AdamW, one cycle of the learning rate."""
    data = texts()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        model = build(len(data.words), data.labels).train()
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
        for _ in range(steps):
            chosen = torch.randint(len(data.classes), (BATCH,))
            ids = data.tokens[chosen]
            logits = model(input_ids=ids, attention_mask=(ids != PADDING).long()).logits
            optimizer.zero_grad()
            F.cross_entropy(logits, data.classes[chosen]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


def batches(tokens: torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
    """Batches by the names of forward, cut to the longest of their texts."""
    for ids in tokens.split(BATCH):
        longest = max(SHORTEST, int((ids != PADDING).sum(1).max()))
        ids = ids[:, :longest].contiguous()
        yield {"input_ids": ids, "attention_mask": (ids != PADDING).long()}


class Texts:
    """Batches of training texts, to calibrate."""

    def __init__(self, free: bool) -> None:
        self.free = free

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        tokens = texts().tokens[:200]
        return (
            batches(tokens)
            if self.free
            else iter([{"input_ids": tokens, "attention_mask": (tokens != PADDING).long()}])
        )


class Accuracy:
    """The share of held-out texts that get their topic; sorted by length, so that batches are of many lengths."""

    def __init__(self, count: int, free: bool) -> None:
        self.count, self.free = count, free

    def __call__(self, predict: Callable[..., Any]) -> float:
        data = texts()
        tokens, classes = data.held_tokens[: self.count], data.held_classes[: self.count]
        order = (tokens != PADDING).sum(1).argsort(stable=True)
        tokens, classes = tokens[order], classes[order]
        whole = [{"input_ids": tokens, "attention_mask": (tokens != PADDING).long()}]
        parts = batches(tokens) if self.free else whole
        said = [
            np.asarray(predict(**{k: v.numpy() for k, v in part.items()})["logits"]).argmax(1)
            for part in parts
        ]
        return float((np.concatenate(said) == classes.numpy()).mean())


def task(steps: int = 250, seed: int = 0, samples: int = 200, free: bool = True) -> ek.Task:
    """The task; `free` lengths, or all texts padded to LENGTH."""
    ids = texts().tokens[:1, : TYPICAL if free else LENGTH]
    axes = {0: "batch", 1: ek.Dim("length", min=SHORTEST, max=LENGTH)}
    return ek.Task(
        name="text-lengths",
        model=partial(train, steps, seed),
        example_inputs={"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        calibration=Texts(free),
        metric=Accuracy(samples, free),
        dynamic={"input_ids": axes, "attention_mask": axes} if free else None,
    )
