"""Models that draw random numbers when they are asked: no file of one could be compared with it."""

import torch

from edgekit.errors import TaskError
from edgekit.quant import rules
from edgekit.quant.program import calls, operator_of, origin

_DRAWS = rules.known(
    "rand.default", "randn.default", "rand_like.default", "randn_like.default", "randint.default", "randint.low", "randint_like.default",
    "randint_like.low_dtype", "randperm.default", "bernoulli.default", "bernoulli.p", "multinomial.default", "poisson.default",
    "normal.Tensor_Tensor", "normal.Tensor_float", "normal.float_Tensor", "normal.float_float",
)  # fmt: skip
_DROPS = rules.known(
    "dropout.default", "feature_dropout.default", "alpha_dropout.default", "feature_alpha_dropout.default"
)


def refuse(program: torch.export.ExportedProgram) -> None:
    """Checks that a program answers the same each time.

    Raises:
        TaskError: It draws random numbers, or drops values at random as in training.
    """
    for node in calls(program.graph_module):
        place = origin(node) or "the model"
        if node.target in _DRAWS and node.users:
            raise TaskError(
                f"{place} draws random numbers in forward ({operator_of(node)}), so that no file of it can be compared with it; give the noise "
                "as an input, or leave it out where the model is not trained (self.training)"
            )
        if node.target in _DROPS and node.args[2] and node.args[1]:
            raise TaskError(
                f"{place} drops values at random also where it is not trained ({operator_of(node)}): write "
                "F.dropout(x, p, training=self.training), or use nn.Dropout"
            )
