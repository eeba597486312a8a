"""bitwright: compressed neural networks as exact integer programs and as checked Verilog.

The public API is `load`, `compress`, `generate`, `simulate`, `compare` and `zoo`; it is imported at
first use, so that `import bitwright` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import compare, compress, generate, load, simulate, zoo

__version__ = "0.1.0"
__all__ = ["__version__", "compare", "compress", "generate", "load", "simulate", "zoo"]


def __getattr__(name: str) -> Any:
    """Import `bitwright.api` when one of its verbs is asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'bitwright' has no attribute {name!r}")
    return getattr(import_module("bitwright.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
