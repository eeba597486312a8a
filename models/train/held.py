"""Frames held back from training: they say whether it helped, and the better network is kept."""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..fixed import Ints
from .model import Model
from .start import scores_of

BATCH = 256


class Score(NamedTuple):
    """The share of the program's answers that are right; of equal ones, the `evidence` decides."""

    accuracy: float
    evidence: float


def parted(count: int, share: float, seed: int) -> tuple[Ints, Ints]:
    """Indices of the frames to train on and of those held back, drawn from all by `seed`."""
    order = np.random.default_rng(seed).permutation(count)
    held = int(count * share)
    return np.sort(order[held:]), np.sort(order[:held])


def evidence(model: Model, x: Tensor, y: Tensor) -> float:
    """Minus the loss of a model in evaluation on frames x (N, *shape) of classes y (N,)."""
    name = scores_of(model.network)
    with torch.no_grad():
        found = torch.cat([model(part)[name].flatten(1) for part in x.split(BATCH)])
    return -float(F.cross_entropy(found, y))
