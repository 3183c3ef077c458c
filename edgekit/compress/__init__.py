"""One technique a file, found by its module name: `Options` and `apply(candidate, task, options, target, work)`."""
