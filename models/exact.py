"""Exact functions of accumulators: where does a real function of an integer reach each level.

An accumulator goes through a chain of real functions, the last of which makes integers (a rounding,
or steps).  "The result is at least k" is a condition on the last function's input; pulled back
through the chain, one function at a time and in exact fractions, it becomes "the accumulator is at
least t" or "at most t".  So the integer program equals the ideal meaning for every integer input.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np

from .conditions import (
    DIGITS as DIGITS,
)
from .conditions import (
    Condition as Condition,
)
from .conditions import (
    Fractions as Fractions,
)
from .conditions import (
    Function as Function,
)
from .conditions import (
    Known as Known,
)
from .conditions import (
    fraction_array as fraction_array,
)
from .conditions import (
    of_channel as of_channel,
)
from .fixed import Ints, ProgramError
from .rounding import cut, rounded

BITS_MAX = 1 << 14
"""Bits of a numerator or denominator on the way through a chain."""
Bound = Fraction | Fractions | None
"""An end of a range: one for all channels, one per channel, or none."""

_WIDEST = 1 << 62
"""The largest bound of integers."""
_ONE, _ZERO = fraction_array(1), fraction_array(0)


@dataclass(frozen=True, eq=False)
class Affine(Function):
    """scale * u + offset."""

    scale: Fractions
    offset: Fractions

    def value(self, channel: int, u: Fraction) -> Fraction:
        return of_channel(self.scale, channel) * u + of_channel(self.offset, channel)

    def pull(self, channel: int, condition: Condition) -> Known:
        scale, offset = of_channel(self.scale, channel), of_channel(self.offset, channel)
        if scale == 0:
            return offset > condition.at or (offset == condition.at and condition.reached)
        at = (condition.at - offset) / scale
        if scale > 0:
            return condition.moved(at)
        # scale*u + offset > c where u < at: not (u >= at).
        return Condition(at, not condition.reached, True)

    def direction(self, channel: int) -> int:
        return 1 if of_channel(self.scale, channel) >= 0 else -1

    @property
    def channels(self) -> int:
        return max(len(self.scale), len(self.offset))

    def spread(self, positions: Ints) -> Affine:
        return Affine(_spread(self.scale, positions), _spread(self.offset, positions))

    def parameters(self, channel: int) -> tuple[Fraction, ...]:
        return of_channel(self.scale, channel), of_channel(self.offset, channel)

    def then(self, scale: Fractions, offset: Fractions) -> Affine:
        """Return this function, then scale * u + offset."""
        return Affine(self.scale * scale, self.offset * scale + offset)

    @property
    def is_identity(self) -> bool:
        """True where nothing changes."""
        return all(value == 1 for value in self.scale) and not any(self.offset)


@dataclass(frozen=True, eq=False)
class Clip(Function):
    """min(max(u, lo), hi), perhaps per channel; None is no bound.  `Clip(0, None)` is relu."""

    lo: Bound
    hi: Bound

    def bounds(self, channel: int) -> tuple[Fraction | None, Fraction | None]:
        """Both bounds of a channel."""
        return _bound(self.lo, channel), _bound(self.hi, channel)

    def value(self, channel: int, u: Fraction) -> Fraction:
        return _clamped(u, *self.bounds(channel))

    def pull(self, channel: int, condition: Condition) -> Known:
        lo, hi = self.bounds(channel)
        if hi is not None and not _holds(hi, condition):
            return False
        if lo is not None and _holds(lo, condition):
            return True
        return condition

    @property
    def channels(self) -> int:
        return max(len(end) if isinstance(end, np.ndarray) else 1 for end in (self.lo, self.hi))

    def parameters(self, channel: int) -> tuple[Fraction, ...]:
        return tuple(end for end in self.bounds(channel) if end is not None)

    def spread(self, positions: Ints) -> Clip:
        lo, hi = (
            _spread(end, positions) if isinstance(end, np.ndarray) else end
            for end in (self.lo, self.hi)
        )
        return Clip(lo, hi)


def _bound(bound: Bound, channel: int) -> Fraction | None:
    return of_channel(bound, channel) if isinstance(bound, np.ndarray) else bound


def _clamped(u: Fraction, lo: Fraction | None, hi: Fraction | None) -> Fraction:
    low = u if lo is None else max(u, lo)
    return low if hi is None else min(low, hi)


@dataclass(frozen=True, eq=False)
class Leaky(Function):
    """u where u >= 0, slope * u elsewhere; monotone unless a slope is negative."""

    slope: Fractions

    def value(self, channel: int, u: Fraction) -> Fraction:
        return u if u >= 0 else of_channel(self.slope, channel) * u

    def pull(self, channel: int, condition: Condition) -> Known:
        slope = of_channel(self.slope, channel)
        if condition.at > 0 or (condition.at == 0 and not condition.reached):
            return condition
        if slope == 0:
            return True
        return condition.moved(condition.at / slope)

    def direction(self, channel: int) -> int:
        return 1 if of_channel(self.slope, channel) >= 0 else 0

    @property
    def channels(self) -> int:
        return len(self.slope)

    def parameters(self, channel: int) -> tuple[Fraction, ...]:
        return (of_channel(self.slope, channel),)

    def spread(self, positions: Ints) -> Leaky:
        return Leaky(_spread(self.slope, positions))


class Sigmoid(Function):
    """1 / (1 + exp(-u))."""

    def value(self, channel: int, u: Fraction) -> Fraction:
        # exp of a large argument is 0 or infinite to all digits.
        return Fraction(1) / (1 + _exp(-u))

    def pull(self, channel: int, condition: Condition) -> Known:
        if condition.at <= 0:
            return True
        if condition.at >= 1:
            return False
        if condition.at == Fraction(1, 2):
            return condition.moved(Fraction(0))
        return condition.moved(_log(condition.at / (1 - condition.at)))


class Tanh(Function):
    """The hyperbolic tangent."""

    def value(self, channel: int, u: Fraction) -> Fraction:
        return 2 / (1 + _exp(-2 * u)) - 1

    def pull(self, channel: int, condition: Condition) -> Known:
        if condition.at <= -1:
            return True
        if condition.at >= 1:
            return False
        if condition.at == 0:
            return condition
        return condition.moved(_log((1 + condition.at) / (1 - condition.at)) / 2)


@dataclass(frozen=True, eq=False)
class Gated(Function):
    """u times another function of u: HardSwish and SiLU.  Not monotone."""

    gate: tuple[Function, ...]

    def value(self, channel: int, u: Fraction) -> Fraction:
        return u * composed(self.gate, channel, u)

    def direction(self, channel: int) -> int:
        return 0


class Absolute(Function):
    """|u|.  Not monotone."""

    def value(self, channel: int, u: Fraction) -> Fraction:
        return abs(u)

    def direction(self, channel: int) -> int:
        return 0


@dataclass(frozen=True, eq=False)
class Finish(Function):
    """A function that the host applies to the answer (`border.FINISHES`), like softmax.

    It rises strictly and is otherwise opaque here.
    """

    name: str

    def value(self, channel: int, u: Fraction) -> Fraction:
        raise ProgramError(f"{self.name} is left to the host, and nothing can follow it")


class Integral(Function):
    """A function whose values are the integers lo, lo + 1, ..., hi; it never falls."""

    lo: int
    hi: int

    @abstractmethod
    def level(self, channel: int, k: int) -> Known:
        """The condition on u under which the value is at least k, lo < k <= hi."""

    def pull(self, channel: int, condition: Condition) -> Known:
        k = condition.least()
        if k <= self.lo:
            return True
        return False if k > self.hi else self.level(channel, k)


@dataclass(frozen=True, eq=False)
class Round(Integral):
    """clamp(round(u), lo, hi) in one of the modes of `rounding`."""

    mode: str
    lo: int
    hi: int

    def value(self, channel: int, u: Fraction) -> Fraction:
        return Fraction(min(max(rounded(self.mode, u), self.lo), self.hi))

    def level(self, channel: int, k: int) -> Known:
        return Condition(*cut(self.mode, k))

    def bounds(self, channel: int) -> tuple[int, int]:
        """The lowest and highest integer of a channel."""
        return self.lo, self.hi


@dataclass(frozen=True, eq=False)
class Bounded(Integral):
    """clamp(round(u), lows[c], highs[c]): a rounding that is clamped per channel."""

    mode: str
    lows: Ints
    highs: Ints

    @property
    def lo(self) -> int:  # type: ignore[override]
        """The lowest integer of all channels."""
        return int(self.lows.min())

    @property
    def hi(self) -> int:  # type: ignore[override]
        """The highest integer of all channels."""
        return int(self.highs.max())

    def value(self, channel: int, u: Fraction) -> Fraction:
        lo, hi = self.bounds(channel)
        return Fraction(min(max(rounded(self.mode, u), lo), hi))

    def level(self, channel: int, k: int) -> Known:
        lo, hi = self.bounds(channel)
        return k <= lo or (k <= hi and Condition(*cut(self.mode, k)))

    def bounds(self, channel: int) -> tuple[int, int]:
        """The lowest and highest integer of a channel."""
        return int(self.lows[channel]), int(self.highs[channel])

    @property
    def channels(self) -> int:
        return len(self.lows)

    def parameters(self, channel: int) -> tuple[Fraction, ...]:
        return tuple(Fraction(end) for end in self.bounds(channel))

    def spread(self, positions: Ints) -> Bounded:
        return Bounded(self.mode, self.lows[positions], self.highs[positions])


@dataclass(frozen=True, eq=False)
class Steps(Integral):
    """lo + #{k : u > at[c][k], or u = at[c][k] if reached}: `at` is (C or 1, K), rows rising."""

    at: Fractions
    reached: bool
    lo: int = 0

    @property
    def hi(self) -> int:  # type: ignore[override]
        """All steps taken."""
        return self.lo + self.at.shape[1]

    def value(self, channel: int, u: Fraction) -> Fraction:
        row = self._row(channel)
        return Fraction(self.lo + (bisect_right(row, u) if self.reached else bisect_left(row, u)))

    def level(self, channel: int, k: int) -> Known:
        return Condition(self._row(channel)[k - self.lo - 1], self.reached)

    def _row(self, channel: int) -> Fractions:
        return self.at[channel if len(self.at) > 1 else 0]

    @property
    def channels(self) -> int:
        return len(self.at)

    def parameters(self, channel: int) -> tuple[Fraction, ...]:
        return tuple(self._row(channel))

    def spread(self, positions: Ints) -> Steps:
        return self if len(self.at) == 1 else Steps(self.at[positions], self.reached, self.lo)


@dataclass(frozen=True, eq=False)
class Sign(Integral):
    """-1, 0 or 1."""

    lo: int = -1
    hi: int = 1

    def value(self, channel: int, u: Fraction) -> Fraction:
        return Fraction((u > 0) - (u < 0))

    def level(self, channel: int, k: int) -> Known:
        return Condition(Fraction(0), k == 0)


Chain = tuple[Function, ...]


def composed(chain: Chain, channel: int, u: Fraction) -> Fraction:
    """The value of a chain of functions, first to last."""
    for function in chain:
        u = function.value(channel, u)
        if max(u.numerator.bit_length(), u.denominator.bit_length()) > BITS_MAX:
            raise ProgramError(
                f"exact values of more than {BITS_MAX} bits arise between two roundings; put a "
                "quantiser between the functions"
            )
    return u


def spread(chain: Chain, positions: Ints) -> Chain:
    """The chain whose channel j is channel positions[j] of this one."""
    return tuple(function.spread(positions) for function in chain)


def extended(chain: Chain, function: Function) -> Chain:
    """The chain and one more function; two affine functions in a row become one."""
    if isinstance(function, Affine):
        if chain and isinstance(last := chain[-1], Affine):
            merged = last.then(function.scale, function.offset)
            return chain[:-1] if merged.is_identity else (*chain[:-1], merged)
        if function.is_identity:
            return chain
    clip = function if isinstance(function, Clip) else None
    if isinstance(function, Round) and chain and isinstance(chain[-1], Round | Bounded):
        # Integers need no rounding.
        clip = Clip(Fraction(function.lo), Fraction(function.hi))
    return (clip and _clip_rounded(chain, clip)) or (*chain, function)


def _clip_rounded(chain: Chain, clip: Clip) -> Chain | None:
    """A chain that ends with a rounding, clipped: a rounding to fewer integers, where they fit.

    A clip between quantiser and dequantiser makes narrow integers of wide ones; a relu behind a
    quantiser leaves out the negative ones.
    """
    after = Affine(_ONE, _ZERO)
    if chain and isinstance(last := chain[-1], Affine) and len(last.scale) == len(last.offset) == 1:
        after, chain = last, chain[:-1]
    if not chain or not isinstance(end := chain[-1], Round | Bounded) or after.scale[0] <= 0:
        return None
    inner: list[list[Fraction]] = []
    for channel in range(max(end.channels, clip.channels)):
        lo, hi = (
            None if bound is None else (bound - after.offset[0]) / after.scale[0]
            for bound in clip.bounds(channel)
        )
        inner.append([_clamped(Fraction(bound), lo, hi) for bound in end.bounds(channel)])
    if any(bound.denominator != 1 or abs(bound) > _WIDEST for ends in inner for bound in ends):
        return None
    lows, highs = np.array(inner).astype(np.int64).T
    narrow = Bounded(end.mode, lows, highs)
    if len(inner) == 1:
        narrow = Round(end.mode, int(lows[0]), int(highs[0]))
    return extended((*chain[:-1], narrow), after)


def direction(chain: Chain, channel: int) -> int:
    """+1, -1 or 0: whether the chain never falls, never rises, or does both, in a channel."""
    result = 1
    for function in chain:
        result *= function.direction(channel)
    return result


def _spread(values: Fractions, positions: Ints) -> Fractions:
    return values if len(values) == 1 else values[positions]


def _holds(value: Fraction, condition: Condition) -> bool:
    return value > condition.at or (value == condition.at and condition.reached)


_DECIMALS = Context(prec=DIGITS)
_LARGE = 200


def _decimal(value: Fraction) -> Decimal:
    return _DECIMALS.divide(Decimal(value.numerator), Decimal(value.denominator))


def _exp(value: Fraction) -> Fraction:
    if abs(value) > _LARGE:
        # Beyond all digits that could matter beside 1.
        value = Fraction(_LARGE if value > 0 else -_LARGE)
    return Fraction(_decimal(value).exp(_DECIMALS))


def _log(value: Fraction) -> Fraction:
    if value <= 0:
        raise ProgramError("the logarithm of a number that is not positive was asked for")
    return Fraction(_decimal(value).ln(_DECIMALS))
