"""Words taken out of texts: which input holds them, which are chosen, what they become, and the head that names them."""

import copy
import math

import pytest
import torch
from text_nets import LENGTH, WORDS, Batches, Pair, Reader, Tagger, compact, graph, texts
from torch import nn
from torch.nn import functional as F

import edgekit as ek
from edgekit.distill import masking, taps, tokens
from edgekit.distill.taps import Tapped
from edgekit.errors import NotApplicable, TaskError, UserError
from edgekit.quant.trainable import trainable
from edgekit.train import data

THREE = (torch.zeros(1, 4), torch.zeros(1, 5, dtype=torch.int32), torch.zeros(1, 5, dtype=torch.int64))


def predictor(net: nn.Module) -> masking.Predictor:
    found = graph(net)
    read = tokens.find(found)
    student = Tapped(trainable(found), (tokens.hidden(found, read),), "student")
    return masking.Predictor(student, read, (0, 1), torch.zeros(WORDS), 0)


def test_the_input_that_an_embedding_looks_up() -> None:
    found = tokens.find(graph(compact()))
    assert (found.number, found.name, found.length, found.words, found.width) == (
        0,
        "tokens",
        LENGTH,
        WORDS,
        12,
    )
    assert found.padding == 0 and found.table == "embedding.weight"
    several = graph(Pair(), *THREE)
    assert tokens.find(several, "text")[:3] == (1, "text", 5) and tokens.find(several, "text").padding is None
    with pytest.raises(UserError, match=r"look up several inputs, text, kind; say which .* tokens=text"):
        tokens.find(several)
    with pytest.raises(
        UserError, match="no embedding looks up an input 'picture'; those that one does are text, kind"
    ):
        tokens.find(several, "picture")
    with pytest.raises(NotApplicable, match=r"no tokens to predict: none of its inputs \(input_1 \[1, 4\]\)"):
        tokens.find(graph(nn.Linear(4, 2), torch.zeros(1, 4)))


def test_the_vector_of_each_word() -> None:
    reader = graph(Reader())
    read = tokens.find(reader)
    assert tokens.hidden(reader, read) == "mix" and tokens.hidden(reader, read, "mix.0") == "mix.0"
    tagger = graph(Tagger())
    assert tokens.hidden(tagger, tokens.find(tagger)) == "mix", "the outputs themselves are no inner tensor"
    assert tokens.hidden(tagger, tokens.find(tagger), "head") == "head"
    for name, shape in (("head", r"\[1, 2\]"), ("embedding", r"\[1, 10, 12\]")):
        with pytest.raises(
            UserError, match=f"hidden={name} is {shape}, .* behind the embedding is .* such are mix.0, "
        ):
            tokens.hidden(reader, read, name)
    with pytest.raises(UserError, match="the student has no module 'mik'; did you mean 'mix'"):
        tokens.hidden(reader, read, "mik")
    bag = graph(nn.Sequential(nn.Embedding(WORDS, 4), nn.Flatten(), nn.Linear(4 * LENGTH, 2)))
    with pytest.raises(
        NotApplicable, match=r"no module between the embedding and the outputs gives \[1, 10, C\]"
    ):
        tokens.hidden(bag, tokens.find(bag))


def test_only_what_the_vectors_come_from_is_behind_them() -> None:
    reader = graph(Reader())
    behind = tokens.behind(taps.find(reader, "mix", "student"))
    assert behind == {"embedding.weight", "mix.0.weight", "mix.0.bias", "mix.2.weight", "mix.2.bias"}


def test_chosen_words_become_the_mask_or_another_or_stay() -> None:
    torch.manual_seed(0)
    whole = texts(4000, 0)[0]
    whole[:, 2] = 1
    masked, chosen = masking.Corruption(WORDS, 0.15, 0, 1)(whole)
    assert not chosen[whole < 2].any() and torch.equal(masked[~chosen], whole[~chosen])
    assert chosen[whole > 1].float().mean() == pytest.approx(0.15, abs=0.01)
    became, was = masked[chosen], whole[chosen]
    assert (became == 1).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (became == was).float().mean() == pytest.approx(0.1 + 0.1 / (WORDS - 2), abs=0.02)
    assert became.min() == 1 and became.max() == WORDS - 1 and masked.dtype == whole.dtype
    masked, chosen = masking.Corruption(WORDS, 0.15, 0, 1, masked=1.0, other=0.0)(whole)
    assert (masked[chosen] == 1).all()
    assert masking.Corruption(WORDS, 0.5, -1, 0)(torch.full((20, 5), 1))[1].any(), "-1 is no padding"


def test_the_loss_is_the_mean_of_the_chosen_words_also_in_parts() -> None:
    torch.manual_seed(0)
    read = tokens.find(graph(compact()))
    training = ek.Training(batches=Batches(size=30), loss=F.cross_entropy)
    batches = masking.MaskedTexts(training, read, masking.Corruption(WORDS, 0.3, 0, 1))
    whole = next(iter(batches))
    (_, chosen), (targets, _) = whole
    every = torch.randn(*chosen.shape, WORDS)
    expected = F.cross_entropy(every[chosen], targets[chosen])
    assert masking.loss(every[chosen], whole[1]) == pytest.approx(float(expected), rel=1e-5)
    parts, start = [], 0
    for rank in range(4):
        part = data.part(data.pair(whole, 0), rank, 4)
        rows = slice(start, start + len(part.inputs[0]))
        parts.append(part.share * masking.loss(every[rows][part.inputs[1]], part.labels))
        start = rows.stop
    assert sum(map(float, parts)) / 4 == pytest.approx(float(expected), rel=1e-5)


def test_texts_without_labels_are_taken_where_there_are_any() -> None:
    read, corrupt = tokens.find(graph(compact())), masking.Corruption(WORDS, 0.3, 0, 1)
    rows = {
        name: [len(inputs[0]) for inputs, _ in masking.MaskedTexts(training, read, corrupt)]
        for name, training in {
            "labelled": ek.Training(batches=Batches(64), loss=F.cross_entropy),
            "both": ek.Training(
                batches=Batches(64), loss=F.cross_entropy, unlabelled=Batches(96, labelled=False)
            ),
        }.items()
    }
    assert rows == {"labelled": [32, 32], "both": [32, 32, 32]}


def test_batches_that_are_no_texts() -> None:
    read, corrupt = tokens.find(graph(compact())), masking.Corruption(WORDS, 0.3, 0, 1)
    once = ek.Training(batches=[], loss=F.cross_entropy, unlabelled=iter(()))
    with pytest.raises(TaskError, match="training unlabelled are a one-shot iterator"):
        masking.MaskedTexts(once, read, corrupt)
    short = ek.Training(batches=[(torch.ones(4, 3), torch.ones(4))], loss=F.cross_entropy)
    with pytest.raises(
        TaskError, match=r"batch 0 has inputs of \[4, 3\]; input 0, tokens, is tokens \[N, 10\]"
    ):
        list(masking.MaskedTexts(short, read, corrupt))


@pytest.mark.parametrize(
    ("padding", "mask", "message"),
    [
        (
            0,
            WORDS,
            f"mask_token is {WORDS}, and the embedding has {WORDS} words; allowed are 0 to {WORDS - 1}",
        ),
        (40, 1, "padding is 40"),
        (1, 1, "mask_token and padding are both 1"),
    ],
)
def test_numbers_that_are_no_words(padding: int, mask: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        masking.Corruption(WORDS, 0.15, padding, mask)


@pytest.mark.parametrize("channels", [12, 5])
def test_the_head_is_tied_and_leaves_padding_alone(channels: int) -> None:
    torch.manual_seed(0)
    model = predictor(compact(channels)).train()
    own = {name for name, _ in model.named_parameters() if not name.startswith("student.")}
    assert own == ({"bias"} if channels == 12 else {"bias", "project.weight"})
    whole = texts(16, 0)[0]
    masked, chosen = masking.Corruption(WORDS, 0.3, 0, 1)(whole)
    logits = model(masked, chosen)
    assert logits.shape == (int(chosen.sum()), WORDS) and (logits.argmax(1) > 1).all()
    F.cross_entropy(logits, whole[chosen]).backward()
    gradient = dict(model.student.graph.named_parameters())["graph.embedding.weight"].grad
    assert gradient is not None and not gradient[0].any()
    unread = [row for row in range(2, WORDS) if not (masked == row).any()]
    assert not unread or gradient[unread].any(), "a word that is not in the texts learns as an answer alone"


def test_a_copy_answers_from_its_own_embedding() -> None:
    model = predictor(compact()).eval()
    whole, other = texts(4, 0)[0], copy.deepcopy(model)
    chosen = whole > 1
    with torch.no_grad():
        before = model(whole, chosen)
        for parameter in other.student.parameters():
            parameter.zero_()
        assert torch.equal(model(whole, chosen), before)
        assert not other(whole, chosen)[:, 2:].any()


def test_the_head_starts_from_how_often_each_word_comes() -> None:
    targets = torch.tensor([[5, 5, -100], [5, 7, -100]])
    counts = masking.counted([data.Batch((), (targets, torch.ones(2)), 2, 1.0)], WORDS)
    assert counts[5] == 3 and counts[7] == 1 and counts.sum() == 4 and len(counts) == WORDS
    found = graph(compact())
    student = Tapped(trainable(found), ("mix",), "student")
    bias = masking.Predictor(student, tokens.find(found), (0, -1), counts, 0).bias.detach()
    assert bias[5] - bias[6] == pytest.approx(math.log(4)) and bias[7] - bias[6] == pytest.approx(math.log(2))
