"""Tickets of a small net of real digits: rounds, rewinding, the control, and resuming."""

from pathlib import Path
from typing import Any

import pytest
import torch
from digits_data import figures, metric
from safetensors.torch import save_file
from sparse_digits import made, share_of_zeros, task, trained, weights

from edgekit.engine.specs import Context
from edgekit.errors import NotApplicable, TaskError, UserError
from edgekit.quant import program as programs
from edgekit.records import Candidate
from edgekit.sparse import tickets
from edgekit.techniques import lottery

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    return made(tmp_path_factory.mktemp("float"))


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("early") / "early.safetensors"
    save_file(trained(epochs=1).state_dict(), str(place))
    return place


def apply(candidate: Candidate, work: Path, the_task: Any = None, seed: int = 0, **options: Any) -> Candidate:
    chosen = lottery.Options(
        **{"images": 320, "learning_rate": 1e-2, "sparsity": 0.5, "each": 0.3, **options}
    )
    return lottery.apply(candidate, the_task or task(), chosen, Context(work=str(work), seed=seed))


def test_each_round_takes_its_share_of_what_is_left() -> None:
    assert tickets.shares(0.5, 0.2) == pytest.approx([0.2, 0.36, 0.488, 0.5])
    assert tickets.shares(0.36, 0.2) == pytest.approx([0.2, 0.36]) and tickets.shares(0.1, 0.2) == [0.1]


@pytest.mark.parametrize("rewinds", [False, True])
def test_a_ticket_is_sparse_and_answers(candidate, early, tmp_path, rewinds) -> None:
    done = apply(candidate, tmp_path, images=2400, rewind=str(early) if rewinds else "")
    found = figures(done)
    assert share_of_zeros(done) == pytest.approx(0.5, abs=1e-3) and found["rounds"] == 2
    assert found["metric after"] == pytest.approx(metric(done)) and metric(done) > 0.8
    assert found["images trained"] == pytest.approx(2 * 2400, abs=64)
    assert {"metric at 30.0 % zeros", "metric at 50.0 % zeros"} <= set(found)
    assert not (tmp_path / "checkpoint").exists()


def test_weights_go_back_and_masks_stay(candidate, early, tmp_path, monkeypatch) -> None:
    """What a round trains from: the early value where it is kept, zero where it is not."""
    from safetensors.torch import load_file

    seen = []
    original = lottery.fit

    def watch(model: torch.nn.Module, *given: Any, **named: Any) -> Any:
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return original(model, *given, **named)

    monkeypatch.setattr(lottery, "fit", watch)
    apply(candidate, tmp_path, rewind=str(early))
    kept = load_file(str(early))
    for state in seen:
        assert all(torch.equal(kept[name], value) for name, value in state.items() if name in kept)
    masks = [[v for name, v in state.items() if name.endswith(".kept")] for state in seen]
    assert all(not (after & ~before).any() for before, after in zip(*masks, strict=True)), "nothing returns"


@pytest.mark.slow
def test_the_control_keeps_as_much_of_every_layer_elsewhere(candidate, tmp_path) -> None:
    ticket, control = (apply(candidate, tmp_path / str(c), control=c) for c in (False, True))
    pairs = list(zip(weights(ticket).values(), weights(control).values(), strict=True))
    assert all(int((a == 0).sum()) == int((b == 0).sum()) for a, b in pairs)
    assert not all(torch.equal(a == 0, b == 0) for a, b in pairs)


@pytest.mark.slow
def test_a_killed_search_goes_on(candidate, tmp_path, monkeypatch) -> None:
    whole = apply(candidate, tmp_path / "a")
    original, calls = lottery.fit, 0

    def kill(model: torch.nn.Module, training: Any, options: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        steps = 0

        def stop(progress: float) -> None:
            nonlocal steps
            steps += 1
            if calls == 2 and steps == 6:
                raise KeyboardInterrupt

        return original(model, training, options, on_step=stop, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(lottery, "fit", kill)
        apply(candidate, tmp_path / "b")
    resumed = apply(candidate, tmp_path / "b")
    one, other = (programs.load(c.program).state_dict for c in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_it_cannot_do(candidate, tmp_path) -> None:
    with pytest.raises(TaskError, match="lottery needs Training"):
        apply(candidate, tmp_path, task(training=None))
    with pytest.raises(UserError, match=r"nothing\.safetensors cannot be read .* early in its training"):
        apply(candidate, tmp_path, rewind=str(tmp_path / "nothing.safetensors"))
    with pytest.raises(NotApplicable, match=r"makes all of layer .* zero; allowed here is at most"):
        apply(candidate, tmp_path, sparsity=0.9999)
    save_file({"head.weight": torch.zeros(2, 2)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(UserError, match=r"holds no 'depth\.0\.bias'"):
        apply(candidate, tmp_path, rewind=str(tmp_path / "other.safetensors"))
    state = {**trained(epochs=0).state_dict(), "head.weight": torch.zeros(2, 2)}
    save_file(state, str(tmp_path / "other.safetensors"))
    with pytest.raises(UserError, match=r"'head.weight' is \[2, 2\] in .* and \[10, 24\]"):
        apply(candidate, tmp_path, rewind=str(tmp_path / "other.safetensors"))
    with pytest.raises(UserError, match="each is 1; allowed: above 0, below 1"):
        lottery.Options(each=1)
    assert not (tmp_path / "program.pt2").exists()
