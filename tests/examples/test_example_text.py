"""The text example: its own texts, a file of the user's, weights that travel, and what is refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import edgekit as ek

pytestmark = pytest.mark.long

EXAMPLE = Path(__file__).parents[2] / "examples" / "text.py"
FILE = f"{EXAMPLE}:lstm"


def news(folder: Path, rows: int = 36) -> Path:
    path = folder / "news.csv"
    kinds = ["ball team goal", "bank money trade"]
    lines = [f'"{i % 2 + 1}","Title {i}","{kinds[i % 2]} today, word{i}"' for i in range(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("net", ["lstm", pytest.param("gru", marks=pytest.mark.slow), "transformer"])
def test_a_net_learns_the_made_texts(net: str) -> None:
    task = ek.load_task(f"{EXAMPLE}:{net}")
    torch.manual_seed(0)
    model = task.model()

    def predict(tokens: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(tokens)))

    assert task.metric(predict) > 0.6, "of four topics"
    batches = list(task.calibration or ())
    assert sum(len(batch) for batch in batches) == 100
    assert batches[0].dtype == torch.int64 and tuple(batches[0].shape[1:]) == (48,)


def test_padding_does_not_change_the_answer() -> None:
    sys.path.insert(0, str(EXAMPLE.parent))
    import text

    torch.manual_seed(0)
    model = text.Transformer(50, 4).eval()
    tokens = torch.tensor([[5, 7, 9] + [text.PADDING] * 45])
    mask = (tokens != text.PADDING).unsqueeze(-1)
    with torch.no_grad():
        before = model(tokens)
        model.embedding.weight[text.PADDING] = 9.0
        assert torch.allclose(model(tokens), before, atol=1e-5)
    assert int(mask.sum()) == 3


def test_texts_of_a_file(tmp_path: Path) -> None:
    task = ek.load_task(FILE, {"csv": str(news(tmp_path))})
    tokens, classes = next(iter(task.training.batches)) if task.training else (None, None)
    assert tokens is not None and classes is not None
    assert len(tokens) == 30, "one of six is held out"
    assert set(classes.tolist()) == {0, 1}


def test_trained_weights_travel_and_are_refused_elsewhere(tmp_path: Path) -> None:
    csv, weights = str(news(tmp_path)), tmp_path / "w.safetensors"
    command = [sys.executable, str(EXAMPLE), "--train", "lstm", "--csv", csv, "--out", str(weights)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "of the held-out texts are right" in done.stdout
    first, second = (ek.load_task(FILE, {"csv": csv, "weights": str(weights)}).model() for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    with pytest.raises(ek.TaskError, match="were trained on other texts"):
        ek.load_task(FILE, {"weights": str(weights)}).model()
    with pytest.raises(ek.TaskError, match="are not those of transformer"):
        ek.load_task(f"{EXAMPLE}:transformer", {"csv": csv, "weights": str(weights)}).model()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "does not exist; give a file of class,title,text"),
        ("1,only two\n" * 20, "row 1: '1,only two'; expected class,title,text with a class from 1"),
        ("class,title,text\n" + "1,a,b\n" * 20, "row 1: 'class,title,text'"),
        ("0,a,b\n" * 20, "row 1: '0,a,b'; expected class,title,text with a class from 1"),
        ("1,a,b\n" * 3, "holds 3 texts; give at least 12"),
    ],
)
def test_a_file_that_is_no_such_table(content: str | None, text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ek.TaskError) as caught:
        ek.load_task(FILE, {"csv": str(path)})
    assert text in str(caught.value)


def test_weights_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(ek.TaskError, match="cannot be read"):
        ek.load_task(FILE, {"weights": str(tmp_path / "none.safetensors")}).model()
