"""Few values for many weights: k-means and grids, what the program holds, and how Core ML stores it."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from digits_data import IMAGES, TEST, figures
from sparse_digits import made, task, weights
from torch import nn

from edgekit.engine.specs import Context, ExportSpec
from edgekit.errors import ConversionError, NotApplicable, UserError
from edgekit.export import _coreml_weights, _stage, coreml
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.quant.prepare import prepare_graph
from edgekit.records import Candidate, Recipe, Step
from edgekit.sparse import grid
from edgekit.sparse.palette import means, nearest, palettized
from edgekit.techniques import palettize, sparsify, weight_only
from edgekit.verify.backends.coreml import open_session

pytestmark = pytest.mark.long


class Wide(nn.Module):
    """Two layers that are worth a table, a norm between, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv, self.norm = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64)
        self.hidden, self.head = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(torch.relu(self.first(x))))).mean((2, 3))
        return self.head(torch.relu(self.hidden(x)))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    torch.manual_seed(0)
    net, x = Wide().train(), torch.randn(1, 1, 8, 8)
    net(torch.randn(32, 1, 8, 8))
    path = tmp_path_factory.mktemp("wide") / "float.pt2"
    program = torch.export.export(prepare_graph(torch.export.export(net.eval(), (x,)).module()), (x,))
    programs.save(program, path)
    return Candidate(program=str(path), recipe=Recipe(name="t", precision="float16", steps=()))


def apply(candidate: Candidate, work: Path, how: Any = palettize, **options: Any) -> Candidate:
    done = how.apply(candidate, task(), how.Options(**options), Context(work=str(work)))
    steps = (*candidate.recipe.steps, Step(technique=how.__name__.rpartition(".")[2], options=options))
    return msgspec.structs.replace(done, recipe=msgspec.structs.replace(candidate.recipe, steps=steps))


def test_means_are_those_of_the_clusters() -> None:
    values = torch.tensor([0.0, 0.1, 0.2, 5.0, 5.1, 9.0])
    assert means(values, 3).tolist() == pytest.approx([0.1, 5.05, 9.0])
    assert means(torch.tensor([2.0, 1.0, 2.0]), 4).tolist() == [1.0, 2.0]
    assert nearest(torch.tensor([0.4, 3.0]), torch.tensor([0.0, 1.0, 9.0]).double()).tolist() == [0.0, 1.0]


def test_means_settle_where_another_k_means_does() -> None:
    from sklearn.cluster import KMeans

    values = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    ours = float((nearest(values, means(values, 16)) - values).square().sum())
    theirs = KMeans(16, n_init=3, random_state=0).fit(values[:, None].numpy()).inertia_
    assert ours < 1.05 * theirs


def test_zeros_stay_and_count_as_a_value() -> None:
    weight = torch.randn(8, 40, generator=torch.Generator().manual_seed(0))
    weight[weight.abs() < 0.5] = 0
    few = palettized(weight, 2, 0)
    assert torch.equal(few == 0, weight == 0) and len(few.unique()) == 4
    grouped = palettized(weight, 2, 4)
    assert all(len(part.unique()) <= 4 for part in grouped.split(4)) and len(grouped.unique()) > 4
    assert (grouped - weight).square().sum() < (few - weight).square().sum()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_layers_hold_so_many_values(wide, tmp_path, bits) -> None:
    done = apply(wide, tmp_path, bits=bits)
    layers = weights(done)
    assert {n: len(w.unique()) <= 2**bits for n, w in layers.items() if w.numel() > 2048} == {
        "conv.weight": True, "hidden.weight": True}  # fmt: skip
    assert torch.equal(layers["head.weight"], weights(wide)["head.weight"])
    found = figures(done)
    assert (found["layers with a palette"], found["layers left as they were"]) == (2, 2)


def predictions(path: str) -> np.ndarray:
    session = open_session(path, exact=False)
    (answer,) = session.run({"x": IMAGES[TEST[:1]].numpy()}).values()
    return answer


def exported(candidate: Candidate, folder: Path, min_ios: int = 17) -> Any:
    target = load_target("coreml-fp16")
    deployment = msgspec.structs.replace(target.deployment, min_ios=min_ios)
    target = msgspec.structs.replace(target, deployment=deployment)
    return _stage.export(ExportSpec(candidate=candidate, target=target, folder=str(folder)))


def operations(path: str) -> list[str]:
    import coremltools as ct

    spec = ct.models.MLModel(path, skip_model_load=True).get_spec()
    block = next(iter(spec.mlProgram.functions["main"].block_specializations.values()))
    return [operation.type for operation in block.operations]


@pytest.mark.parametrize(("options", "ios"), [({"bits": 4}, 17), ({"bits": 4, "group": 16}, 18)])
def test_core_ml_stores_tables(wide, tmp_path, options, ios) -> None:
    done = apply(wide, tmp_path / "few", **options)
    plain = msgspec.structs.replace(done, recipe=wide.recipe)
    small, large = exported(done, tmp_path / "a", ios), exported(plain, tmp_path / "b", ios)
    assert operations(small.path).count("constexpr_lut_to_dense") == 2
    assert small.size_bytes < 0.55 * large.size_bytes
    assert np.array_equal(predictions(small.path), predictions(large.path)), (
        "the same numbers, stored otherwise"
    )


@pytest.mark.parametrize(
    ("options", "ios", "stored", "layers"),
    [
        ({"bits": 8}, 17, "constexpr_affine_dequantize", 2),
        ({"bits": 4, "block": 32, "ignore": "hidden"}, 18, "constexpr_blockwise_shift_scale", 1),
    ],
)
def test_core_ml_stores_integers_with_scales(wide, tmp_path, options, ios, stored, layers) -> None:
    done = apply(wide, tmp_path / "few", weight_only, **options)
    plain = msgspec.structs.replace(done, recipe=wide.recipe)
    small, large = exported(done, tmp_path / "a", ios), exported(plain, tmp_path / "b", ios)
    assert operations(small.path).count(stored) == layers
    assert small.size_bytes < 0.75 * large.size_bytes
    assert predictions(small.path) == pytest.approx(predictions(large.path), abs=2e-3), "float16 scales"
    assert torch.equal(weights(done)["hidden.weight"], weights(wide)["hidden.weight"]) == (layers == 1)


@pytest.mark.parametrize(("bits", "block"), [(8, 0), (4, 0), (4, 32)])
def test_levels_are_found_again_in_float16(bits: int, block: int) -> None:
    weight = torch.randn(16, 64, 3, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    new = grid.rounded(weight, bits, block)
    assert grid.is_on(new.half().float(), bits, block) and not grid.is_on(weight, bits, block)
    assert len(new[0, : block or 64].unique()) < 2**bits
    assert (
        not block or (new - weight).square().sum() < (grid.rounded(weight, bits, 0) - weight).square().sum()
    )
    assert not grid.is_on(weight[:, :20], bits, 32), "no whole blocks"


def test_channels_that_are_nearly_dead_and_levels_moved_by_float16_are_still_on_the_grid() -> None:
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    weight[:4] *= torch.tensor([1e-5, 1e-6, 1e-7, 1e-8]).view(-1, 1)
    weight[5] = 1.0 + 2.0**-11  # rounded down, and with it the scale
    weight[5, 1:] *= 116.06 / 127
    new = grid.rounded(weight, 8, 0)
    assert grid.is_on(new.half().float(), 8, 0) and not grid.is_on(weight, 8, 0)
    assert not new[3].any() and new[0].any()


def test_channels_that_are_no_whole_blocks_take_8_bits() -> None:
    weight = torch.randn(16, 20, 3, 3, generator=torch.Generator().manual_seed(0))
    new = weight_only.Options(bits=4, block=32).on_grid(weight)
    assert grid.is_on(new, 8, 0) and (new - weight).abs().max() < 0.02


def test_core_ml_stores_sparse_tables(wide, tmp_path) -> None:
    zeros = {"sparsity": 0.5, "images": 0}
    sparse = sparsify.apply(wide, task(), sparsify.Options(**zeros), Context(work=str(tmp_path / "sparse")))
    steps = (Step(technique="sparsify", options=zeros),)
    sparse = msgspec.structs.replace(sparse, recipe=msgspec.structs.replace(wide.recipe, steps=steps))
    done = apply(sparse, tmp_path / "few", bits=4)
    small = exported(done, tmp_path / "a", 18)
    assert operations(small.path).count("constexpr_lut_to_sparse") == 2
    with torch.no_grad():
        expected = programs.load(done.program).module()(IMAGES[TEST[:1]])
    assert predictions(small.path) == pytest.approx(expected.numpy(), abs=5e-3), "float16"


def test_core_ml_stores_zeros(wide, tmp_path) -> None:
    options = {"sparsity": 0.75, "images": 0}
    done = sparsify.apply(wide, task(), sparsify.Options(**options), Context(work=str(tmp_path / "sparse")))
    recipe = msgspec.structs.replace(wide.recipe, steps=(Step(technique="sparsify", options=options),))
    small = exported(msgspec.structs.replace(done, recipe=recipe), tmp_path / "a")
    large = exported(done, tmp_path / "b")
    assert operations(small.path).count("constexpr_sparse_to_dense") == 2
    assert small.size_bytes < 0.6 * large.size_bytes
    assert np.array_equal(predictions(small.path), predictions(large.path))


def test_what_it_cannot_do(wide, tmp_path) -> None:
    with pytest.raises(UserError, match="bits is 3; allowed: 2, 4, 6, 8"):
        palettize.Options(bits=3)
    with pytest.raises(UserError, match="group is -1; allowed: a whole number, at least 0"):
        palettize.Options(group=-1)
    with pytest.raises(UserError, match="no layer is called 'cov'; did you mean 'conv'"):
        apply(wide, tmp_path, ignore="cov")
    with pytest.raises(NotApplicable, match="no layer has more than 2048 weights"):
        apply(made(tmp_path), tmp_path)
    with pytest.raises(ConversionError, match="needs iOS 18; give group=0"):
        exported(apply(wide, tmp_path, group=8), tmp_path / "old", 17)
    with pytest.raises(ConversionError, match=r"needs iOS 18, but deployment\.min_ios is 17; give bits=8"):
        _coreml_weights._integers(None, {"bits": 4, "block": 32}, 17)
    assert coreml.DEFAULT_IOS == 17
