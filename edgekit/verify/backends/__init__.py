"""One runtime a file: `open_session(path, exact)`, found by its name."""
