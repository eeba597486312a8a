"""bitwright: compressed neural networks as exact integer programs and as checked Verilog.

The public API is `load`, `check`, `compress`, `search`, `finetune` (which needs PyTorch), `export`,
`generate`, `simulate`, `synth`, `compare`, `explore` and `zoo`; it is imported at first use, so
that `import bitwright` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import (
        compare,
        compress,
        explore,
        export,
        generate,
        load,
        search,
        simulate,
        synth,
        zoo,
    )
    from .training import finetune
    from .verdict import check

__version__ = "0.1.0"
__all__ = [
    "__version__", "check", "compare", "compress", "explore", "export", "finetune", "generate",
    "load", "search", "simulate", "synth", "zoo",
]  # fmt: skip
_ELSEWHERE = {"check": "verdict", "finetune": "training"}
"""The modules of verbs that do not stand in `api`."""


def __getattr__(name: str) -> Any:
    """Import the module of a verb when that is asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'bitwright' has no attribute {name!r}")
    return getattr(import_module(f"bitwright.{_ELSEWHERE.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
