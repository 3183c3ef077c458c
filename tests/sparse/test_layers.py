"""Which layers may become sparse, and what is said where none may."""

import pytest

from edgekit.errors import NotApplicable, UserError
from edgekit.sparse import patterns
from edgekit.sparse.layers import Layer, chosen

LAYERS = [
    Layer(path=f"{name}.weight", module=name, shape=(8, 4), ends_model=name == "b") for name in ("a", "b")
]
ANY = patterns.read("unstructured")


def test_ends_stay_dense_where_they_are_to() -> None:
    assert chosen(LAYERS, ANY, "", "none") == LAYERS
    assert chosen(LAYERS, ANY, "", "first") == LAYERS[1:]
    assert chosen(LAYERS, ANY, "b", "none") == LAYERS[:1]


@pytest.mark.parametrize(
    ("layers", "pattern", "keep", "message"),
    [
        (
            [],
            "unstructured",
            "none",
            "the model has no convolution or linear layer with a stored float weight",
        ),
        (LAYERS, "unstructured", "both", "it has 2, and the option keep leaves them as they are"),
        (LAYERS, "3x1", "none", r"pattern 3x1 divides none of the weights, a \[8, 4\]"),
    ],
)
def test_a_network_that_offers_no_layer(layers, pattern, keep, message) -> None:
    with pytest.raises(NotApplicable, match=f"no layer can be made sparse: {message}"):
        chosen(layers, patterns.read(pattern), "", keep)


def test_names_are_the_users() -> None:
    with pytest.raises(UserError, match="leave out all 2 layers; name fewer"):
        chosen(LAYERS, ANY, "a", "last")
    with pytest.raises(UserError, match="no layer is called 'c'"):
        chosen(LAYERS, ANY, "c", "none")
