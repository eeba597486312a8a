"""Integers with learned steps: LSQ (Esser et al., arXiv 1902.08153), weights and activations.

    y = step * round(clamp(x / step, lo, hi))

with the rounding straight-through: the gradient of the step is round(x/step) - x/step inside the
clamp, and lo or hi outside.  The paper's factor 1/sqrt(n * hi) on it is left out: Adam divides any
such factor away.  Ternary weights are integers of -1..1.
"""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from ..compress.method import Compressed
from ..compress.problem import Floats
from ..fixed import BINARY, Grid, Ints
from .bwnh import Signs
from .form import REACH, Form, Positive, boxed, floats, form, integers, rms, tensor
from .straight import rounded


def stepped(x: Tensor, step: Tensor, grid: Grid) -> Tensor:
    """The nearest integers of `grid` to x / step; gradients reach x and step."""
    return rounded((x / step).clamp(grid.lo, grid.hi))


class Integers(nn.Module):
    """Latent reals (N, ...) that are rounded in steps of one positive number per filter, or one."""

    def __init__(self, whole: Ints, step: Floats, grid: Grid, wishes: Floats | None = None):
        """`wishes`: the reals that `whole` stands for, as near to which latent values start."""
        super().__init__()
        self.grid = grid
        step = step.reshape(-1, *[1] * (whole.ndim - 1))
        # A filter without a step is 0 with any other.
        dead = step == 0
        whole, step = np.where(dead, 0, whole), np.where(dead, 1.0, step)
        latent = step * boxed(wishes / step if wishes is not None else whole * 1.0, whole)
        unit = np.maximum(rms(latent, tuple(range(1, whole.ndim))), REACH * step)
        self.register_buffer("unit", tensor(unit))
        self.latent = nn.Parameter(tensor(latent / unit))
        self.step = Positive(step)

    def whole(self) -> Tensor:
        """The integers, with gradients."""
        return stepped(self.unit * self.latent, self.step(), self.grid)

    def forward(self) -> Tensor:
        return self.step() * self.whole()

    def integers(self) -> Ints:
        """The integers as they are now."""
        return integers(self.whole())

    def steps(self) -> Floats:
        """The steps as they are now, one per filter or one."""
        return floats(self.step()).ravel()


class Stepped(Form):
    """int-N and ternary weights, one learned step per filter."""

    def __init__(self, weight: Compressed, real: Floats):
        super().__init__()
        self.integers = Integers(weight.weights, weight.scale, weight.grid, real)

    def dense(self) -> Tensor:
        return self.integers()

    def weight(self) -> Compressed:
        found = self.integers
        return Compressed(found.integers(), found.grid, found.steps())


@form.register
def _(weight: Compressed, floats: Floats) -> Form:
    return Signs(weight, floats) if weight.grid == BINARY else Stepped(weight, floats)


class Rounding(nn.Module):
    """Activations rounded to `grid` with one learned step."""

    def __init__(self, step: float, grid: Grid):
        super().__init__()
        self.grid = grid
        self.step = Positive(step)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The activations and their step."""
        step = self.step()
        return step * stepped(x, step, self.grid), step

    def value(self) -> float:
        """The step as it is now."""
        return float(self.step().detach().double())
