"""Ternary weights {-1, 0, 1} with one scale per output channel, rounded second-order.

The set is that of ternary weight networks (arXiv 1605.04711), whose data-free rounding is the
start here; the equations of the second-order rounding are in `rounding.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..fixed import TERNARY
from .method import Compressed, Method, better
from .problem import Floats, LayerProblem
from .rounding import round_second_order


@dataclass(frozen=True)
class Ternary(Method):
    """Two bits per weight as stored, 1.6 as information."""

    @classmethod
    def variants(cls) -> Mapping[str, Method]:
        return {"ternary": cls()}

    def start(self, problem: LayerProblem, weights: Floats) -> Compressed:
        return round_second_order(LayerProblem.data_free(weights), weights, TERNARY)

    def compress(self, problem: LayerProblem, weights: Floats) -> Compressed:
        rounded = round_second_order(problem, weights, TERNARY)
        return better(problem, self.start(problem, weights), rounded)
