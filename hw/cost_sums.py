"""Sums and products: the full adders that Yosys makes of a sum, multipliers, and widths."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..models.fixed import Grid

Bit = tuple[int | str, int]
"""The name of a bit that is added."""


@cache
def sum_of(columns: tuple[int, ...]) -> Mapping[str, float]:
    """Features of a sum with so many bits to add in each column, lowest first; no two are equal."""
    return _sum_of([[(k, n) for n in range(count)] for k, count in enumerate(columns)])


def _sum_of(columns: list[list[Bit]]) -> Mapping[str, float]:
    """Features of a sum of named bits.

    Counts what Yosys' `maccmap` makes of it: words of one bit a column, three of which become two
    by full adders until two are left, which are added in a carry chain, or in LUTs if narrow.  Full
    adders of the same bits are one.
    """
    words, spare = _summands(columns)
    adders: dict[tuple[Bit, ...], int] = {}
    while len(words) > 2:
        made: list[list[Bit | None]] = []
        for at in range(0, len(words) - 2, 3):
            added = [_added(bits, adders) for bits in zip(*words[at : at + 3], strict=True)]
            first = ("spare", spare) if spare else None
            spare -= spare > 0
            made += [[low for low, _ in added], [first, *(carry for _, carry in added[:-1])]]
        words = made + words[len(words) // 3 * 3 :]
    last = len(columns) if len(words) > 1 else 0
    chain = last if last > 4 else 0
    return {"adders": len(adders), "carry": chain, "short": last - chain}


def _added(
    bits: tuple[Bit | None, ...], adders: dict[tuple[Bit, ...], int]
) -> tuple[Bit | None, Bit | None]:
    """Sum and carry of the bits of three words in a column, from an adder where there are two."""
    there = tuple(bit for bit in bits if bit is not None)
    if len(there) < 2:
        return (there[0] if there else None), None
    number = adders.setdefault(there, len(adders))
    return ("sum", number), ("carry", number)


def _summands(columns: list[list[Bit]]) -> tuple[list[list[Bit | None]], int]:
    """Words that take a bit of each column, and how many bits go into free carry inputs instead."""
    left = [list(column) for column in columns]
    words: list[list[Bit | None]] = []
    spare = 0
    while any(left):
        words.append([column.pop(0) if column else None for column in left])
        free = max(0, len(words) - 2 - spare)
        for place, column in enumerate(left):
            # A bit of weight 2**k stands for so many at the lowest place.
            packed = min(len(column), free >> place)
            del column[len(column) - packed :]
            free -= packed << place
            spare += packed << place
    return words, spare


@cache
def soft_product(x: Grid, w: Grid) -> Mapping[str, float]:
    """Features of a product in LUTs: its partial products, and their sum.

    w: what holds the factors; a range of one number is a constant, of which the ones count.
    """
    known = w.lo == w.hi
    names = tuple(None if known and not w.lo >> k & 1 else k for k in range(w.bits))
    found = product_of_names(x.bits, names, product_bits(x, w))
    return {**found, "ands": 0} if known else found


@cache
def product_of_names(x: int, factor: tuple[int | None, ...], width: int) -> Mapping[str, float]:
    """Features of a product of x bits with a factor that has a name for each of its bits.

    Bits of one name are equal: their partial products, and full adders of the same ones, are made
    once.  A bit without a name is 0.
    """
    columns: list[list[Bit]] = [[] for _ in range(width)]
    for place in range(x):
        for shift, name in enumerate(factor):
            if name is not None:
                columns[min(place + shift, width - 1)].append((place, name))
    whole = _sum_of(columns)
    gates = x * len({name for name in factor if name is not None})
    return {"ands": gates, "fulls": whole["adders"], "ends": whole["carry"] + whole["short"]}


def product_bits(x: Grid, w: Grid) -> int:
    """Width of a product as Amaranth makes it."""
    return (2 if x.bipolar else x.bits) + w.bits
