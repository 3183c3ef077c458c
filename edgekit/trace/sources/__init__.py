"""Where a model may come from besides an nn.Module: Keras 3 through its torch backend, and TensorFlow SavedModels."""
