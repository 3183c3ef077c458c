"""Masked tokens (Devlin et al. 2019, arXiv:1810.04805): words are taken out of a text, and a network learns to say which they were.

Of the tokens that are chosen 80 % become the mask, 10 % another word and 10 % stay, so that every token's vector has to know its
word. Only chosen ones count, and only they go through the head, which is most of the arithmetic where there are many words.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from edgekit.distill.taps import Tapped, graph_of
from edgekit.distill.tokens import Tokens
from edgekit.errors import TaskError, UserError
from edgekit.quant import tensors
from edgekit.task import Training
from edgekit.train import data

MASKED, OTHER = 0.8, 0.1  # shares of the chosen tokens, in training
_LEFT = -100  # the target of a token that was not chosen

Labels = tuple[torch.Tensor, torch.Tensor]


class Corruption:
    """Chooses tokens and replaces them.

    Args:
        words: How many numbers the embedding knows.
        share: The share of the real tokens that is chosen.
        padding: The number of padding, which is never chosen; -1 for none.
        mask: The number that stands for a word taken out; where a text itself has it, nothing is known and it is not chosen.
        masked: The share of the chosen tokens that become the mask.
        other: The share of them that become another word.

    Raises:
        UserError: A number is not one of the embedding's.
    """

    def __init__(
        self,
        words: int,
        share: float,
        padding: int,
        mask: int,
        masked: float = MASKED,
        other: float = OTHER,
    ) -> None:
        for name, number in (("padding", padding), ("mask_token", mask)):
            if number >= words:
                raise UserError(
                    f"{name} is {number}, and the embedding has {words} words; allowed are 0 to {words - 1}"
                )
        if mask == padding:
            raise UserError(
                f"mask_token and padding are both {mask}; padding is left out, so give mask_token another number"
            )
        self.share, self.padding, self.mask = share, padding, mask
        self.masked, self.replaced = masked, masked + other
        self._others = torch.tensor([number for number in range(words) if number not in (padding, mask)])

    def __call__(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the tokens [N, L] with some replaced, and which were chosen."""
        real = (tokens != self.padding) & (tokens != self.mask)
        chosen = real & (torch.rand(tokens.shape) < self.share)
        drawn = torch.rand(tokens.shape)
        other = self._others[torch.randint(len(self._others), tokens.shape)].to(tokens.dtype)
        kept = torch.where(drawn < self.replaced, other, tokens)
        replaced = torch.where(drawn < self.masked, torch.full_like(tokens, self.mask), kept)
        return torch.where(chosen, replaced, tokens), chosen


class MaskedTexts:
    """Batches ((inputs, chosen), (targets, weight of each row)) of a task's texts, without their labels.

    Those that the task has unlabelled are taken, where it has any. The weights make the mean over rows that of the chosen
    tokens, also where processes have a part of the rows each.

    Args:
        training: The task's own.
        tokens: The input whose words are taken out.
        corrupt: What takes them out.

    Raises:
        TaskError: The batches are an iterator, which can be read only once.
    """

    def __init__(self, training: Training, tokens: Tokens, corrupt: Corruption) -> None:
        self._labelled = training.unlabelled is None
        self._batches: Iterable[Any] = (
            training.batches if training.unlabelled is None else training.unlabelled
        )
        data.check_again(self._batches, "batches" if self._labelled else "unlabelled")
        self._tokens, self._corrupt = tokens, corrupt

    def __iter__(self) -> Iterator[tuple[tuple[torch.Tensor, ...], Labels]]:
        for number, batch in enumerate(self._batches):
            inputs, _, rows = data.pair(batch if self._labelled else (batch, None), number)
            whole = self._texts(inputs, number)
            masked, chosen = self._corrupt(whole)
            targets = torch.where(chosen, whole, _LEFT).long()
            weight = rows / chosen.sum().clamp(min=1)
            place = self._tokens.number
            yield (*inputs[:place], masked, *inputs[place + 1 :], chosen), (targets, weight.expand(rows))

    def _texts(self, inputs: Sequence[torch.Tensor], number: int) -> torch.Tensor:
        place, length, words = self._tokens.number, self._tokens.length, self._tokens.words
        if len(inputs) > place and inputs[place].dim() == 2 and inputs[place].shape[1] == length:
            least, most = (int(found) for found in inputs[place].aminmax())
            if least >= 0 and most < words:
                return inputs[place]
            raise TaskError(
                f"training batch {number} has words {least} to {most}; the embedding of {self._tokens.name} knows 0 to {words - 1}"
            )
        given = ", ".join(str(list(each.shape)) for each in inputs)
        raise TaskError(
            f"training batch {number} has inputs of {given}; input {place}, {self._tokens.name}, is tokens [N, {length}]"
        )


def loss(logits: torch.Tensor, labels: Labels) -> torch.Tensor:
    """Returns the mean cross entropy of the chosen tokens.

    Args:
        logits: Those of the chosen tokens, [chosen, words].
        labels: The targets [N, L] and the weight of each row.
    """
    targets, weights = labels
    chosen = targets != _LEFT
    each = F.cross_entropy(logits.float(), targets[chosen], reduction="none")
    return (each * weights[chosen.nonzero()[:, 0]]).sum() / len(targets)


class Predictor(nn.Module):
    """A student with a head that says which words were taken out; only the student is kept.

    The head compares a token's vector with every row of the student's own embedding (Press & Wolf 2017, arXiv:1608.05859),
    through a projection where the widths differ. The rows of padding and of the mask are never an answer, so that padding
    stays what the student knows as nothing.

    Args:
        student: The student, tapped at the tensor of tokens.
        tokens: Its embedding.
        never: The numbers of padding and of the mask; -1 is none.
        counts: How often each word was seen in some texts. The head starts from these frequencies: a bias moves by the learning rate
            in a step at most, and would take thousands to find them.
        seed: The seed of the projection.
    """

    def __init__(
        self, student: Tapped, tokens: Tokens, never: Sequence[int], counts: torch.Tensor, seed: int
    ) -> None:
        super().__init__()
        words, width, channels = tokens.words, tokens.width, student.shapes[0][-1]
        self.student, self._path = student, tokens.table
        self.bias = nn.Parameter(((counts + 1) / (counts + 1.0).mean()).log())
        with torch.random.fork_rng(devices=()):
            data.seed_step(seed, 0, 0)
            self.project = nn.Identity() if channels == width else nn.Linear(channels, width, bias=False)
        barred = torch.zeros(words)
        barred[[number for number in never if number >= 0]] = -torch.inf
        self.register_buffer("barred", barred)
        self._scale = float(words**0.5 / self._table().detach().norm())

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        """Returns logits [chosen, words] for the inputs of the student and, last, which tokens are chosen [N, L]."""
        *inputs, chosen = given
        _, (states,) = self.student(*inputs)
        vectors = self.project(states[chosen]) * self._scale
        return F.linear(vectors, self._table(), self.bias + self.barred)

    def _table(self) -> torch.Tensor:
        """The student's own tensor, which trains there."""
        return tensors.held(graph_of(self.student.graph), self._path)


@torch.no_grad()
def right(model: nn.Module, batches: Iterable[data.Batch]) -> float:
    """Returns the share of the chosen tokens that a model in eval mode names."""
    hits = chosen = 0
    for batch in batches:
        targets = batch.labels[0]
        wanted = targets[targets != _LEFT]
        hits += int((model(*batch.inputs).argmax(1) == wanted).sum())
        chosen += len(wanted)
    return hits / max(1, chosen)


def counted(batches: Iterable[data.Batch], words: int) -> torch.Tensor:
    """Returns how often each word was chosen."""
    targets = torch.cat([batch.labels[0].flatten() for batch in batches])
    return targets[targets != _LEFT].bincount(minlength=words)
