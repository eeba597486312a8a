"""Low-rank factors (`compress.lowrank`): integers of one learned step per output of each factor.

The roundings between factors are left out in training and chosen by the lowering.
"""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..compress.lowrank import Factors
from ..compress.problem import Floats
from .form import Form, form
from .uniform import Integers


class Product(Form):
    """The einsum `form` of a `Factors` weight."""

    def __init__(self, weight: Factors):
        super().__init__()
        self.start = weight
        self.factors = nn.ModuleList(
            Integers(whole, scale, weight.grid)
            for whole, scale in zip(weight.integers, weight.scales, strict=True)
        )

    def dense(self) -> Tensor:
        whole = torch.einsum(self.start.form, *(factor() for factor in self.factors))
        return whole.reshape(len(whole), -1)

    def weight(self) -> Factors:
        return replace(
            self.start,
            integers=tuple(factor.integers() for factor in self.factors),
            scales=tuple(factor.steps() for factor in self.factors),
        )


@form.register
def _(weight: Factors, floats: Floats) -> Form:
    return Product(weight)
