"""Binary weights: the signs of latent reals times a scale per filter.

BWNH (arXiv 1802.02733) fine-tunes its codes as BinaryConnect (arXiv 1511.00363) and XNOR-Net (arXiv
1603.05279) train theirs: latent weights take the gradient of their signs straight through.  Here
they start with the signs that hashing found and the magnitudes of the float weights, so that what
the float network was unsure of turns first.  Several bases each have their own latent weights, the
integer factors between them stay.
"""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from ..compress.bwnh import Bases
from ..compress.method import Compressed, Weight
from ..compress.problem import Floats
from .form import REACH, Form, Positive, floats, form, integers, rms, tensor
from .straight import signs

LEAST = 2.0**-10
"""The least magnitude that a latent weight starts with, in root mean squares of its filter."""


class Signs(Form):
    """scale[n] * sum_m factors[n, m] * sign(latent[n, m, s]); one base where there are no `Bases`.

    Latent weights start with root mean square 1 / REACH, and are clipped at 1 after each step
    (arXiv 1602.02830): beyond, no gradient would bring them back.
    """

    def __init__(self, weight: Compressed | Bases, real: Floats):
        super().__init__()
        self.start = weight
        bases = _bases(weight)
        self.latent = nn.Parameter(tensor(bases * _magnitudes(weight, bases, real) / REACH))
        factors = weight.factors if isinstance(weight, Bases) else np.ones(bases.shape[:2])
        self.register_buffer("factors", tensor(factors))
        self.scale = Positive(weight.scale)

    def dense(self) -> Tensor:
        whole = (self.factors[:, :, None] * signs(self.latent)).sum(1)
        return self.scale()[:, None] * whole

    def clip(self) -> None:
        self.latent.data.clamp_(-1, 1)

    def weight(self) -> Weight:
        found, scale = integers(signs(self.latent)), floats(self.scale())
        if isinstance(self.start, Bases):
            return replace(self.start, signs=found, scale=scale)
        return replace(self.start, weights=found[:, 0], scale=scale)


def _bases(weight: Compressed | Bases) -> Floats:
    """The signs (N, M, S)."""
    whole = weight.signs if isinstance(weight, Bases) else weight.weights[:, None]
    return whole.astype(np.float64)


def _magnitudes(weight: Compressed | Bases, bases: Floats, real: Floats) -> Floats:
    """What the bases before each leave of the float weights, in magnitude: (N, M, S)."""
    rest, found = real, list[Floats]()
    for base in range(bases.shape[1]):
        size = np.abs(rest) / rms(rest, 1)
        found.append(np.maximum(size, LEAST))
        factor = weight.factors[:, base] if isinstance(weight, Bases) else 1
        rest = rest - (weight.scale * factor)[:, None] * bases[:, base]
    return np.stack(found, 1)


@form.register
def _(weight: Bases, floats: Floats) -> Form:
    return Signs(weight, floats)
