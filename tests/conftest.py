"""Before anything else: threads that wait without spinning, and torch ahead of every converter."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: F401
import torchvision  # noqa: F401  a converter imported before it crashes the process
