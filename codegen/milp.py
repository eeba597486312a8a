"""The least price within limits, as an integer program (HiGHS), solved to a gap of nothing.

A binary per layer and choice; per wire and pair of lanes a flow whose sums at both ends are those
binaries.  The flows are whole where the binaries are.  Prices and areas are integers, so a gap
below one proves the optimum.  Choices that another one beats wherever they stand are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import highspy
import numpy as np

from ..hw.cost import RESOURCES
from ..models.fixed import Ints
from ..models.program import INPUT
from .choices import Choice, Choices, Wire
from .price import price_of

GAP = 0.5
"""Prices are integers: what is nearer than one is equal."""
TOLERANCES = (1e-6, 1e-9)
"""How far from whole a binary may be, and then, where areas are so large that this is seen."""

Fast = Mapping[str, Sequence[Choice]]


@dataclass(frozen=True)
class Found:
    """The choice of each layer, and the price that the solver says they have."""

    chosen: Mapping[str, Choice]
    objective: float


def solve(
    choices: Choices,
    fast: Fast,
    price: Ints,
    limits: Mapping[str, int],
    tolerance: float = TOLERANCES[0],
) -> Found | None:
    """The choice of each layer among `fast` of least price within `limits`; None: there is none.

    There is one layer at least.
    """
    kept = _without_beaten(choices, fast, price, limits)
    return _Model(choices, kept, price, limits, tolerance).solve()


# --- choices that are beaten --------------------------------------------------------------------


def _without_beaten(
    choices: Choices, fast: Fast, price: Ints, limits: Mapping[str, int]
) -> dict[str, Sequence[Choice]]:
    """Leave out each choice for which another one is no worse whatever its neighbours choose.

    No worse in price and in each limited resource: any folding with the one is as good with the
    other.  Readers of a shared input stay whole, as the widest of them decides for all.
    """
    measures = np.array([price, *(price_of(name, choices.family) for name in limits)]).T
    shared = _shared(choices)
    readers = {wire.reader for wire in shared}
    kept = dict(fast)
    for layer, every in fast.items():
        if layer not in readers:
            worse = _differences(choices, kept, layer, measures).max(-1) <= 0
            kept[layer] = [every[k] for k in _survivors(worse)]
    return kept


def _shared(choices: Choices) -> tuple[Wire, ...]:
    """The wires from the input, where there are several."""
    wires = choices.from_source(INPUT)
    return wires if len(wires) > 1 else ()


def _survivors(no_worse: Ints) -> list[int]:
    """What is left when each is dropped that a survivor beats; no_worse[b, a]: b beats a."""
    alive = np.ones(len(no_worse), bool)
    np.fill_diagonal(no_worse, False)
    for k in range(len(no_worse)):
        alive[k] = not (no_worse[:, k] & alive).any()
    return np.flatnonzero(alive).tolist()


def _differences(choices: Choices, fast: Fast, layer: str, measures: Ints) -> Ints:
    """[b, a]: by how much b can be worse than a at most, in each measure."""
    every = fast[layer]
    alone = np.array([choices.alone(layer, choice) for choice in every]) @ measures
    most = alone[:, None] - alone
    for wire in choices.wires:
        if wire.reader is None or wire.source == INPUT:
            continue
        if wire.reader == layer:
            lanes = [choice.inputs[wire.port] for choice in every]
            others = {choice.output for choice in fast[wire.source]}
            most = most + _most(lanes, lambda a, w=wire, o=others: [
                choices.link(w, have, a) @ measures for have in sorted(o)
            ])  # fmt: skip
        if wire.source == layer:
            lanes = [choice.output for choice in every]
            others = {choice.inputs[wire.port] for choice in fast[wire.reader]}
            most = most + _most(lanes, lambda a, w=wire, o=others: [
                choices.link(w, a, want) @ measures for want in sorted(o)
            ])  # fmt: skip
    return most


def _most(lanes: Sequence[int], links: Callable[[int], list[Ints]]) -> Ints:
    """[b, a]: the most by which links of b's lanes cost more than those of a's."""
    different = sorted(set(lanes))
    cost = np.array([links(count) for count in different])
    gain = (cost[:, None] - cost).max(2)
    at = [different.index(count) for count in lanes]
    return gain[np.ix_(at, at)]


# --- the integer program ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stop:
    """A choice of a layer, or lanes of the source where it is shared, as the program sees it."""

    area: Ints
    inputs: tuple[int, ...]
    output: int


@dataclass(eq=False)
class _Model:
    """Columns and rows of the program."""

    choices: Choices
    fast: Fast
    price: Ints
    limits: Mapping[str, int]
    tolerance: float
    areas: list[Ints] = field(default_factory=list[Ints])
    upper: list[float] = field(default_factory=list[float])
    rows: list[tuple[float, float, dict[int, float]]] = field(
        default_factory=list[tuple[float, float, dict[int, float]]]
    )

    def solve(self) -> Found | None:
        stops = self._stops()
        binary = {name: self._columns([s.area for s in every]) for name, every in stops.items()}
        whole = len(self.areas)
        for columns in binary.values():
            self.rows.append((1, 1, dict.fromkeys(columns, 1.0)))
        shared = _shared(self.choices)
        widest: dict[int, dict[int, float]] = {}
        for wire in self.choices.wires:
            if wire.reader is not None and (wire.source != INPUT or shared):
                flows = self._flow(wire, stops, binary)
                for (have, want), column in flows.items() if wire.source == INPUT else ():
                    # The source has the lanes of its widest reader.
                    self.upper[column] = float(want <= have)
                    if want == have:
                        widest.setdefault(have, {})[column] = 1.0
        for stop, column in zip(stops.get(INPUT, ()), binary.get(INPUT, ()), strict=True):
            row = {**widest.get(stop.output, {}), column: -1.0}
            self.rows.append((0, highspy.kHighsInf, row))
        for name, most in self.limits.items():
            areas = np.array(self.areas)[:, RESOURCES.index(name)]
            row = {int(k): float(areas[k]) for k in np.flatnonzero(areas)}
            # Areas are integers: half of one keeps rounding away from the bound.
            self.rows.append((-highspy.kHighsInf, most + 0.5, row))
        solved = self._run(whole)
        if solved is None:
            return None
        values, objective = solved
        chosen = {
            layer: every[int(np.argmax(values[binary[layer]]))]
            for layer, every in self.fast.items()
        }
        return Found(chosen, objective)

    def _stops(self) -> dict[str, list[_Stop]]:
        stops = {
            layer: [
                _Stop(self.choices.alone(layer, choice), choice.inputs, choice.output)
                for choice in every
            ]
            for layer, every in self.fast.items()
        }
        shared = _shared(self.choices)
        lanes = {c.inputs[w.port] for w in shared for c in self.fast[w.reader or ""]}
        if shared:
            leaving = self.choices.leaving
            stops[INPUT] = [_Stop(leaving(INPUT, count), (), count) for count in sorted(lanes)]
        return stops

    def _columns(self, areas: Sequence[Ints]) -> list[int]:
        self.areas += areas
        self.upper += [1.0] * len(areas)
        return list(range(len(self.areas) - len(areas), len(self.areas)))

    def _flow(
        self, wire: Wire, stops: Mapping[str, list[_Stop]], binary: Mapping[str, list[int]]
    ) -> dict[tuple[int, int], int]:
        """Columns of a wire by (have, want), tied to the choices at both ends."""
        sources, readers = stops[wire.source], stops[wire.reader or ""]
        haves = [stop.output for stop in sources]
        wants = [stop.inputs[wire.port] for stop in readers]
        pairs = [(have, want) for have in sorted(set(haves)) for want in sorted(set(wants))]
        columns = self._columns([self.choices.link(wire, *pair) for pair in pairs])
        flows = dict(zip(pairs, columns, strict=True))
        ends = ((0, haves, binary[wire.source]), (1, wants, binary[wire.reader or ""]))
        for end, lanes, chosen in ends:
            for count in sorted(set(lanes)):
                row = {column: 1.0 for pair, column in flows.items() if pair[end] == count}
                row |= {c: -1.0 for c, own in zip(chosen, lanes, strict=True) if own == count}
                self.rows.append((0, 0, row))
        return flows

    def _run(self, whole: int) -> tuple[np.ndarray, float] | None:
        """Values of all columns, of which the first `whole` are binaries, and the least price."""
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.areas), len(self.rows)
        lp.col_cost_ = (np.array(self.areas) @ self.price).astype(float)
        lp.col_lower_, lp.col_upper_ = np.zeros(len(self.areas)), np.array(self.upper)
        lp.row_lower_ = np.array([row[0] for row in self.rows], float)
        lp.row_upper_ = np.array([row[1] for row in self.rows], float)
        entries = [row[2] for row in self.rows]
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = np.cumsum([0, *map(len, entries)])
        lp.a_matrix_.index_ = np.array([column for row in entries for column in row])
        lp.a_matrix_.value_ = np.array([value for row in entries for value in row.values()])
        kinds = highspy.HighsVarType
        lp.integrality_ = [kinds.kInteger] * whole + [kinds.kContinuous] * (len(self.areas) - whole)
        # The class above it prints a banner when it is made; standard output is not ours to spoil.
        solver = highspy._Highs()  # type: ignore[attr-defined]
        options = {
            "output_flag": False,
            "threads": 1,
            "mip_rel_gap": 0.0,
            "mip_abs_gap": GAP,
            "mip_feasibility_tolerance": self.tolerance,
            "primal_feasibility_tolerance": min(self.tolerance, 1e-7),
        }
        for name, value in options.items():
            solver.setOptionValue(name, value)
        solver.passModel(lp)
        solver.run()
        status = solver.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:
            return None
        if status != highspy.HighsModelStatus.kOptimal:
            raise RuntimeError(f"HiGHS ended with {status}; this is a bug, please report it")
        objective = solver.getInfo().objective_function_value
        return np.array(solver.getSolution().col_value), objective
