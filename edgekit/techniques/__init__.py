"""One technique a file, found by its name: `Options` and `apply(candidate, task, options, context)`; its row is in technique.py."""
