"""Integer weights of 2 to 16 bits around zero, one step per output channel, rounded second-order.

GPTQ (arXiv 2210.17323) with coordinate descent after it; the equations are in `rounding.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..fixed import ProgramError, signed
from .method import Compressed, Method, better
from .problem import Floats, LayerProblem
from .rounding import round_second_order


@dataclass(frozen=True)
class Uniform(Method):
    """Two's-complement integers of `bits` bits."""

    bits: int

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise ProgramError(f"integer weights take 2 to 16 bits, not {self.bits}")

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {f"int{bits}": cls(bits) for bits in range(2, 17)}

    def start(self, problem: LayerProblem, weights: Floats) -> Compressed:
        return round_second_order(LayerProblem.data_free(weights), weights, signed(self.bits))

    def compress(self, problem: LayerProblem, weights: Floats) -> Compressed:
        rounded = round_second_order(problem, weights, signed(self.bits))
        return better(problem, self.start(problem, weights), rounded)
