"""Sums of branches, constants, and functions of single values."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from onnx_cases import LINE, POWER, ROW, SIGNS, UNEVEN, Body, branches, case, conv, one
from onnx_judge import Graph

# Sums of branches.


case("add-scales", branches("Add", 0.37, 0.211))
case("add-powers", branches("Add", 2, 0.5), end=0.25)
case("sub-scales", branches("Sub", 0.37, 0.211, 0.3))
case("add-negative", branches("Add", -0.37, 0.211))
case("add-both-negative", branches("Sub", -0.37, 0.211), end=POWER)
case("add-per-channel", branches("Add", 0.5, np.float32([0.25, -1, 2]).reshape(3, 1, 1)))
case("add-wide", lambda g, x: g.node("Add", conv(g, x, 3, 3, (1, 1)), x), end=0.2)
case("add-itself", lambda g, x: g.node("Add", x, x))
case("sub-itself", lambda g, x: g.node("Sub", x, x))
case("add-relu-of-itself", lambda g, x: g.node("Add", g.quant(g.node("Relu", x), 0.13), x))
case("sum-of-three", lambda g, x: g.node("Sum", x, g.quant(x, 0.3), g.quant(x, 0.2, 3)))
case("sum-of-one", lambda g, x: g.node("Sum", x))
case("add-end", branches("Add", 0.37, 0.211), end=None)
case("add-features", branches("Add", 0.37, -0.211), ROW, end=None)


def shared_sum(g: Graph, x: str) -> str:
    """A sum that two quantisers read."""
    y = branches("Add", 0.375, 0.625)(g, x)
    return g.node("Add", g.quant(y, 0.2), g.quant(y, 0.07))


case("add-shared-sum", shared_sum)

# Constants.

SHAPES: dict[str, tuple[int, ...]] = {
    "scalar": (), "one": (1,), "channel": (3, 1, 1), "batched": (1, 3, 1, 1), "all-ones": (1,) * 4,
    "column": (6,), "position": (7, 6), "each": (3, 7, 6),
}  # fmt: skip
for _name, _shape in SHAPES.items():
    for _op, _first in (("Add", 0), ("Add", 1), ("Sub", 0), ("Sub", 1), ("Mul", 0), ("Mul", 1),
                        ("Div", 0)):  # fmt: skip

        def _constant(
            g: Graph, x: str, op: str = _op, shape: Any = _shape, at: int = _first
        ) -> str:
            values = g.random.uniform(0.5, 2, shape) * g.random.choice([-1, 1], shape)
            operands = [x, g.constant(values)]
            return g.node(op, *(operands if at == 0 else operands[::-1]))

        case(f"{_op}-{_name}-{_first}", _constant, end=POWER if _first else UNEVEN)
case("mul-zero", lambda g, x: g.node("Mul", x, g.constant([[[0.5]], [[0]], [[-1]]])))
case("mul-end", lambda g, x: g.node("Mul", x, g.constant([[[0.5]], [[0.1]], [[-1]]])), end=None)


def normalised(channels: int) -> Body:
    def body(g: Graph, x: str) -> str:
        gain = g.random.uniform(-1.5, 1.5, channels)
        gain[1] = 0
        rest = g.random.normal(0, 0.5, (2, channels))
        variance = g.random.uniform(0.1, 2, channels)
        parameters = [g.constant(v) for v in (gain, *rest, variance)]
        return g.node("BatchNormalization", x, *parameters, epsilon=1e-3)

    return body


case("batchnorm", normalised(3))
case("batchnorm-opset-9", normalised(3), opset=9)
case("batchnorm-newest", normalised(3), opset=15, end=POWER)
case("batchnorm-features", normalised(10), ROW)
case("batchnorm-1d", normalised(4), LINE)
case("batchnorm-conv", lambda g, x: normalised(5)(g, conv(g, x, 5, 3, (3, 3))))

# Functions of single values.

FUNCTIONS: dict[str, Body] = {
    "relu": one("Relu"),
    "leaky": one("LeakyRelu", alpha=0.3),
    "leaky-default": one("LeakyRelu"),
    "leaky-zero": one("LeakyRelu", alpha=0.0),
    "leaky-negative": one("LeakyRelu", alpha=-0.6),
    "hard-sigmoid": one("HardSigmoid"),
    "hard-sigmoid-alpha": one("HardSigmoid", alpha=0.31, beta=-0.1),
    "hard-sigmoid-falling": one("HardSigmoid", alpha=-0.31, beta=0.4),
    "hard-swish": one("HardSwish"),
    "sigmoid": one("Sigmoid"),
    "tanh": one("Tanh"),
    "sign": one("Sign"),
    "abs": one("Abs"),
    "neg": one("Neg"),
    "floor": one("Floor"),
    "ceil": one("Ceil"),
    "round": one("Round"),
    "identity": one("Identity"),
    "dropout": one("Dropout"),
    "clip": lambda g, x: g.node("Clip", x, g.constant(-0.7), g.constant(1.3)),
    "clip-low": lambda g, x: g.node("Clip", x, g.constant(0.25)),
    "clip-high": lambda g, x: g.node("Clip", x, "", g.constant(1.3)),
    "min": lambda g, x: g.node("Min", x, g.constant(0.4)),
    "min-first": lambda g, x: g.node("Min", g.constant([-0.4]), x),
    "max": lambda g, x: g.node("Max", x, g.constant([[0.4]])),
    "max-first": lambda g, x: g.node("Max", g.constant(-0.3), x),
    "prelu": lambda g, x: g.node("PRelu", x, g.constant([[[0.1]], [[0]], [[0.7]]])),
    "prelu-one": lambda g, x: g.node("PRelu", x, g.constant([0.2])),
    "prelu-negative": lambda g, x: g.node("PRelu", x, g.constant([[[0.1]], [[-0.5]], [[-2]]])),
    "cast-double": one("Cast", to=int(TensorProto.DOUBLE)),
    "cast-half": one("Cast", to=int(TensorProto.FLOAT16)),
    "sign-of-floor": lambda g, x: g.node("Sign", g.node("Floor", x)),
    "relu-of-round": lambda g, x: g.node("Relu", g.node("Round", x)),
    "tanh-of-neg": lambda g, x: g.node("Tanh", g.node("Neg", x)),
    "sigmoid-of-relu": lambda g, x: g.node("Sigmoid", g.node("Relu", x)),
    "silu-hard": lambda g, x: g.node("Add", g.node("HardSwish", x), g.constant(0.2)),
}
for _name, _body in FUNCTIONS.items():
    for _end in (UNEVEN, POWER):
        case(f"{_name}-{_end}", _body, end=_end)
    case(
        f"{_name}-of-channels",
        lambda g, x, b=_body: b(g, g.node("Mul", x, g.constant(SIGNS))),
        end=0.1,
    )
    case(f"{_name}-of-conv",
         lambda g, x, b=_body: b(g, conv(g, x, 3, 1, (1, 1), group=3)), end=0.04,
         scale=1 / 4)  # fmt: skip
case("clip-attributes", one("Clip", min=-0.5, max=0.75), opset=9)
case("clip-attribute", one("Clip", max=0.75), opset=10)
case("clip-quantised", lambda g, x: g.node("Clip", x, g.constant(-0.5), g.constant(1.0)), end=None)
case("relu-quantised", one("Relu"), end=None)
case("relu-zero-point", one("Relu"), end=None, zero=-40)
case("min-quantised", lambda g, x: g.node("Min", x, g.constant(0.5)), end=None)
case("floor-end", one("Floor"), end=None)
case("round-ties", one("Round"), end=None, scale=0.5)
case("cast-to-int", one("Cast", to=int(TensorProto.INT8)), end=None, output=TensorProto.INT8)
case("cast-to-int32", lambda g, x: g.node("Cast", conv(g, x, 2, 3, (2, 2)),
                                          to=int(TensorProto.INT32)), end=None,
     output=TensorProto.INT32)  # fmt: skip
