"""The loops of the lookup convolution, on vectors of int16 places.

Table entries are int16, exact where what they stand for fits. Sums of them are kept in two halves:
`low` is the sum modulo 2**16, `high` the sum of the entries without their lower byte, in units of
256. Up to 256 terms leave between 0 and 255 * 256 < 2**16 for the lower bytes, and that is what
`low` exceeds 256 * `high` by, modulo 2**16; so both together are the exact sum. A term may be the
sum of several entries where that fits int16 too.

Vectors are LLVM's own, which any processor has in some width; only the products of bytes have a
form for AVX2, which needs proof that no two products leave int16 in sum, where it saturates.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .kernel import compiles_for_this

LANES = 16
VECTORS = (4, 3, 2, 1)  # Vectors of sums in registers, the quickest number first.
BUILT = 2  # Vectors of table entries built together.
STRETCHES = (4, 2, 1)  # Entries added before they are split in halves, the quickest number first.
TERMS = 256  # Entries that a sum in halves may have.
TILE = 8  # The square of outputs and places that is turned at once.

Array = np.ndarray[Any, Any]

_I16, _I32 = ir.IntType(16), ir.IntType(32)
_NARROW, _WIDE = ir.VectorType(_I16, LANES), ir.VectorType(_I32, LANES)
_SQUARE = ir.VectorType(_I32, TILE)
_OCTETS = ir.VectorType(ir.IntType(8), 2 * LANES)


@cache
def has_avx2() -> bool:
    """Tell whether Numba compiles for this processor as it is, and that one has AVX2."""
    return compiles_for_this() and bool(get_host_cpu_features().get("avx2", False))


def _element(context, builder, kind, array, index):
    """Emit the address of element `index` of a contiguous array, wherever that is."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def _vector(builder, address, lane, kind):
    """Emit the address of the vector that starts `lane` elements after `address`."""
    return builder.bitcast(builder.gep(address, [ir.IntType(64)(lane)]), kind.as_pointer())


def _shuffle(builder, a, b, lanes):
    """Emit the vector of these lanes of a and b, those of b counted on from those of a."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))


def _broadcast(builder, scalar):
    """Emit a vector with `scalar` in each of its lanes."""
    empty = ir.Constant(_NARROW, ir.Undefined)
    first = builder.insert_element(empty, scalar, _I32(0))
    return _shuffle(builder, first, empty, [0] * LANES)


def _pair_avx2(builder, x, word):
    """Emit VPMADDUBSW: the products of two unsigned and two signed bytes a lane, added."""
    kind = ir.FunctionType(_NARROW, [_OCTETS] * 2)
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.pmadd.ub.sw")
    return builder.call(function, [builder.bitcast(v, _OCTETS) for v in (x, word)])


def _pair_portable(builder, x, word):
    """Emit the same modulo 2**16, where the instruction would saturate."""
    eight = ir.Constant(_NARROW, [8] * LANES)
    low = builder.and_(x, ir.Constant(_NARROW, [255] * LANES))
    first = builder.mul(low, builder.ashr(builder.shl(word, eight), eight))
    return builder.add(first, builder.mul(builder.lshr(x, eight), builder.ashr(word, eight)))


PORTABLE, AVX2 = 0, 1
_PAIRS = {PORTABLE: _pair_portable, AVX2: _pair_avx2}


@intrinsic(prefer_literal=True)
def _build(_, form, depth, x, at, step, words, starts, first, last, table, to, row):
    """Write the entries of the words `first` to `last` at BUILT vectors of places to the table.

    Entries of word k go to table[to + (k - first) * row :]. They are starts[k] and the `form` (of
    `_PAIRS`) of words[k * depth + c] with x[at + c * step :], for all c < depth (a constant).
    """
    signature = types.void(form, depth, x, at, step, words, starts, first, last, table, to, row)
    pair = _PAIRS[form.literal_value]
    pairs = range(depth.literal_value)

    def codegen(context, builder, signature, args):
        _, _, x, at, step, words, starts, first, last, table, to, row = args
        index = at.type
        pixels = []
        for c in pairs:
            place = builder.add(at, builder.mul(step, index(c)))
            source = _element(context, builder, signature.args[2], x, place)
            values = (_vector(builder, source, LANES * v, _NARROW) for v in range(BUILT))
            pixels.append([builder.load(each, align=2) for each in values])
        with cgutils.for_range_slice(builder, first, last, index(1), intp=index) as (k, number):
            start = builder.load(_element(context, builder, signature.args[6], starts, k))
            sums = [_broadcast(builder, start)] * BUILT
            for c in pairs:
                place = builder.add(builder.mul(k, index(len(pairs))), index(c))
                octets = _element(context, builder, signature.args[5], words, place)
                word = _broadcast(builder, builder.load(octets))
                for v in range(BUILT):
                    sums[v] = builder.add(sums[v], pair(builder, pixels[c][v], word))
            place = builder.add(to, builder.mul(number, row))
            target = _element(context, builder, signature.args[9], table, place)
            for v, total in enumerate(sums):
                builder.store(total, _vector(builder, target, LANES * v, _NARROW), align=2)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def _accumulate(_, vectors, stretch, table, begin, offsets, first, last, sums, to):
    """Add to `vectors` (a constant) vectors of `sums` from `to` the looked-up rows of the table.

    These start at `begin` + offsets[i] for first <= i < last, at most TERMS. From `first` on, sums
    of `stretch` (a constant) rows must fit int16, as far as there are so many.
    """
    signature = types.void(vectors, stretch, table, begin, offsets, first, last, sums, to)
    count, step = vectors.literal_value, stretch.literal_value

    def codegen(context, builder, signature, args):
        _, _, table, begin, offsets, first, last, sums, to = args
        index = first.type
        rows = _element(context, builder, signature.args[2], table, begin)
        low = [cgutils.alloca_once(builder, _NARROW) for _ in range(count)]
        high = [cgutils.alloca_once(builder, _NARROW) for _ in range(count)]
        for slot in low + high:
            builder.store(ir.Constant(_NARROW, None), slot)
        eight = ir.Constant(_NARROW, [8] * LANES)

        def add(i, number):
            parts = [None] * count
            for n in range(number):
                offset = builder.load(
                    _element(context, builder, signature.args[4], offsets, builder.add(i, index(n)))
                )
                row = builder.gep(rows, [builder.zext(offset, index)])
                for v in range(count):
                    entry = builder.load(_vector(builder, row, LANES * v, _NARROW), align=2)
                    parts[v] = builder.add(parts[v], entry) if n else entry
            for v, part in enumerate(parts):
                builder.store(builder.add(builder.load(low[v]), part), low[v])
                top = builder.ashr(part, eight)
                builder.store(builder.add(builder.load(high[v]), top), high[v])

        whole = builder.sub(last, builder.srem(builder.sub(last, first), index(step)))
        with cgutils.for_range_slice(builder, first, whole, index(step), intp=index) as (i, _):
            add(i, step)
        with cgutils.for_range_slice(builder, whole, last, index(1), intp=index) as (i, _):
            add(i, 1)
        target = _element(context, builder, signature.args[7], sums, to)
        for v in range(count):
            place = _vector(builder, target, LANES * v, _WIDE)
            top = builder.load(high[v])
            rest = builder.sub(builder.load(low[v]), builder.shl(top, eight))
            top = builder.shl(builder.sext(top, _WIDE), ir.Constant(_WIDE, [8] * LANES))
            total = builder.add(
                builder.load(place, align=4), builder.add(top, builder.zext(rest, _WIDE))
            )
            builder.store(total, place, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _turn_square(_, sums, at, step, out, to, shift):
    """Copy sums[at + o * step + i] to out[to[i] + shift + o] for i, o < TILE where to[i] >= 0."""
    signature = types.void(sums, at, step, out, to, shift)

    def codegen(context, builder, signature, args):
        sums, at, step, out, to, shift = args
        index = at.type
        lines = []
        for o in range(TILE):
            place = builder.add(at, builder.mul(step, index(o)))
            source = _element(context, builder, signature.args[0], sums, place)
            lines.append(builder.load(_vector(builder, source, 0, _SQUARE), align=4))
        half = 1
        while half < TILE:  # Swap the off-diagonal quarters of ever larger squares.
            for first in (o for o in range(TILE) if not o & half):
                a, b = lines[first], lines[first + half]
                upper = [i + TILE - half if i & half else i for i in range(TILE)]
                lower = [i + TILE if i & half else i + half for i in range(TILE)]
                lines[first] = _shuffle(builder, a, b, upper)
                lines[first + half] = _shuffle(builder, a, b, lower)
            half *= 2
        for i, line in enumerate(lines):
            place = builder.load(_element(context, builder, signature.args[4], to, index(i)))
            with builder.if_then(builder.icmp_signed(">=", place, index(0))):
                place = builder.add(place, shift)
                target = _element(context, builder, signature.args[3], out, place)
                builder.store(line, _vector(builder, target, 0, _SQUARE), align=4)
        return context.get_dummy_value()

    return signature, codegen


@njit(cache=True, nogil=True)
def spread(x, flip, rows, columns, out):
    """Write pixels x (H, W, C) exclusive-or `flip` to out (C, size), at rows[y] + columns[x]."""
    height, width, channels = x.shape
    source, target = x.ravel(), out.ravel()
    # Unsigned: Numba wraps signed indices round.
    size, at = np.uintp(out.shape[1]), np.uintp(0)
    for y in range(height):
        for column in range(width):
            to = np.uintp(rows[y] + columns[column])
            for _ in range(channels):
                target[to] = source[at] ^ flip
                at += np.uintp(1)
                to += size


@cache
def convolver(form: int, depth: int):
    """Return the convolution of images whose words are `depth` pairs multiplied by `form`."""

    @njit(cache=True, nogil=True)
    def convolve(x, words, starts, offsets, stretch, length, table, sums, out, pitch):
        """Set out (H, W, G * N) from the pairs of channels x (C / 2, phases, places).

        The words (S, K, depth) of sub-space s meet the pairs from s * depth on.
        """
        groups, passes, outputs, _ = offsets.shape
        phases, places = x.shape[1:]
        count, row = words.shape[1], table.shape[1]
        spaces = len(table) // count
        part = sums.shape[0] * sums.shape[2]
        pixels, pairs, firsts, entries = x.ravel(), words.ravel(), starts.ravel(), table.ravel()
        for begin in range(0, (out.shape[0] - 1) * pitch + out.shape[1], part):
            for group in range(groups):
                sums[...] = 0
                for p in range(passes):
                    for i in range(spaces):
                        space = (group * passes + p) * spaces + i
                        word = space * count
                        for phase in range(phases):
                            source = (space * depth * phases + phase) * places + begin
                            target = i * count * row + phase * length
                            for lane in range(0, length, BUILT * LANES):
                                _build(
                                    form, depth, pixels, source + lane, phases * places,
                                    pairs, firsts, word, word + count, entries, target + lane, row,
                                )  # fmt: skip
                    add_lookups(table, offsets[group, p], stretch, sums)
                turn(sums, begin, pitch, group * outputs, out)

    return convolve


@njit(cache=True, nogil=True)
def add_lookups(table, offsets, stretch, sums):
    """Add to sums (B, N, V * LANES) int32 the rows of the table at offsets (N, L), block by block.

    Block b looks up V * LANES * b entries further on.
    """
    blocks, outputs, lanes = sums.shape
    lookups = offsets.shape[1]
    entries, rows, totals = table.ravel(), offsets.ravel(), sums.ravel()
    for block in range(blocks):
        begin = block * lanes
        for output in range(outputs):
            first, to = output * lookups, (block * outputs + output) * lanes
            last = first + lookups
            if lanes == 4 * LANES and stretch == 4:
                _accumulate(4, 4, entries, begin, rows, first, last, totals, to)
            elif lanes == 4 * LANES and stretch == 2:
                _accumulate(4, 2, entries, begin, rows, first, last, totals, to)
            elif lanes == 4 * LANES and stretch == 1:
                _accumulate(4, 1, entries, begin, rows, first, last, totals, to)
            elif lanes == 3 * LANES and stretch == 4:
                _accumulate(3, 4, entries, begin, rows, first, last, totals, to)
            elif lanes == 3 * LANES and stretch == 2:
                _accumulate(3, 2, entries, begin, rows, first, last, totals, to)
            elif lanes == 3 * LANES and stretch == 1:
                _accumulate(3, 1, entries, begin, rows, first, last, totals, to)
            elif lanes == 2 * LANES and stretch == 4:
                _accumulate(2, 4, entries, begin, rows, first, last, totals, to)
            elif lanes == 2 * LANES and stretch == 2:
                _accumulate(2, 2, entries, begin, rows, first, last, totals, to)
            elif lanes == 2 * LANES and stretch == 1:
                _accumulate(2, 1, entries, begin, rows, first, last, totals, to)
            elif lanes == 1 * LANES and stretch == 4:
                _accumulate(1, 4, entries, begin, rows, first, last, totals, to)
            elif lanes == 1 * LANES and stretch == 2:
                _accumulate(1, 2, entries, begin, rows, first, last, totals, to)
            elif lanes == 1 * LANES and stretch == 1:
                _accumulate(1, 1, entries, begin, rows, first, last, totals, to)


@njit(cache=True, nogil=True)
def turn(sums, begin, pitch, channel, out):
    """Copy sums (B, N, lanes) of the places from `begin` on to out[..., channel : channel + N].

    Place y * pitch + x is pixel (y, x) of out (H, W, C), or lies between two rows.
    """
    height, width, channels = out.shape
    blocks, outputs, lanes = sums.shape
    source, target = sums.ravel(), out.ravel()
    to = np.empty(TILE, np.int64)
    whole = outputs - outputs % TILE
    for block in range(blocks):
        for lane in range(0, lanes, TILE):
            for i in range(TILE):
                y, x = divmod(begin + block * lanes + lane + i, pitch)
                inside = y < height and x < width
                to[i] = (y * width + x) * channels + channel if inside else -1
            at = block * outputs * lanes + lane
            for output in range(0, whole, TILE):
                _turn_square(source, at + output * lanes, lanes, target, to, output)
            for output in range(whole, outputs):
                for i in range(TILE):
                    if to[i] >= 0:
                        target[to[i] + output] = source[at + output * lanes + i]
