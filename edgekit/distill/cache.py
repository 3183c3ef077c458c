"""Answers of frozen teachers, kept for samples that come again.

A sample is identified by the hash of its bytes. Samples come again where the data is not augmented, or only
shuffled; then a teacher runs once over the data set instead of once an epoch. If all samples of a batch are
known the teacher is not asked, else it is asked for the whole batch. An answer is only reused in batches of
the same size, because sums are computed in another order otherwise. So a training ends with the same bits as
without the cache.

Nothing has to be configured: after `patience` samples of which none came again, or once memory is full of
such samples, the cache gives up and frees them. It works on the CPU only; elsewhere hashing would wait for
the device.
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
OVERHEAD_BYTES = 400  # of one entry, on top of its tensors

Ask = Callable[[tuple[torch.Tensor, ...]], Any]


class Cache:
    """Called with inputs [N, ...], it answers as `ask` does.

    Args:
        ask: The teachers.
        limit_bytes: How much memory the answers may take.
        patience: Samples after which it gives up if none came again.

    Attributes:
        hits: Samples whose answers were reused.
    """

    def __init__(self, ask: Ask, limit_bytes: int = LIMIT_BYTES, patience: int = PATIENCE) -> None:
        self.ask, self.limit_bytes, self.patience = ask, limit_bytes, patience
        self.hits = self.seen = self.held_bytes = 0
        self.off = False
        self._rows: dict[bytes, list[torch.Tensor]] = {}
        self._spec: Any = None

    def __call__(self, inputs: tuple[torch.Tensor, ...]) -> Any:
        """Returns the teachers' answers to a batch: from memory if all its samples are known, else by asking."""
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
    """The hash of one sample, one tensor for each input, in a batch of `together` samples."""
    found = hashlib.blake2b(str(together).encode(), digest_size=16)
    for part in row:
        found.update(part.contiguous().numpy().tobytes())
    return found.digest()
