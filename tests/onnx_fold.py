"""Nodes on constants, as the tests of `fold` write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bitwright.models.onnx.constants.constant import Constant
from bitwright.models.onnx.constants.folding import fold
from bitwright.models.onnx.graph import ONNX, Attribute, Node

NEWEST = 24
F32, I64 = np.float32, np.int64


def node(
    op: str,
    inputs: Sequence[Any] = (),
    version: int = NEWEST,
    domain: str = ONNX,
    outputs: int = 1,
    **attributes: Attribute,
) -> Node:
    names = tuple("" if x is None else f"x{place}" for place, x in enumerate(inputs))
    return Node("n", op, domain, version, names, tuple(f"y{k}" for k in range(outputs)), attributes)


def constants(inputs: Sequence[Any]) -> list[Constant | None]:
    return [
        x if x is None or isinstance(x, Constant) else Constant.of(np.asarray(x)) for x in inputs
    ]


def folded(op: str, inputs: Sequence[Any], **more: Any) -> list[Constant]:
    return list(fold(node(op, inputs, **more), constants(inputs)))


def one(op: str, *inputs: Any, **more: Any) -> Constant:
    (result,) = folded(op, inputs, **more)
    return result


def reals(x: Constant) -> np.ndarray:
    return x.fractions().astype(np.float64)


def dyadic(*shape: int, seed: int = 0) -> np.ndarray:
    """Floats of few bits, so that float32 adds and multiplies them exactly."""
    return (np.random.default_rng(seed).integers(-40, 40, shape) / 8).astype(F32)


def numbers(*shape: int, seed: int = 0, dtype: Any = I64) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


X = dyadic(2, 3, 4)
