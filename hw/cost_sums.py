"""Sums and products: the full adders that Yosys makes of a sum, multipliers, and widths."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..models.fixed import Grid


@cache
def sum_of(columns: tuple[int, ...]) -> Mapping[str, float]:
    """Features of a sum with so many bits to add in each column, lowest first.

    Counts what Yosys' `maccmap` makes of it: words of one bit a column, three of which become two
    by full adders until two are left, which are added in a carry chain, or in LUTs if narrow.
    """
    words, spare = _summands(list(columns))
    adders = 0
    while len(words) > 2:
        made: list[list[bool]] = []
        for at in range(0, len(words) - 2, 3):
            inputs = [sum(bits) for bits in zip(*words[at : at + 3], strict=True)]
            adders += inputs.count(3) + inputs.count(2)
            carries = [spare > 0, *(count >= 2 for count in inputs[:-1])]
            spare -= spare > 0
            made += [[count > 0 for count in inputs], carries]
        words = made + words[len(words) // 3 * 3 :]
    last = len(columns) if len(words) > 1 else 0
    chain = last if last > 4 else 0
    return {"adders": adders, "carry": chain, "short": last - chain}


def _summands(left: list[int]) -> tuple[list[list[bool]], int]:
    """Words that take a bit of each column, and how many bits go into free carry inputs instead."""
    words: list[list[bool]] = []
    spare = 0
    while any(left):
        words.append([count > 0 for count in left])
        left = [max(0, count - 1) for count in left]
        free = max(0, len(words) - 2 - spare)
        for place in range(len(left)):
            # A bit of weight 2**k stands for so many at the lowest place.
            packed = min(left[place], free >> place)
            left[place] -= packed
            free -= packed << place
            spare += packed << place
    return words, spare


@cache
def soft_product(x: Grid, w: Grid) -> Mapping[str, float]:
    """Features of a product in LUTs: its partial products, and their sum.

    w: what holds the factors; a range of one number is a constant, of which the ones count.
    """
    ones = [bool(w.lo >> k & 1) for k in range(w.bits)] if w.lo == w.hi else [True] * w.bits
    columns = [0] * product_bits(x, w)
    for place in range(x.bits):
        for shift in range(w.bits):
            columns[min(place + shift, len(columns) - 1)] += ones[shift]
    whole = sum_of(tuple(columns))
    gates = 0 if w.lo == w.hi else x.bits * w.bits
    return {"ands": gates, "fulls": whole["adders"], "ends": whole["carry"] + whole["short"]}


def product_bits(x: Grid, w: Grid) -> int:
    """Width of a product as Amaranth makes it."""
    return (2 if x.bipolar else x.bits) + w.bits
