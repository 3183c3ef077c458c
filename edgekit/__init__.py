"""edgekit: one trained model in; for each target the first artifact that meets the budget, small, fast and proven.

Importing this package loads no framework: every public name of `__init__.pyi` is resolved when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
