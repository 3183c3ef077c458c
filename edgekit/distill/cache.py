"""Answers of frozen teachers, kept for samples that come again.

A sample is known by the hash of its bytes. It comes again where the data is not augmented, or only shuffled; then a teacher is asked once
an epoch's worth and not in each epoch. Where a whole batch is known the teacher is not asked; else it is, for the whole batch. An answer
counts for batches of the same size alone: a batch of one is summed in another order. So a training ends with the same bits as without.

Nothing has to be told beforehand: after `patience` samples of which none came again, or with the memory full of them, it gives up and
frees them. On the CPU alone: elsewhere hashing would wait for the device.
"""

import hashlib
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

log = logging.getLogger("edgekit")

LIMIT_BYTES = 256_000_000
PATIENCE = 100_000
OVERHEAD_BYTES = 400  # of one entry, besides its numbers

Ask = Callable[[tuple[torch.Tensor, ...]], Any]


class Cache:
    """Called with inputs [N, ...] it answers as `ask` does. hits: samples that were not asked again."""

    def __init__(self, ask: Ask, limit_bytes: int = LIMIT_BYTES, patience: int = PATIENCE) -> None:
        self.ask, self.limit_bytes, self.patience = ask, limit_bytes, patience
        self.hits = self.seen = self.held_bytes = 0
        self.off = False
        self._rows: dict[bytes, list[torch.Tensor]] = {}
        self._spec: Any = None

    def __call__(self, inputs: tuple[torch.Tensor, ...]) -> Any:
        if self.off or inputs[0].device.type != "cpu":
            return self.ask(inputs)
        keys = [_digest(len(inputs[0]), row) for row in zip(*inputs, strict=True)]
        self.seen += len(keys)
        if all(key in self._rows for key in keys):
            self.hits += len(keys)
            columns = zip(*(self._rows[key] for key in keys), strict=True)
            return pytree.tree_unflatten([torch.stack(column) for column in columns], self._spec)
        answers = self.ask(inputs)
        self._keep(keys, answers)
        return answers

    def _keep(self, keys: list[bytes], answers: Any) -> None:
        known = sum(key in self._rows for key in keys)
        leaves, self._spec = pytree.tree_flatten(answers)
        for i, key in enumerate(keys):
            if key not in self._rows and self.held_bytes < self.limit_bytes:
                self._rows[key] = [leaf[i].clone() for leaf in leaves]
                self.held_bytes += OVERHEAD_BYTES + sum(leaf[i].nbytes for leaf in leaves)
        full = self.held_bytes >= self.limit_bytes or self.seen >= self.patience
        if full and not self.hits and not known:
            self.off, self.held_bytes = True, 0
            self._rows.clear()
            log.info("distillation: none of %d samples came again; answers are not kept", self.seen)


def _digest(together: int, row: tuple[torch.Tensor, ...]) -> bytes:
    """Of one sample, each input's part of it, in a batch of `together`."""
    found = hashlib.blake2b(str(together).encode(), digest_size=16)
    for part in row:
        found.update(part.contiguous().numpy().tobytes())
    return found.digest()
