"""Sparsity: weights that are exactly zero, in patterns that storage and kernels can use."""
