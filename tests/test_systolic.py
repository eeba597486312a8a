"""Closed formulas of systolic arrays, on cases that runs of SCALE-Sim 3.0 confirmed.

`benchmarks/bench_systolic.py` makes these runs, and more.
"""

import pytest

from bitwright.codegen.folding import build
from bitwright.hw.design import Design
from bitwright.models import zoo
from bitwright.sim.systolic import DATAFLOWS, Array, Product, beside, multipliers, products

CONFIRMED = {
    ((8, 4), (64, 128, 32)): (10495, 8831, 12799),
    ((4, 8), (5, 9, 7)): (56, 37, 62),
    ((16, 16), (1, 784, 64)): (9211, 3255, 5389),
    ((16, 16), (100, 4, 3)): (145, 237, 342),
}
"""(rows, columns), (positions, terms, filters): cycles weight, output and input stationary."""


@pytest.mark.parametrize("case", CONFIRMED, ids=str)
def test_formulas_are_scalesims(case):
    (rows, columns), product = case
    array = Array(rows, columns)
    found = tuple(array.cycles(Product(*product), flow) for flow in DATAFLOWS)
    assert found == CONFIRMED[case]


@pytest.mark.parametrize("elements", [1, 2, 3, 7, 64, 263, 1367])
def test_an_array_is_nearly_square_and_no_larger(elements):
    array = Array.of(elements)
    assert array.rows <= array.columns <= array.rows + 2
    assert elements - array.rows < array.elements <= elements


def test_a_depthwise_layer_is_a_product_a_channel():
    program = zoo.programs()["dscnn"].load()
    found = products(Design(program, {}, {}))
    depthwise = [product for product in found.values() if product.times > 1]
    assert {product.terms for product in depthwise} == {9}
    assert all(product.filters == 1 for product in depthwise)
    one = Product(10, 9, 1)
    array = Array(4, 4)
    for flow in DATAFLOWS:
        assert array.cycles(Product(10, 9, 1, times=64), flow) == 64 * array.cycles(one, flow)


def test_an_array_of_the_designs_size_takes_its_layers_one_after_another():
    design = build(zoo.programs()["tfc"].load(), 1000)
    found = beside(design)
    assert found is not None
    folds = [i.place.fold for i in design.instances if i.layer and i.layer.startswith("fc")]
    assert multipliers(design) == sum(f.pe * f.simd for f in folds)
    array = Array(found["rows"], found["columns"])
    assert array.elements == found["elements"] <= multipliers(design)
    layers = (Product(1, 784, 64), Product(1, 64, 64), Product(1, 64, 64), Product(1, 64, 10))
    for flow in DATAFLOWS:
        assert found[flow] == sum(array.cycles(layer, flow) for layer in layers)
