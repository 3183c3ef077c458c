"""Techniques: one compression method a file, found by its module name.

Each file has `Options`, a record whose annotations hold the ranges of its options (`edgekit techniques NAME`
lists them), and

    apply(candidate, task, options, context) -> Candidate

candidate: the model after the steps before. task: the model, the data and the metric. context: what else the
run knows, such as the folder to write to, the target, the budget and the seed. It returns a new candidate;
what the step did is in its figures. It raises NotApplicable if the network does not offer what the technique
needs, and then the next recipe is tried; UserError is for what the user wrote, TaskError for the task's data.
"""

# These compute nothing before the export, which reads the recipe's precision: they get no child process.
AT_EXPORT = frozenset({"fp16", "float32"})
# These go through TensorFlow's own converter, which starts from a Keras model or a SavedModel.
BY_TENSORFLOW = frozenset({"ptq_tensorflow"})
# Before these, each layer is timed in integers and in float, if this machine is of the target's kind.
NEEDS_TIMES = frozenset({"mixed"})
# Before these, layers are timed at several widths on the target, if their option `scope` says so.
NEEDS_WIDTHS = {"prune": "latency"}
# These turn a float program into another one, the same for every target that asks for the same.
ON_FLOAT = frozenset({"prune", "distill", "sparsify", "lottery", "palettize", "binarize", "lowrank"})
