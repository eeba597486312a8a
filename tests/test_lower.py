"""Lowering: the integer program computes what the float network does, up to its rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from bitwright.models import lower, saved
from bitwright.models import weights as models_weights
from bitwright.models.activations import Clip, Elu, HardSwish, LeakyRelu, PRelu, Sigmoid, Tanh
from bitwright.models.border import Border
from bitwright.models.compress.method import Compressed, Method, Product, Sums, method
from bitwright.models.fixed import TERNARY, ProgramError, signed
from bitwright.models.folding import monotone, table
from bitwright.models.layers import (
    Activation,
    Add,
    ArgMax,
    AveragePool,
    BatchNorm,
    Concatenate,
    Conv,
    Dense,
    DepthwiseConv,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool,
    Pad,
    Relu,
    Reshape,
    Select,
)
from bitwright.models.lower import quantise
from bitwright.models.network import Network, Node
from bitwright.models.ops import Dot, Requantise, Table, Thresholds, TopK, Window
from bitwright.models.ops import Reshape as ReshapeOp
from bitwright.models.program import Edge, Program


def chain(*layers: Layer, shape=(6, 6, 4)) -> Network:
    names = [f"n{i}" for i in range(len(layers))]
    inputs = ["input", *names]
    return Network("net", shape, tuple(map(Node, names, layers, ((i,) for i in inputs))))


def branched(rng: np.random.Generator) -> Network:
    """Residual and concatenated branches, depthwise and pointwise layers, loose batch norms."""

    def normal(*shape: int):
        return rng.normal(size=shape)

    def norm(channels: int) -> BatchNorm:
        spread = np.abs(normal(channels)) + 0.5
        return BatchNorm(normal(channels), normal(channels), normal(channels), spread)

    return Network(
        "branched",
        (7, 6, 3),
        (
            Node("first_norm", norm(3), ("input",)),
            Node(
                "stem", Conv(normal(8, 3, 3, 3), normal(8), (1, 1), (1, 1, 1, 1)), ("first_norm",)
            ),
            Node("stem_norm", norm(8), ("stem",)),
            Node("relu", Relu(), ("stem_norm",)),
            Node("deep", DepthwiseConv(normal(8, 3, 3), normal(8), padding=(1,) * 4), ("relu",)),
            Node("deep_norm", norm(8), ("deep",)),
            Node("point", Conv(normal(8, 1, 1, 8), normal(8)), ("deep_norm",)),
            Node("sum", Add(), ("point", "relu")),
            Node("sum_relu", Relu(), ("sum",)),
            Node("both", Concatenate(), ("sum_relu", "point", "deep_norm")),
            Node("most", MaxPool((2, 2), (1, 2)), ("both",)),
            Node("mean", AveragePool((2, 1), (2, 1)), ("most",)),
            Node("late_norm", norm(24), ("mean",)),
            Node("late_relu", Relu(), ("late_norm",)),
            Node("again", Relu(), ("late_relu",)),
            Node("global", GlobalAveragePool(), ("again",)),
            Node("flat", Flatten(), ("global",)),
            Node("scores", Dense(normal(5, 24), normal(5)), ("flat",)),
        ),
    )


def relative_error(network: Network, program: Program, x: np.ndarray) -> float:
    wanted, found = network(x), program.output_border.real(program(x))
    return float(np.sqrt(((found - wanted) ** 2).mean() / wanted.var()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["signed floats", "floats", "integers"])
def test_with_wide_weights_only_activations_round(seed, kind):
    rng = np.random.default_rng(seed)
    network = branched(rng)
    x = rng.normal(size=(60, *network.input_shape))
    x = {"floats": np.abs(x), "integers": np.rint(20 * x).astype(int)}.get(kind, x)
    program = quantise(network, x, "int16", 8)
    assert relative_error(network, program, x) < 0.06


def test_fewer_bits_cost_more():
    rng = np.random.default_rng(5)
    network = branched(rng)
    x = rng.normal(size=(60, *network.input_shape))
    errors = [relative_error(network, quantise(network, x, "int8", bits), x) for bits in (8, 5, 2)]
    assert errors == sorted(errors)


@pytest.mark.parametrize("method", ["bwnh", "sign", "ternary", "int4"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_method_lowers_and_saves(method, bits, tmp_path):
    rng = np.random.default_rng(6)
    network = branched(rng)
    x = rng.normal(size=(40, *network.input_shape))
    program = quantise(network, x, method, bits)
    saved.save(program, tmp_path / "model.npz")
    assert np.array_equal(saved.load(tmp_path / "model.npz")(x), program(x))
    assert quantise(network, x, method, bits).digest == program.digest


def test_activations_take_the_bits_that_were_asked_for():
    rng = np.random.default_rng(7)
    network = branched(rng)
    x = rng.normal(size=(40, *network.input_shape))
    for bits, kind in ((3, Thresholds), (4, Thresholds), (5, Requantise), (8, Requantise)):
        program = quantise(network, x, "int8", bits)
        rounded = [n for n in program.nodes if isinstance(n.op, Thresholds | Requantise)]
        assert all(isinstance(node.op, kind) for node in rounded[:-1])
        assert all(program.edges[node.name].grid.bits <= bits for node in rounded[:-1])
        assert program.output.grid.bits <= 16


def test_nodes_are_called_after_the_layers():
    rng = np.random.default_rng(8)
    network = chain(
        Conv(rng.normal(size=(4, 3, 3, 4)), np.zeros(4)),
        Relu(),
        MaxPool((2, 2), (2, 2)),
        Flatten(),
        Dense(rng.normal(size=(3, 16)), np.zeros(3)),
    )
    program = quantise(network, rng.normal(size=(20, 6, 6, 4)))
    names = "n0_window n0_dot n1 n2_window n2 n3 n4_dot n4"
    assert [node.name for node in program.nodes] == names.split()


def test_the_mean_response_is_that_of_the_float_network():
    rng = np.random.default_rng(9)
    network = chain(Flatten(), Dense(rng.normal(size=(5, 144)), rng.normal(size=5)))
    x = np.abs(rng.normal(size=(100, 6, 6, 4)))
    program = quantise(network, x, "sign")
    found = program.output_border.real(program(x)).mean(0)
    assert np.allclose(found, network(x).mean(0), atol=2 * float(program.output_border.scale[0]))


def test_execute_replaces_the_definitions():
    rng = np.random.default_rng(10)
    network, seen = branched(rng), []
    x = rng.normal(size=(20, *network.input_shape))

    def execute(op, inputs, output, *xs):
        seen.append(type(op).__name__)
        return op(*xs)

    assert quantise(network, x, execute=execute).digest == quantise(network, x).digest
    assert {"Window", "Dot", "DepthwiseDot", "Requantise", "SumPool", "Add"} <= set(seen)


def test_small_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(11)
    network = branched(rng)
    x = rng.normal(size=(20, *network.input_shape))
    whole = quantise(network, x, "ternary")
    monkeypatch.setattr("bitwright.models.store.CHUNK_ELEMENTS", 3000)
    assert np.abs(quantise(network, x, "ternary")(x) - whole(x)).max() <= 1


def error_of(layers: list[Layer], weights: str = "int16", bits: int = 8, shape=(6, 6, 4)) -> float:
    """The error of a chain's program on data that calibrated it, relative to the spread."""
    x = np.random.default_rng(12).normal(size=(60, *shape))
    network = chain(*layers, shape=shape)
    return relative_error(network, quantise(network, x, weights, bits), x)


def weighted(*shape: int, **more) -> Conv:
    rng = np.random.default_rng(13)
    return Conv(rng.normal(size=shape), rng.normal(size=shape[0]), **more)


def point(channels: int) -> Conv:
    return weighted(3, 1, 1, channels)


@pytest.mark.parametrize(
    "layers",
    [
        [weighted(8, 3, 3, 2, groups=2, padding=(1, 1, 1, 1))],
        [weighted(36, 1, 1, 4), weighted(36, 3, 3, 2, groups=18), point(36)],
        [weighted(5, 3, 2, 4, dilation=(2, 3), padding=(1, 0, 0, 2))],
        [weighted(5, 6, 6, 4)],
        [DepthwiseConv(np.ones((4, 2, 2)), np.ones(4), dilation=(3, 2))],
        [weighted(5, 1, 1, 4), MaxPool((3, 3), (2, 2), (1, 1, 1, 1), (2, 1)), point(5)],
        [weighted(5, 1, 1, 4), AveragePool((3, 3), (2, 2), (1, 1, 1, 0)), point(5)],
        [Pad((1, 0, 2, 1)), weighted(5, 3, 3, 4)],
        [weighted(5, 1, 1, 4), Select((1, 3, 4)), point(3)],
        [weighted(5, 1, 1, 4), Select((4, 4, 0, 2, 1)), point(5)],
        [Reshape((9, 16)), Reshape((3, 3, 16)), weighted(5, 3, 3, 16)],
    ],
    ids=lambda layers: " ".join(type(layer).__name__ for layer in layers),
)
def test_each_layer_lowers_to_what_it_computes(layers):
    assert error_of(layers) < 0.025


FUNCTIONS = [
    Clip(-0.5, 6.0),
    Clip(0.25, 1.0),
    Elu(),
    HardSwish(),
    LeakyRelu(0.1),
    LeakyRelu(-0.5),
    PRelu(np.linspace(0, 1, 5)),
    PRelu(np.linspace(-1, 1, 5)),
    Sigmoid(),
    Tanh(),
]


@pytest.mark.parametrize(("bits", "most"), [(3, 0.4), (8, 0.025)])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: type(f).__name__)
def test_each_function_lowers_to_what_it_computes(function, bits, most):
    before, behind = weighted(5, 1, 1, 4), point(5)
    assert error_of([before, function, behind], bits=bits) < most
    assert error_of([function, behind], bits=bits, shape=(6, 6, 5)) < most
    assert error_of([before, function], bits=bits) < 0.02
    assert error_of([before, Relu(), function, Relu(), behind], bits=bits) < 1.5 * most


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f.monotone], ids=str)
def test_thresholds_of_a_function_equal_its_table(function: Activation):
    """Falling channels, constant ones, and those that never reach a level."""
    scale = np.array([0.01, -0.02, 0.0, 1e-6, 5.0])
    offset = np.array([0.1, 0.0, 0.7, -0.2, 3.0])
    edge = Edge((5,), np.full(5, -300), np.array([300, 200, 100, 0, -290]))

    def real(integers: np.ndarray) -> np.ndarray:
        return function(scale * integers + offset)

    grid, step = signed(3), 0.3
    few, whole = (
        monotone(edge, real, scale >= 0, step, grid),
        table(edge, real, step, grid),
    )
    x = np.clip(np.arange(-300, 301)[:, None], edge.lo, edge.hi)
    assert np.array_equal(few(x), whole(x))
    assert np.array_equal(few(x), np.clip(np.floor(real(x) / step + 0.5), grid.lo, grid.hi))


def operators(*layers: Layer, bits: int = 8, shape=(6, 6, 4)) -> list:
    x = np.random.default_rng(12).normal(size=(30, *shape))
    return [node.op for node in quantise(chain(*layers, shape=shape), x, "int8", bits).nodes]


def test_clamps_fold_into_one_rounding():
    found = operators(weighted(5, 1, 1, 4), Clip(-1.0, 6.0), Relu(), Clip(-2.0, 2.0), point(5))
    assert [type(op) for op in found[1:-2]] == [Requantise]
    assert found[1].lo == 0


def test_tables_are_shared_between_channels_where_they_are_the_same():
    rows = [
        [len(op.values) for op in operators(weighted(5, 1, 1, 4), function, point(5))
         if isinstance(op, Table)]
        for function in (Tanh(), PRelu(np.linspace(0, 1, 5)), PRelu(np.full(5, 0.5)))
    ]  # fmt: skip
    assert rows == [[1], [5], [1]]


def test_a_window_of_everything_is_a_reshape():
    kinds = [type(op) for op in operators(weighted(5, 6, 6, 4))]
    assert kinds[0] is ReshapeOp
    assert Window not in kinds


def test_rescaled_inputs_cost_nothing():
    gain = np.full(4, 0.25)
    norm = BatchNorm(gain, 0 * gain, 0 * gain, 0 * gain + 1, 0.0)
    assert [type(op) for op in operators(norm, point(4))] == [Dot, Requantise]
    assert error_of([norm, point(4)]) < 0.01


def test_arg_max_is_that_of_the_scores():
    network = chain(Flatten(), Dense(np.random.default_rng(14).normal(size=(9, 144)), np.zeros(9)))
    best = replace(network, nodes=(*network.nodes, Node("best", ArgMax(), ("n1",))))
    x = np.random.default_rng(12).normal(size=(60, 6, 6, 4))
    program, scores = quantise(best, x, "int8"), quantise(network, x, "int8")
    assert isinstance(program.nodes[-1].op, TopK)
    assert np.array_equal(program(x)[:, 0], scores(x).argmax(1))
    assert np.array_equal(program.answer(program(x)), program(x))


def test_programs_have_the_layout_of_their_network():
    network = replace(
        chain(weighted(3, 2, 2, 4)),
        input_border=Border(shape=(4, 6, 6), axes=(2, 0, 1)),
        output_border=Border(shape=(3, 25), axes=(2, 0, 1), finish="sigmoid"),
    )
    x = np.random.default_rng(12).normal(size=(30, 4, 6, 6))
    program = quantise(network, x, "int8")
    assert program.digest == quantise(network, np.moveaxis(x, 1, -1), "int8").digest
    answer = program.answer(program(program.accept(x)))
    assert answer.shape == (30, 3, 25)
    assert np.allclose(answer, network.answer(x), atol=0.1)


@dataclass(frozen=True, eq=False)
class Strange(Layer):
    """A layer that nobody lowers."""

    def shape(self, *shapes):
        return shapes[0]

    def __call__(self, *xs):
        return xs[0]


@pytest.mark.parametrize(
    ("layers", "x", "options", "wanted"),
    [
        (
            [Relu()],
            np.ones((2, 6, 6, 4)),
            {"activation_bits": 9},
            "activations take 2 to 8 bits, not 9",
        ),
        (
            [Relu()],
            np.ones((0, 6, 6, 4)),
            {},
            "calibration takes finite inputs that are not all 0; give it real ones",
        ),
        (
            [Relu()],
            np.full((1, 6, 6, 4), np.nan),
            {},
            "calibration takes finite inputs that are not all 0; give it real ones",
        ),
        (
            [Relu()],
            np.ones((2, 5)),
            {},
            (
                "network 'net' takes inputs of shape (N, 6, 6, 4), not (1, 5); reshape them "
                "(channels last)"
            ),
        ),
        (
            [Strange()],
            np.ones((2, 6, 6, 4)),
            {},
            "node 'n0': Strange has no lowering; register one with bitwright.models.lower.lower",
        ),
        (
            [Flatten(), Dense(np.ones((1, 144)), np.ones(1))],
            np.zeros((2, 6, 6, 4)),
            {},
            "calibration takes finite inputs that are not all 0; give it real ones",
        ),
    ],
)
def test_refusals(layers, x, options, wanted):
    with pytest.raises(ProgramError) as caught:
        quantise(chain(*layers), x, **options)
    assert str(caught.value) == wanted


def test_inputs_beyond_the_networks_own_range_are_refused():
    network = Network("net", (2,), (Node("relu", Relu(), ("input",)),), (0, 16))
    with pytest.raises(ProgramError) as caught:
        quantise(network, np.array([[3, 17]]))
    assert str(caught.value) == (
        "calibration inputs span 3..17, and network 'net' takes 0..16; clamp or rescale them"
    )


@dataclass(frozen=True, eq=False)
class Coarse(Product):
    """Weights whose products are rounded to 12 bits, then multiplied by a unit matrix."""

    inner: Compressed
    exact = False

    def dense(self):
        return self.inner.dense()

    @property
    def bits(self):
        return self.inner.bits

    def lower(self, site):
        edge, scale = site.rounded("half", self.inner.lower(site), 12)
        count = len(self.inner.weights)
        dot = site.emit("whole", Dot(np.eye(count, dtype=np.int64), TERNARY), edge)
        return Sums(dot, np.full(count, scale))


class Coarsely(Method):
    """Gives `Coarse` weights, and keeps whether each problem was that of the floats alone."""

    symmetric = True

    def __init__(self):
        self.from_floats: list[bool] = []

    @classmethod
    def variants(cls):
        return {}

    def start(self, problem, weights):
        return Coarse(method("int12").start(problem, weights))

    def compress(self, problem, weights):
        self.from_floats.append(np.allclose(problem.cross, weights @ problem.gram))
        return Coarse(method("int12").compress(problem, weights))


class Both(Coarsely):
    """The same, seen behind the compressed prefix, with int8 for depthwise layers."""

    symmetric = False

    @property
    def depthwise(self):
        return method("int8")


def lowered(monkeypatch, how: Method, *layers: Layer, shape) -> tuple[Network, Program, np.ndarray]:
    network = chain(*layers, shape=shape)
    x = np.random.default_rng(40).normal(size=(20, *shape))
    monkeypatch.setattr(models_weights, "method", lambda name: how)
    return network, quantise(network, x), x


@pytest.mark.parametrize(("groups", "branches"), [(2, 16), (17, 16), (40, 16), (7, 2)])
def test_groups_of_any_structure_are_computed_one_by_one(monkeypatch, groups, branches):
    monkeypatch.setattr(lower, "BRANCHES_MAX", branches)
    how = Coarsely()
    weights = np.random.default_rng(groups).normal(size=(groups * 2, 2, 2, 1))
    conv = Conv(weights, np.zeros(groups * 2), groups=groups)
    network, program, x = lowered(monkeypatch, how, conv, shape=(3, 3, groups))
    assert relative_error(network, program, x) < 0.02
    halves = [node.name for node in program.nodes if node.name.endswith("_half")]
    assert len(set(halves)) == len(how.from_floats) == groups
    assert program.metadata["weight_bits"] == conv.weights.size * 12


def test_a_symmetric_method_sees_the_float_inputs_alone(monkeypatch):
    both = [Dense(np.random.default_rng(n).normal(size=(6, 6)), np.zeros(6)) for n in (1, 2)]
    layers = (both[0], Relu(), both[1])
    for how, wanted in ((Coarsely(), True), (Both(), False)):
        lowered(monkeypatch, how, *layers, shape=(6,))
        assert how.from_floats == [wanted, wanted]


def test_depthwise_layers_take_compressed_weights_alone(monkeypatch):
    layer = DepthwiseConv(np.random.default_rng(3).normal(size=(4, 2, 2)), np.zeros(4))
    network, program, x = lowered(monkeypatch, Both(), layer, shape=(5, 5, 4))
    assert relative_error(network, program, x) < 0.05
    with pytest.raises(ProgramError) as caught:
        lowered(monkeypatch, Coarsely(), layer, shape=(5, 5, 4))
    assert str(caught.value) == (
        "layer 'n0': method Coarsely gives depthwise weights as Coarse, and only Compressed ones "
        "have an operator; let its `depthwise` be a method that gives these"
    )
