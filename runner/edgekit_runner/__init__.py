"""edgekit_runner: runs one model artifact in its real runtime and reports what it measured.

It needs the standard library, numpy and one runtime; it never imports edgekit or a training framework.
Importing this package loads neither numpy nor a runtime.
"""

__version__ = "0.2.0"
