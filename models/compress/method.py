"""What a compression method is: a subclass of `Method`, in any file, found by the names it gives.

`tests/test_compress_methods.py` finds every subclass and holds it to the contract below.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..fixed import Grid, Ints, ProgramError
from .problem import Floats, LayerProblem


@dataclass(frozen=True, eq=False)
class Compressed:
    """W is replaced by scale[n] * weights[n, s]: integers (N, S) on `grid`, scale (N,) >= 0."""

    weights: Ints
    grid: Grid
    scale: Floats

    def dense(self) -> Floats:
        """What^T, (N, S)."""
        return self.scale[:, None] * self.weights


class Method(ABC):
    """A way to replace float weights by integers and one scale per output channel.

    Contract: the result lies on its grid; the same problem gives the same result; its error is at
    most that of `start`, for every filter; and with G = I (`LayerProblem.data_free`) it is `start`.
    """

    @classmethod
    @abstractmethod
    def variants(cls) -> Mapping[str, Method]:
        """The ready-made settings, by the name that users type."""

    @abstractmethod
    def start(self, weights: Floats) -> Compressed:
        """The data-free ancestor: what the method gives for weights (N, S) alone."""

    @abstractmethod
    def compress(self, problem: LayerProblem, weights: Floats) -> Compressed:
        """Compress weights (N, S) for the inputs and targets of `problem`."""


def methods() -> dict[str, Method]:
    """Every method by name, of all subclasses imported so far."""
    found: dict[str, Method] = {}
    for cls in Method.__subclasses__():
        for name, method in cls.variants().items():
            if name in found:
                raise ProgramError(f"two methods are called {name!r}; names must differ")
            found[name] = method
    return found


def method(name: str) -> Method:
    """The compression method called `name`."""
    found = methods()
    if name not in found:
        raise ProgramError(f"no compression method is called {name!r}; choose {', '.join(found)}")
    return found[name]


def better(problem: LayerProblem, a: Compressed, b: Compressed) -> Compressed:
    """For each filter the one with the smaller error, `a` on equality."""
    take: NDArray[np.bool_] = problem.error(b.dense()) < problem.error(a.dense())
    return Compressed(
        np.where(take[:, None], b.weights, a.weights), a.grid, np.where(take, b.scale, a.scale)
    )
