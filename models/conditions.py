"""Conditions on real numbers, and what a real function of an accumulator owes to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from .fixed import Ints

Fractions = NDArray[np.object_]
"""An object array of `Fraction`, one for all channels (1,) or one per channel (C,)."""

DIGITS = 80
"""Decimal digits of transcendental functions, which are never rational where it would matter."""


@dataclass(frozen=True, slots=True)
class Condition:
    """v > at, or v = at if `reached`; or the opposite of that if `negated`."""

    at: Fraction
    reached: bool
    negated: bool = False

    def moved(self, at: Fraction) -> Condition:
        """The same comparison with another number."""
        return Condition(at, self.reached, self.negated)

    def least(self) -> int:
        """The least integer that is above the number (or on it, if reached)."""
        return ceil(self.at) if self.reached else floor(self.at) + 1


Known = Condition | bool
"""A condition, or the knowledge that it always or never holds."""


def fraction_array(*values: Fraction | int | float) -> Fractions:
    """An array of fractions, exactly the numbers given."""
    return np.array([Fraction(v) for v in values] + [None], object)[:-1]


def of_channel(values: Fractions, channel: int) -> Fraction:
    """The parameter of a channel."""
    return values[channel if len(values) > 1 else 0]


class Function(ABC):
    """A real function, perhaps different in each channel."""

    @abstractmethod
    def value(self, channel: int, u: Fraction) -> Fraction:
        """The function's value: exact where it is rational, else to `DIGITS` digits."""

    def pull(self, channel: int, condition: Condition) -> Known:
        """The condition on u under which f(u) fulfils `condition`; f is monotone.

        `condition` is never negated here.
        """
        raise NotImplementedError

    def direction(self, channel: int) -> int:
        """+1 where f never falls, -1 where it never rises, 0 where it does both."""
        return 1

    @property
    def channels(self) -> int:
        """1 if all channels are alike, else their number."""
        return 1

    def parameters(self, channel: int) -> tuple[Fraction, ...]:
        """What distinguishes the function of this channel from that of others."""
        return ()

    def spread(self, positions: Ints) -> Function:
        """The function whose channel j is this one's channel positions[j]."""
        return self

    def pulled(self, channel: int, known: Known) -> Known:
        """`pull` for any condition."""
        if isinstance(known, bool):
            return known
        if not known.negated:
            return self.pull(channel, known)
        plain = self.pull(channel, Condition(known.at, known.reached))
        if isinstance(plain, bool):
            return not plain
        return Condition(plain.at, plain.reached, not plain.negated)
