"""The program: graphs that are refused, borders, digests, and arrays that never change."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from agree import chain, refused, sign

from bitwright.models.fixed import BINARY, Grid, Ints, ProgramError, signed, unsigned
from bitwright.models.ops import Add, Concatenate, Dot, MaxPool, Requantise, Reshape
from bitwright.models.program import MAX_ELEMENTS, Border, Edge, Node, Op, Program

EDGE = Edge.of((4,), signed(4))


def program(*nodes: Node, name: str = "p") -> Program:
    return Program(name, EDGE, nodes)


def node(name: str, *inputs: str, op: Op | None = None) -> Node:
    return Node(name, op or (Add() if len(inputs) == 2 else Reshape((4,))), inputs)


def test_names_differ():
    with refused("two nodes are called 'a'; names must differ"):
        program(node("a", "input"), node("a", "a"))
    with refused("two nodes are called 'input'; names must differ"):
        program(node("input", "input"))


def test_nodes_stand_in_order():
    with refused(
        "node 'a' reads 'b', which no earlier node feeds; list nodes in the order of computation"
    ):
        program(node("a", "b"), node("b", "input"))
    with refused(
        "node 'a' reads 'a', which no earlier node feeds; list nodes in the order of computation"
    ):
        program(node("a", "a"))


@pytest.mark.parametrize(
    ("op", "inputs", "wanted"),
    [
        (Add(), 1, "Add takes 2 inputs, not 1"),
        (Add(), 3, "Add takes 2 inputs, not 3"),
        (MaxPool(1), 0, "MaxPool takes 1 inputs, not 0"),
        (Concatenate(), 1, "Concatenate takes 2 to 16 inputs, not 1"),
        (Concatenate(), 17, "Concatenate takes 2 to 16 inputs, not 17"),
    ],
)
def test_the_number_of_inputs(op: Op, inputs: int, wanted: str):
    with refused(f"node 'a': {wanted}"):
        program(Node("a", op, ("input",) * inputs))


def test_an_operators_refusal_names_the_node():
    with refused("node 'pool': MaxPool splits the last axis of (4,) into 3 taps, which does not "
                 "divide 4; put a Window of 3 taps before it"):  # fmt: skip
        program(node("pool", "input", op=MaxPool(3)))


def test_several_outputs_are_refused():
    with refused(
        "program 'p' has 3 outputs (a, b, c); an accelerator has exactly one: concatenate them or "
        "drop the others"
    ):
        program(node("a", "input"), node("b", "input"), node("c", "input"))


def test_no_output_is_refused():
    with refused("program 'p' has no nodes; give it at least one"):
        program()


def test_shapes_are_positive_and_bounded():
    with refused("a shape has positive sizes, not (3, 0)"):
        Edge.of((3, 0), BINARY)
    with refused("a shape has positive sizes, not ()"):
        Edge.of((), BINARY)
    with refused(
        f"shape (32768, 8193) has {32768 * 8193} elements, above the limit of {MAX_ELEMENTS}; "
        "split the network"
    ):
        Edge.of((32768, 8193), BINARY)


def test_ranges_are_per_channel():
    edge = Edge((2, 3), np.array([-1, 0, 5]), np.array([7]))
    assert (edge.lo.tolist(), edge.hi.tolist()) == ([-1, 0, 5], [7, 7, 7])
    assert (edge.grid, edge.elements, str(edge)) == (Grid(-1, 7), 6, "2x3 in -1..7")
    assert str(Edge.of((2,), BINARY)) == "2 in -1..1 step 2"
    with refused("a range needs lo <= hi in every channel"):
        Edge((2,), np.array([0, 2]), np.array([1]))


def test_inputs_have_their_shape_and_range():
    p = program(node("a", "input"))
    with refused(
        "program 'p' takes inputs of shape (N, 4), not (2, 3); reshape them (channels last)"
    ):
        p(np.zeros((2, 3), int))
    with refused(
        "input (1, 2) is 8, and program 'p' takes 4 in -8..7; clamp or rescale the inputs"
    ):
        p(np.array([[0, 0, 0, 7], [1, 1, 8, 9]]))
    with refused("inputs are integers or floats, not complex128"):
        p(np.zeros((1, 4), complex))
    with refused(
        "input (0, 1) is 0, and program 'p' takes 2 in -1..1 step 2; clamp or rescale the inputs"
    ):
        Program("p", Edge.of((2,), BINARY), (Node("a", Reshape((2,)), ("input",)),))(
            np.array([[1, 0]])
        )


def test_no_frames_are_no_error():
    assert program(node("a", "input"))(np.zeros((0, 4), int)).shape == (0, 4)


def test_the_border_rounds_to_even_and_clamps():
    border = Border((Fraction(1, 2),), (Fraction(1),))
    real = np.array([[1.25, 1.75, 100.0, -100.0]])
    assert border.quantise(real, EDGE).tolist() == [[0, 2, 7, -8]]
    assert border.real(np.array([[0, 2, 7, -8]])).tolist() == [[1.0, 2.0, 4.5, -3.0]]


def test_the_border_has_a_scale_per_channel():
    border = Border((Fraction(1, 2), Fraction(1, 3)), (Fraction(0), Fraction(1)))
    edge = Edge.of((2,), unsigned(4))
    assert border.quantise(np.array([[2.0, 2.0]]), edge).tolist() == [[4, 3]]
    np.testing.assert_allclose(border.real(np.array([[4, 3]])), [[2.0, 2.0]])


def test_the_border_of_signs():
    edge = Edge.of((4,), BINARY)
    quantised = Border().quantise(np.array([[-3.0, -0.4, 0.4, 9.0]]), edge)
    assert quantised.tolist() == [[-1, -1, 1, 1]]


def test_round_trips_at_the_border():
    border = Border((Fraction(3, 7),), (Fraction(-2, 5),))
    every = np.arange(-8, 8).reshape(4, 4)
    np.testing.assert_array_equal(border.quantise(border.real(every), EDGE), every)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_border_refuses_what_is_no_number(value: float):
    with refused("inputs hold NaN or infinity; every input must be a finite number"):
        program(node("a", "input"))(np.array([[0.0, value, 0.0, 0.0]]))


@pytest.mark.parametrize("scale", [(Fraction(0),), (Fraction(1), Fraction(-1))])
def test_scales_are_positive(scale: tuple[Fraction, ...]):
    with refused("scales at the input are positive fractions"):
        replace(program(node("a", "input")), input_border=Border(scale))


WEIGHTS = np.array([[1, -1, 1, 1], [-1, -1, 1, -1]])


def dots(weights: Ints, name: str = "p") -> Program:
    return chain(name, EDGE, Dot(weights, BINARY), sign(2))


def test_the_digest_is_of_what_decides_the_outputs():
    one_bit = WEIGHTS.copy()
    one_bit[1, 2] = -1
    assert dots(WEIGHTS).digest == dots(WEIGHTS.copy(), "another name").digest
    assert dots(WEIGHTS).digest != dots(one_bit).digest
    assert dots(WEIGHTS).digest != chain("p", EDGE, Dot(WEIGHTS, signed(2)), sign(2)).digest
    other = chain("p", Edge.of((4,), signed(5)), Dot(WEIGHTS, BINARY), sign(2))
    assert dots(WEIGHTS).digest != other.digest


def test_digests_of_operators():
    one = np.ones(2, int)
    made = [
        Requantise(one, one, 1, 0, 7), Requantise(one, 2 * one, 1, 0, 7),
        Requantise(2 * one, one, 1, 0, 7), Requantise(one, one, 2, 0, 7),
        Requantise(one, one, 1, 1, 7), Requantise(one, one, 1, 0, 8),
        MaxPool(2), Reshape((2,)), Reshape((2, 1)), Add(),
        Dot(WEIGHTS, BINARY), Dot(WEIGHTS.reshape(4, 2), BINARY),
    ]  # fmt: skip
    assert len({op.digest for op in made}) == len(made)


def test_arrays_are_copied_and_read_only():
    weights = WEIGHTS.copy()
    op = Dot(weights, BINARY)
    before = op.digest
    weights[:] = 1
    assert op.weights.tolist() == WEIGHTS.tolist()
    assert Dot(op.weights, BINARY).digest == before
    with pytest.raises(ValueError, match="read-only"):
        op.weights[0, 0] = -1
    with pytest.raises(ValueError, match="read-only"):
        EDGE.lo[0] = 0


def test_edges_and_consumers():
    p = program(node("a", "input"), node("b", "input", "a"), node("c", "b", "a"))
    assert [edge.hi.tolist() for edge in p.edges.values()] == [[7] * 4, [7] * 4, [14] * 4, [21] * 4]
    assert p.consumers == {
        "input": (("a", 0), ("b", 0)),
        "a": (("b", 1), ("c", 1)),
        "b": (("c", 0),),
        "c": (),
    }
    x = np.arange(-8, 8).reshape(4, 4)
    assert p(x).tolist() == (3 * x).tolist()
    assert list(p.run(x)) == ["input", "a", "b", "c"]


def test_a_program_error_is_a_value_error():
    assert issubclass(ProgramError, ValueError)
