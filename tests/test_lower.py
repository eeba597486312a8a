"""Lowering: the integer program computes what the float network does, up to its rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bitwright.models import saved
from bitwright.models.fixed import ProgramError
from bitwright.models.layers import (
    Add,
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
    Relu,
)
from bitwright.models.lower import quantise
from bitwright.models.network import Network, Node
from bitwright.models.ops import Requantise, Thresholds
from bitwright.models.program import Program


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
    monkeypatch.setattr("bitwright.models.calibration.CHUNK_ELEMENTS", 3000)
    assert np.abs(quantise(network, x, "ternary")(x) - whole(x)).max() <= 1


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
