"""Text classification: an LSTM, a GRU and a small transformer, the kinds of sequence model, on tokens.

    edgekit export examples/text.py:lstm -t x86-server -t tflite-int8 -o out
    python examples/text.py --train transformer --csv ag_news.csv --out news.safetensors
    edgekit export examples/text.py:transformer --set csv=ag_news.csv --set weights=news.safetensors -t all -o out

Data: without `csv`, 1,600 texts of four topics that this file makes itself, 400 of them held out. `csv` is a file as AG News
comes: class from 1, title, text, without a head; a fixed shuffle holds out one text of six for the metric.

A text becomes the 48 first of its words as numbers, [N, 48] int64: 0 is padding, 1 a word that the training texts do not have
(or too seldom). The nets leave padding out of their mean, and the transformer out of its attention too.

Without `weights` the net is trained when the task is loaded: seconds on the made texts, a few minutes on AG News.
"""

import argparse
import csv as csv_files
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import edgekit as ek

LENGTH = 48
WIDTH = 128
GRU_WIDTH = 384  # narrow ones are not faster in integers
MAX_WORDS = 8000
MIN_COUNT = 2
PADDING, UNKNOWN = 0, 1
CALIBRATION_TEXTS = 100
BATCH = 32
MADE_TEXTS, TOPICS, TOPIC_WORDS, COMMON_WORDS = 1600, 4, 60, 300
EPOCHS = {"made": 3, "csv": 6}


def _masked_mean(states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The mean over the words of [N, LENGTH, C], padding left out."""
    real = (tokens != PADDING).to(states.dtype).unsqueeze(-1)
    return (states * real).sum(1) / real.sum(1).clamp(min=1)


class LSTM(nn.Module):
    """[N, 48] tokens -> [N, classes] logits."""

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, WIDTH, padding_idx=PADDING)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(self.embedding(tokens))
        return self.head(_masked_mean(states, tokens))


class GRU(nn.Module):
    """The same with a wide GRU."""

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, WIDTH, padding_idx=PADDING)
        self.gru = nn.GRU(WIDTH, GRU_WIDTH, batch_first=True)
        self.head = nn.Linear(GRU_WIDTH, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, _ = self.gru(self.embedding(tokens))
        return self.head(_masked_mean(states, tokens))


class Transformer(nn.Module):
    """The same with two encoder layers of four heads."""

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, WIDTH, padding_idx=PADDING)
        self.position = nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states = self.encoder(self.embedding(tokens) + self.position, src_key_padding_mask=tokens == PADDING)
        return self.head(_masked_mean(states, tokens))


NETS: dict[str, type[nn.Module]] = {"lstm": LSTM, "gru": GRU, "transformer": Transformer}


class Texts(NamedTuple):
    """Tokens [N, 48] and classes of the training texts and of those held out, and the words in the order of their numbers."""

    tokens: torch.Tensor
    classes: torch.Tensor
    held_tokens: torch.Tensor
    held_classes: torch.Tensor
    words: tuple[str, ...]

    @property
    def labels(self) -> int:
        return int(max(self.classes.max(), self.held_classes.max())) + 1


@cache
def texts(csv: str = "") -> Texts:
    """The made texts, or those of a file. Raises TaskError for a file that is none of three columns."""
    rows = _read(Path(csv)) if csv else _made()
    order = np.random.RandomState(0).permutation(len(rows))
    held = len(rows) // (6 if csv else 4)
    kept, scored = [rows[i] for i in order[held:]], [rows[i] for i in order[:held]]
    counts = Counter(word for _, text in kept for word in _split(text))
    words = [word for word, count in counts.most_common(MAX_WORDS) if count >= MIN_COUNT]
    numbers = {word: number for number, word in enumerate(words, 2)}
    tokens, held_tokens = (_tokens([text for _, text in part], numbers) for part in (kept, scored))
    classes, held_classes = (torch.tensor([label for label, _ in part]) for part in (kept, scored))
    return Texts(tokens, classes, held_tokens, held_classes, ("", "?", *words))


def _read(path: Path) -> list[tuple[int, str]]:
    if not path.is_file():
        raise ek.TaskError(f"csv {path} does not exist; give a file of class,title,text without a head")
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv_files.reader(file), 1):
            if len(row) != 3 or not row[0].isdigit() or int(row[0]) < 1:
                raise ek.TaskError(
                    f"csv {path}, row {number}: {','.join(row)[:60]!r}; expected class,title,text with a class from 1"
                )
            rows.append((int(row[0]) - 1, f"{row[1]} {row[2]}"))
    if len(rows) < 12:
        raise ek.TaskError(f"csv {path} holds {len(rows)} texts; give at least 12, better thousands")
    return rows


def _made() -> list[tuple[int, str]]:
    """Texts of 8 to 40 words: most are common, some belong to the topic, a few to another one."""
    random = np.random.RandomState(0)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    invented = ["".join(random.choice(syllables, 3)) for _ in range(COMMON_WORDS + TOPIC_WORDS * TOPICS)]
    common = np.array(invented[:COMMON_WORDS])
    special = np.array(invented[COMMON_WORDS:]).reshape(TOPICS, TOPIC_WORDS)
    rows = []
    for _ in range(MADE_TEXTS):
        topic = random.randint(TOPICS)
        draws = random.rand(random.randint(8, 41))
        source = [
            special[topic] if d < 0.25 else special[random.randint(TOPICS)] if d < 0.35 else common
            for d in draws
        ]
        rows.append((topic, " ".join(random.choice(words) for words in source)))
    return rows


def _split(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())[:LENGTH]


def _tokens(lines: list[str], numbers: dict[str, int]) -> torch.Tensor:
    tokens = np.full((len(lines), LENGTH), PADDING, np.int64)
    for row, line in zip(tokens, lines, strict=True):
        found = [numbers.get(word, UNKNOWN) for word in _split(line)] or [UNKNOWN]
        row[: len(found)] = found
    return torch.from_numpy(tokens)


def train(net: str, csv: str = "", seed: int = 0) -> nn.Module:
    """Trains a fresh net: AdamW, one cycle of the learning rate."""
    data = texts(csv)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        model = NETS[net](len(data.words), data.labels)
        epochs, steps = EPOCHS["csv" if csv else "made"], -(-len(data.classes) // BATCH)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=epochs * steps)
        for _ in range(epochs):
            for chosen in torch.randperm(len(data.classes)).split(BATCH):
                optimizer.zero_grad()
                F.cross_entropy(
                    model(data.tokens[chosen]), data.classes[chosen], label_smoothing=0.05
                ).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
    return model.eval()


def _fingerprint(data: Texts) -> str:
    return hashlib.sha256(" ".join(data.words).encode()).hexdigest()[:16]


def save(model: nn.Module, csv: str, path: Path) -> None:
    """Weights as safetensors, with what they were trained on."""
    from safetensors.torch import save_file

    save_file(model.state_dict(), path, metadata={"words": _fingerprint(texts(csv))})


def load(net: str, csv: str, path: Path) -> nn.Module:
    """The net with saved weights. Raises TaskError for a file of another net or of other texts."""
    from safetensors import SafetensorError, safe_open

    data = texts(csv)
    model = NETS[net](len(data.words), data.labels)
    try:
        with safe_open(path, "pt") as file:
            words = (file.metadata() or {}).get("words", "unknown words")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    except (OSError, SafetensorError) as error:
        raise ek.TaskError(f"weights {path} cannot be read: {error}") from error
    if words != _fingerprint(data):
        raise ek.TaskError(
            f"weights {path} were trained on other texts than csv={csv or 'the made ones'}; train again"
        )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ek.TaskError(f"weights {path} are not those of {net}: {str(error).splitlines()[0]}") from error
    return model.eval()


class Batches:
    """Re-iterable batches of training texts: the first 100 unlabelled to calibrate, or all of them with their classes."""

    def __init__(self, csv: str, labelled: bool) -> None:
        self.csv, self.labelled = csv, labelled

    def __iter__(self) -> Iterator[torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        data = texts(self.csv)
        if not self.labelled:
            yield from data.tokens[:CALIBRATION_TEXTS].split(10)
            return
        order = torch.randperm(len(data.classes), generator=torch.Generator().manual_seed(0))
        for chosen in order.split(BATCH):
            yield data.tokens[chosen], data.classes[chosen]


class Accuracy:
    """Share of the held-out texts that get their class."""

    def __init__(self, csv: str) -> None:
        self.csv = csv

    def __call__(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        data = texts(self.csv)
        tokens, classes = data.held_tokens.numpy(), data.held_classes.numpy()
        right = [
            np.asarray(predict(tokens[i : i + 50])).argmax(1) == classes[i : i + 50]
            for i in range(0, len(classes), 50)
        ]
        return float(np.concatenate(right).mean())


def _task(net: str, csv: str, weights: str) -> ek.Task:
    return ek.Task(
        name=f"text-{net}",
        model=lambda: load(net, csv, Path(weights)) if weights else train(net, csv),
        example_inputs=(texts(csv).tokens[:1],),
        calibration=Batches(csv, labelled=False),
        metric=Accuracy(csv),
        training=ek.Training(batches=Batches(csv, labelled=True), loss=F.cross_entropy),
    )


def lstm(csv: str = "", weights: str = "") -> ek.Task:
    return _task("lstm", csv, weights)


def gru(csv: str = "", weights: str = "") -> ek.Task:
    return _task("gru", csv, weights)


def transformer(csv: str = "", weights: str = "") -> ek.Task:
    return _task("transformer", csv, weights)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a text classifier and save its weights.")
    parser.add_argument("--train", choices=sorted(NETS), required=True, help="which net")
    parser.add_argument("--csv", default="", help="class,title,text without a head; without it, made texts")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    model = train(asked.train, asked.csv, asked.seed)
    save(model, asked.csv, asked.out)
    with torch.inference_mode():
        accuracy = Accuracy(asked.csv)(lambda tokens: model(torch.from_numpy(tokens)).numpy())
    print(f"{asked.out}: {accuracy:.4f} of the held-out texts are right")


if __name__ == "__main__":
    main()
