"""Backends, one module per runtime, found by its name; see `edgekit.verify.prove`."""
