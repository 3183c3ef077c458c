"""Executing artifacts in their runtimes: parity, precision lint, saturation."""
