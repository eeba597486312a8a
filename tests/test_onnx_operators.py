"""The ONNX importer, operator by operator: every value equals the oracle's, or a sentence refuses.

The graphs stand in onnx_cases_*.py, and random chains of them in onnx_random.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_cases_layers
import onnx_cases_quantised
import onnx_cases_refused
import onnx_cases_shapes
import onnx_cases_values
import pytest
from onnx_cases import CASES, LINE, REFUSED, ROW
from onnx_judge import (
    Graph,
    assert_exact,
    differing,
    inputs,
    program_of,
    reals,
    refusal,
)
from onnx_node import FAMILIES
from onnx_oracle import run
from onnx_random import random_graph

from bitwright.models import ops
from bitwright.models.onnx.nodes import HANDLERS
from bitwright.sim import kernels

assert {  # imported for the cases that they enter
    onnx_cases_layers, onnx_cases_quantised, onnx_cases_refused, onnx_cases_shapes,
    onnx_cases_values,
}  # fmt: skip
FINISHES = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}
SEEDS = range(70)


@pytest.mark.parametrize("name", CASES)
def test_operators_are_exact(name):
    model = CASES[name]()
    assert_exact(program_of(model), model, inputs(model))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exact_is_refused(name):
    build, sentence = REFUSED[name]
    assert refusal(build()) == sentence


@pytest.mark.parametrize("op", FINISHES)
@pytest.mark.parametrize("opset", [11, 13])
def test_the_host_finishes_with_a_softmax(op, opset):
    """What the softmax is taken of is exact, and the host's softmax is that of floats."""
    g = Graph(ROW, opset=opset)
    scores = g.node("MatMul", g.start(), g.constant(g.random.integers(-3, 4, (10, 5)) / 8))
    end = g.node(op, scores, axis=1)
    plain = Graph(ROW, opset=opset)
    plain.node("MatMul", plain.start(), plain.constant(
        np.random.default_rng(0).integers(-3, 4, (10, 5)) / 8))  # fmt: skip
    judged, model = plain.finished("t1"), g.finished(end, known=False)
    program = program_of(model)
    assert program.output_border.finish == FINISHES[op]
    assert_exact(program, judged, x := inputs(judged))
    ideal = run(judged, x).astype(np.float64)
    powers = np.exp(ideal - ideal.max(1, keepdims=True))
    wanted = powers / powers.sum(1, keepdims=True)
    answer = program.answer(kernels.run(program, program.accept(x)))
    np.testing.assert_allclose(np.exp(answer) if op == "LogSoftmax" else answer, wanted, atol=1e-12)


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh"])
def test_the_host_finishes_with_a_function(op):
    g = Graph(LINE)
    model = g.finished(g.node(op, g.start()))
    program = program_of(model)
    assert program.output_border.finish == op.lower()
    x = inputs(model)
    answer = program.answer(kernels.run(program, program.accept(x)))
    np.testing.assert_allclose(answer, run(model, x).astype(np.float64), atol=1e-12)


def test_a_softmax_before_argmax_is_left_out():
    g = Graph(ROW)
    model = g.finished(g.node("ArgMax", g.node("Softmax", g.start(), axis=1), axis=1),
                       onnx.TensorProto.INT64, known=False)  # fmt: skip
    program = program_of(model)
    x = inputs(model)
    got = reals(program, kernels.run(program, program.accept(x))).array()
    np.testing.assert_array_equal(got[:, 0], x.argmax(1))


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs_are_exact(seed):
    model = random_graph(seed)
    assert_exact(program_of(model), model, inputs(model, 8, seed))


def test_random_graphs_compute_something():
    """Most of them tell their inputs apart, and all together use every operator of programs."""
    different, used = [], set()
    for seed in SEEDS[:30]:
        model = random_graph(seed)
        program = program_of(model)
        x = program.accept(inputs(model, 8, seed))
        different.append(len(np.unique(kernels.run(program, x))))
        used |= {type(node.op).__name__ for node in program.nodes}
    assert sum(count > 2 for count in different) > 15
    assert used == {
        "Add", "Concatenate", "DepthwiseDot", "Dot", "MaxPool", "Requantise", "Reshape", "Scale",
        "Select", "SumPool", "Table", "Thresholds", "TopK", "Window",
    }  # fmt: skip


def test_every_handler_is_exercised():
    models = [build() for build in CASES.values()] + [build() for build, _ in REFUSED.values()]
    used = {(FAMILIES.get(n.domain, n.domain), n.op_type) for m in models for n in m.graph.node}
    used |= {("", op) for op in FINISHES}
    assert set(HANDLERS) <= used


SPOILT = ["conv-unequal-pads", "Add-channel-0", "trunc-FLOOR", "batchnorm"]


@pytest.mark.parametrize("name", SPOILT)
def test_a_wrong_program_is_noticed(name):
    """The last operator takes its accumulators for one more than they are: the judge sees it."""
    model = CASES[name]()
    program = program_of(model)
    assert not differing(program, model, x := inputs(model))
    node = program.nodes[-1]
    if isinstance(node.op, ops.Requantise):
        wrong = replace(node.op, bias=node.op.bias + node.op.multiplier)
    else:
        wrong = replace(node.op, thresholds=node.op.thresholds - 1)
    spoilt = replace(program, nodes=(*program.nodes[:-1], replace(node, op=wrong)))
    assert differing(spoilt, model, x)
