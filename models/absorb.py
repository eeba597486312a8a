"""One operator for a chain of real functions of an accumulator, equal to it for every integer.

From `exact` come the places at which the chain's integer result steps.  The operator is the
cheapest form that steps at exactly these places, in this order:

    nothing             the result is the accumulator itself;
    Thresholds          few levels;
    Requantise          a multiplier, a bias and a shift that pass every step: searched from the
                        smallest shift on, and proven at every step, hence everywhere between;
    Table               a short range of the accumulator, monotone or not;
    Thresholds          many levels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

import numpy as np

from .exact import (
    Affine,
    Chain,
    Condition,
    Fractions,
    Known,
    composed,
    direction,
    fraction_array,
    of_channel,
    spread,
)
from .fixed import Ints, ProgramError
from .ops import Requantise, Table, Thresholds
from .program import Edge, Op, fits

FEW_LEVELS = 15
"""Steps up to which comparators are taken without asking for a multiplier."""
TABLE_MAX = 4096
LEVELS_MAX = 1 << 16
STEPS_MAX = 1 << 22
"""Steps of all channels together."""
ENTRIES_MAX = 1 << 19
"""Entries of the tables of all channels together."""
SHIFT_MAX = 40
MULTIPLIER_MAX = 1 << 31
_ROOM = 1 << 61


@dataclass(frozen=True, eq=False)
class Absorbed:
    """The operator (None: the accumulator is the result already) and what it is in a word.

    `steps` says how many places or entries were computed for it: what it cost.
    """

    op: Op | None
    form: str
    steps: int = 0


@dataclass(frozen=True, eq=False)
class Stepping:
    """Where an integer function of each channel steps.

    Level `lo` + 1 + j of channel c is held from a = at[c, j] on where `rising[c]`, and below it
    elsewhere.  Each at[c, j] lies in edge.lo[c]..edge.hi[c] + 1.
    """

    at: Ints
    rising: np.ndarray
    lo: int

    @property
    def hi(self) -> int:
        """The highest level."""
        return self.lo + self.at.shape[1]

    @property
    def levels(self) -> Ints:
        """The level of each column."""
        return np.arange(self.lo + 1, self.hi + 1)


def absorb(edge: Edge, chain: Chain, bipolar: bool = False) -> Absorbed:
    """The operator on `edge` that equals `chain`, whose last function makes integers.

    `bipolar`: the two levels, 0 and 1, become -1 and +1.
    """
    fits("an accumulator and one more", [edge.grid.lo - 1, edge.grid.hi + 1])
    kinds, of = _kinds(edge, chain)
    if len(kinds) < edge.channels:
        few = Edge((len(kinds),), edge.lo[kinds], edge.hi[kinds], edge.step)
        absorbed = absorb(few, spread(chain, kinds), bipolar)
        return replace(absorbed, op=_repeated(absorbed.op, of))
    if not monotone(chain, edge.channels):
        table = _table(edge, chain, bipolar)
        return Absorbed(table, "table", table.values.size * len(chain))
    steps = stepping(edge, chain)
    count, cost = steps.at.shape[1], steps.at.size * (1 + _own(chain))
    if _is_identity(edge, steps) and not bipolar:
        return Absorbed(None, "nothing to do", cost)
    if count <= FEW_LEVELS or bipolar:
        return Absorbed(_thresholds(steps, bipolar), _counted(count), cost)
    linear = _linear(edge, chain, steps)
    if linear is not None:
        return Absorbed(linear, f"multiplier and shift by {linear.shift}", cost)
    if edge.grid.hi - edge.grid.lo < TABLE_MAX:
        return Absorbed(_table(edge, chain, bipolar, steps), "table", cost)
    if count < TABLE_MAX:
        return Absorbed(_thresholds(steps, bipolar), _counted(count), cost)
    raise ProgramError(
        f"{count + 1} output levels of an accumulator in {edge.grid.lo}..{edge.grid.hi} are met by "
        f"no multiplier and shift, and thresholds end at {TABLE_MAX} levels; quantise to fewer bits"
    )


def _counted(count: int) -> str:
    return "1 threshold" if count == 1 else f"{count} thresholds"


def _kinds(edge: Edge, chain: Chain) -> tuple[Ints, Ints]:
    """One channel of each kind, and for each channel the number of its kind."""
    numbers: dict[tuple[object, ...], int] = {}
    first: list[int] = []
    of = np.empty(edge.channels, np.int64)
    chain = tuple(function for function in chain if function.channels > 1)
    bounds = zip(edge.lo.tolist(), edge.hi.tolist(), strict=True)
    for channel, ends in enumerate(bounds):
        key = (ends, *(function.parameters(channel) for function in chain))
        if key not in numbers:
            numbers[key] = len(first)
            first.append(channel)
        of[channel] = numbers[key]
    return np.array(first), of


def _repeated(op: Op | None, of: Ints) -> Op | None:
    """An operator of few channels with each of them where `of` says."""
    match op:
        case Thresholds(at, offset, step):
            return Thresholds(at[of], offset[of], step[of])
        case Requantise(multiplier, bias, shift, lo, hi):
            return Requantise(multiplier[of], bias[of], shift, lo, hi, op.even)
        case Table(values, lo):
            return Table(values[of] if len(values) > 1 else values, lo)
        case _:
            return None


def _ends(edge: Edge, chain: Chain) -> tuple[int, int]:
    """The lowest and highest value that a monotone chain takes on the edge."""
    channels = range(edge.channels if _varies(edge, chain) else 1)
    ends = [
        int(composed(chain, channel, Fraction(int(bound[channel]))))
        for channel in channels
        for bound in (edge.lo, edge.hi)
    ]
    return min(ends), max(ends)


def _varies(edge: Edge, chain: Chain) -> bool:
    """Whether channels differ, in range or in function."""
    alike = len(set(edge.lo.tolist())) == 1 and len(set(edge.hi.tolist())) == 1
    return not alike or any(function.channels > 1 for function in chain)


def monotone(chain: Chain, channels: int) -> bool:
    """Whether a chain never falls, or never rises, in each channel."""
    return all(direction(chain, channel) for channel in range(channels))


def stepping(edge: Edge, chain: Chain) -> Stepping:
    """The places at which a monotone chain, whose last function makes integers, steps."""
    signs = [direction(chain, channel) for channel in range(edge.channels)]
    lo, hi = _ends(edge, chain)
    if hi - lo > LEVELS_MAX or (hi - lo) * edge.channels > STEPS_MAX:
        raise ProgramError(
            f"{hi - lo + 1} output levels in {edge.channels} channels are more than "
            f"{LEVELS_MAX} a channel or {STEPS_MAX} in all; quantise to fewer bits"
        )
    *before, last = chain
    level = last.level  # type: ignore[attr-defined]  # the last function makes integers
    common = _own(chain)
    shared: list[Known] | None = None
    if last.channels == 1:
        shared = [_pulled(before[common:], 0, level(0, k)) for k in range(lo + 1, hi + 1)]
    at = np.empty((edge.channels, hi - lo), np.int64)
    rising = np.array(signs) > 0
    alike: Ints | None = None
    grid = edge.grid
    for channel in range(edge.channels):
        known = shared or [
            _pulled(before[common:], channel, level(channel, k)) for k in range(lo + 1, hi + 1)
        ]
        if common or shared is None or alike is None:
            alike = _first(before[:common], channel, known, bool(rising[channel]), grid.lo, grid.hi)
        at[channel] = np.clip(alike, edge.lo[channel], edge.hi[channel] + 1)
    return _trimmed(edge, Stepping(at, rising, lo))


def _own(chain: Chain) -> int:
    """How many functions each channel pulls through for itself; all behind them are shared."""
    *before, last = chain
    common = len(before)
    while common and before[common - 1].channels == 1 and last.channels == 1:
        common -= 1
    return common


def _pulled(functions: list, channel: int, known: Known) -> Known:  # type: ignore[type-arg]
    for function in reversed(functions):
        known = function.pulled(channel, known)
    return known


def _first(
    functions: list,  # type: ignore[type-arg]
    channel: int,
    known: list[Known],
    rising: bool,
    lo: int,
    hi: int,
) -> Ints:
    """For each condition the least accumulator from which on it holds (or, falling, fails)."""
    always, never = (lo, hi + 1) if rising else (hi + 1, lo)
    open_ = [k for k in known if isinstance(k, Condition)]
    if len(functions) == 1 and isinstance(functions[0], Affine) and open_:
        return _first_affine(functions[0], channel, known, always, never, lo, hi)
    result: list[int] = []
    for one in known:
        pulled = _pulled(functions, channel, one)
        if isinstance(pulled, bool):
            result.append(always if pulled else never)
        else:
            result.append(min(max(pulled.least(), lo), hi + 1))
    return np.array(result, np.int64)


def _first_affine(
    function: Affine, channel: int, known: list[Known], always: int, never: int, lo: int, hi: int
) -> Ints:
    """`_first` through one affine function, over a common denominator: no fractions inside."""
    scale, offset = of_channel(function.scale, channel), of_channel(function.offset, channel)
    if scale == 0:
        held = (function.pulled(channel, one) for one in known)
        return np.array([always if one else never for one in held], np.int64)
    conditions = [one for one in known if isinstance(one, Condition)]
    below = lcm(*(one.at.denominator for one in conditions))
    by, of = offset.denominator, scale.denominator
    shift, divisor = offset.numerator * below * of, below * by * scale.numerator
    result: list[int] = []
    for one in known:
        if isinstance(one, bool):
            result.append(always if one else never)
            continue
        above = one.at.numerator * (below // one.at.denominator) * by * of - shift
        # Through a falling function "at least" becomes "not at least": > and >= change places.
        reached = one.reached if scale > 0 else not one.reached
        least = -(-above // divisor) if reached else above // divisor + 1
        result.append(min(max(least, lo), hi + 1))
    return np.array(result, np.int64)


def _trimmed(edge: Edge, steps: Stepping) -> Stepping:
    """Without the levels that every channel always, or never, holds."""
    at, rising = steps.at, steps.rising[:, None]
    first, past = edge.lo[:, None], edge.hi[:, None] + 1
    always = np.where(rising, at <= first, at >= past).all(0)
    never = np.where(rising, at >= past, at <= first).all(0)
    count = at.shape[1]
    skip = int(np.argmin(np.append(always, False)))
    keep = max(count - int(np.argmin(np.append(np.flip(never), False))), skip)
    return Stepping(at[:, skip:keep], steps.rising, steps.lo + skip)


def _is_identity(edge: Edge, steps: Stepping) -> bool:
    inside = int(edge.lo.min()) >= steps.lo and int(edge.hi.max()) <= steps.hi
    wanted = np.clip(steps.levels, edge.lo[:, None], edge.hi[:, None] + 1)
    return inside and bool(steps.rising.all()) and bool((steps.at == wanted).all())


def _thresholds(steps: Stepping, bipolar: bool) -> Thresholds:
    at, rising = np.sort(steps.at, axis=1), steps.rising
    if at.shape[1] == 0:
        # A constant: one threshold below all, of height nothing.
        at = np.zeros((len(at), 1), np.int64)
        value = np.full(len(at), steps.lo)
        return Thresholds(at, 2 * value - 1 if bipolar else value, np.zeros(len(at), np.int64))
    lo, hi, step = (-1, 1, 2) if bipolar else (steps.lo, steps.hi, 1)
    return Thresholds(at, np.where(rising, lo, hi), np.where(rising, step, -step))


def _table(edge: Edge, chain: Chain, bipolar: bool, steps: Stepping | None = None) -> Table:
    """The values of a chain; where it is monotone, and differs by channel, from its steps."""
    lo, hi = edge.grid.lo, edge.grid.hi
    if hi - lo >= TABLE_MAX:
        raise ProgramError(
            f"a function that is not monotone needs a table, and an accumulator in {lo}..{hi} "
            f"takes more than {TABLE_MAX} entries; quantise it before the function"
        )
    alike = all(function.channels == 1 for function in chain)
    if (hi - lo) * (1 if alike else edge.channels) > ENTRIES_MAX:
        raise ProgramError(
            f"tables of {hi - lo + 1} entries for {edge.channels} channels are more than "
            f"{ENTRIES_MAX} in all; quantise per tensor before the function"
        )
    if steps is not None and not alike:
        table = _climbed(edge, steps)
    else:
        table = np.array(
            [
                [int(composed(chain, channel, Fraction(a))) for a in range(lo, hi + 1)]
                for channel in range(1 if alike else edge.channels)
            ]
        )
    return Table(2 * table - 1 if bipolar else table, lo)


def _climbed(edge: Edge, steps: Stepping) -> Ints:
    """The level of each accumulator in each channel; beyond a channel's range that of its end."""
    accumulators = np.arange(edge.grid.lo, edge.grid.hi + 1)
    table = np.empty((edge.channels, len(accumulators)), np.int64)
    for channel in range(edge.channels):
        inside = np.clip(accumulators, edge.lo[channel], edge.hi[channel])
        taken = np.searchsorted(np.sort(steps.at[channel]), inside, side="right")
        table[channel] = steps.lo + taken if steps.rising[channel] else steps.hi - taken
    return table


def slopes(chain: Chain, channels: int) -> Fractions:
    """The product of all affine scales of a chain, per channel."""
    result = np.array([Fraction(1)] * channels, object)
    for function in chain:
        if isinstance(function, Affine):
            result = result * np.broadcast_to(function.scale, (channels,))
    return result


def _linear(edge: Edge, chain: Chain, steps: Stepping) -> Requantise | None:
    """Multipliers and biases that step at exactly the same places, with the least shift."""
    ratio = slopes(chain, edge.channels)
    ends = min(ratio), max(ratio)
    largest = max(abs(edge.grid.lo), abs(edge.grid.hi) + 1)
    hard, every = np.array([0]), np.arange(edge.channels)
    for shift in range(1, SHIFT_MAX + 1):
        top = max(abs(value * 2**shift // 1) + 1 for value in ends)
        reach = max(abs(steps.lo), abs(steps.hi)) + 1
        if top >= MULTIPLIER_MAX or top * largest >= _ROOM or reach << shift >= _ROOM:
            break
        # The channel that failed last is likely to fail again: to ask it first saves the others.
        if _fitted(edge, steps, ratio, hard, shift)[2].any():
            continue
        multiplier, bias, missing = _fitted(edge, steps, ratio, every, shift)
        if not missing.any():
            return Requantise(multiplier, bias, shift, steps.lo, steps.hi)
        hard = np.flatnonzero(missing)[:1]
    return _even(edge, chain, steps)


def _even(edge: Edge, chain: Chain, steps: Stepping) -> Requantise | None:
    """Ties to even under scales that are powers of two times integers: no rounded-up half fits."""
    affine = Affine(fraction_array(1), fraction_array(0))
    for function in chain:
        if isinstance(function, Affine):
            affine = affine.then(function.scale, function.offset)
    scale, offset, _ = np.broadcast_arrays(affine.scale, affine.offset, np.empty(edge.channels))
    below = max(value.denominator for value in (*scale, *offset))
    shift = max(1, below.bit_length() - 1)
    if 1 << shift != max(2, below) or shift > SHIFT_MAX:
        return None
    multiplier = [int(value * 2**shift) for value in scale]
    bias = [int(value * 2**shift) for value in offset]
    ends = max(abs(edge.grid.lo), abs(edge.grid.hi)) + 1
    if (
        max(map(abs, multiplier)) >= MULTIPLIER_MAX
        or max(abs(m) * ends + abs(b) for m, b in zip(multiplier, bias, strict=True)) >= _ROOM
    ):
        return None
    op = Requantise(np.array(multiplier), np.array(bias), shift, steps.lo, steps.hi, 1)
    return op if _steps_alike(edge, op, steps) else None


def _steps_alike(edge: Edge, op: Requantise, steps: Stepping) -> bool:
    """Whether a monotone operator takes each level where it shall: beside it, and on it."""
    rising, first, last = steps.rising[:, None], edge.lo[:, None], edge.hi[:, None]
    on = np.clip(steps.at, first, last)
    before = np.clip(steps.at - 1, first, last)
    above, below = op(on.T).T, op(before.T).T
    held = np.where(rising, above >= steps.levels, below >= steps.levels) | (
        np.where(rising, steps.at > last, steps.at <= first)
    )
    missed = np.where(rising, below < steps.levels, above < steps.levels) | (
        np.where(rising, steps.at <= first, steps.at > last)
    )
    return bool(held.all() and missed.all())


def _fitted(
    edge: Edge, steps: Stepping, ratio: Fractions, channels: Ints, shift: int
) -> tuple[Ints, Ints, np.ndarray]:
    """For some channels the multiplier, next to the ratio, and the bias; and which have none."""
    low = np.array([int(value * 2**shift // 1) for value in ratio[channels]])
    at, rising = steps.at[channels], steps.rising[channels, None]
    first, last = edge.lo[channels, None], edge.hi[channels, None]
    # The nearest accumulators that hold each level, and that do not, where there are such.
    holds = np.where(rising, at, at - 1)
    fails = np.where(rising, at - 1, at)
    some_hold, some_fail = ((ends >= first) & (ends <= last) for ends in (holds, fails))
    cuts = steps.levels << shift
    none = np.int64(_ROOM)
    multiplier, bias = np.zeros_like(low), np.zeros_like(low)
    missing = np.ones(len(low), bool)
    for candidate in (low, low + 1):
        m = candidate[:, None]
        least = np.where(some_hold, cuts - m * holds, -none).max(1)
        most = np.where(some_fail, cuts - 1 - m * fails, none).min(1)
        fits = missing & (least <= most)
        if not fits.any():
            continue
        middle = np.where(
            least == -none, most, np.where(most == none, least, least + (most - least) // 2)
        )
        middle = np.where((least == -none) & (most == none), 0, middle)
        multiplier = np.where(fits, candidate, multiplier)
        bias = np.where(fits, middle - (1 << (shift - 1)), bias)
        missing &= ~fits
    return multiplier, bias, missing
