"""A task file with a mistake."""

raise RuntimeError("the weights are on the other disk")
