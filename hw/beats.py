"""Values of an edge as the words that a stream carries, and back."""

from __future__ import annotations

import numpy as np

from ..models.fixed import Ints
from .unit import Port


def to_beats(values: Ints, port: Port) -> list[int]:
    """Words of `port` for values of shape (N, *edge.shape), lane 0 in the low bits."""
    codes = port.grid.encode(values).reshape(-1, port.lanes)
    bits = (codes[:, :, None] >> np.arange(port.grid.bits)) & 1
    packed = np.packbits(bits.reshape(len(codes), -1).astype(np.uint8), -1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def from_beats(words: list[int], port: Port) -> Ints:
    """Values of shape (beats, lanes) from words of `port`."""
    size = (port.width + 7) // 8
    raw = b"".join(word.to_bytes(size, "little") for word in words)
    packed = np.frombuffer(raw, np.uint8).reshape(len(words), size)
    bits = np.unpackbits(packed, -1, bitorder="little")[:, : port.width]
    codes = bits.reshape(len(words), port.lanes, port.grid.bits).astype(np.int64)
    return port.grid.decode((codes << np.arange(port.grid.bits)).sum(-1))
