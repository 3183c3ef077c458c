"""Why torch.export cannot trace a model: the user's own line, the construct in words, and what to write instead.

torch says it in its own terms ("Could not guard on data-dependent expression Eq(u0, 1)"), and the line stands in its traceback. What
it means is told by the text of the error and by the source of that line.
"""

import linecache
import re
import traceback
from pathlib import Path
from typing import NamedTuple

from edgekit.errors import ConversionError

OURS = Path(__file__).parents[1]


class Cause(NamedTuple):
    """What a kind of error means.

    Attributes:
        said: What torch's text holds.
        line: What the user's line holds; "" for anything.
        what: The construct in words.
        instead: What to write.
    """

    said: str
    line: str
    what: str
    instead: str


BRANCH = "torch.where(condition, a, b), which computes both, or torch.cond with a function for each"
CAUSES = (
    Cause(r"failed to unpack the object.*FakeTensor", "", "a size that is a tensor's value, as in a packed sequence", "a fixed size; of a packed sequence the layer on the padded batch, and picks of its last step by gather with the lengths"),
    Cause(r"numpy|fake tensor|FakeTensor", r"\.numpy\(|np\.|numpy", "numpy computes on a tensor", "the function of torch of the same name"),
    Cause(r"data-dependent|DataDependent|_local_scalar_dense|unbacked", r"^\s*(if|elif)\b", "an `if` that depends on a tensor's values", BRANCH),
    Cause(r"data-dependent|DataDependent|_local_scalar_dense|unbacked", r"^\s*while\b", "a `while` that depends on a tensor's values", "a fixed number of steps, with torch.where to keep what is done"),
    Cause(r"data-dependent|DataDependent|_local_scalar_dense|unbacked", r"^\s*assert\b", "an `assert` about a tensor's values", "nothing, or the check outside forward"),
    Cause(r"data-dependent|DataDependent|_local_scalar_dense|unbacked", r"\bfor\b|range\(", "a loop whose length is a tensor's value", "a fixed number of steps, or the length as a setting of forward"),
    Cause(r"data-dependent|DataDependent|_local_scalar_dense|unbacked", r" if .* else |\b(and|or|not)\b|bool\(", "a choice that depends on a tensor's values", BRANCH),
    Cause(r"data-dependent|DataDependent|_local_scalar_dense|unbacked", r"\.item\(|int\(|float\(|\.tolist\(", "a number taken out of a tensor", "the tensor itself, or the number as a setting of forward"),
    Cause(r"data-dependent|DataDependent|nonzero|unbacked|u0", r"nonzero|\[.*[<>=!&|].*\]|masked_select|unique|\[\w*mask\w*\]", "a result whose size depends on values (a mask as an index, nonzero, unique)", "torch.where or a product with the mask, or topk with a fixed number"),
    Cause(r"data-dependent|DataDependent|_local_scalar_dense|unbacked", "", "a size or a choice that depends on a tensor's values", "torch.where, or a fixed size"),
    Cause(r"autograd\.Function|autograd_function|HigherOrderOperator", "", "an autograd.Function of your own", "its forward in plain operators of torch"),
    Cause(r"no fake impl|NotImplementedError.*Meta|meta kernel|register_fake|DynamicOutputShape", "", "an operator that torch does not know the result's shape of", "torch.library.register_fake for an operator of your own, or others of torch"),
    Cause(r"leaf Variable|in-place operation|a view of a leaf", "", "a parameter that forward writes in place", "a new tensor: w = w + 1 for w += 1"),
    Cause(r"different devices|same device|cuda", "", "tensors on several devices", "every tensor that forward makes on the device of its input: torch.zeros(..., device=x.device)"),
)  # fmt: skip


def explain(error: Exception) -> ConversionError:
    """Returns the sentence of an error that torch.export raised."""
    name, line = _place(error)
    text = f"{type(error).__name__} {error}"
    cause = next((c for c in CAUSES if re.search(c.said, text) and re.search(c.line, line)), None)
    where = f" at {name}: `{line.strip()[:120]}`" if name else ""
    if cause is None:
        first = next((part.strip() for part in str(error).splitlines() if part.strip()), "")
        return ConversionError(
            f"torch.export cannot trace the model{where}: {type(error).__name__}: {first[:300]}. "
            "Data-dependent control flow and non-tensor state are the usual causes"
        )
    return ConversionError(
        f"torch.export cannot trace the model{where} is {cause.what}; write {cause.instead}"
    )


def _place(error: Exception) -> tuple[str, str]:
    """Returns "file.py, line 7" of the innermost line of the user's own, and that line; empty where there is none."""
    chain: list[BaseException] = []
    last: BaseException | None = error
    while last is not None and last not in chain:
        chain.append(last)
        last = last.__cause__ or last.__context__
    for raised in reversed(chain):
        found = [f for f in traceback.extract_tb(raised.__traceback__) if _is_theirs(f.filename)]
        if found:
            return f"{Path(found[-1].filename).name}, line {found[-1].lineno}", found[-1].line or ""
    named = [n for n in re.findall(r'File "([^"]+)", line (\d+)', str(error)) if _is_theirs(n[0])]
    if not named:
        return "", ""
    path, number = named[-1]
    return f"{Path(path).name}, line {number}", linecache.getline(path, int(number))


def _is_theirs(filename: str) -> bool:
    path = Path(filename)
    library = "site-packages" in filename or re.search(r"/python3\.\d+/", filename)
    return (
        path.suffix == ".py"
        and not library
        and not path.is_relative_to(OURS)
        and not filename.startswith("<")
    )
