"""Arrays of any number of frames in bounded memory: beyond a limit they lie in one nameless file.

Calibration keeps every activation of every frame; what is computed with at a time is a few frames.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from tempfile import SpooledTemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

MEMORY = 1 << 28
"""Bytes of all arrays of a store that are held in memory."""
CHUNK_ELEMENTS = 1 << 22
"""Elements that are computed with at a time."""


def chunks(frames: int, elements: int) -> Iterator[slice]:
    """Slices of frames of so many elements each that hold a limited number of elements."""
    step = max(1, CHUNK_ELEMENTS // elements)
    return (slice(start, min(start + step, frames)) for start in range(0, frames, step))


@dataclass(eq=False)
class Store:
    """A growing file that begins in memory, and is gone with the store."""

    size: int = 0
    file: SpooledTemporaryFile[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.file = SpooledTemporaryFile(MEMORY)  # noqa: SIM115 - closed with the store
        weakref.finalize(self, self.file.close)

    def reserve(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Stored:
        """Room for an array (N, ...), to be written frame by frame."""
        found = Stored(self, self.size, shape, dtype)
        self.size += prod(shape) * dtype.itemsize
        if self.size > MEMORY:
            # Now, not at a write: one far behind the last would fill all between with zeros first.
            self.file.rollover()
        return found


@dataclass(frozen=True, eq=False)
class Stored:
    """An array `shape`, frames first, at a place of its store."""

    store: Store
    place: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def elements(self) -> int:
        """Elements of one frame."""
        return prod(self.shape[1:])

    def parts(self) -> Iterator[NDArray[Any]]:
        """All frames, a limited number of elements at a time."""
        return (self[part] for part in chunks(self.shape[0], self.elements))

    def mean(self) -> NDArray[np.float64]:
        """The mean of each channel (C,), summed in float64: exactly, of integers."""
        total = np.zeros(self.shape[-1])
        for part in self.parts():
            total += part.reshape(-1, self.shape[-1]).sum(0, np.float64)
        return total / prod(self.shape[:-1])

    def write(self, part: slice, values: NDArray[Any]) -> None:
        """Write some frames; values beyond the type's range are a mistake of the caller."""
        self._seek(part)
        self.store.file.write(np.ascontiguousarray(values, self.dtype).tobytes())

    def __getitem__(self, part: slice) -> NDArray[Any]:
        """Read the frames of a slice of step 1."""
        start, stop, _ = part.indices(self.shape[0])
        self._seek(part)
        content = self.store.file.read((stop - start) * self.elements * self.dtype.itemsize)
        return np.frombuffer(content, self.dtype).reshape(stop - start, *self.shape[1:])

    def _seek(self, part: slice) -> None:
        start = part.indices(self.shape[0])[0]
        self.store.file.seek(self.place + start * self.elements * self.dtype.itemsize)
