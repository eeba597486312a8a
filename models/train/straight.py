"""Straight-through estimation: steps whose gradient is that of something smooth.

Bengio, Leonard and Courville, arXiv 1308.3432; signs as in Hubara et al., arXiv 1602.02830, with
the triangular slope of Bi-Real Net (arXiv 1808.00278) for activations.
"""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

import torch
from torch import Tensor


def through(exact: Tensor, smooth: Tensor) -> Tensor:
    """Exactly the value of `exact`, with the gradient of `smooth`."""
    return exact.detach() + (smooth - smooth.detach())


def rounded(x: Tensor) -> Tensor:
    """floor(x + 1/2), the rounding of the house; the gradient passes as if nothing happened."""
    return through(torch.floor(x + 0.5), x)


def signs(x: Tensor) -> Tensor:
    """-1 or +1, sign(0) = +1; the gradient passes where |x| <= 1, for latent weights."""
    return through(torch.where(x >= 0, 1.0, -1.0).to(x), x.clamp(-1, 1))


class _ActivationSigns(torch.autograd.Function):
    """Signs of many values: fewer passes over them than `through` takes."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0).to(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (2 - 2 * x.abs()).clamp_(min=0)


def activation_signs(x: Tensor) -> Tensor:
    """-1 or +1, sign(0) = +1; the slope is 2 - 2|x| within -1..1, and 0 outside."""
    return _ActivationSigns.apply(x)


def ternary(x: Tensor) -> Tensor:
    """The nearest of -1, 0, 1; the gradient passes where |x - ternary| < 1/2 (arXiv 1611.01972)."""
    return through(torch.floor(x + 0.5).clamp(-1, 1), x.clamp(-1.5, 1.5))
