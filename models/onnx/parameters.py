"""What a node's attributes say, read by type; one that nobody read is refused, not ignored."""

from __future__ import annotations

from fractions import Fraction
from math import isfinite
from reprlib import repr as quoted
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..fixed import ProgramError
from .graph import Node


class Attributes:
    """Reads the attributes of `node`.  Call `done` when all that are understood have been read.

    Every getter raises `ProgramError` where the attribute has another type, and where it is missing
    and no default is given.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self._unread = dict.fromkeys(node.attributes)

    def __contains__(self, name: str) -> bool:
        """True if the node has the attribute; asking does not read it."""
        return name in self.node.attributes

    def integer(self, name: str, default: int | None = None) -> int:
        """One integer."""
        value = self._read(name, default)
        return value if isinstance(value, int) else self._refuse(name, "an integer", value)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """An integer that is 0 or 1."""
        value = self.integer(name, default)
        return bool(value) if value in (0, 1) else self._refuse(name, "0 or 1", value)

    def integers(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A list of integers."""
        value = self._read(name, default)
        if not isinstance(value, tuple) or not all(isinstance(item, int) for item in value):
            self._refuse(name, "a list of integers", value)
        return tuple(int(item) for item in value)

    def number(self, name: str, default: float | None = None) -> Fraction:
        """One finite number, exactly: as ONNX keeps it and its defaults, the nearest float32."""
        value = self._read(name, default)
        if not isinstance(value, float) or not isfinite(value):
            self._refuse(name, "a finite number", value)
        return Fraction(float(np.float32(value)))

    def text(self, name: str, default: str | None = None) -> str:
        """A text."""
        value = self._read(name, default)
        return value if isinstance(value, str) else self._refuse(name, "a text", value)

    def tensor(self, name: str) -> NDArray[Any]:
        """A tensor."""
        value = self._read(name, None)
        return value if isinstance(value, np.ndarray) else self._refuse(name, "a tensor", value)

    def ignore(self, *names: str) -> None:
        """Mark attributes as read whose values cannot change what the node computes."""
        for name in names:
            self._unread.pop(name, None)

    def done(self) -> None:
        """Refuse an attribute that was not read: ignoring it could change the meaning."""
        for name in self._unread:
            raise ProgramError(
                f"{self.node}: attribute {quoted(name)} is not supported; export the model "
                "without it"
            )

    def _read(self, name: str, default: object) -> object:
        self._unread.pop(name, None)
        value = self.node.attributes.get(name, default)
        if value is None:
            raise ProgramError(
                f"{self.node}: attribute {name!r} is missing; export the model again"
            )
        return value

    def _refuse(self, name: str, kind: str, value: object) -> NoReturn:
        raise ProgramError(
            f"{self.node}: attribute {name!r} is {kind}, not {quoted(value)}; export the model "
            "again"
        )
