"""Latent factors of fixed-point factorized networks: Wang and Cheng, arXiv 1611.01972, section 3.3.

`compress.ffn.recover` finds full-precision factors near the float weights that still round to the
ternary ones, and balances them; they are trained with gradients that pass straight through where
|Xh - U| < 1/2.  D keeps its integers, so that powers of two stay shifts; the scale of each filter
learns.  The rounding between the factors is left out in training and chosen by the lowering.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from ..compress.ffn import Factorised, recover
from ..compress.problem import Floats
from .form import Form, Positive, floats, form, integers, tensor
from .straight import ternary


class LatentFactors(Form):
    """scale[n] * ternary(left / left_step) D ternary(right / right_step)."""

    def __init__(self, weight: Factorised, real: Floats):
        super().__init__()
        self.start, latent = weight, recover(weight, real)
        self.left, self.right = (
            nn.Parameter(tensor(latent.left)),
            nn.Parameter(tensor(latent.right)),
        )
        self.register_buffer("left_step", tensor(latent.left_step))
        self.register_buffer("right_step", tensor(latent.right_step))
        self.register_buffer("factors", tensor(weight.factors))
        self.scale = Positive(weight.scale)

    def _ternary(self) -> tuple[Tensor, Tensor]:
        return ternary(self.left / self.left_step), ternary(self.right / self.right_step)

    def dense(self) -> Tensor:
        left, right = self._ternary()
        return self.scale()[:, None] * ((left * self.factors) @ right)

    def weight(self) -> Factorised:
        left, right = map(integers, self._ternary())
        return replace(self.start, left=left, right=right, scale=floats(self.scale()))


@form.register
def _(weight: Factorised, floats: Floats) -> Form:
    return LatentFactors(weight, floats)
