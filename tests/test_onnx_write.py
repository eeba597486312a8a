"""Programs written as QONNX: two executors that know nothing of us compute what the program does.

qonnx's own executor runs the graph in floating point, and `onnx_oracle.py` in exact arithmetic.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnx_oracle
import programs
import pytest
from agree import one_node, samples
from onnx_exact import Exact, as_object
from onnx_node import OPERATORS, View

from bitwright.models import zoo
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, ProgramError, signed, unsigned
from bitwright.models.onnx import write
from bitwright.models.onnx.export.borders import FINISHES
from bitwright.models.onnx.export.draft import DOMAIN
from bitwright.models.onnx.load import load
from bitwright.models.ops import (
    Add,
    Concatenate,
    DepthToSpace,
    DepthwiseDot,
    Dot,
    MaxPool,
    Requantise,
    Reshape,
    Scale,
    Select,
    SumPool,
    Table,
    TableSum,
    TapTransform,
    Thresholds,
    TopK,
    Tree,
    Window,
)
from bitwright.models.program import INPUT, Border, Edge, Node, Op, Program
from bitwright.models.rounding import MODES
from bitwright.sim.random_program import draw

if find_spec("qonnx"):
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.util.cleanup import cleanup_model

FORMLESS = (Tree, TableSum, TapTransform)
"""Operators that have no form in QONNX."""
Array = np.ndarray
Execute = Callable[[onnx.ModelProto, Array], Array]
needs_qonnx = pytest.mark.skipif(
    not find_spec("qonnx"), reason="qonnx is not installed (extra dev)"
)


def reduce_max(view: View, x: Exact) -> Exact:
    largest = x.count.max(axis=tuple(view("axes")), keepdims=bool(view("keepdims", 1)))
    return Exact(as_object(largest), x.unit, x.kind)


OPERATORS.setdefault(("", "ReduceMax"), reduce_max)


# Running what is written.


def batched(model: onnx.ModelProto, frames: int) -> onnx.ModelProto:
    """The model with another batch declared: its nodes work for any."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    constant = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if constant.issuperset(node.input):
            constant.update(node.output)
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.name not in constant:
            assert info.type.tensor_type.shape.dim[0].dim_value == 1
            info.type.tensor_type.shape.dim[0].dim_value = frames
    return wide


def by_qonnx(model: onnx.ModelProto, x: Array) -> Array:
    graph = model.graph
    if graph.input[0].type.tensor_type.shape.dim[0].dim_value != len(x):
        model = batched(model, len(x))
    answers = execute_onnx(ModelWrapper(model), {graph.input[0].name: x})
    return answers[graph.output[0].name]


def by_oracle(model: onnx.ModelProto, x: Array) -> Array:
    return onnx_oracle.run(batched(model, len(x)), x)


EXECUTORS = [
    pytest.param(by_qonnx, id="qonnx", marks=needs_qonnx),
    pytest.param(by_oracle, id="oracle"),
]


def frames_of(program: Program, count: int = 4) -> Ints:
    """Random frames, and those of all lowest and all highest values."""
    edge = program.input
    ends = [np.broadcast_to(bound, (1, *edge.shape)) for bound in (edge.lo, edge.hi)]
    return np.concatenate([programs.frames(program, count), samples(edge, 2, 1), *ends])


def held(program: Program, x: Ints) -> Array:
    """Frames as the graph takes them: real, in the model's own layout."""
    border = program.input_border
    return border.outward(border.real(x), program.input).astype(np.float32)


def check(program: Program, execute: Execute, count: int = 4) -> onnx.ModelProto:
    """The exported graph computes the program; return it."""
    model = write.export(program)
    onnx.checker.check_model(model, full_check=False)
    x = frames_of(program, count)
    np.testing.assert_array_equal(execute(model, held(program, x)), program.answer(program(x)))
    return model


def kinds(model: onnx.ModelProto) -> list[str]:
    """The graph's operators, but for the quantisers of weights."""
    constant = {tensor.name for tensor in model.graph.initializer}
    return [node.op_type for node in model.graph.node if not constant.issuperset(node.input)]


# Every operator, alone and with what it is written as one with.

RNG = np.random.default_rng(7)


def weights(shape: tuple[int, ...], grid: Grid) -> Ints:
    if grid.bipolar:
        return RNG.choice([-1, 1], shape)
    return RNG.integers(grid.lo, grid.hi, shape, endpoint=True)


def dot(rows: int, columns: int, grid: Grid) -> Dot:
    return Dot(weights((rows, columns), grid), grid)


def depthwise(channels: int, taps: int, grid: Grid) -> DepthwiseDot:
    return DepthwiseDot(weights((channels, taps), grid), grid)


def chain(edge: Edge, *ops: Op) -> Program:
    return programs.chain("chain", edge, *ops)


IMAGE = Edge.of((5, 4, 3), signed(4))
SIGNS = Edge.of((5, 4, 3), BINARY)
ROWS = Edge.of((4, 6), unsigned(3))
VECTOR = Edge.of((12,), signed(3))
FOUR = Edge.of((2, 3, 2, 6), signed(3))
EIGHT = Edge.of((5, 3, 8), signed(3))
UNEVEN = Edge((2, 2, 3), np.array([-3, 0, 5]), np.array([4, 0, 250]))
LAYOUTS = {"image": IMAGE, "rows": ROWS, "vector": VECTOR, "four axes": FOUR, "uneven": UNEVEN}
KERNEL = (3, 2)
AROUND = (1, 1, 0, 1)
WINDOWS = {
    "plain": Window(KERNEL),
    "padded": Window(KERNEL, padding=AROUND),
    "padded by a value": Window(KERNEL, padding=AROUND, pad=3),
    "padded by the lowest": Window(KERNEL, padding=AROUND, pad=-8),
    "padded by less than the lowest": Window(KERNEL, padding=AROUND, pad=-9),
    "stride": Window(KERNEL, (2, 3), padding=AROUND, pad=-9),
    "dilation": Window((2, 2), dilation=(3, 2), padding=(1, 1, 1, 1), pad=-9),
    "wide padding": Window((2, 2), padding=(3, 0, 0, 4), pad=-9),
    "taps that miss the image": Window((2, 1), padding=(1, 0, 1, 0), dilation=(6, 1), pad=-9),
    "cropped": Window((2, 2), padding=(-1, -2, -1, 0)),
    "cropped and padded": Window((2, 2), (2, 1), (-2, 1, 2, -1), pad=1),
    "only padding": Window((1, 1), padding=(-7, 0, 4, 1), pad=4),
    "repeated": Window((1, 1), repeat=(2, 3)),
}


def thresholds(edge: Edge, count: int, step: Ints | int, offset: Ints | int = 0) -> Thresholds:
    lo, hi = edge.lo[:, None], edge.hi[:, None]
    limits = RNG.integers(lo - 1, hi + 2, (edge.channels, count), endpoint=True)
    limits[0, 0], limits[-1, -1] = -(1 << 63), (1 << 63) - 1
    return Thresholds(limits, *np.broadcast_arrays(offset, step, limits[:, 0])[:2])


def requantise(edge: Edge, bits: int, bias: int = 1 << 9) -> Requantise:
    multiplier = RNG.integers(-(1 << bits), 1 << bits, edge.channels)
    multiplier[0] = 0
    return Requantise(multiplier, RNG.integers(-bias, bias, edge.channels), 5, -100, 120)


def cases() -> dict[str, Program]:
    """A program per case: each operator on each layout, and every pair written as one."""
    found: dict[str, Program] = {}
    for name, edge in LAYOUTS.items():
        c = edge.channels
        slopes = RNG.choice([-2, -1, 1, 3], c)
        ops: dict[str, Op] = {
            "dot": dot(4, c, signed(5)),
            "binary dot": dot(4, c, BINARY),
            "depthwise": depthwise(c // 3, 3, signed(4)),
            "max": MaxPool(3),
            "sum": SumPool(3),
            "sign": Thresholds(edge.hi[:, None], np.full(c, -1), np.full(c, 2)),
            "falling sign": Thresholds(edge.hi[:, None], np.full(c, 1), np.full(c, -2)),
            "thresholds": thresholds(edge, 5, 1),
            "thresholds, scaled": thresholds(edge, 4, 3, -7),
            "thresholds, mixed": thresholds(edge, 6, slopes, RNG.integers(-5, 5, c)),
            "thresholds, flat": thresholds(edge, 2, 0, RNG.integers(-5, 5, c)),
            "requantise": requantise(edge, 5),
            "requantise, one level": Requantise(np.ones(c, int), np.zeros(c, int), 1, 5, 5),
            "requantise, wide": Requantise(np.full(c, 999), np.arange(c), 3, -(1 << 15), 1 << 15),
            "requantise, float64": Requantise(
                np.arange(1, c + 1) << 40, np.full(c, -(1 << 39)), 35, -(1 << 20), 1 << 20
            ),
            "requantise, even": Requantise(slopes, np.arange(c) - 9, 2, -7, 9, 1),
            "requantise, even, wide": Requantise(
                1000 * slopes, 8 * np.arange(c), 4, -9999, 9999, 1
            ),
            "scale": Scale(slopes, RNG.integers(-99, 99, c)),
            "scale, nothing": Scale(np.ones(c, int), np.zeros(c, int)),
            "table, rising": table(edge, 1, lambda v: v * v * (1 if v > 0 else -1) // 9),
            "table, channels": table(edge, c, lambda v: (v * 5) % 7),
            "table, looked up": table(edge, c, lambda v: (v * 500) % 9973),
            "table, one looked up": table(edge, 1, lambda v: (v * 500) % 9973),
            "select": Select(np.arange(1, c, 2)),
            "flatten": Reshape((edge.elements,)),
            "reshape": Reshape((edge.elements // 4, 2, 2)),
            "arg max": TopK(),
            "top 3": TopK(3),
        }
        found |= {f"{kind}, {name}": chain(edge, op) for kind, op in ops.items()}
        for kind, op in {"add": Add(), "concatenate": Concatenate()}.items():
            half = Node("half", requantise(edge, 4), (INPUT,))
            found[f"{kind}, {name}"] = Program(
                "joined", edge, (half, Node("join", op, ("half", INPUT)))
            )
        found[f"flattened dot, {name}"] = chain(
            edge, Reshape((edge.elements,)), dot(5, edge.elements, TERNARY)
        )
    for name, window in WINDOWS.items():
        taps, count = window.kernel[0] * window.kernel[1], 3
        readers: dict[str, tuple[Op, ...]] = {
            "window": (),
            "convolution": (dot(4, taps * count, signed(4)),),
            "depthwise convolution": (depthwise(count, taps, signed(4)),),
            "max pool": (MaxPool(taps),),
            "sum pool": (SumPool(taps),),
            "pool of other taps": (SumPool(3),),
        }
        found |= {f"{k}, {name}": chain(IMAGE, window, *ops) for k, ops in readers.items()}
    whole = Reshape((1, 1, IMAGE.elements))
    found |= {
        "signs": chain(SIGNS, Window((2, 2), padding=(1, 0, 1, 0)), dot(3, 12, BINARY)),
        "sums of 24 bits": chain(
            Edge.of((5, 4, 4), unsigned(16)), Dot(RNG.choice([-63, 63], (9, 4)), signed(7))
        ),
        "table of signs": chain(SIGNS, Table(np.array([[4, 99, -1]]), -1)),
        "global max": chain(IMAGE, whole, MaxPool(20)),
        "global sum": chain(IMAGE, whole, SumPool(20)),
        "whole as channels": chain(IMAGE, whole, SumPool(4)),
        "reshapes": chain(IMAGE, whole, Reshape((10, 6)), Reshape((3, 2, 5, 2)), TopK(2)),
        "back to an image": chain(ROWS, Reshape((2, 2, 6)), Window((2, 2)), MaxPool(4)),
        "blocks": chain(EIGHT, DepthToSpace((2, 2), (10, 6))),
        "blocks, cut": chain(EIGHT, DepthToSpace((2, 2), (9, 5))),
        "blocks, unequal": chain(EIGHT, DepthToSpace((4, 1), (18, 3))),
        "blocks, unequal, all channels": chain(EIGHT, DepthToSpace((4, 2), (18, 5))),
        "blocks, in a row": chain(EIGHT, DepthToSpace((1, 4), (5, 12))),
        "blocks, in a column": chain(EIGHT, DepthToSpace((8, 1), (39, 3))),
        "blocks, of one": chain(EIGHT, DepthToSpace((1, 1), (5, 3))),
        "blocks of signs": chain(Edge.of((5, 3, 4), BINARY), DepthToSpace((2, 2), (9, 6))),
        "blocks, between": chain(
            EIGHT, dot(12, 8, signed(4)), DepthToSpace((2, 2), (9, 6)), Window((2, 2)), MaxPool(4)
        ),
        "window read twice": Program(
            "twice",
            IMAGE,
            (
                Node("window", Window((2, 2)), (INPUT,)),
                Node("pool", MaxPool(4), ("window",)),
                Node("sum", SumPool(4), ("window",)),
                Node("self", Add(), ("window", "window")),
                Node("all", Concatenate(), ("pool", "sum", "self")),
            ),
        ),
    }
    return found


def table(edge: Edge, rows: int, function: Callable[[int], int]) -> Table:
    lo, hi = edge.grid.lo - 1, edge.grid.hi + 2
    return Table(np.array([[function(v + r) for v in range(lo, hi)] for r in range(rows)]), lo)


CASES = cases()


@pytest.mark.parametrize("execute", EXECUTORS)
@pytest.mark.parametrize("name", CASES)
def test_operator(name: str, execute: Execute):
    check(CASES[name], execute)


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("convolution, padded", ["Conv"]),
        ("convolution, padded by a value", ["Pad", "Conv"]),
        ("convolution, cropped", ["Slice", "Conv"]),
        ("convolution, repeated", ["Resize", "Conv"]),
        ("depthwise convolution, stride", ["Pad", "Conv"]),
        ("max pool, padded", ["Pad", "MaxPool"]),
        ("max pool, padded by the lowest", ["MaxPool"]),
        ("max pool, wide padding", ["Pad", "MaxPool"]),
        ("max pool, taps that miss the image", ["Pad", "MaxPool"]),
        ("sum pool, padded", ["Conv"]),
        ("window, plain", ["Slice"] * 6 + ["Concat"]),
        ("window, repeated", ["Resize"]),
        ("global max", ["ReduceMax"]),
        ("global sum", ["ReduceSum"]),
        ("flattened dot, image", ["Flatten", "MatMul"]),
        ("dot, image", ["Conv"]),
        ("dot, rows", ["Transpose", "Conv", "Transpose"]),
        ("falling sign, image", ["Mul", "MultiThreshold"]),
        ("thresholds, scaled, image", ["MultiThreshold"]),
        ("requantise, one level, image", ["MultiThreshold"]),
        ("requantise, wide, vector", ["Mul", "Add", "Mul", "Floor", "Clip"]),
        (
            "requantise, float64, vector",
            ["Cast", "Mul", "Add", "Mul", "Floor", "Cast", "Clip"],
        ),
        ("requantise, even, vector", ["Mul", "MultiThreshold"]),
        ("requantise, even, wide, vector", ["Mul", "Add", "Mul", "Round", "Clip"]),
        ("table, rising, vector", ["MultiThreshold"]),
        ("table, channels, vector", ["MultiThreshold", "Add", "MultiThreshold", "Sub"]),
        ("table, one looked up, vector", ["Add", "Cast", "Gather"]),
        ("arg max, vector", ["ArgMax", "Cast"]),
        ("blocks", ["DepthToSpace"]),
        ("blocks, cut", ["DepthToSpace", "Slice"]),
        ("blocks, unequal", ["Slice", "Transpose"]),
        ("blocks, of one", []),
        ("top 3, vector", ["TopK", "Cast"]),
    ],
)
def test_form(name: str, nodes: list[str]):
    """Inputs are quantised and turned channels first, answers turned back; this lies between."""
    found = kinds(write.export(CASES[name]))[1:]
    if len(CASES[name].input.shape) == 3:
        found.remove("Transpose")
    if "global" not in name and len(CASES[name].output.shape) == 3:
        found.remove("Transpose")
    assert [kind for kind in found if kind != "Reshape"] == nodes


# Whole programs.


@pytest.mark.parametrize("execute", EXECUTORS)
@pytest.mark.parametrize("build", [programs.binary_convolution, programs.every_operator])
def test_program(build: Callable[[], Program], execute: Execute):
    check(build(), execute, 8)


@pytest.mark.parametrize("execute", EXECUTORS)
@pytest.mark.parametrize("name", zoo.programs())
def test_zoo(name: str, execute: Execute):
    count = 16 if execute is by_qonnx else 1
    model = check(zoo.programs()[name].load(), execute, count)
    # The published shapes have a dense network among them.
    assert ("Conv" in kinds(model)) == (name != "tfc")


def written(seeds: int) -> Iterator[Program]:
    """Random programs without the operators that have no form in QONNX."""
    for seed in range(seeds):
        program = draw(seed).program
        if not any(isinstance(node.op, FORMLESS) for node in program.nodes):
            yield program


def test_operators_without_a_form_are_refused():
    edge = Edge.of((4,), Grid(0, 3))
    tree = Tree(np.array([[0, 1], [1, 0]]), np.zeros((2, 3), np.int64))
    with pytest.raises(ProgramError) as caught:
        write.export(Program("tree", edge, (Node("tree", tree, ("input",)),)))
    assert str(caught.value) == (
        "node 'tree': Tree has no form in QONNX; register one with export.write.register, or "
        "express it by other operators"
    )


SEEDS = 60
UNWRITTEN = 1
"""Most of them that need more than float32."""


@pytest.mark.parametrize("execute", EXECUTORS)
def test_random_programs(execute: Execute):
    refused = 0
    for program in written(SEEDS):
        try:
            check(program, execute, 2)
        except ProgramError as error:
            refused += 1
            assert "is exact up to" in str(error)  # noqa: PT017
    assert refused <= UNWRITTEN


@needs_qonnx
@pytest.mark.parametrize("build", [programs.binary_convolution, programs.every_operator])
def test_survives_qonnx_cleanup(build: Callable[[], Program]):
    """qonnx's own tools infer the shapes and types that are written, and fold the weights."""
    program = build()
    wrapped = cleanup_model(ModelWrapper(write.export(program)))
    assert wrapped.check_all_tensor_shapes_specified()
    for x in frames_of(program, 2):
        got = by_qonnx(wrapped.model, held(program, x[None]))
        np.testing.assert_array_equal(got, program(x[None]))


# Through our own front door.


def returned(program: Program, folder: Path) -> Program:
    """The program, written and read again."""
    path = folder / "model.onnx"
    write.save(program, path)
    return load(path)


def check_returned(program: Program, again: Program):
    """The same real frames have the same answers, to the last bit where nothing is scaled."""
    x = held(program, frames_of(program))
    wanted = program.answer(program(program.accept(x)))
    np.testing.assert_array_equal(again.answer(again(again.accept(x))), wanted)


RETURNING: dict[str, Callable[[], Program]] = {
    "binary": programs.binary_convolution,
    "every operator": programs.every_operator,
    **{name: entry.load for name, entry in zoo.programs().items()},
    **{name: (lambda program=program: program) for name, program in CASES.items()},
}


@pytest.mark.parametrize("name", RETURNING)
def test_returns(name: str, tmp_path: Path):
    program = RETURNING[name]()
    check_returned(program, returned(program, tmp_path))


def test_random_programs_return(tmp_path: Path):
    """All that can be written is read again."""
    unwritten = 0
    for program in written(SEEDS):
        try:
            write.save(program, tmp_path / "model.onnx")
        except ProgramError:
            unwritten += 1
            continue
        check_returned(program, load(tmp_path / "model.onnx"))
    assert unwritten <= UNWRITTEN


@pytest.mark.parametrize("name", ["convolution, padded", "uneven"])
def test_returns_with_the_same_ends(name: str, tmp_path: Path):
    """Ranges, also those per channel, and layouts of both ends come back as they were."""
    uneven = chain(UNEVEN, Window((2, 2)), MaxPool(4))
    program = uneven if name == "uneven" else CASES[name]
    again = returned(program, tmp_path)
    np.testing.assert_array_equal(again.input.lo, program.input.lo)
    np.testing.assert_array_equal(again.input.hi, program.input.hi)
    assert again.input.shape == program.input.shape
    assert again.input_border == program.input_border
    assert (again.output.shape, again.output_border) == (program.output.shape, Border())


# Borders.


def bordered(edge: Edge, inward: Border, outward: Border) -> Program:
    channels = np.arange(edge.channels)
    scale = Scale(1 + channels, -channels)
    return Program("bordered", edge, (Node("scale", scale, (INPUT,)),), inward, outward)


THIRD = Fraction(1, 3)
PER_CHANNEL = tuple(Fraction(k, 7) for k in (1, 2, 3))
LAYOUT = {"shape": (3, 20), "axes": (2, 0, 1)}
BORDERS = {
    "identity": Border(),
    "power of two": Border((Fraction(1, 128),)),
    "a third": Border((THIRD,)),
    "offset": Border((Fraction(1, 128),), (Fraction(-5, 16),)),
    "channels": Border(PER_CHANNEL, tuple(-5 * value for value in PER_CHANNEL)),
    "channels first": Border(shape=(3, 5, 4), axes=(2, 0, 1)),
    "channels first, apart": Border(PER_CHANNEL, **LAYOUT),
    "flat": Border((THIRD,), shape=(60,)),
    "turned": Border((THIRD,), shape=(4, 5, 3), axes=(1, 0, 2)),
}


@pytest.mark.parametrize("execute", EXECUTORS)
@pytest.mark.parametrize("edge", [IMAGE, SIGNS, Edge((5, 4, 3), np.arange(3), np.array([7, 3, 9]))])
@pytest.mark.parametrize("name", BORDERS)
def test_border(name: str, edge: Edge, execute: Execute):
    border = BORDERS[name]
    program = bordered(edge, border, border)
    x = frames_of(program)
    real = held(program, x)
    np.testing.assert_array_equal(program.accept(real), x)
    answer = execute(write.export(program), real)
    wanted = program.answer(program(x))
    assert answer.shape == wanted.shape
    np.testing.assert_allclose(answer.astype(float), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("execute", EXECUTORS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("edge", [VECTOR, Edge.of((12,), BINARY), Edge.of((12,), Grid(-1, 0))])
def test_inputs_between_integers_and_beyond(edge: Edge, mode: str, execute: Execute):
    border = Border((Fraction(1, 4),), (Fraction(1, 2),), mode)
    program = Program("rounds", edge, (Node("top", TopK(12), (INPUT,)),), border)
    x = np.arange(-60, 60).reshape(10, 12).astype(np.float32) / 32
    np.testing.assert_array_equal(execute(write.export(program), x), program(program.accept(x)))


@needs_qonnx
@pytest.mark.parametrize("scale", [Fraction(1, 10), Fraction(23, 10), Fraction(1, 255)])
def test_scaled_inputs_become_whole(scale: Fraction):
    """A tenth times 10 is not 1 in float32, and neither may a small part be left over."""
    edge = Edge.of((256,), unsigned(8))
    same = Node("same", Select(np.arange(256)), (INPUT,))
    program = Program("same", edge, (same,), Border((scale,)))
    x = np.arange(256)[None]
    np.testing.assert_array_equal(by_qonnx(write.export(program), held(program, x)), x)


@needs_qonnx
@pytest.mark.parametrize("finish", FINISHES)
def test_finish(finish: str):
    border = Border((THIRD,), finish=finish)
    program = Program(
        "finished", VECTOR, (Node("dot", dot(5, 12, TERNARY), (INPUT,)),), Border(), border
    )
    x = frames_of(program)
    answer = by_qonnx(write.export(program), held(program, x))
    np.testing.assert_allclose(answer, program.answer(program(x)), rtol=1e-4, atol=1e-6)


# Files.


def test_same_program_same_bytes(tmp_path: Path):
    paths = [tmp_path / "one.onnx", tmp_path / "other.onnx"]
    for path in paths:
        write.save(programs.every_operator(), path)
    script = (
        "import sys, programs; from bitwright.models.onnx import write; "
        "write.save(programs.every_operator(), sys.argv[1])"
    )
    paths.append(tmp_path / "third.onnx")
    environment = {"PYTHONPATH": str(Path(__file__).parent), "PYTHONHASHSEED": "5"}
    subprocess.run([sys.executable, "-c", script, paths[-1]], check=True, env=environment)
    first, *others = (path.read_bytes() for path in paths)
    assert all(first == other for other in others)
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert onnx.load(paths[0]) == write.export(programs.every_operator())


def test_nothing_of_the_machine():
    model = write.export(programs.binary_convolution())
    assert (model.producer_name, model.producer_version) == ("bitwright", "")
    assert not model.doc_string
    assert not model.graph.doc_string
    assert {opset.domain: opset.version for opset in model.opset_import} == {
        "": 11,
        DOMAIN: 1,
    }


def test_weights_show_their_width():
    grids = [BINARY, TERNARY, signed(5), unsigned(3), Grid(-1, 0)]
    found = {}
    for grid in grids:
        model = write.export(chain(VECTOR, dot(3, 12, grid)))
        node = next(node for node in model.graph.node if "weights" in node.output[0])
        constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        bits = [] if grid.bipolar else [int(constants[node.input[3]])]
        found[grid] = [node.op_type, *bits, attributes.get("signed"), attributes.get("narrow")]
    assert list(found.values()) == [
        ["BipolarQuant", None, None],
        ["Quant", 2, 1, 1],
        ["Quant", 5, 1, 0],
        ["Quant", 3, 0, 0],
        ["Quant", 2, 1, 1],
    ]


def test_thresholds_rise():
    model = write.export(
        chain(VECTOR, Thresholds(np.array([[5, 3, 4]] * 12), *np.eye(12, dtype=int)[:2]))
    )
    node = next(node for node in model.graph.node if node.op_type == "MultiThreshold")
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert constants[node.input[1]].tolist() == [[3, 4, 4]] * 12


def test_hostile_names():
    names = ("graph.input", "conv/1:0", "a.Quant", "\u00fcn\u00ef code", "output")
    sources = (INPUT, *names)
    nodes = tuple(
        Node(name, Scale(np.full(12, 2), np.full(12, k)), (sources[k],))
        for k, name in enumerate(names)
    )
    check(Program("a/b c", VECTOR, nodes), by_oracle)


def test_not_written(tmp_path: Path):
    with pytest.raises(ProgramError) as refusal:
        write.save(programs.binary_convolution(), tmp_path / "none" / "x.onnx")
    assert str(refusal.value) == (
        f"{tmp_path}/none/x.onnx cannot be written (no such file or directory); choose another "
        "place or free some space"
    )


# Refusals.

WIDE = Edge.of((3,), signed(16))


@dataclass(frozen=True, eq=False)
class Own(Op):
    """An operator from outside the tree."""

    def infer(self, *edges: Edge) -> Edge:
        return edges[0]

    def __call__(self, *xs: Ints) -> Ints:
        return xs[0]


TOO_WIDE = "and float32 is exact up to 24; use narrower weights or inputs"
REFUSALS: dict[str, tuple[Program, str]] = {
    "values": (
        chain(WIDE, dot(1, 3, Grid(1 << 10, 1 << 10))),
        f"node 'dot0': its values take 27 bits beside the sign, {TOO_WIDE}",
    ),
    "input": (
        chain(Edge.of((3,), unsigned(25)), Select(np.array([1]))),
        f"the input: its values take 25 bits beside the sign, {TOO_WIDE}",
    ),
    "sums that cancel": (
        chain(Edge.of((2,), Grid(1 << 20, (1 << 20) + 1)), Dot(np.array([[31, -31]]), signed(6))),
        f"node 'dot0': its sums take 26 bits beside the sign, {TOO_WIDE}",
    ),
    "levels": (
        chain(VECTOR, Thresholds(np.zeros((12, 3), int), np.full(12, -9), np.full(12, 1 << 23))),
        f"node 'thresholds0': its values take 25 bits beside the sign, {TOO_WIDE}",
    ),
    "products": (
        chain(WIDE, Requantise(np.full(3, 1 << 40), np.zeros(3, int), 41, -999, 999)),
        (
            "node 'requantise0': its products take 56 bits beside the sign, and float64 is exact "
            "up to 53; use narrower weights or inputs"
        ),
    ),
    "places": (
        chain(Edge.of((1 << 13,), unsigned(12)), Table(np.arange(1 << 25).reshape(1 << 13, -1), 0)),
        f"node 'table0': its values take 25 bits beside the sign, {TOO_WIDE}",
    ),
    "border": (
        bordered(IMAGE, Border((Fraction(1, 1 << 100),)), Border()),
        (
            "a scale or offset at the border is about 2**-100, and from 2**-96 to 2**96 float32 is "
            "safe; rescale the model"
        ),
    ),
    "lost in float32": (
        bordered(IMAGE, Border((THIRD,), (Fraction(1 << 30),)), Border()),
        (
            "the input's scale 1/3 and offset 1073741824, rounded by half_even, do not keep all "
            "integers of -8..7 apart in float32; choose a power of two as scale, a small multiple "
            "of it as offset, or rounding to the nearest"
        ),
    ),
    "unknown operator": (
        Program("own", VECTOR, (Node("mine", Own(), (INPUT,)),)),
        (
            "node 'mine': Own has no form in QONNX; register one with export.write.register, or "
            "express it by other operators"
        ),
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name: str):
    program, sentence = REFUSALS[name]
    with pytest.raises(ProgramError) as refusal:
        write.export(program)
    assert str(refusal.value) == sentence


def test_one_node_programs_of_every_input():
    """Branches that `agree` makes for operators of several inputs are exported too."""
    check(one_node(Concatenate(), ROWS, ROWS), by_oracle)
