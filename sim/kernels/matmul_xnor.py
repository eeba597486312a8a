"""Products of sign matrices: XOR, population count and addition on 64 signs a word.

A sign is stored as one bit, 1 for +1 and 0 for -1, so that over S positions

    sum(x * w) = S - 2 * popcount(x ^ w).

The weights are packed once into panels of `WIDTH` outputs, so that the micro-kernel reads them in
order; it keeps a tile of `ROWS` x `WIDTH` counts in registers while it walks along the words. On
x86 the tile fills the 32 registers of AVX-512 with VPOPCNTDQ. LLVM lowers the same vectors to
whatever another processor has: slower there, and as exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .kernel import aligned

WORD = 64
LANES = 8
VECTORS = 4
WIDTH = LANES * VECTORS
ROWS = 6

Array = np.ndarray[Any, Any]

_I32 = ir.IntType(32)
_COUNTS = ir.VectorType(ir.IntType(64), LANES)
_RESULTS = ir.VectorType(_I32, LANES)


@dataclass(frozen=True, eq=False)
class PackedSigns:
    """Weights of `outputs` x `length` signs as panels (P, words, WIDTH) of uint64.

    `panels[p, k, c]` is word k of output `p * WIDTH + c`; the outputs that fill up the last panel
    are zero and never read back.
    """

    panels: Array
    outputs: int
    length: int


def pack_bits(bits: Array) -> Array:
    """Pack 0/1 values (..., S) into uint64 words (..., ceil(S / 64)).

    Bit b of word k is position `64 * k + b`; the bits behind position S are zero, which every
    product here relies on. Raises ValueError for values other than 0 and 1.
    """
    if bits.dtype != np.bool_ and bits.size and (bits.min() < 0 or bits.max() > 1):
        raise ValueError(
            f"pack_bits takes values 0 and 1, got {bits.min()} to {bits.max()}; "
            "pass a comparison such as x >= 0"
        )
    narrow = bits if bits.dtype.itemsize == 1 else bits.astype(np.bool_)
    octets = np.packbits(narrow, axis=-1, bitorder="little")
    words = -(-bits.shape[-1] // WORD)
    if octets.shape[-1] != 8 * words:
        padded = np.zeros((*bits.shape[:-1], 8 * words), np.uint8)
        padded[..., : octets.shape[-1]] = octets
        octets = padded
    return np.ascontiguousarray(octets).view("<u8")


def pack_signs(bits: Array) -> PackedSigns:
    """Pack the 0/1 weights (N, S) of N outputs for `xnor_matmul`; O(N * S), once a matrix."""
    outputs, length = bits.shape
    words = pack_bits(bits)
    count = -(-outputs // WIDTH)
    padded = np.zeros((count * WIDTH, words.shape[1]), np.uint64)
    padded[:outputs] = words
    panels = aligned((count, words.shape[1], WIDTH), np.uint64)
    panels[...] = padded.reshape(count, WIDTH, words.shape[1]).transpose(0, 2, 1)
    return PackedSigns(panels, outputs, length)


def xnor_matmul(x: Array, weights: PackedSigns) -> Array:
    """Return the int32 products (M, N) of sign rows `x` (M, words) with the weights.

    `x` comes from `pack_bits`. Exact for every S below 2**31: the result lies in [-S, S] and has
    the parity of S. Costs M * N * ceil(S / 64) word operations on one thread.
    """
    _check_words(x, weights)
    start = np.full(len(x), weights.length, np.int32)
    return _product(np.ascontiguousarray(x), None, weights, start)


def xnor_matmul_masked(valid: Array, x: Array, weights: PackedSigns) -> Array:
    """Return the int32 products (M, N) of rows over {-1, 0, +1} with the sign weights.

    `valid` (M, words) marks the positions that are not zero, `x` their signs (ignored elsewhere):

        dot = 2 * popcount(valid & ~(x ^ w)) - popcount(valid).

    Exact for every S below 2**31, at the cost of `xnor_matmul`.
    """
    _check_words(x, weights)
    if valid.shape != x.shape:
        raise ValueError(
            f"valid and x must have one shape, got {valid.shape} and {x.shape}; pack both alike"
        )
    # The formula again, for the kernel: popcount(valid) - 2 * popcount(valid & (x ^ w)).
    start = np.bitwise_count(valid).sum(axis=1, dtype=np.int32)
    return _product(np.ascontiguousarray(x), np.ascontiguousarray(valid), weights, start)


def _check_words(x: Array, weights: PackedSigns) -> None:
    words = weights.panels.shape[1]
    if x.dtype != np.uint64 or x.ndim != 2 or x.shape[1] != words:
        raise ValueError(
            f"x must be uint64 words (M, {words}) for signs of length {weights.length}, "
            f"got {x.dtype} {x.shape}; make it with pack_bits"
        )


def _product(x: Array, valid: Array | None, weights: PackedSigns, start: Array) -> Array:
    """Compute whole panels in place; a ragged last panel is computed aside and cut."""
    panels, outputs = weights.panels, weights.outputs
    out = np.empty((len(x), outputs), np.int32)
    whole = outputs // WIDTH
    _multiply(x, valid, panels[:whole], start, out)
    if whole < len(panels):
        aside = np.empty((len(x), WIDTH), np.int32)
        _multiply(x, valid, panels[whole:], start, aside)
        out[:, whole * WIDTH :] = aside[:, : outputs - whole * WIDTH]
    return out


def _element(context, builder, kind, array, *indices):
    """Emit the address of `array[indices]`."""
    struct = context.make_array(kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, kind, struct, indices)


def _broadcast(builder, scalar):
    """Emit a vector with `scalar` in each of its lanes."""
    empty = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    first = builder.insert_element(empty, scalar, _I32(0))
    return builder.shuffle_vector(first, empty, ir.Constant(_RESULTS, None))


def _popcount(builder, vector):
    kind = ir.FunctionType(vector.type, [vector.type])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.ctpop.v{LANES}i64")
    return builder.call(function, [vector])


@intrinsic(prefer_literal=True)
def _tile(_, rows, x, valid, panel, start, out, row, column):
    """Write `start - 2 * mismatches` for a register tile of `rows` (a constant) x WIDTH outputs.

    x, valid (M, words) uint64, or valid None; panel (words, WIDTH) uint64; start (M,) int32;
    out (M, >= column + WIDTH) int32.
    """
    signature = types.void(rows, x, valid, panel, start, out, row, column)
    height = rows.literal_value
    masked = not isinstance(valid, types.NoneType)

    def codegen(context, builder, signature, args):
        def at(argument, *indices):
            return _element(context, builder, signature.args[argument], args[argument], *indices)

        def vector_at(kind, argument, *indices):
            return builder.bitcast(at(argument, *indices), kind.as_pointer())

        index = args[6].type
        row_of = [builder.add(args[6], index(r)) for r in range(height)]
        words = cgutils.unpack_tuple(
            builder, context.make_array(panel)(context, builder, args[3]).shape
        )[0]
        counts = [[cgutils.alloca_once(builder, _COUNTS) for _ in range(VECTORS)] for _ in row_of]
        for slot in chain.from_iterable(counts):
            builder.store(ir.Constant(_COUNTS, None), slot)

        with cgutils.for_range(builder, words, intp=index) as loop:
            weight = [
                builder.load(vector_at(_COUNTS, 3, loop.index, index(LANES * v)), align=8)
                for v in range(VECTORS)
            ]
            for r, slots in zip(row_of, counts, strict=True):
                signs = _broadcast(builder, builder.load(at(1, r, loop.index)))
                mask = _broadcast(builder, builder.load(at(2, r, loop.index))) if masked else None
                for w, slot in zip(weight, slots, strict=True):
                    wrong = builder.xor(signs, w)
                    wrong = builder.and_(wrong, mask) if masked else wrong
                    total = builder.add(builder.load(slot), _popcount(builder, wrong))
                    builder.store(total, slot)

        for r, slots in zip(row_of, counts, strict=True):
            first = _broadcast(builder, builder.load(at(4, r)))
            for v, slot in enumerate(slots):
                wrong = builder.trunc(builder.load(slot), _RESULTS)
                target = vector_at(_RESULTS, 5, r, builder.add(args[7], index(LANES * v)))
                builder.store(builder.sub(first, builder.add(wrong, wrong)), target, align=4)
        return context.get_dummy_value()

    return signature, codegen


@njit(cache=True, nogil=True)
def _multiply(x, valid, panels, start, out):
    """Fill `out` (M, >= P * WIDTH), `ROWS` rows at a time and the remaining rows one by one."""
    rows = len(x)
    whole = rows - rows % ROWS
    for p in range(len(panels)):
        panel = panels[p]
        for row in range(0, whole, ROWS):
            _tile(ROWS, x, valid, panel, start, out, row, p * WIDTH)
        for row in range(whole, rows):
            _tile(1, x, valid, panel, start, out, row, p * WIDTH)
