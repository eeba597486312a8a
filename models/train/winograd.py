"""Weights of tiles: trained as the plain integers that they are."""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

from torch import Tensor

from ..compress.problem import Floats
from ..compress.winograd import Tiled
from .form import Form, form
from .uniform import Stepped


class Tiles(Form):
    """Integers of one learned step per filter."""

    def __init__(self, weight: Tiled, real: Floats):
        super().__init__()
        self.inner = Stepped(weight.plain, real)

    def dense(self) -> Tensor:
        return self.inner.dense()

    def weight(self) -> Tiled:
        return Tiled(self.inner.weight())


@form.register
def _(weight: Tiled, floats: Floats) -> Form:
    return Tiles(weight, floats)
