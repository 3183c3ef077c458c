"""Before anything else: threads that wait without spinning, Keras on torch, and torch ahead of every converter.

A background job of a shell ignores Ctrl-C, and so would every program that these tests start and interrupt.
"""

import os
import signal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KERAS_BACKEND", "torch")  # a converter in the same process imports keras with its own

import torch  # noqa: F401
import torchvision  # noqa: F401  a converter imported before it crashes the process

signal.signal(signal.SIGINT, signal.default_int_handler)
