"""One technique a file, found by its module name: `Options` and `apply(candidate, task, options, context)`."""

# Nothing to compute before the exporter, which reads the recipe's precision: no child process is started for these.
AT_EXPORT = frozenset({"fp16", "float32"})
# These go through TensorFlow's own converter, which starts from a Keras model or a SavedModel.
BY_TENSORFLOW = frozenset({"ptq_tensorflow"})
# What each layer costs in integers and in float is measured for these, where the target's own kind of machine is here.
NEEDS_TIMES = frozenset({"mixed"})
# What widths of layers cost on the target is measured for these, where their option `scope` says so.
NEEDS_WIDTHS = {"prune": "latency"}
# These make a float program of a float program, the same for every target that asks for the same.
ON_FLOAT = frozenset({"prune", "distill", "sparsify", "lottery", "palettize", "binarize", "lowrank"})
