"""The two ends of a written graph: real numbers become the program's integers, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...border import Border
from ...fixed import ProgramError
from ...program import INPUT, Edge
from .draft import INPUT_TENSOR, Array, Draft, aligned, laid_out, tensor_order, width_of

RANGE_BITS = 96
"""Real numbers at the borders lie within this power of two: times any integer they are finite."""
FINISHES = {
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
}


def inward(draft: Draft) -> str:
    """The input's integers, from real numbers in the model's own layout."""
    edge, border = draft.program.input, draft.program.input_border
    draft.here = "graph"
    x = draft.tensors[INPUT_TENSOR] = draft.tensor(INPUT, border.own_shape(edge))
    draft.here = INPUT
    one_for_all = len({*border.scale}) == len({*border.offset}) == 1 and _uniform(edge)
    if one_for_all:
        x = _integers(draft, x, edge, border)
    axes = border.axes or tuple(range(len(edge.shape)))
    apart = [edge.shape[axis] for axis in axes]
    order = [axes.index(axis) for axis in tensor_order(edge.shape)]
    x = draft.move(x, apart, order, laid_out(edge.shape))
    return x if one_for_all else _integers(draft, x, edge, border)


def _uniform(edge: Edge) -> bool:
    """True if all channels have one range."""
    return bool((edge.lo == edge.grid.lo).all() and (edge.hi == edge.grid.hi).all())


def _integers(draft: Draft, x: str, edge: Edge, border: Border) -> str:
    """Real numbers, rounded and clamped to the integers that they stand for."""
    scale, offset = (_floats(values, edge) for values in (border.scale, border.offset))
    _check_input(edge, border, scale, offset)
    if offset.any():
        x = draft.emit("Sub", x, draft.constant(aligned(offset, edge.shape)))
    step = aligned(scale, edge.shape)
    x = draft.quantised(x, edge.grid, step, border.rounding)
    if (scale != 1).any():
        x = draft.emit("Div", x, draft.constant(step))
        if not edge.grid.bipolar and (np.frexp(scale)[0] != 0.5).any():
            # (q * scale) / scale misses q by a bit now and then, but for powers of two.
            x = draft.quantised(x, edge.grid)
    return x if edge.grid.bipolar else _clamped(draft, x, edge)


def _clamped(draft: Draft, x: str, edge: Edge) -> str:
    """Values of a quantiser that is wider than the edge, clamped to it."""
    bits, narrow = width_of(edge.grid)
    top = (1 << (bits - edge.grid.signed)) - 1
    bottom = narrow - top - 1 if edge.grid.signed else 0
    if (edge.lo == bottom).all() and (edge.hi == top).all():
        return x
    lo, hi = (draft.constant(aligned(bound, edge.shape)) for bound in (edge.lo, edge.hi))
    if _uniform(edge):
        return draft.emit("Clip", x, lo, hi)
    return draft.emit("Min", draft.emit("Max", x, lo), hi)


def _floats(values: Sequence[Fraction], edge: Edge) -> NDArray[np.float32]:
    """One float32 per channel; refused where it, or it times an integer, is beyond float32."""
    for value in values:
        if value and not 2**-RANGE_BITS <= abs(value) <= 2**RANGE_BITS:
            raise ProgramError(
                f"a scale or offset at the border is about 2**{_exponent(value)}, and from "
                f"2**-{RANGE_BITS} to 2**{RANGE_BITS} float32 is safe; rescale the model"
            )
    return np.broadcast_to(np.array([float(value) for value in values], np.float32), edge.channels)


def _exponent(value: Fraction) -> int:
    return value.numerator.bit_length() - value.denominator.bit_length()


_DIRECTED: dict[str, Callable[[Array], Array]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "down": np.trunc,
    "up": lambda values: np.sign(values) * np.ceil(np.abs(values)),
}
"""How values within a bit of an integer are rounded; by every other mode to that integer."""


def _check_input(
    edge: Edge, border: Border, scale: NDArray[np.float32], offset: NDArray[np.float32]
) -> None:
    """Raise unless float32 finds every integer of the input again where its real value stands."""
    grid, mode = edge.grid, border.rounding
    values = np.arange(grid.lo, grid.hi + 1, grid.step)
    exact = {
        (unit, shift): (a, b)
        for unit, shift, a, b in zip(
            np.broadcast_to(np.array(border.scale, object), edge.channels),
            np.broadcast_to(np.array(border.offset, object), edge.channels),
            scale,
            offset,
            strict=True,
        )
    }
    for (unit, shift), (a, b) in exact.items():
        reals = Border((unit,), (shift,)).real(values).astype(np.float32)
        steps = (reals - b) / a
        found = _DIRECTED.get(mode, np.rint)(steps)
        found = np.where(steps >= 0, 1, -1) if grid.bipolar else np.rint(found * a / a)
        if (found != values).any():
            raise ProgramError(
                f"the input's scale {unit} and offset {shift}, rounded by {mode}, do not keep "
                f"all integers of {grid.lo}..{grid.hi} apart in float32; choose a power of two as "
                "scale, a small multiple of it as offset, or rounding to the nearest"
            )


def outward(draft: Draft) -> str:
    """The answer in the output's own scale and layout."""
    edge, border = draft.program.output, draft.program.output_border
    x = draft.tensors[draft.program.nodes[-1].name]
    x = draft.affine(x, _floats(border.scale, edge), _floats(border.offset, edge), edge.shape)
    axes, order = border.axes or tuple(range(len(edge.shape))), tensor_order(edge.shape)
    apart = [edge.shape[axis] for axis in order]
    x = draft.move(x, apart, [order.index(axis) for axis in axes], border.own_shape(edge))
    if not border.finish:
        return x
    over: dict[str, Any] = {"axis": -1} if "softmax" in border.finish else {}
    return draft.emit(FINISHES[border.finish], x, **over)
