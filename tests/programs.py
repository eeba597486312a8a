"""Small programs for tests, each with every value decided by its seed."""

import numpy as np

from bitwright.models.fixed import BINARY, TERNARY, signed, unsigned
from bitwright.models.ops import (
    Add,
    Concatenate,
    DepthToSpace,
    DepthwiseDot,
    Dot,
    Lookup,
    MaxPool,
    Requantise,
    Reshape,
    Scale,
    Select,
    SparseDot,
    SumPool,
    Table,
    Tables,
    TableSum,
    TapTransform,
    Thresholds,
    TopK,
    Tree,
    Window,
)
from bitwright.models.program import INPUT, Edge, Node, Program


def chain(name, edge, *ops):
    """A program of operators one after another."""
    nodes, source = [], INPUT
    for number, op in enumerate(ops):
        nodes.append(Node(f"{type(op).__name__.lower()}{number}", op, (source,)))
        source = nodes[-1].name
    return Program(name, edge, tuple(nodes))


def binary_convolution(seed=0, name="binary_conv"):
    """6x6x4 signs -> padded 3x3 convolution -> sign -> dense int4 layer of 10 outputs."""
    rng = np.random.default_rng(seed)
    return chain(
        name,
        Edge.of((6, 6, 4), BINARY),
        Window((3, 3), padding=(1, 1, 1, 1)),
        Dot(rng.choice([-1, 1], (8, 36)), BINARY),
        Thresholds(rng.integers(-5, 5, (8, 1)), np.full(8, -1), np.full(8, 2)),
        Reshape((288,)),
        Dot(rng.integers(-8, 8, (10, 288)), signed(4)),
    )


def every_operator(seed=0, name="every_op"):
    """Every operator but those of the two below, a branch, padding and a global pool."""
    rng = np.random.default_rng(seed)
    ones = np.ones(4, int)
    limits = rng.integers(-20, 20, (8, 3))
    return Program(
        name,
        Edge.of((6, 6, 2), unsigned(4)),
        (
            Node("win", Window((3, 3), padding=(1, 1, 1, 1)), (INPUT,)),
            Node("conv", Dot(rng.integers(-1, 2, (4, 18)), TERNARY), ("win",)),
            Node("act", Requantise(3 * ones, rng.integers(-99, 99, 4), 5, -8, 7), ("conv",)),
            Node("dwin", Window((3, 3), padding=(1, 1, 1, 1)), ("act",)),
            Node("dw", DepthwiseDot(rng.integers(-4, 4, (4, 9)), signed(3)), ("dwin",)),
            Node("dact", Requantise(ones, 0 * ones, 3, -8, 7), ("dw",)),
            Node("scaled", Scale(np.array([1, -1, 3, 0]), np.arange(4)), ("dact",)),
            Node("sum", Add(), ("act", "scaled")),
            Node("size", Table(np.abs(np.arange(-8, 8))[None], -8), ("act",)),
            Node("both", Concatenate(), ("sum", "size")),
            Node("pwin", Window((2, 2), (2, 2)), ("both",)),
            Node("pool", MaxPool(4), ("pwin",)),
            Node("up", Window((1, 1), repeat=(2, 2)), ("pool",)),
            Node("all", Reshape((1, 1, 288)), ("up",)),
            Node("global", SumPool(36), ("all",)),
            Node("sign", Thresholds(limits, np.arange(8), np.array([1, -1] * 4)), ("global",)),
            Node("fc", Dot(rng.choice([-1, 1], (6, 8)), BINARY), ("sign",)),
            Node("few", SparseDot(np.diag([1, 0, -1, 1, 0, 1]), TERNARY), ("fc",)),
            Node("some", Select(np.array([0, 2, 3, 5])), ("few",)),
            Node("top", TopK(2), ("some",)),
        ),
    )  # fmt: skip


def table_operators(seed=0, name="table_op"):
    """A convolution by product quantisation, and a dense layer on the leaves of decision trees."""
    rng = np.random.default_rng(seed)
    return chain(
        name,
        Edge.of((4, 5, 6), unsigned(4)),
        Tables(rng.integers(-8, 8, (2, 4, 3)), signed(4)),
        Window((3, 3), padding=(1, 1, 1, 1)),
        Lookup(rng.integers(0, 4, (6, 9, 2)), 4),
        Requantise(np.ones(6, int), np.zeros(6, int), 5, -8, 7),
        Tree(rng.integers(0, 3, (2, 3)), rng.integers(-8, 8, (2, 7))),
        TableSum(rng.integers(-128, 128, (4, 2, 8)), signed(8)),
    )


def tile_operators(seed=0, name="tile_op"):
    """A convolution by tiles, tap by tap."""
    rng = np.random.default_rng(seed)
    taps = np.kron(np.eye(9, dtype=int), np.ones((4, 2), int))
    return chain(
        name,
        Edge.of((5, 6, 2), unsigned(4)),
        Window((3, 3), (2, 2), (0, 0, 1, 1)),
        TapTransform(rng.integers(-1, 2, (9, 9))),
        SparseDot(taps * rng.integers(-8, 8, taps.shape), signed(4)),
        TapTransform(rng.integers(-2, 3, (4, 9))),
        DepthToSpace((2, 2), (3, 6)),
    )


def frames(program, count, seed=0):
    """Random inputs over the whole range of a program's input."""
    rng = np.random.default_rng(seed)
    edge = program.input
    values = rng.integers(edge.lo, edge.hi, (count, *edge.shape), endpoint=True)
    return np.where(values >= 0, 1, -1) if edge.step == 2 else values
