"""Features of products in stages: their multipliers, sums of partial products, and registers."""

from __future__ import annotations

from ..models.fixed import Grid, signed, unsigned
from .cost_families import Family, multipliers
from .cost_parts import Parts, together
from .cost_sums import soft_product
from .product import WORD, Product, Products, Slice, Term


def staged(made: Products, k: int, read: tuple[int, int], family: Family) -> Parts:
    """The product of lane k in several stages, without the register behind it.

    read: the first of the product's bits that is read, and the one behind the last.
    """
    product = made.lanes[k]
    held = made.held(product)
    ff = sum(_held(terms, read) for terms in held)
    if family.packs and any(_multiplied(*pair, family).dsp for pair in product.partial):
        # Into a multiplier go the registers behind it, and a first sum with the one behind that.
        partial, *sums = product.layers
        ff -= sum(_held(terms, read) for terms in held if terms == partial)
        if sums:
            again = sums[0] in held or len(sums) == 1
            ff -= again * _added(partial, sums[0], read[1])
    return _gates(product, family) + Parts(ff=ff)


def _added(terms: tuple[Term, ...], behind: tuple[Term, ...], most: int) -> int:
    """Bits of the sums of a layer to which something is added."""
    pairs = zip(terms[::2], terms[1::2], behind, strict=False)
    return sum(min(total.shape.width, most - a.shift) - b.shift + a.shift for a, b, total in pairs)


def _gates(product: Product, family: Family) -> Parts:
    """Partial products and their sums."""
    added = 0
    for terms, behind in zip(product.layers, product.layers[1:], strict=False):
        added += _added(terms, behind, WORD)
    partial = together(*(_multiplied(*pair, family) for pair in product.partial))
    return partial + Parts({"partial": added})


def _multiplied(x: Slice, factor: Slice, family: Family) -> Parts:
    """A partial product: a multiplier, or LUTs."""
    if x.gate or factor.gate:
        other = (x if factor.gate else factor).shape.width
        return Parts() if factor.known is not None else Parts({"ands": other})
    a, b = _grid(x), _grid(factor)
    dsp = multipliers(a, b, family)
    return Parts(dsp=dsp) if dsp else Parts(soft_product(a, b))


def _grid(part: Slice) -> Grid:
    if part.known is not None:
        return Grid(part.known, part.known)
    return (signed if part.shape.signed else unsigned)(part.shape.width)


def _held(terms: tuple[Term, ...], read: tuple[int, int]) -> int:
    """Bits of terms in registers: those that nothing is added to are held only where read."""
    low, most = read
    bits = sum(max(0, min(term.shape.width, most - term.shift)) for term in terms)
    alone = terms[1].shift if len(terms) > 1 else low
    return bits - max(0, min(low, alone) - terms[0].shift) if terms else bits
