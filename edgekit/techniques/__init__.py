"""Techniques: one compression method a file, found by its module name.

Each file has `Options`, a record whose annotations hold the ranges of its options (`edgekit techniques NAME`
lists them), a row in `edgekit/technique.py`, and

    apply(candidate, task, options, context) -> Candidate

candidate: the model after the steps before. task: the model, the data and the metric. context: what else the
run knows, such as the folder to write to, the target, the budget and the seed. It returns a new candidate;
what the step did is in its figures. It raises NotApplicable if the network does not offer what the technique
needs, and then the next recipe is tried; UserError is for what the user wrote, TaskError for the task's data.
"""
