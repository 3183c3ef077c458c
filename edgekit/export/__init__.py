"""Exporters, one format per file, found by module name: `SUFFIX` and `export(candidate, target, out)`.

Each runs in a child process.
"""
