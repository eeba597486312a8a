"""Integers with a known grid, and the one rounding primitive of the whole program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]

INT64_MAX = (1 << 63) - 1


class ProgramError(ValueError):
    """A program, network or option that breaks a rule; the message says rule, value and remedy."""


def frozen(values: ArrayLike) -> Ints:
    """Copy `values` to a read-only int64 array; a value outside signed 64 bits is refused."""
    source = np.asarray(values)
    if source.dtype.kind not in "iub" and source.dtype != object:
        raise ProgramError(
            f"integers are expected, not {source.dtype}; round the values before building operators"
        )
    if source.dtype == object and not all(isinstance(v, int) for v in source.ravel().tolist()):
        raise ProgramError(
            "integers are expected, not object; round the values before building operators"
        )
    try:
        array = np.array(source.tolist() if source.dtype == object else source, dtype=np.int64)
    except OverflowError:
        raise ProgramError(
            "a constant does not fit signed 64 bits; scale the values down"
        ) from None
    if source.dtype == np.uint64 and source.size and int(source.max()) > INT64_MAX:
        raise ProgramError("a constant does not fit signed 64 bits; scale the values down")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, slots=True)
class Grid:
    """The integers lo, lo + step, ..., hi: the type of one stream element or one weight.

    {-1, +1} is `Grid(-1, 1, 2)` and takes one bit (1 means +1).  Everything else has step 1 and is
    stored unsigned where lo >= 0, otherwise in two's complement.
    """

    lo: int
    hi: int
    step: int = 1

    def __post_init__(self) -> None:
        if self.lo > self.hi:
            raise ProgramError(f"a grid needs lo <= hi, and {self.lo} is above {self.hi}")
        if self.step not in (1, 2) or (self.step == 2 and (self.lo, self.hi) != (-1, 1)):
            raise ProgramError(
                f"a grid has step 1, or is -1..1 with step 2, not {self.lo}..{self.hi} "
                f"with step {self.step}"
            )

    @property
    def bipolar(self) -> bool:
        """True for {-1, +1}, which hardware stores in one bit."""
        return self.step == 2

    @property
    def signed(self) -> bool:
        """True where the stored bits are two's complement."""
        return self.lo < 0 and not self.bipolar

    @property
    def bits(self) -> int:
        """Stored width, at least 1."""
        if self.bipolar:
            return 1
        if self.lo < 0:
            return 1 + max(max(self.hi, 0).bit_length(), (~self.lo).bit_length())
        return max(1, self.hi.bit_length())

    def holds(self, values: Ints) -> bool:
        """True if every value lies on the grid."""
        if values.size == 0:
            return True
        inside = int(values.min()) >= self.lo and int(values.max()) <= self.hi
        return inside and (self.step == 1 or not bool((values == 0).any()))

    def encode(self, values: Ints) -> Ints:
        """Map values to the unsigned integers that stand for them in hardware."""
        if self.bipolar:
            return (values > 0).astype(np.int64)
        return values if self.bits == 64 else values & ((1 << self.bits) - 1)

    def decode(self, codes: Ints) -> Ints:
        """Undo `encode`."""
        if self.bipolar:
            return 2 * codes - 1
        if not self.signed or self.bits == 64:
            return codes
        half = 1 << (self.bits - 1)
        return (codes ^ half) - half


BINARY = Grid(-1, 1, 2)
TERNARY = Grid(-1, 1)


def signed(bits: int) -> Grid:
    """All two's-complement integers of `bits` bits."""
    return Grid(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def unsigned(bits: int) -> Grid:
    """All unsigned integers of `bits` bits."""
    return Grid(0, (1 << bits) - 1)


def round_shift(acc: Ints, m: Ints, b: Ints, s: int, lo: int, hi: int, even: int = 0) -> Ints:
    """Return clamp((acc*m + b + 2**(s-1)) >> s, lo, hi): round half up, arithmetic shift, s >= 1.

    With `even`, a half is rounded to the even neighbour: where nothing is shifted out, the rounding
    has added a whole half, and an odd result is one too high.

    The only rounding at run time in the whole program.  The caller guarantees that no intermediate
    leaves signed 64 bits (`Requantise.infer` proves it from ranges).
    """
    total = acc * m + b + (1 << (s - 1))
    result = total >> s
    if even:
        result = result - (((total & ((1 << s) - 1)) == 0) & result & 1)
    return np.clip(result, lo, hi)
