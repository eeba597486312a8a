"""The verb `search`: which method compresses which layer, and the table of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitwright.codegen.choices import Choices
from bitwright.codegen.folding import cheapest, fastest
from bitwright.codegen.price import price_of
from bitwright.codegen.search import BITS, Measured, Search
from bitwright.hw.cost import RESOURCES
from bitwright.models.classes import classes, top_1
from bitwright.models.compress.method import method
from bitwright.models.fixed import ProgramError
from bitwright.models.lower import quantise
from bitwright.models.network import Network
from bitwright.models.program import Program
from bitwright.models.store import chunks
from bitwright.models.weights import linear_layers
from bitwright.sim import kernels

from .expected import check_classes
from .text import table

Cost = Callable[[Program], int | None]


def prepare(
    network: Network,
    data: NDArray[Any],
    among: Sequence[str],
    labels: NDArray[Any] | None,
    activations: int,
    cost: Cost,
    tell: Callable[[str], None],
) -> Search:
    """The search over all layers with weights; without labels the float network's classes count."""
    if len(set(among)) < 2:
        raise ProgramError("a search needs two methods or more to choose among; name others")
    for name in among:
        method(name)
    # Read once, for all the programs: the layout is the model's own, or channels last.
    frames = network.accept(data)
    if not len(frames):
        raise ProgramError("a search measures on data, and there is no input; give some")
    check_classes(network)
    parts = chunks(len(frames), sum(map(prod, network.shapes.values())))
    wanted = np.concatenate([network(frames[part]) for part in parts]).reshape(len(frames), -1)
    known = classes(wanted) if labels is None else np.asarray(labels)
    _ = top_1(wanted, known)  # refuses labels of another number
    return Search(
        layers=linear_layers(network),
        methods=list(dict.fromkeys(among)),
        compress=lambda methods: quantise(
            network, data, among[0], activations, kernels.execute, methods
        ),
        cost=cost,
        scores=lambda program: _scores(program, frames),
        wanted=wanted,
        right=lambda scores: top_1(scores, known),
        tell=tell,
    )


def _scores(program: Program, frames: NDArray[Any]) -> NDArray[Any]:
    """A program's outputs (N, C); nothing of it stays, since another one comes next."""
    outputs = kernels.run(program, frames)
    kernels.forget()
    return program.output_border.real(outputs).reshape(len(frames), -1)


def costs(minimise: str, cycles_per_frame: int | None, family: str) -> Cost:
    """Stored bits of weights, or the estimate of one resource of the least folding."""
    if minimise == BITS:
        return lambda program: program.metadata["weight_bits"]
    if minimise not in RESOURCES:
        raise ProgramError(
            f"what a search minimises is one of {', '.join((BITS, *RESOURCES))}, not {minimise!r}"
        )
    price_of(minimise, family)

    def resource(program: Program) -> int | None:
        choices = Choices(program, family)
        if cycles_per_frame is not None and cycles_per_frame < fastest(choices)[1]:
            return None
        return cheapest(choices, cycles_per_frame, minimise).area[minimise]

    return resource


def describe(found: Measured, search: Search, minimise: str) -> dict[str, Any]:
    """What was chosen, and every mixture measured, by rising cost."""
    return {
        "minimise": minimise,
        "chosen": found.describe(),
        "front": len(search.front),
        "measured": [one.describe() for one in search.measured],
    }


def text(result: dict[str, Any]) -> str:
    """The mixtures that no other measured one beats, the chosen one marked."""
    rows: list[dict[str, Any]] = []
    best = -1.0
    for one in result["measured"]:
        chosen = one == result["chosen"]
        if chosen or one["accuracy"] > best:
            row = {"": "*" if chosen else "", result["minimise"]: one["cost"]}
            rows.append(
                row | {"accuracy": f"{one['accuracy']:.2%}", "loss": f"{one['loss']:.2e}"}
                | one["methods"]
            )  # fmt: skip
        best = max(best, one["accuracy"])
    return (
        f"{table(rows)}\n(* chosen; {len(result['measured'])} mixtures measured on the calibration "
        f"data, {result['front']} on the predicted front)"
    )
