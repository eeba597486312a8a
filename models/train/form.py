"""What a trainable form of compressed weights is, and how one is made of a `Weight`.

A form starts at exactly the weights that it is made of, and gives exact ones back at any time.  A
real number that must stay positive is start * exp(parameter), so that Adam's steps are relative
ones; one that starts at 0 stays there.
"""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

from abc import abstractmethod
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor, nn

from ..compress.method import Weight
from ..compress.problem import Floats
from ..fixed import Ints, ProgramError

REACH = 10.0
"""Coarse latent weights are trained in units of so many integer steps.

Adam moves a parameter by about the learning rate; weights of few levels must cross whole steps in
as many batches as there are in a short training.
"""
BOX = 0.5 - 2.0**-10
"""How far a latent weight starts at most from the integer that it rounds to."""


class Form(nn.Module):
    """Trainable weights (N, S); abstract."""

    @abstractmethod
    def dense(self) -> Tensor:
        """The compressed weights (N, S), with gradients."""

    def clip(self) -> None:
        """Bring latent weights back to where their gradients live; called after each step."""

    @abstractmethod
    def weight(self) -> Weight:
        """The exact weights as they are now."""

    def forward(self) -> Tensor:
        return self.dense()


@singledispatch
def form(weight: Weight, floats: Floats) -> Form:
    """The trainable form of a weight; `floats` (N, S) are the float network's weights."""
    raise ProgramError(
        f"{type(weight).__name__} weights have no trainable form; register one with "
        "bitwright.models.train.form.form, or choose another method"
    )


class Positive(nn.Module):
    """Positive numbers of any shape, trained by their logarithms."""

    def __init__(self, start: Floats | float):
        super().__init__()
        self.register_buffer("start", tensor(start))
        self.log = nn.Parameter(torch.zeros_like(self.start))

    def forward(self) -> Tensor:
        return self.start * self.log.exp()


def tensor(values: Floats | Ints | float) -> Tensor:
    """A copy in float64; models choose their precision as a whole."""
    return torch.tensor(np.asarray(values), dtype=torch.float64)


def floats(values: Tensor) -> Floats:
    """A copy as float64 outside PyTorch."""
    return values.detach().cpu().double().numpy().copy()


def integers(values: Tensor) -> Ints:
    """A copy as integers outside PyTorch."""
    return np.rint(floats(values)).astype(np.int64)


def boxed(wishes: Floats, whole: Ints) -> Floats:
    """Latent values near `wishes` that round to `whole`."""
    return np.clip(wishes, whole - BOX, whole + BOX)


def rms(values: Floats, axis: int | tuple[int, ...]) -> Floats:
    """Root mean square along axes, kept; 1 where it is 0."""
    found = np.sqrt((values**2).mean(axis, keepdims=True))
    return np.where(found > 0, found, 1.0)
