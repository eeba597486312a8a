"""Batch-norm statistics estimated anew, behind the compressed layers (arXiv 1611.01972, 3.3)."""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

import torch
from torch import Tensor

from .model import Model, Norm

FRAMES = 1024
"""About the most frames whose statistics count, drawn evenly from all."""


def settle(model: Model, x: Tensor) -> None:
    """Give each batch norm the statistics of x, all in one batch: each sees those before it."""
    norms = [one for one in model.parts.values() if isinstance(one, Norm)]
    for norm in norms:
        norm.settling = True
    model.train()
    with torch.no_grad():
        model(x[:: -(-len(x) // FRAMES)].double())
    model.eval()
    for norm in norms:
        norm.settling = False
