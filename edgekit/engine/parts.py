"""The parts of a run's fingerprint, in the words that tell a user what changed; each stands for a hash of its content."""

GRAPH, WEIGHTS = "the model's graph", "the model's weights"
QUESTIONS, METRIC, CALIBRATION = "what the metric asks", "the metric", "the calibration data"
CODE, TRAINING = "the task's code", "the training data"

UNREADABLE, RANDOM = "unreadable: ", "other batches each time they are read"
UNSTABLE = (UNREADABLE, RANDOM)  # how a part begins that stands for no content
