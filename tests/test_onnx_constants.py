"""Constants of an ONNX graph: every operator equals onnx's reference, exactly, or is refused."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
import onnx
import pytest
from agree import refused
from hypothesis import given
from hypothesis import strategies as st
from onnx import reference as onnx_reference
from onnx_fold import F32, I64, NEWEST, X, constants, dyadic, folded, node, numbers, one, reals

from bitwright.models.fixed import ProgramError
from bitwright.models.onnx.constants import constant as constants_module
from bitwright.models.onnx.constants.constant import DTYPES, OBJECTS_MAX, Constant, limits_of, root
from bitwright.models.onnx.constants.folding import foldable
from bitwright.models.onnx.graph import MICROSOFT, QONNX
from bitwright.models.onnx.parameters import Attributes
from bitwright.models.onnx.quantisers import BIPOLAR, dequantiser, quantiser, truncation

helper, TensorProto = onnx.helper, onnx.TensorProto


def qonnx(module: str) -> Any:
    """What the qonnx package computes for an operator."""
    return pytest.importorskip(
        f"qonnx.custom_op.general.{module}", reason="qonnx is not installed (extra dev)"
    )


def reference(op: str, inputs: Sequence[Any], version: int, outputs: int, **attributes: Any):
    for name, value in attributes.items():
        if isinstance(value, np.ndarray):
            attributes[name] = onnx.numpy_helper.from_array(value)
    feeds = {f"x{k}": np.asarray(x) for k, x in enumerate(inputs) if x is not None}
    names = ["" if x is None else f"x{k}" for k, x in enumerate(inputs)]
    results = [f"y{k}" for k in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, **attributes)],
        "g",
        [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in feeds.items()
        ],
        [helper.make_tensor_value_info(k, TensorProto.UNDEFINED, None) for k in results],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    return onnx_reference.ReferenceEvaluator(model).run(None, feeds)


def agrees(op: str, *inputs: Any, version: int = NEWEST, outputs: int = 1, **attributes: Any):
    """`fold` gives what onnx's reference gives; values are such that floats are exact."""
    ours = folded(op, inputs, version=version, outputs=outputs, **attributes)
    theirs = reference(op, inputs, version, outputs, **attributes)
    assert len(ours) == len(theirs) == outputs
    for mine, yours in zip(ours, map(np.asarray, theirs), strict=True):
        assert (mine.dtype, mine.shape) == (yours.dtype.name, yours.shape)
        assert np.array_equal(reals(mine).astype(yours.dtype), yours)


# Moves


def test_moves_agree_in_their_newest_form():
    agrees("Identity", X)
    agrees("Dropout", X, outputs=2)
    agrees("Dropout", X, F32(0.25), np.False_, outputs=2, seed=3)
    agrees("Shape", X)
    agrees("Shape", X, start=-2, end=3)
    agrees("Shape", X, start=1, end=-1)
    agrees("Shape", X, start=-9, end=99)
    agrees("Size", X)
    agrees("ConstantOfShape", np.array([2, 3]))
    agrees("ConstantOfShape", np.array([2, 0]), value=np.array([7]))
    agrees("ConstantOfShape", np.array([], I64), value=np.array([2.5], F32))
    agrees("Range", I64(3), I64(-8), I64(-3))
    agrees("Range", F32(0.5), F32(2), F32(0.25))
    agrees("Range", I64(3), I64(3), I64(1))
    agrees("Expand", dyadic(3, 1), np.array([2, 1, 4]))
    agrees("Expand", dyadic(3, 4), np.array([1, 1]))
    agrees("Tile", X, np.array([2, 1, 3]))
    agrees("Reshape", X, np.array([0, -1]))
    agrees("Reshape", X, np.array([4, 3, -1, 2]))
    agrees("Reshape", np.zeros((0, 3), F32), np.array([3, 0]), allowzero=1)
    for axis in range(-3, 4):
        agrees("Flatten", X, axis=axis)
    agrees("Transpose", X)
    agrees("Transpose", X, perm=(1, 2, 0))
    for mode in ("DCR", "CRD"):
        agrees("DepthToSpace", dyadic(2, 18, 2, 3), blocksize=3, mode=mode)
    agrees("SpaceToDepth", dyadic(2, 3, 4, 6), blocksize=2)
    agrees("Squeeze", dyadic(1, 3, 1))
    agrees("Squeeze", dyadic(1, 3, 1), np.array([-1]))
    agrees("Unsqueeze", X, np.array([-1, 0]))
    agrees("Concat", X, dyadic(2, 1, 4), axis=-2)
    agrees("Split", X, outputs=2, axis=2, num_outputs=2)
    agrees("Split", X, np.array([1, 0, 3]), outputs=3, axis=-1)
    agrees("Split", dyadic(7), outputs=3, num_outputs=3)
    agrees("Gather", X, np.array([[0, -1], [1, 2]]), axis=1)
    agrees("Gather", X, I64(-2), axis=-1)
    agrees("GatherElements", X, np.array([[[0, -1, 1, 2]]] * 2), axis=1)
    agrees("Pad", X, np.array([0, 1, 2, 1, 0, 3]), F32(1.5))
    cut = one("Pad", X, np.array([1, -1, 2, -1]), None, np.array([-1, 1]))
    assert np.array_equal(reals(cut), np.pad(X[:, 1:2], ((0, 0), (0, 0), (1, 2))))
    agrees("Where", np.array([True, False, True, False]), X, F32(9))


def test_moves_agree_in_their_old_forms():
    agrees("Squeeze", dyadic(1, 3, 1), version=11, axes=(0,))
    agrees("Unsqueeze", X, version=11, axes=(1, 4))
    agrees("Split", X, version=11, axis=1, split=(1, 2), outputs=2)
    agrees("Split", X, version=11, axis=2, outputs=2)
    agrees("Slice", X, version=9, starts=(1, -3), ends=(9, -1), axes=(1, 2))
    agrees("Slice", X, version=9, starts=(1,), ends=(2,))
    agrees("Pad", X, version=9, pads=(0, 1, 0, 0, 0, 2), value=0.5)
    agrees("Dropout", X, version=10, ratio=0.5)
    agrees("Clip", X, version=9, min=-0.5, max=2.0)
    agrees("ReduceMean", X, version=13, axes=(1,), keepdims=0)
    agrees("ReduceSum", X, version=11, axes=(-1, 0))
    agrees("ReduceMax", X, version=13)


@given(st.integers(-7, 7), st.integers(-7, 7), st.sampled_from([-3, -2, -1, 1, 2, 3]))
def test_slices_agree_for_every_start_end_and_step(start: int, end: int, step: int):
    agrees("Slice", dyadic(5), *(np.array([v]) for v in (start, end, 0, step)))


def test_slices_agree_at_the_ends_of_int64():
    least, most = np.iinfo(I64).min, np.iinfo(I64).max
    agrees("Slice", dyadic(5), np.array([most]), np.array([least]), np.array([0]), np.array([-2]))
    agrees("Slice", dyadic(5), np.array([least]), np.array([most]))


# Arithmetic


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Min", "Max"])
@pytest.mark.parametrize("dtype", [F32, I64, np.int32])
def test_pairs_agree(op: str, dtype: Any):
    for shape in ((4,), (3, 1), (), (2, 3, 4)):
        agrees(op, numbers(2, 3, 4, dtype=dtype), numbers(*shape, seed=1, dtype=dtype))
        agrees(op, numbers(*shape, seed=1, dtype=dtype), numbers(2, 3, 4, dtype=dtype))


def test_divisions_of_integers_are_cut_off_towards_zero():
    a, b = np.array([7, -7, 7, -7, 6]), np.array([2, 2, -2, -2, 3])
    assert one("Div", a, b).values.tolist() == [3, -3, -3, 3, 2]
    agrees("Mod", a, b)
    agrees("Mod", a, b, fmod=1)
    agrees("Mod", a.astype(F32), b.astype(F32), fmod=1)


def test_divisions_of_reals_are_exact():
    assert one("Div", F32(1), F32(3)).fractions().item() == Fraction(1, 3)
    assert one("Div", X, F32(3)).fractions()[0, 0, 0] == Fraction(float(X[0, 0, 0])) / 3
    assert one("Reciprocal", F32(-3)).fractions().item() == Fraction(-1, 3)
    tenth = one("Mul", np.array([0.1, 0.2], F32), np.array([0.1, 0.3], F32))
    assert tenth.fractions()[0] == Fraction(float(F32(0.1))) ** 2


def test_functions_of_one_value_agree():
    for op in ("Neg", "Abs", "Sign", "Relu", "Floor", "Ceil", "Round"):
        agrees(op, X)
        agrees(op, F32(-2.5))
    for op in ("Neg", "Abs", "Sign"):
        agrees(op, numbers(5))
    agrees("Sqrt", np.array([0, 4, 2.25], F32))
    agrees("Pow", np.array([2, -3, 0.5], F32), np.array([3, 2, -2], F32))
    agrees("Pow", F32(4), F32(0.5))
    agrees("Pow", numbers(4), I64(2))
    agrees("Clip", X, F32(-1), F32(np.inf))
    agrees("Clip", X, F32(-np.inf), None)
    agrees("Clip", X, None, F32(0.125))
    agrees("Sum", X, dyadic(4), F32(2))


def test_conditions_agree():
    a, b = numbers(3, 4), numbers(4, seed=1)
    for op in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"):
        agrees(op, a, b)
        agrees(op, a.astype(F32), b.astype(F32))
    for op in ("And", "Or", "Xor"):
        agrees(op, a > 0, b > 0)
    agrees("Not", a > 0)
    agrees("Not", np.True_)
    assert one("Equal", Constant(third(), "float32"), F32(1 / 3)).values.item() is False


def third() -> np.ndarray:
    return np.asarray(Fraction(1, 3), dtype=object)


def test_casts_agree():
    for dtype in (np.int8, I64, np.float64, np.bool_, np.float16):
        to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        agrees("Cast", X, to=to)
        agrees("Cast", numbers(6), to=to)
        agrees("Cast", numbers(6) > 0, to=to)
    assert one("Cast", np.array([-1.75, 1.75], F32), to=7).values.tolist() == [-1, 1]
    assert one("Cast", F32(0.1), to=10).fractions().item() == Fraction(float(F32(0.1)))


def test_types_have_onnx_numbers_and_ranges():
    names = {k: TensorProto.DataType.Name(k).lower() for k in DTYPES}
    assert names == DTYPES | {1: "float", 11: "double"}
    assert [limits_of(t) for t in ("int4", "uint4", "int8", "uint2", "bool")] == [
        (-8, 7),
        (0, 15),
        (-128, 127),
        (0, 3),
        (0, 1),
    ]


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"])
def test_reductions_agree(op: str):
    x = np.random.default_rng(0).choice(np.array([-2, -1, 1, 2, 4], F32), (2, 4, 2))
    for axes in ([1], [-1, 1], [0, 1, 2]):
        agrees(op, x, np.array(axes))
        agrees(op, x, np.array(axes), keepdims=0)
    agrees(op, x)
    agrees(op, x, np.array([], I64))
    agrees(op, x, noop_with_empty_axes=1)
    agrees(op, F32(3))


def test_empty_reductions_agree():
    empty = np.zeros((2, 0), F32)
    agrees("ReduceSum", empty, np.array([1]))
    agrees("ReduceProd", empty, np.array([1]), keepdims=0)
    agrees("ReduceSum", empty, np.array([0]))


def test_products_of_matrices_agree():
    for a, b in (((2, 3), (3, 4)), ((3,), (3,)), ((3,), (2, 3, 4)), ((5, 2, 3), (3,))):
        agrees("MatMul", dyadic(*a), dyadic(*b, seed=1))
    agrees("MatMul", dyadic(2, 1, 2, 3), dyadic(4, 3, 1, seed=1))
    a, b = dyadic(3, 2), dyadic(4, 3, seed=1)
    agrees("Gemm", a, b, transA=1, transB=1)
    agrees("Gemm", a, b, dyadic(4), transA=1, transB=1, alpha=0.5, beta=2.0)


# Roots


@given(st.fractions(0, max_denominator=1000), st.integers(-60, 60))
def test_roots_are_exact_or_very_near(value: Fraction, exponent: int):
    assert root(value * value) == value
    scaled = value * Fraction(2) ** exponent
    found = root(scaled)
    perfect = isqrt(scaled.numerator) ** 2 == scaled.numerator
    if perfect and isqrt(scaled.denominator) ** 2 == scaled.denominator:
        assert found * found == scaled
    else:
        assert found * found < scaled < (found * (1 + Fraction(1, 2**256))) ** 2


# Quantised constants


def test_a_large_weight_never_becomes_fractions():
    """Quantise, dequantise, move and scale: the numerators stay integers, the scales few."""
    w = np.random.default_rng(0).normal(size=(64, 512, 3, 13)).astype(F32)
    assert w.size > OBJECTS_MAX
    scale = (np.abs(w).max((1, 2, 3)) / 127).astype(F32)
    zero = np.zeros(64, np.int8)
    q = one("QuantizeLinear", w, scale, zero, axis=0)
    assert (q.dtype, q.values.dtype, q.scale) == ("int8", np.int8, None)
    steps = w.astype(np.float64) / scale[:, None, None, None].astype(np.float64)
    assert np.abs(q.values - steps).max() < 0.5001
    d = one("DequantizeLinear", q, scale, zero, axis=0)
    rows = one("Reshape", d, np.array([64, -1]))
    columns = one("Transpose", rows)
    half = one("Mul", columns, F32(0.5))
    part = one("Slice", half, *(np.array(v) for v in ([0, -1], [100, 3], [0, 1], [1, -2])))
    assert part.values.dtype == I64
    assert part.scale is not None
    assert part.scale.shape == (1, 30)
    assert (
        part.fractions()[5, 2]
        == Fraction(int(q.values.reshape(64, -1)[59, 5])) * Fraction(float(scale[59])) / 2
    )
    again = one("QuantizeLinear", half, scale / 2, zero, axis=1)
    assert np.array_equal(again.values, q.values.reshape(64, -1).T)


def test_constants_are_rounded_in_pieces(monkeypatch: pytest.MonkeyPatch):
    x, scale = dyadic(7, 3), np.arange(1, 8, dtype=F32)
    twice = one("Mul", x, scale[:, None])

    def results() -> list[Constant]:
        return [
            one("QuantizeLinear", x, scale, np.arange(7, dtype=np.int8), axis=0),
            one("QuantizeLinear", twice, F32(0.75)),
            one("Quant", x, scale[:3], scale[:3], F32(4), domain=QONNX),
        ]

    whole = results()
    monkeypatch.setattr(constants_module, "CHUNK", 6)
    for a, b in zip(whole, results(), strict=True):
        assert np.array_equal(a.fractions(), b.fractions())


def test_moves_carry_the_scales_along():
    x = one("DequantizeLinear", numbers(2, 3, 4, dtype=np.int8), dyadic(3) ** 2 + F32(1), axis=1)
    plain = Constant(x.fractions(), "float32")
    for op, inputs, attributes in (
        ("Transpose", (), {"perm": (1, 2, 0)}),
        ("Reshape", (np.array([4, 6]),), {}),
        ("Flatten", (), {"axis": 2}),
        ("Gather", (np.array([[2, 0]]),), {"axis": 1}),
        ("Tile", (np.array([1, 2, 1]),), {}),
        ("Expand", (np.array([2, 1, 1, 1]),), {}),
        ("Concat", (x, plain), {"axis": 1}),
        ("Concat", (x, x), {"axis": 1}),
        ("Concat", (one("Mul", x, F32(2)), x), {"axis": 0}),
        ("Pad", (np.array([0, 1, 0, 1, 0, 0]),), {}),
        ("Unsqueeze", (np.array([0]),), {}),
        ("Abs", (), {}),
        ("Neg", (), {}),
        ("Floor", (), {}),
        ("Cast", (), {"to": 7}),
        ("Max", (F32(0.5),), {}),
        ("Div", (dyadic(4) * 2 + F32(0.5),), {}),
    ):
        mine, yours = one(op, x, *inputs, **attributes), one(op, plain, *inputs, **attributes)
        assert mine.shape == yours.shape
        assert np.array_equal(mine.fractions(), yours.fractions()), op


@pytest.mark.parametrize("factor", [1, -1, 0])
def test_scaled_constants_are_rounded_exactly(factor: int):
    tie = Constant(np.array([1, 2, 3, -1, -5]), "float32", np.array(Fraction(factor)))
    plain = Constant(tie.fractions(), "float32")
    for mode in ("ROUND", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN"):
        found = [
            one("Quant", x, F32(2), F32(3), F32(4), domain=QONNX, narrow=0, rounding_mode=mode)
            for x in (tie, plain)
        ]
        assert np.array_equal(found[0].fractions(), found[1].fractions()), mode
    sign = [one("BipolarQuant", x, F32(2), domain=QONNX).fractions() for x in (tie, plain)]
    assert np.array_equal(sign[0], sign[1])


def test_rounding_is_exact_where_floats_are_not():
    """0.35 in float32 lies just above 3.5 steps of 0.1 in float32, and doubles decide wrongly."""
    x = np.array([0.35, 3.5, 1e30, -1e30, 5e-324], np.float64)
    scale = F32(0.1)
    wanted = [min(max(round(Fraction(float(v)) / Fraction(float(scale))), -128), 127) for v in x]
    assert one("QuantizeLinear", x, scale, np.int8(0)).values.tolist() == wanted


@pytest.mark.parametrize("exponent", [-1070, -1100, 1020, 1100])
def test_rounding_is_exact_with_scales_beyond_floats(exponent: int):
    """Where a double is subnormal, 0 or infinite: 2.5 and 3.5 steps are still ties."""
    scale = np.asarray(Fraction(2) ** exponent / 3, dtype=object)
    x = Constant(np.array([5, 7, -15, 300]), "float32", scale * Fraction(1, 2))
    found = one("QuantizeLinear", x, Constant(scale, "float32"), np.int8(0))
    assert found.values.tolist() == [2, 4, -8, 127]
    ones = one("QuantizeLinear", F32([0, 1, -1]), Constant(scale, "float32"), np.int8(0))
    assert ones.values.tolist() == ([0, 127, -128] if exponent < 0 else [0, 0, 0])


@given(
    st.lists(st.integers(-300, 300), min_size=1, max_size=9),
    st.sampled_from([0.25, 1.0, 0.5]),
    st.integers(-100, 100),
)
def test_quantize_linear_agrees(values: list[int], scale: float, zero: int):
    x = (np.array(values) / 8).astype(F32)
    agrees("QuantizeLinear", x, F32(scale), np.int8(zero))
    agrees("QuantizeLinear", x, F32(scale), np.uint8(abs(zero)))
    agrees("QuantizeLinear", x, F32(scale), np.uint16(abs(zero)))


def test_quantizers_agree_per_channel_and_in_every_form():
    x, scale = dyadic(2, 3, 4) * 9, np.array([0.25, 0.5, 2], F32)
    agrees("QuantizeLinear", x, scale, np.array([3, 0, -5], np.int8))
    agrees("QuantizeLinear", x, scale, np.array([3, 0, -5], np.int8), axis=-2, version=13)
    agrees("QuantizeLinear", x, F32(0.5))
    agrees("QuantizeLinear", x, F32(0.5), output_dtype=TensorProto.INT16)
    q = numbers(2, 3, 4, dtype=np.int8)
    agrees("DequantizeLinear", q, scale, np.array([3, 0, -5], np.int8), axis=1)
    agrees(
        "DequantizeLinear",
        numbers(4, dtype=np.int32),
        np.array([0.5], F32),
        np.array([0], np.int32),
    )
    four = one("QuantizeLinear", x, F32(0.5), Constant(np.int8(1), "int4"))
    assert (four.dtype, four.values.min(), four.values.max()) == ("int4", -8, 7)
    assert foldable(node("QuantizeLinear", domain=MICROSOFT))


MODES = {
    "ROUND": "half_even",
    "Half_Even": "half_even",
    "CEIL": "ceil",
    "floor": "floor",
    "UP": "up",
    "DOWN": "down",
    "HALF_UP": "half_up",
    "HALF_DOWN": "half_down",
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("narrow", [0, 1])
def test_quant_agrees_with_qonnx(mode: str, signed: int, narrow: int):
    x = np.arange(-40, 41) / F32(8)
    for zero, bits in ((0, 3), (1, 3), (-3, 2), (5, 8), (1, 1), (0, 1)):
        if bits == 1 and not signed and narrow:
            continue
        parameters = F32(0.25), F32(zero), F32(bits)
        wanted = qonnx("intquant").int_quant(x, *parameters, signed, narrow, mode)
        for op in ("Quant", "IntQuant"):
            found = one(
                op, x, *parameters, domain=QONNX, signed=signed, narrow=narrow, rounding_mode=mode
            )
            assert found.dtype == "float32"
            assert found.values.dtype == I64
            assert np.array_equal(reals(found), wanted), (zero, bits)


def test_round_to_zero_is_another_name_of_down():
    x = np.array([-1.5, 1.5], F32)
    found = one("Quant", x, F32(1), F32(0), F32(4), domain=QONNX, rounding_mode="ROUND_TO_ZERO")
    assert found.values.tolist() == [-1, 1]


def test_bipolar_quant_agrees_with_qonnx():
    for scale in (F32(0.5), dyadic(3, 1) ** 2 + F32(1)):
        found = one("BipolarQuant", X, scale, domain=QONNX)
        assert np.array_equal(reals(found), qonnx("bipolar_quant").binary_quant(X, scale))
    assert one("BipolarQuant", F32(-0.0), F32(1), domain=QONNX).values.item() == 1


@pytest.mark.parametrize("mode", ["FLOOR", "CEIL", "ROUND"])
def test_trunc_agrees_with_qonnx(mode: str):
    x = np.arange(-70, 71) / F32(8)
    first = F32(0.25), F32(2), F32(8), F32(6)
    found = one("Trunc", x, *first, domain=QONNX, rounding_mode=mode)
    assert np.array_equal(reals(found), qonnx("trunc").trunc_v1(x, *first, mode))
    for zero in (0, 2, 4, 3):
        second = F32(0.25), F32(zero), F32(8), F32(1), F32(4)
        found = one("Trunc", x, *second, domain=QONNX, rounding_mode=mode, signed=1, narrow=1)
        s, z, bits, out_scale, out_bits = second
        wanted = qonnx("trunc").trunc_v2(x, s, z, bits, 1, 1, out_scale, out_bits, mode)
        assert np.array_equal(reals(found), wanted)


# Parameters, as the importer asks for them


def test_parameters_broadcast_to_a_stream_of_that_rank():
    s, z = np.array([0.5, 0.25], F32), np.array([1, 2], np.uint8)
    found = quantiser(node("QuantizeLinear", axis=1), constants([None, s, z]), 4)
    assert (found.scale.shape, found.zero.shape) == ((1, 2, 1, 1), (1, 2, 1, 1))
    assert (found.lo, found.hi, found.inside, found.real) == (0, 255, False, False)
    scale, zero = dequantiser(node("DequantizeLinear"), constants([None, F32(0.5)]), 4)
    assert (scale.shape, scale.item(), zero.item()) == ((), Fraction(1, 2), 0)
    sign = quantiser(
        node("Quant", domain=QONNX), constants([None, s.reshape(2, 1, 1), F32(0), F32(1)]), 4
    )
    assert (sign.mode, sign.lo, sign.hi, sign.scale.shape) == (BIPOLAR, -1, 1, (1, 2, 1, 1))


def test_attributes_are_read_by_type():
    read = Attributes(node("Conv", i=3, f=0.1, s="a", ints=(1, 2), flag=1, t=X))
    assert (read.integer("i"), read.integers("ints"), read.text("s")) == (3, (1, 2), "a")
    assert (read.integer("j", 4), read.integers("k", ()), read.text("l", "x")) == (4, (), "x")
    assert read.number("f") == Fraction(float(F32(0.1))) == read.number("g", 0.1)
    assert read.flag("flag") is True
    assert "t" in read
    assert "u" not in read
    with refused("node 'n' (Conv): attribute 't' is not supported; export the model without it"):
        read.done()
    assert read.tensor("t") is X
    read.done()
    for attempt, kind, value in (
        (lambda: read.integer("s"), "an integer", "'a'"),
        (lambda: read.integers("f"), "a list of integers", "0.1"),
        (lambda: read.number("i"), "a finite number", "3"),
        (lambda: read.text("i"), "a text", "3"),
        (lambda: read.tensor("i"), "a tensor", "3"),
        (lambda: read.flag("i"), "0 or 1", "3"),
    ):
        with pytest.raises(ProgramError, match=f"is {kind}, not {value}; export the model again$"):
            attempt()
    with refused("node 'n' (Conv): attribute 'm' is missing; export the model again"):
        read.integer("m")


def test_truncation_is_read_for_a_stream():
    inputs = constants([None, F32(0.5), F32(1), F32(8), F32(6)])
    found = truncation(node("Trunc", domain=QONNX), inputs, 2)
    assert (found.divisor.item(), found.mode, found.lo) == (4, "floor", None)
