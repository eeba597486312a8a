"""What a tensor of the graph became: known, a stream of integers, or hidden by an obstacle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..exact import Affine, Chain, Function, extended, fraction_array
from ..fixed import Ints, ProgramError
from .budget import FUNCTIONS_MAX
from .constants.constant import Constant, Refused, checked

ONE, ZERO = fraction_array(1), fraction_array(0)
RAW = ""
"""The source of the real input, which is no edge of the program yet."""


@dataclass(frozen=True, eq=False)
class Stream:
    """A tensor that depends on the input.

    `shape` is the tensor's, without the batch; `index`, of the shape of the program's edge, says at
    which flat position of the tensor each element stands; `chain` makes the tensor's reals of the
    integers of `source`; `label` names the graph's node that it comes from.
    """

    source: str
    shape: tuple[int, ...]
    index: Ints
    chain: Chain
    label: str
    dtype: str = ""
    """The integer type that a quantiser stated, where it is known."""

    @property
    def channels(self) -> int:
        """Size of the program's last axis."""
        return self.index.shape[-1]

    def applied(self, function: Function, label: str) -> Stream:
        """The tensor behind one more function."""
        chain = extended(self.chain, function)
        if len(chain) > FUNCTIONS_MAX:
            raise ProgramError(
                f"node {label!r}: more than {FUNCTIONS_MAX} functions follow one another; put a "
                "layer between them, or merge some"
            )
        if chain and isinstance(last := chain[-1], Affine):
            try:
                checked(np.concatenate([last.scale, last.offset]))
            except Refused as error:
                raise ProgramError(f"node {label!r}: {error}") from None
        return replace(self, chain=chain, label=label)

    def turned(self, axes: Sequence[int]) -> Stream:
        """The tensor with its axes in another order."""
        places = np.unravel_index(self.index, self.shape)
        shape = tuple(self.shape[axis] for axis in axes)
        index = np.ravel_multi_index(tuple(places[axis] for axis in axes), shape)
        return replace(self, shape=shape, index=index)

    @property
    def is_affine(self) -> bool:
        """True where nothing but a scale and an offset waits."""
        return not self.chain or (len(self.chain) == 1 and isinstance(self.chain[0], Affine))

    @property
    def affine(self) -> Affine:
        """The scale and offset of a settled stream."""
        return self.chain[0] if self.chain else Affine(ONE, ZERO)  # type: ignore[return-value]


@dataclass(frozen=True)
class Unknown:
    """A tensor that an obstacle hides."""


Value = Constant | Stream | Unknown
