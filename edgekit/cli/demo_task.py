"""Where the embedded default task lies: in a wheel and in a checkout alike."""

from pathlib import Path


def demo_reference() -> str:
    """The reference of the embedded task, "…/digits.py:task"."""
    packaged = Path(__file__).parents[1] / "demo" / "digits.py"
    place = packaged if packaged.is_file() else Path(__file__).parents[2] / "examples" / "digits.py"
    return f"{place}:task"
