"""Latent factors of fixed-point factorized networks: Wang and Cheng, arXiv 1611.01972, section 3.3.

`compress.ffn.recover` finds full-precision factors near the float weights that still round to the
ternary ones; they are trained with gradients that pass straight through where |Xh - U| < 1/2.  Both
are in units of their own steps: the balance that the paper gives gradients, Adam's steps want.  D
keeps its integers, so that powers of two stay shifts; filters learn their scales.  The rounding
between the factors is left out in training and chosen by the lowering.
"""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from ..compress.ffn import Factorised, recover
from ..compress.problem import Floats
from .form import REACH, Form, Positive, floats, form, integers, tensor
from .straight import ternary


class LatentFactors(Form):
    """scale[n] * ternary(left) D ternary(right)."""

    def __init__(self, weight: Factorised, real: Floats):
        super().__init__()
        self.start, latent = weight, recover(weight, real)
        self.left = nn.Parameter(tensor(latent.left / (REACH * latent.left_step)))
        self.right = nn.Parameter(tensor(latent.right / (REACH * latent.right_step)))
        self.register_buffer("factors", tensor(weight.factors))
        self.scale = Positive(weight.scale)

    def _ternary(self) -> tuple[Tensor, Tensor]:
        return ternary(REACH * self.left), ternary(REACH * self.right)

    def dense(self) -> Tensor:
        left, right = self._ternary()
        return self.scale()[:, None] * ((left * self.factors) @ right)

    def weight(self) -> Factorised:
        left, right = map(integers, self._ternary())
        return replace(self.start, left=left, right=right, scale=floats(self.scale()))


@form.register
def _(weight: Factorised, floats: Floats) -> Form:
    return LatentFactors(weight, floats)
