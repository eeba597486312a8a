"""How the integers at a program's two ends stand for what its users hold in their hands."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .fixed import Ints, ProgramError
from .rounding import HALF_EVEN, MODES, quotients

if TYPE_CHECKING:
    from .program import Edge

Reals = NDArray[np.float64]


def _softmax(x: Reals) -> Reals:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _log_softmax(x: Reals) -> Reals:
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _sigmoid(x: Reals) -> Reals:
    return 0.5 * (1 + np.tanh(x / 2))


FINISHES = {"softmax": _softmax, "log_softmax": _log_softmax, "sigmoid": _sigmoid, "tanh": np.tanh}
"""Functions of the answer that order nothing anew and are left to the host."""


@dataclass(frozen=True)
class Border:
    """How integers at the border stand for real numbers: real = offset + scale * integer.

    Exact metadata for reports and for mapping inputs and answers; it never touches the arithmetic.
    `scale` and `offset` hold one fraction, or one per channel; scales of inputs are positive.
    Inputs are rounded by `rounding`.

    Where the model's own frames are laid out differently from the program's (channels last),
    `shape` is the model's own (without the batch) and `axes` the order in which the program's axes
    stand in it, before any reshaping: (2, 0, 1) is channels first.  `finish` names a function of
    `FINISHES` that the host applies to the answer, over the model's last axis.
    """

    scale: tuple[Fraction, ...] = (Fraction(1),)
    offset: tuple[Fraction, ...] = (Fraction(0),)
    rounding: str = HALF_EVEN
    shape: tuple[int, ...] | None = None
    axes: tuple[int, ...] = ()
    finish: str = ""

    def __post_init__(self) -> None:
        if not self.scale or not self.offset:
            raise ProgramError("a border has one scale and offset, or one per channel")
        if self.rounding not in MODES:
            raise ProgramError(f"inputs are rounded by one of {', '.join(MODES)}")
        if self.finish and self.finish not in FINISHES:
            raise ProgramError(f"an answer is finished by one of {', '.join(FINISHES)}")
        if sorted(self.axes) != list(range(len(self.axes))):
            raise ProgramError(f"axes at the border are a permutation, not {self.axes}")

    def own_shape(self, edge: Edge) -> tuple[int, ...]:
        """The shape of one frame as the model's users hold it."""
        return edge.shape if self.shape is None else self.shape

    def check(self, edge: Edge) -> None:
        """Raise unless the layout is one of `edge`."""
        own = self.own_shape(edge)
        if prod(own) != edge.elements or len(self.axes) not in (0, len(edge.shape)):
            raise ProgramError(f"the border's layout {own} by {self.axes} is none of {edge.shape}")

    def inward(self, frames: NDArray[Any], edge: Edge) -> NDArray[Any]:
        """Frames (N, *own_shape) in the program's layout (N, *edge.shape)."""
        axes = self.axes or tuple(range(len(edge.shape)))
        apart = frames.reshape(len(frames), *(edge.shape[axis] for axis in axes))
        return apart.transpose(0, *(1 + axes.index(k) for k in range(len(axes))))

    def outward(self, frames: NDArray[Any], edge: Edge) -> NDArray[Any]:
        """Undo `inward`."""
        axes = self.axes or tuple(range(len(edge.shape)))
        turned = frames.transpose(0, *(1 + axis for axis in axes))
        return turned.reshape(len(frames), *self.own_shape(edge))

    def quantise(self, real: NDArray[Any], edge: Edge) -> Ints:
        """Round real inputs (N, *edge.shape) as the border says, exactly, and clamp them."""
        if not bool(np.isfinite(real).all()):
            raise ProgramError("inputs hold NaN or infinity; every input must be a finite number")
        scale, offset = np.array(self.scale, object), np.array(self.offset, object)
        if edge.step == 2:
            # An exact comparison with the offset: the quotient rounded down is below 0 or not.
            return np.where(quotients(real, scale, offset, "floor") >= 0, 1, -1).astype(np.int64)
        return np.clip(quotients(real, scale, offset, self.rounding), edge.lo, edge.hi)

    def real(self, integers: Ints) -> Reals:
        """Map integers (in the program's layout) back to real numbers."""
        return _floats(self.offset) + _floats(self.scale) * integers

    def answer(self, integers: Ints, edge: Edge) -> NDArray[Any]:
        """The program's outputs as its users expect them: own scale, own layout, finished.

        Integers stay integers where they stand for themselves.
        """
        plain = set(self.scale) == {1} and all(value.denominator == 1 for value in self.offset)
        if plain and not self.finish:
            shift = np.array([int(value) for value in self.offset])
            return self.outward(integers + shift, edge)
        values = self.outward(self.real(integers), edge)
        return FINISHES[self.finish](values) if self.finish else values


IDENTITY = Border()


def _floats(fractions: tuple[Fraction, ...]) -> Reals:
    return np.array([float(f) for f in fractions])
