"""The search for shared sums of a constant matrix: greedy common sub-expressions of signed digits.

Every row of the matrix is a sum of terms: a node, shifted, added or subtracted; at first the nodes
are the inputs and the terms the digits of the weights.  A *pattern* is two terms up to a common
shift and sign.  The pattern that saves the most adder bits becomes a node, its occurrences single
terms, until no pattern occurs twice.

No sum may lengthen the longest path: a row whose terms lie behind d1, d2, ... adders can be summed
within D levels if 2**d1 + 2**d2 + ... <= 2**D (Kraft's inequality), and a pattern is taken only
where that still holds.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numba import njit

from ..models.fixed import Ints

SHIFTS = 32
"""Shifts between two terms lie below this: weights have at most 16 bits and so 17 digits."""

LONG = 128
"""Beyond so many terms of a row not every pair is looked at: that takes their number cubed."""
NEAR = 32
"""Of a long row, the terms that may be summed next: those with the fewest adders before them."""


@njit(cache=True, nogil=True)
def width(lo: int, hi: int) -> int:
    """Bits of a signal that holds lo..hi; 0 for the constant 0."""
    sign = 1 if lo < 0 else 0
    most = max(hi, ~lo if lo < 0 else 0)
    bits = 0
    while most > 0:
        most >>= 1
        bits += 1
    return bits + sign


@njit(cache=True, nogil=True)
def adder_bits(
    a_lo: int, a_hi: int, b_lo: int, b_hi: int, shift: int, minus: bool, full: bool
) -> int:
    """Bits of the carry chain of a +- (b << shift); the bits of a below the shift pass by.

    full: the chain starts at bit 0, as it does where a is what is subtracted.
    """
    if not full and not minus and a_lo >= 0 and width(a_lo, a_hi) <= shift:
        return 0
    low, high = (b_hi, b_lo) if minus else (b_lo, b_hi)
    sign = -1 if minus else 1
    bits = width(a_lo + (sign * low << shift), a_hi + (sign * high << shift))
    return bits if full else max(bits - shift, 0)


@njit(cache=True, nogil=True)
def _ones(word: int) -> int:
    count = 0
    while word:
        word &= word - 1
        count += 1
    return count


@njit(cache=True, nogil=True)
def _matches(
    pa: int, na: int, pb: int, nb: int, shift: int, minus: bool, same: bool
) -> tuple[int, int]:
    """Shifts at which a pattern occurs in a row, where its first term is added and subtracted."""
    if minus:
        plus, less = pa & (nb >> shift), na & (pb >> shift)
    else:
        plus, less = pa & (pb >> shift), na & (nb >> shift)
    if same:
        # Two digits of one node: occurrences may overlap, and the lower one goes first.
        free, kept_plus, kept_less = pa | na, 0, 0
        both = plus | less
        while both:
            bit = both & -both
            both &= both - 1
            if free & bit and free & (bit << shift):
                free &= ~(bit | (bit << shift))
                if plus & bit:
                    kept_plus |= bit
                else:
                    kept_less |= bit
        return kept_plus, kept_less
    return plus, less


@njit(cache=True, nogil=True)
def _room(limit: int, used: int, da: int, db: int) -> int:
    """How many terms of depths da and db a row may join."""
    more = (2 << max(da, db)) - (1 << da) - (1 << db)
    return (limit - used) // more if more else 1 << 30


@njit(cache=True, nogil=True)
def _trimmed(word: int, most: int) -> int:
    """The lowest `most` ones of a word."""
    kept = 0
    while word and most > 0:
        kept |= word & -word
        word &= word - 1
        most -= 1
    return kept


@njit(cache=True, nogil=True)
def _value(count: int, bits: int, shift: int, taste: tuple[float, float]) -> float:
    """What a pattern is worth; no more than before where the same pattern occurs less often."""
    return count - taste[0] * bits - taste[1] * shift


@njit(cache=True, nogil=True)
def _weight(coefficients: Ints, node: int, k: int) -> int:
    """How often input k is in a node, of which the sums have rows of coefficients."""
    inputs = coefficients.shape[1]
    return coefficients[node - inputs, k] if node >= inputs else int(node == k)


@njit(cache=True, nogil=True)
def _key(a: int, b: int, shift: int, minus: int) -> int:
    return ((a << 24 | b) << 6 | shift) << 1 | minus


@njit(cache=True, nogil=True)
def share(
    plus: Ints, less: Ints, lo: Ints, hi: Ints, limits: Ints, most: int,
    taste: tuple[float, float],
) -> tuple[Ints, Ints, Ints, Ints, Ints, Ints]:  # fmt: skip
    """Share sums until none occurs twice.

    plus, less: (inputs, rows), bit s set where input << s is added to or subtracted from the row.
    lo, hi: range of each input.  limits: 2**D per row.  most: the greatest number of nodes.
    taste: what a bit of its chain and what a bit of its shift cost a pattern, in occurrences.
    Returns per node, inputs first: (a, b, shift, minus) of its sum a +- (b << shift), the bits of
    the terms left in each row, added and subtracted, its depth, and its exact range.
    """
    inputs, rows = plus.shape
    p, n = np.zeros((most, rows), np.int64), np.zeros((most, rows), np.int64)
    low, high = np.zeros(most, np.int64), np.zeros(most, np.int64)
    coefficients = np.zeros((most - inputs, inputs), np.int64)
    depth = np.zeros(most, np.int64)
    sums = np.zeros((most, 4), np.int64)
    active = np.zeros((rows, most), np.int64)
    actives = np.zeros(rows, np.int64)
    used = np.zeros(rows, np.int64)
    counts = np.zeros((most, 2 * SHIFTS, 2), np.int64)
    touched = np.zeros(most, np.int64)
    heap = [(0.0, np.int64(0))]
    heap.clear()
    # Numba takes seconds to compile assignments to slices, and none for those to elements.
    for k in range(inputs):
        low[k], high[k] = lo[k], hi[k]
    for r in range(rows):
        for k in range(inputs):
            p[k, r], n[k, r] = plus[k, r], less[k, r]
            terms = p[k, r] | n[k, r]
            if terms:
                used[r] += _ones(terms)
                active[r, actives[r]] = k
                actives[r] += 1
    for k in range(inputs):
        _count(heap, k, p, n, low, high, active, actives, counts, touched, taste)
    nodes = inputs
    while heap and nodes < most:
        worth, key = heappop(heap)
        minus, shift = key & 1, key >> 1 & 63
        b, a = key >> 7 & ((1 << 24) - 1), key >> 31
        bits = adder_bits(low[a], high[a], low[b], high[b], shift, minus == 1, False)
        count = 0
        for r in range(rows):
            if (p[a, r] | n[a, r]) == 0 or (p[b, r] | n[b, r]) == 0:
                continue
            x, y = _matches(p[a, r], n[a, r], p[b, r], n[b, r], shift, minus == 1, a == b)
            if x | y:
                count += min(_ones(x | y), _room(limits[r], used[r], depth[a], depth[b]))
        if count < 2:
            continue
        now = _value(count, bits, shift, taste)
        if now < -worth:
            # Other sums took some of its places: counts only ever fall.
            heappush(heap, (-now, key))
            continue
        sums[nodes, 0], sums[nodes, 1], sums[nodes, 2], sums[nodes, 3] = a, b, shift, minus
        depth[nodes] = max(depth[a], depth[b]) + 1
        sign = -1 if minus else 1
        for k in range(inputs):
            first, second = _weight(coefficients, a, k), _weight(coefficients, b, k)
            c = first + (sign * second << shift)
            coefficients[nodes - inputs, k] = c
            low[nodes] += c * lo[k] if c > 0 else c * hi[k]
            high[nodes] += c * hi[k] if c > 0 else c * lo[k]
        more = (1 << depth[nodes]) - (1 << depth[a]) - (1 << depth[b])
        for r in range(rows):
            if (p[a, r] | n[a, r]) == 0 or (p[b, r] | n[b, r]) == 0:
                continue
            x, y = _matches(p[a, r], n[a, r], p[b, r], n[b, r], shift, minus == 1, a == b)
            kept = _trimmed(x | y, _room(limits[r], used[r], depth[a], depth[b]))
            if kept == 0:
                continue
            x, y = x & kept, y & kept
            p[a, r] &= ~x
            n[a, r] &= ~y
            p[b, r] &= ~((y if minus else x) << shift)
            n[b, r] &= ~((x if minus else y) << shift)
            p[nodes, r], n[nodes, r] = x, y
            used[r] += more * _ones(kept)
            active[r, actives[r]] = nodes
            actives[r] += 1
        _count(heap, nodes, p, n, low, high, active, actives, counts, touched, taste)
        nodes += 1
    return sums[:nodes], p[:nodes], n[:nodes], depth[:nodes], low[:nodes], high[:nodes]


@njit(cache=True, nogil=True)
def _count(
    heap: list[tuple[float, int]], v: int, p: Ints, n: Ints, low: Ints, high: Ints,
    active: Ints, actives: Ints, counts: Ints, touched: Ints,
    taste: tuple[float, float],
) -> None:  # fmt: skip
    """Count the patterns of node v with itself and older nodes; push those that occur twice.

    counts: scratch, all 0.  touched: scratch, which nodes have counts.
    """
    rows, seen = p.shape[1], 0
    marked = np.zeros(v + 1, np.bool_)
    for r in range(rows):
        if (p[v, r] | n[v, r]) == 0:
            continue
        kept = 0
        for at in range(actives[r]):
            u = active[r, at]
            terms = p[u, r] | n[u, r]
            if terms == 0:
                continue
            active[r, kept] = u
            kept += 1
            if u > v:
                continue
            if not marked[u]:
                marked[u] = True
                touched[seen] = u
                seen += 1
            mine = p[v, r] | n[v, r]
            while mine:
                bit = mine & -mine
                mine &= mine - 1
                s = _ones(bit - 1)
                negative = (n[v, r] & bit) != 0
                others = terms
                while others:
                    other = others & -others
                    others &= others - 1
                    t = _ones(other - 1)
                    if u == v and t <= s:
                        continue
                    opposite = 1 if ((n[u, r] & other) != 0) != negative else 0
                    counts[u, t - s + SHIFTS, opposite] += 1
        actives[r] = kept
    for u in touched[:seen]:
        for at in range(2 * SHIFTS):
            for minus in range(2):
                count = counts[u, at, minus]
                counts[u, at, minus] = 0
                if count < 2:
                    continue
                # The term that is shifted less comes first; of two alike, the older one.
                shift = at - SHIFTS
                a, b = (v, u) if shift > 0 or (shift == 0 and v < u) else (u, v)
                shift = abs(shift)
                bits = adder_bits(low[a], high[a], low[b], high[b], shift, minus == 1, False)
                heappush(heap, (-_value(count, bits, shift, taste), _key(a, b, shift, minus)))


def nearest(shift: Ints, depth: Ints) -> Ints:
    """The order in which `pairing` looks at terms: of long rows, by depth and then by shift."""
    if len(shift) <= LONG:
        return np.arange(len(shift))
    return np.argsort(depth * SHIFTS + shift, kind="stable")


@njit(cache=True, nogil=True)
def pairing(
    lo: Ints, hi: Ints, shift: Ints, sign: Ints, depth: Ints, order: Ints, limit: int, mode: int
) -> tuple[Ints, int]:
    """Sum terms sign * (x << shift) two at a time, within a depth: (places (k - 1, 2), cost).

    Place j below k is term j, place k + i the i-th sum.  Each time that pair is summed whose chain
    is shortest (mode 0), or whose sum is narrowest (mode 1), or least deep (mode 2).  Of more than
    `LONG` terms only the `NEAR` first are looked at: `order` is that of `nearest`, in which the
    least deep ones come first, and two of these may always be summed, so there is a pair.
    """
    k = len(lo)
    pairs = np.zeros((max(k - 1, 0), 2), np.int64)
    low, high = np.zeros(2 * k, np.int64), np.zeros(2 * k, np.int64)
    at, deep = np.zeros(2 * k, np.int64), np.zeros(2 * k, np.int64)
    signs = np.zeros(2 * k, np.int64)
    used = 0
    for term in range(k):
        low[term], high[term], at[term] = lo[term], hi[term], shift[term]
        deep[term], signs[term] = depth[term], sign[term]
        used += 1 << depth[term]
    near = NEAR if k > LONG else k
    alive = [order[term] for term in range(k)]
    cost = 0
    for made in range(k - 1):
        best, first, second = 1 << 60, -1, -1
        for i in range(min(near, len(alive))):
            for j in range(i):
                x, y = alive[i], alive[j]
                if _room(limit, used, deep[x], deep[y]) < 1:
                    continue
                if at[y] < at[x]:
                    x, y = y, x
                minus = signs[x] != signs[y]
                apart = at[y] - at[x]
                bits = adder_bits(low[x], high[x], low[y], high[y], apart, minus, False)
                top = bits + at[y]
                if mode == 0:
                    rank = (bits << 20) + (top << 10) + deep[x] + deep[y]
                elif mode == 1:
                    rank = (top << 20) + (bits << 10) + deep[x] + deep[y]
                else:
                    rank = (max(deep[x], deep[y]) << 30) + (bits << 20) + (top << 10)
                if rank < best:
                    best, first, second = rank, x, y
        x, y = first, second
        apart, new = at[y] - at[x], k + made
        minus = signs[x] != signs[y]
        cost += adder_bits(low[x], high[x], low[y], high[y], apart, minus, False)
        low[new] = low[x] + ((-high[y] if minus else low[y]) << apart)
        high[new] = high[x] + ((-low[y] if minus else high[y]) << apart)
        at[new], signs[new] = at[x], signs[x]
        deep[new] = max(deep[x], deep[y]) + 1
        used += (1 << deep[new]) - (1 << deep[x]) - (1 << deep[y])
        pairs[made, 0], pairs[made, 1] = x, y
        alive.remove(x)
        alive.remove(y)
        place = len(alive)
        while near < k and place > 0 and deep[alive[place - 1]] > deep[new]:
            place -= 1
        alive.insert(place, new)
    return pairs, cost
