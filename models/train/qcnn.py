"""Codewords of quantized CNNs (arXiv 1512.06473) under fixed indices.

A word collects the gradients of all weights that chose it (as the shared weights of Deep
Compression do, arXiv 1510.00149); its entries stay integers of one learned step.
"""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..compress.problem import Floats
from ..compress.qcnn import Quantised
from .form import Form, form
from .uniform import Integers


class Words(Form):
    """Weights at (n, t, m) are words[m, indices[n, t, m]]."""

    def __init__(self, weight: Quantised):
        super().__init__()
        self.start = weight
        whole = weight.codebooks.reshape(1, -1)
        self.words = Integers(whole, np.array([weight.scale]), weight.grid)
        self.register_buffer("indices", torch.tensor(weight.indices))

    def dense(self) -> Tensor:
        words = self.words().reshape(self.start.codebooks.shape)
        spaces = torch.arange(len(words))
        return words[spaces, self.indices].reshape(len(self.indices), -1)

    def weight(self) -> Quantised:
        whole = self.words.integers().reshape(self.start.codebooks.shape)
        return replace(self.start, codebooks=whole, scale=float(self.words.steps()[0]))


@form.register
def _(weight: Quantised, floats: Floats) -> Form:
    return Words(weight)
