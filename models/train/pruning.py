"""Pruned weights under a fixed mask: what stays is trained on (Han et al., arXiv 1506.02626)."""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..compress.method import Compressed
from ..compress.problem import Floats
from ..compress.pruning import Sparse
from .form import Form, form, tensor
from .uniform import Stepped


class Masked(Form):
    """Integers of one learned step per filter where the mask is, 0 elsewhere."""

    def __init__(self, weight: Sparse, real: Floats):
        super().__init__()
        self.start = weight
        self.register_buffer("mask", tensor(weight.mask))
        self.inner = Stepped(Compressed(weight.weights, weight.grid, weight.scale), real)

    def dense(self) -> Tensor:
        return self.mask * self.inner.dense()

    def weight(self) -> Sparse:
        found = self.inner.weight()
        return replace(self.start, weights=found.weights * self.start.mask, scale=found.scale)


@form.register
def _(weight: Sparse, floats: Floats) -> Form:
    return Masked(weight, floats)
