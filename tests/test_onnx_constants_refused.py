"""Constants of an ONNX graph that break a rule: one sentence says which."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from agree import refused
from onnx_fold import F32, I64, X, dyadic, folded, numbers, one

from bitwright.models.fixed import ProgramError
from bitwright.models.onnx.constants.constant import Constant
from bitwright.models.onnx.graph import ONNX, QONNX

NAN, INF = F32(np.nan), F32(np.inf)
AGAIN = "; export the model again"
BAD_QUANTISERS = [
    ("QuantizeLinear", (X, NAN), {}, "a scale is a positive finite number, not nan" + AGAIN),
    ("QuantizeLinear", (X, -INF), {}, "a scale is a positive finite number, not -inf" + AGAIN),
    ("QuantizeLinear", (X, F32(0)), {}, "a scale is a positive finite number, not 0" + AGAIN),
    ("QuantizeLinear", (X, F32(-2)), {}, "a scale is a positive finite number, not -2" + AGAIN),
    ("QuantizeLinear", (X, X[:0]), {}, "a scale is a positive finite number, not nothing" + AGAIN),
    ("QuantizeLinear", (X, None), {}, "its scale is a constant, and here it is none" + AGAIN),
    ("QuantizeLinear", (X,), {}, "it has 2 to 3 inputs, not 1" + AGAIN),
    ("BipolarQuant", (X, F32(1), F32(0)), {}, "it has 2 inputs, not 3" + AGAIN),
    (
        "QuantizeLinear",
        (X, np.ones(3, F32)),
        {"axis": 3},
        "axis is in -3..2, not 3" + AGAIN,
    ),
    (
        "QuantizeLinear",
        (X, np.ones(3, F32)),
        {"axis": 2},
        "a scale or zero point of shape (1, 1, 3) does not fit a tensor of shape (2, 3, 4)" + AGAIN,
    ),
    (
        "QuantizeLinear",
        (X, np.ones(3, F32), np.zeros(2, np.int8)),
        {},
        "a zero point is one number or one for each of the 3 scales, not 2" + AGAIN,
    ),
    (
        "QuantizeLinear",
        (X, np.ones((3, 2), F32)),
        {"block_size": 2},
        "scales hold for whole channels, not for blocks of 2; set block_size 0",
    ),
    (
        "QuantizeLinear",
        (X, np.ones((3, 2), F32)),
        {},
        (
            "a scale or zero point has at most one axis, not shape (3, 2); quantise per tensor "
            "or per channel"
        ),
    ),
    (
        "QuantizeLinear",
        (X, F32(1), np.int8(0)),
        {"output_dtype": 2},
        "output_dtype and the zero point have one type, not uint8 and int8" + AGAIN,
    ),
    (
        "QuantizeLinear",
        (X, F32(1)),
        {"output_dtype": 17},
        "an integer type is needed here, not type 17; add a Cast",
    ),
    (
        "QuantizeLinear",
        (np.array([1, NAN]), F32(1)),
        {},
        "a constant is a finite number, not nan" + AGAIN,
    ),
    (
        "DequantizeLinear",
        (numbers(3, dtype=np.int8), F32(1), np.uint8(0)),
        {},
        "x and the zero point have one type, not int8 and uint8" + AGAIN,
    ),
    ("DequantizeLinear", (X, F32(1)), {}, "integers are dequantised, not float32" + AGAIN),
    (
        "Quant",
        (X, F32(1), F32(0.5), F32(4)),
        {},
        "a zero point is an integer of at most 32 bits, not 0.5" + AGAIN,
    ),
    (
        "Quant",
        (X, F32(1), F32(0), F32(33)),
        {},
        "a bit width is an integer from 1 to 32, not 33" + AGAIN,
    ),
    (
        "Quant",
        (X, F32(1), F32(0), F32(2.5)),
        {},
        "a bit width is an integer from 1 to 32, not 2.5" + AGAIN,
    ),
    (
        "Quant",
        (X, F32(1), F32(0), np.ones(3, F32)),
        {},
        "a bit width is one number, not 3; export one quantiser for all channels",
    ),
    (
        "Quant",
        (X, np.ones((2, 1, 1, 1), F32), F32(0), F32(3)),
        {},
        "a scale or zero point of shape (2, 1, 1, 1) adds axes to a tensor that has 3" + AGAIN,
    ),
    (
        "Quant",
        (X, F32(1), F32(0), F32(3)),
        {"rounding_mode": "STOCHASTIC"},
        (
            "rounding_mode is one of ROUND, HALF_EVEN, CEIL, FLOOR, UP, DOWN, ROUND_TO_ZERO, "
            "HALF_UP, HALF_DOWN, not 'STOCHASTIC'; choose one"
        ),
    ),
    (
        "Quant",
        (X, F32(1), F32(0), F32(3)),
        {"signed": 2},
        "attribute 'signed' is 0 or 1, not 2" + AGAIN,
    ),
    (
        "Trunc",
        (X, F32(1), F32(0), F32(8), F32(3), F32(4)),
        {},
        "the output scale is a power of two times the scale, not 3" + AGAIN,
    ),
    (
        "Trunc",
        (X, F32(1), F32(0), F32(4), F32(8)),
        {},
        "4 bits are not truncated to 8" + AGAIN,
    ),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "problem"), BAD_QUANTISERS)
def test_bad_quantisers_are_refused(op: str, inputs: Any, attributes: Any, problem: str):
    domain = ONNX if op.endswith("Linear") else QONNX
    with refused(f"node 'n' ({op}): {problem}"):
        folded(op, inputs, domain=domain, **attributes)


HUGE = np.array([1 << 40, 1 << 40])
BAD = [
    ("Softmax", (X,), {}, "the operator is not computed on constants; fold it before exporting"),
    (
        "Relu",
        (X,),
        {"alpha": 0.1},
        ("attribute 'alpha' is not supported; export the model without it"),
    ),
    ("Add", (X,), {}, "it has 2 inputs, not 1" + AGAIN),
    ("Add", (X, None), {}, "input 1 is missing" + AGAIN),
    ("Add", (X, dyadic(5)), {}, "shapes (2, 3, 4) and (5,) do not broadcast" + AGAIN),
    ("Add", (X, numbers(4)), {}, "operands have one type, not float32 and int64; add a Cast"),
    ("Add", (numbers(4) > 0,) * 2, {}, "numbers are computed with, not booleans; add a Cast"),
    ("Add", (np.int8(100), np.int8(100)), {}, "200 is no int8; use a wider type"),
    ("Neg", (np.int8(-128),), {}, "128 is no int8; use a wider type"),
    ("Div", (X, F32(0)), {}, "nothing is divided by 0" + AGAIN),
    ("Mod", (numbers(2), I64(0)), {}, "nothing is divided by 0" + AGAIN),
    ("Pow", (F32(0), F32(-1)), {}, "0 has no negative power" + AGAIN),
    (
        "Pow",
        (F32(2), F32(0.3)),
        {},
        (
            "an exponent is 0.5, -0.5 or an integer up to 64, not 0.300000012; fold it before "
            "exporting"
        ),
    ),
    (
        "Sqrt",
        (F32(-1),),
        {},
        "a square root is of a number that is 0 or more, not -1" + AGAIN,
    ),
    ("Add", (F32(1), INF), {}, "a constant is a finite number, not inf" + AGAIN),
    (
        "Add",
        (np.zeros((1 << 20) + 1, F32), F32(1)),
        {},
        (
            "exact arithmetic is done on constants of at most 1048576 elements, not 1048577; fold "
            "it before exporting"
        ),
    ),
    (
        "Add",
        (np.zeros((1 << 11, 1), F32), np.zeros(1 << 11, F32)),
        {},
        (
            "exact arithmetic is done on constants of at most 1048576 elements, not 4194304; fold "
            "it before exporting"
        ),
    ),
    ("Cast", (F32(300),), {"to": 3}, "300 is no int8; use a wider type"),
    (
        "Cast",
        (F32(1e30),),
        {"to": 7},
        "an integer of at most 64 bits is needed here, not 1.00000002e+30" + AGAIN,
    ),
    ("Cast", (X,), {"to": 8}, "a Cast is to a number or boolean, not to type 8; convert it"),
    ("Not", (X,), {}, "a condition is boolean, not float32; add a Cast"),
    (
        "ConstantOfShape",
        (HUGE,),
        {},
        (
            "shape (1099511627776, 1099511627776) has 1208925819614629174706176 elements, above "
            "the limit of 268435456; split the network"
        ),
    ),
    (
        "ConstantOfShape",
        (np.ones(17, I64),),
        {},
        "a tensor has at most 16 dimensions, not 17; reshape it",
    ),
    ("ConstantOfShape", (np.array([-1]),), {}, "a size is 0 or more, not -1" + AGAIN),
    (
        "Expand",
        (F32(1), np.array([1 << 29])),
        {},
        (
            "shape (536870912,) has 536870912 elements, above the limit of 268435456; split the "
            "network"
        ),
    ),
    (
        "Tile",
        (np.zeros(1 << 10, F32), np.array([1 << 20])),
        {},
        (
            "shape (1073741824,) has 1073741824 elements, above the limit of 268435456; split the "
            "network"
        ),
    ),
    (
        "Gather",
        (np.zeros((1, 1 << 15), F32), np.zeros(1 << 14, I64)),
        {},
        (
            "shape (16384, 32768) has 536870912 elements, above the limit of 268435456; split the "
            "network"
        ),
    ),
    (
        "Pad",
        (F32([1]), np.array([0, 1 << 30])),
        {},
        (
            "shape (1073741825,) has 1073741825 elements, above the limit of 268435456; split the "
            "network"
        ),
    ),
    (
        "Range",
        (I64(0), I64(1 << 40), I64(1)),
        {},
        "it makes 1099511627776 values, above the limit of 1048576; shorten it",
    ),
    (
        "Gather",
        (X, np.uint64(1 << 63)),
        {},
        "an integer of at most 64 bits is needed here, not 9223372036854775808" + AGAIN,
    ),
    ("Cast", (F32([0, np.nan]),), {"to": 7}, "a constant is a finite number, not nan" + AGAIN),
    ("Range", (I64(0), I64(1), I64(0)), {}, "delta is not 0" + AGAIN),
    ("Gather", (X, I64(2)), {}, "an index is in -2..1, not 2" + AGAIN),
    ("Gather", (X, F32(0.5)), {}, "an integer of at most 64 bits is needed here, not 0.5" + AGAIN),
    ("Reshape", (X, np.array([5, -1])), {}, "(2, 3, 4) does not reshape to (5, -1)" + AGAIN),
    ("Reshape", (X, np.array([-1, -1])), {}, "(2, 3, 4) does not reshape to (-1, -1)" + AGAIN),
    ("Reshape", (X, np.array([-2, -12])), {}, "(2, 3, 4) does not reshape to (-2, -12)" + AGAIN),
    ("Transpose", (X,), {"perm": (0, 1, 1)}, "perm is an order of 3 axes, not (0, 1, 1)" + AGAIN),
    ("Squeeze", (X, np.array([0])), {}, "axes (0,) of (2, 3, 4) are not all of size 1" + AGAIN),
    ("Squeeze", (X, np.array([0, -3])), {}, "axes are named once each, not (0, -3)" + AGAIN),
    (
        "Concat",
        (X, dyadic(2, 3)),
        {"axis": 0},
        "shapes (2, 3, 4), (2, 3) differ beside axis 0" + AGAIN,
    ),
    ("Concat", (X, X), {"axis": 3}, "an axis is in -3..2, not 3" + AGAIN),
    ("Split", (X, np.array([1, 2])), {}, "2 is not split into 1 pieces by (1, 2)" + AGAIN),
    (
        "Dropout",
        (X, F32(0.5), np.True_),
        {},
        ("it drops values at random in training; export the model for inference"),
    ),
    (
        "Pad",
        (X, np.zeros(6, I64)),
        {"mode": "edge"},
        ("constants are padded in the mode 'constant', not 'edge'"),
    ),
    (
        "Squeeze",
        (dyadic(1), np.array([0])),
        {"axes": (0,)},
        "axes is given by an attribute and by input 1; keep one",
    ),
    (
        "MatMul",
        (np.zeros((1 << 9, 1 << 5), F32), np.zeros((1 << 5, 1 << 9), F32)),
        {},
        "a matrix product of constants has at most 1048576 products; fold it before exporting",
    ),
    ("MatMul", (X, X), {}, "(2, 3, 4) times (2, 3, 4) is no matrix product" + AGAIN),
    ("ReduceMax", (X[:0],), {}, "nothing is the largest or smallest of no values" + AGAIN),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "problem"), BAD)
def test_bad_nodes_are_refused(op: str, inputs: Any, attributes: Any, problem: str):
    with refused(f"node 'n' ({op}): {problem}"):
        folded(op, inputs, **attributes)


def test_numbers_that_grow_without_end_are_refused():
    x = Constant.of(F32([0.1]))
    for _ in range(7):
        x = one("Mul", x, x)
    with pytest.raises(ProgramError, match="makes numbers of more than 4096 bits"):
        one("Mul", x, x)
    odd = Constant(np.array([Fraction(1, n) for n in range(1, 20000, 2)], dtype=object), "float32")
    with refused("node 'n' (ReduceSum): a sum has too many digits; fold it before exporting"):
        one("ReduceSum", odd)
