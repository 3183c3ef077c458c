"""One format a file, found by its module name: `SUFFIX` and `export(candidate, target, out)`. Each runs in a child process."""
