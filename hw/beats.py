"""Values of an edge as the words that a stream carries, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..models.fixed import Grid, Ints
from .unit import Port

Words = NDArray[np.uint8]
"""Words of one width as rows of bytes, the least significant byte first."""

BLOCK = 1 << 20


def pack(values: Ints, port: Port) -> Words:
    """Words of `port` for values of shape (N, *edge.shape), lane 0 in the low bits."""
    return pack_lanes(values.reshape(-1, port.lanes), port.grid)


def pack_lanes(values: Ints, grid: Grid) -> Words:
    """Words for rows of values (words, lanes), lane 0 in the low bits."""
    lanes = values.shape[1]
    made = np.empty((len(values), (lanes * grid.bits + 7) // 8), np.uint8)
    # In blocks, as single bits take up sixty times their room.
    step = max(1, BLOCK // (lanes * grid.bits))
    for k in range(0, len(values), step):
        codes = grid.encode(values[k : k + step])
        bits = (codes[:, :, None] >> np.arange(grid.bits)) & 1
        flat = bits.reshape(len(codes), -1).astype(np.uint8)
        made[k : k + step] = np.packbits(flat, -1, bitorder="little")
    return made


def integers(words: Words) -> list[int]:
    """Words as integers."""
    raw, size = words.tobytes(), words.shape[1]
    return [int.from_bytes(raw[k : k + size], "little") for k in range(0, len(raw), size)]


def unpack(words: Words, port: Port) -> Ints:
    """Values of shape (beats, lanes) from words of `port`."""
    made = np.empty((len(words), port.lanes), np.int64)
    step = max(1, BLOCK // port.width)
    for k in range(0, len(words), step):
        bits = np.unpackbits(words[k : k + step], -1, bitorder="little")[:, : port.width]
        codes = bits.reshape(len(bits), port.lanes, port.grid.bits).astype(np.int64)
        made[k : k + step] = port.grid.decode((codes << np.arange(port.grid.bits)).sum(-1))
    return made


def to_beats(values: Ints, port: Port) -> list[int]:
    """The words of `pack` as integers."""
    return integers(pack(values, port))


def from_beats(words: list[int], port: Port) -> Ints:
    """Values of shape (beats, lanes) from words of `port` as integers."""
    size = (port.width + 7) // 8
    raw = b"".join(word.to_bytes(size, "little") for word in words)
    return unpack(np.frombuffer(raw, np.uint8).reshape(len(words), size), port)
