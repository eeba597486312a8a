"""Branches side by side."""

from __future__ import annotations

import numpy as np

from ...models.ops import Concatenate
from ...models.program import Edge
from .kernel import Kernel, prepare, storage


@prepare.register
def _(op: Concatenate, inputs: tuple[Edge, ...], output: Edge) -> Kernel:
    kind = storage(output)
    return lambda *xs: np.concatenate(xs, axis=-1, dtype=kind, casting="unsafe")
