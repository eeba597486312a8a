"""Writes small ONNX graphs layer after layer: every method adds nodes and names its result."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]
QONNX = "qonnx.custom_op.general"
KINDS = {"float32": TensorProto.FLOAT, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8}


class Builder:
    """One input `x` of shape (N, *shape), one output; weights from one seeded generator."""

    def __init__(self, shape: tuple[int, ...], seed: int, kind: str = "float32"):
        self.shape, self.kind = shape, kind
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[TensorProto] = []
        self.domains: set[str] = set()

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, list(inputs), [name], f"n{name}", domain=domain, **attributes)
        )
        self.domains.add(domain)
        return name

    def weights(self, *shape: int) -> Array:
        """Normal values that keep the variance of what they are multiplied with."""
        fan_in = np.prod(shape[1:])
        return self.random.normal(0, fan_in**-0.5, shape).astype(np.float32)

    def bias(self, channels: int) -> str:
        return self.constant(self.random.normal(0, 0.2, channels))

    def convolution(self, x: str, weights: str, kernel: int, bias: str = "", **more: Any) -> str:
        pads = [kernel // 2] * 4
        inputs = [x, weights, *([bias] if bias else [])]
        return self.node("Conv", *inputs, kernel_shape=[kernel] * 2, pads=pads, **more)

    def normalised(self, x: str, channels: int) -> str:
        """A BatchNormalization with statistics as training leaves them; every third gain < 0."""
        gain = self.random.uniform(0.7, 1.3, channels)
        gain[2::3] *= -1
        shift, average = self.random.normal(0, 0.2, (2, channels))
        spread = self.random.uniform(0.5, 1.5, channels)
        parts = [self.constant(values) for values in (gain, shift, average, spread)]
        return self.node("BatchNormalization", x, *parts, epsilon=1e-5)

    def model(self, output: str, shape: tuple[int, ...], name: str, opset: int = 17) -> ModelProto:
        """The model; `shape` is the output's, without the batch."""
        self.nodes[-1].output[0] = "y"
        assert self.nodes[-1].name == f"n{output}"
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("x", KINDS[self.kind], ["N", *self.shape])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *shape])],
            self.constants,
        )
        imports = [helper.make_opsetid("", opset)]
        imports += [helper.make_opsetid(domain, 1) for domain in sorted(self.domains - {""})]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)
