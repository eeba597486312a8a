"""Designs: names from any model, links between any lanes, and foldings that are refused."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise

import numpy as np
import pytest
from agree import chain, check_hardware, refused, samples, stalls
from hypothesis import given
from hypothesis import strategies as st

from bitwright.codegen.folding import build, fold_for, read_folds
from bitwright.hw.convert import Narrow, Widen
from bitwright.hw.design import Design, folding_choices
from bitwright.hw.fifo import Fifo
from bitwright.hw.fork import Fork
from bitwright.hw.naming import identifier, identifiers
from bitwright.hw.unit import Fold
from bitwright.models.fixed import BINARY, signed
from bitwright.models.ops import Add, Dot, MaxPool, TopK, Window
from bitwright.models.program import Edge, Node, Program

HOSTILE = [
    "a\n cell", "always", "x" * 300, "Größe", "日本語", "", "1st", "_", "A", "a b", "a.b", "a__b",
    "a;b", "$finish", "\\escaped ", "top", "output", "source", "sink", "/* */", "`include", '"',
    "../../etc/passwd", "error", "aclk", "aresetn", "relu", "relu_valid", "\ud800", "a\0b",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_any_name_becomes_an_identifier(name: str):
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,47}", identifier(name))
    assert identifier(name) not in {"always", "output", "source", "sink", "top", ""}
    assert identifier(name) == identifier(name)


def test_safe_names_stay():
    assert [identifier(name) for name in ("relu", "conv_1", "a" * 48)] == [
        "relu",
        "conv_1",
        "a" * 48,
    ]


def test_names_do_not_meet():
    assert len(set(identifiers(HOSTILE).values())) == len(HOSTILE)


@given(st.lists(st.text(max_size=8), unique=True, max_size=8))
def test_no_names_meet(names: list[str]):
    made = identifiers(names).values()
    assert len(set(made)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{0,47}", name) for name in made)


def test_a_name_made_to_meet_another():
    crafted = f"n_a_b_{hashlib.sha256(b'A B').hexdigest()[:8]}"
    assert len(set(identifiers(["A B", crafted]).values())) == 2


def test_a_design_of_hostile_names_works():
    """Streams, units and top-level signals keep apart, whatever the nodes are called."""
    names = [*HOSTILE, "source_valid", "source_moved", "output_data"]
    nodes = [Node("fork", Add(), ("input", "input"))]
    nodes += [
        Node(name, MaxPool(1), (before,)) for before, name in pairwise(["fork", *names])
    ]  # fmt: skip
    program = Program("hostile", Edge.of((2,), signed(3)), tuple(nodes))
    design = Design(program, {name: Fold(2) for name in names}, {})
    assert {i.layer for i in design.instances} - {None} == {node.name for node in nodes}
    units, streams = ([i.name for i in design.instances], [s.name for s in design.streams])
    assert len(set(units)) == len(units)
    assert len(set(streams)) == len(streams)
    check_hardware(design, samples(program.input, 2))


def lanes_between(have: int, want: int) -> Design:
    """A dot that gives `have` lanes and one that takes `want`."""
    rng = np.random.default_rng(0)
    ops = [Dot(rng.choice([-1, 1], (12, 2)), BINARY), Dot(rng.choice([-1, 1], (3, 12)), BINARY)]
    program = chain("lanes", Edge.of((2, 2), signed(3)), *ops)
    return Design(program, {"n0": Fold(have, 2), "n1": Fold(1, want)}, {})


@pytest.mark.parametrize("have", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("want", [1, 2, 3, 4, 6, 12])
def test_any_lanes_meet_any_lanes(have: int, want: int):
    design = lanes_between(have, want)
    links = [(type(i.op), i.place.fold) for i in design.instances if i.name.startswith("n0__")]
    meeting = int(np.lcm(have, want))
    expected: list[object] = []
    if meeting != have:
        expected.append((Widen, Fold(meeting, have)))
    expected.append((Fifo, Fold(meeting)))
    if meeting != want:
        expected.append((Narrow, Fold(want, meeting)))
    assert links == expected
    x = samples(design.program.input, 3)
    check_hardware(design, x)
    check_hardware(design, x, stalls(0.4, have * want))


def test_lanes_that_meet_beyond_one_frame_are_no_obstacle():
    """4 and 6 lanes meet in words of 12, which divide every frame that both divide."""
    design = lanes_between(4, 6)
    assert [s.port.lanes for s in design.streams if s.edge == "n0"] == [4, 12, 12, 6]


def test_streams_and_units_of_a_branch():
    nodes = (
        Node("a", MaxPool(1), ("input",)),
        Node("b", MaxPool(1), ("a",)),
        Node("c", Add(), ("a", "b")),
        Node("d", Add(), ("c", "a")),
    )
    program = Program("branch", Edge.of((2, 4), signed(4)), nodes)
    design = Design(program, {"a": Fold(2), "b": Fold(4), "c": Fold(1), "d": Fold(2)}, {})
    assert [i.op.branches for i in design.instances if isinstance(i.op, Fork)] == [3]
    assert design.streams[0].name == "source__to_fifo"
    assert (design.streams[-1].name, design.streams[-1].edge) == ("output", "d")
    check_hardware(Design(program, design.folds, dict.fromkeys(design.by_name, 9)),
                   samples(program.input, 4), stalls(0.4))  # fmt: skip


CONV = chain(
    "conv",
    Edge.of((4, 4, 6), signed(3)),
    Window((2, 2)),
    Dot(np.ones((4, 24), int), BINARY),
    TopK(2),
)


@pytest.mark.parametrize(
    ("layer", "fold", "pes", "simds"),
    [
        ("n0", Fold(1, 4), "1", "1, 2, 3, 6"),
        ("n1", Fold(3, 1), "1, 2, 4", "1, 2, 3, 4, 6, 8, 12, 24"),
        ("n2", Fold(1, 1), "2", "1, 2, 4"),
    ],
)
def test_foldings_that_do_not_divide(layer: str, fold: Fold, pes: str, simds: str):
    kind = {"n0": "Window", "n1": "Dot", "n2": "TopK"}[layer]
    with refused(
        f"layer {layer!r}: {kind} cannot be folded with pe {fold.pe} and simd {fold.simd}; "
        f"pe is one of {pes} and simd one of {simds}"
    ):
        _ = Design(CONV, {"n2": Fold(2, 1), layer: fold}, {}).instances


def test_a_folding_of_a_layer_that_is_not_there():
    with refused(
        "the folding names layer 'dot', which program 'conv' has not; its layers are n0, n1, n2"
    ):
        _ = Design(CONV, {"dot": Fold()}, {}).instances


def test_a_long_list_of_foldings_is_cut():
    program = chain("wide", Edge.of((5040,), BINARY), Dot(np.ones((1, 5040), int), BINARY))
    with refused(
        "layer 'n0': Dot cannot be folded with pe 1 and simd 11; pe is one of 1 and simd one of "
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 15, 16, 18, 20, ..."
    ):
        _ = Design(program, {"n0": Fold(1, 11)}, {}).instances


@pytest.mark.parametrize("target", [54, 60, 100, 500, 5000])
def test_foldings_chosen_for_a_target(target: int):
    design = build(CONV, target)
    assert all(design.by_name[layer].cycles <= target for layer in folding_choices(CONV))
    assert design.interval <= max(target, design.input.beats)


def test_a_target_that_no_folding_reaches():
    with refused(
        "layer 'n0' takes 36 cycles a frame at its most parallel, above the 9 asked for; "
        "ask for 36 or more"
    ):
        fold_for(CONV, 9)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], 'a fold file holds {layer: {"pe": P, "simd": S}}, not a list or value'),
        (
            {"a": 3},
            "layer 'a' of the fold file holds {\"pe\": P, \"simd\": S}, not 3",
        ),
        (
            {"a": {"pe": 1, "lanes": 2}},
            "layer 'a' of the fold file holds {\"pe\": P, \"simd\": S}, not {'pe': 1, 'lanes': 2}",
        ),
        (
            {"a": {"pe": 0}},
            "layer 'a' of the fold file: pe is a positive integer, not 0",
        ),
        (
            {"a": {"simd": True}},
            "layer 'a' of the fold file: simd is a positive integer, not True",
        ),
        (
            {"a": {"simd": "4"}},
            "layer 'a' of the fold file: simd is a positive integer, not '4'",
        ),
    ],
)  # fmt: skip
def test_fold_files_that_are_refused(document: object, sentence: str):
    with refused(sentence):
        read_folds(document)


def test_a_fold_file():
    assert read_folds({"a": {"pe": 2}, "b": {"simd": 3}, "c": {}}) == {
        "a": Fold(2, 1), "b": Fold(1, 3), "c": Fold(),
    }  # fmt: skip
    with refused(
        "give one of cycles per frame, frames per second, a budget and a folding, not 2 of them"
    ):
        build(CONV, 100, {"n0": {"pe": 1}})


def test_the_slowest_layer_limits_the_interval():
    design = Design(CONV, {"n0": Fold(1, 6), "n1": Fold(1, 1), "n2": Fold(2, 4)}, {})
    assert (design.interval, design.limiting) == (9 * 4 * 24, "n1")
    wide = Design(CONV, {"n0": Fold(1, 1), "n1": Fold(4, 24), "n2": Fold(2, 4)}, {})
    assert (wide.interval, wide.limiting) == (9 * 24, "n0")


@pytest.mark.parametrize("word", ["final", "global", "type", "string", "always", "bench", "reg"])
def test_words_of_verilog_and_systemverilog_are_rewritten(word: str):
    assert re.fullmatch(rf"n_{word}_[0-9a-f]{{8}}", identifier(word))
