"""What one import may cost: a few bytes can describe tensors that take days to look at.

The unit is about ten nanoseconds.  Counting is deterministic, so that a file is taken or refused
alike on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fixed import ProgramError

ELEMENTS_MAX = 1 << 24
"""Elements of a tensor, all frames of its batch together."""
CHANNELS_MAX = 1 << 20
"""Channels of an edge of the program."""
WORK_MAX = 1 << 31
"""Units in all: a program of twenty million steps in all its channels has room."""
CHANNEL, FUNCTION, STEP = 32, 64, 32
"""Units for a channel of an edge, for a function of a channel, and for a step of a rounding."""
ELEMENT, OBJECT, JOIN = 4, 256, 1 << 21
"""Units for an element of a constant, for an exact fraction, and for a sum that is rounded."""
FUNCTIONS_MAX = 100
"""Functions that wait for a rounding, one after the other."""


class Exhausted(ProgramError):
    """What ends an import: to look on for other obstacles would cost as much again."""


@dataclass(eq=False)
class Budget:
    """The units that an import has used."""

    used: int = 0

    def spend(self, what: str, units: int) -> None:
        """Use some; `what` says in a message for what."""
        self.used += units
        if self.used > WORK_MAX:
            raise Exhausted(
                f"{what}: up to here the model takes {self.used} units of work, above the limit of "
                f"{WORK_MAX}; use smaller tensors, fewer bits or fewer nodes"
            )


def check_elements(what: str, count: int) -> None:
    """Refuse a tensor that is too large to follow each of its elements."""
    if count > ELEMENTS_MAX:
        raise ProgramError(
            f"{what}: a tensor of {count} elements is above the limit of {ELEMENTS_MAX}; use a "
            "smaller one"
        )
