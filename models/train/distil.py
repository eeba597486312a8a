"""A float network as the teacher of its compressed one: logits and hints.

Logits softened by a temperature T: Hinton, Vinyals and Dean, arXiv 1503.02531, equation 1; their
gradients are of size 1/T^2, and are scaled back.  Hints: Romero et al., FitNets, arXiv 1412.6550.
Teacher and student have the same widths here, so that a standardisation of each channel takes the
place of the paper's regressor: it lets activations of one bit follow real ones.
"""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

LEAST = 1e-5


def logits(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 times the divergence of the student's soft answer (N, K) from the teacher's."""
    found = F.log_softmax(student / temperature, -1)
    wanted = F.log_softmax(teacher / temperature, -1)
    return temperature**2 * F.kl_div(found, wanted, reduction="batchmean", log_target=True)


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared distance of values (N, ..., C) standardised over a batch."""
    return ((_standard(student) - _standard(teacher)) ** 2).mean()


def _standard(x: Tensor) -> Tensor:
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / (x.var(axes, correction=0) + LEAST).sqrt()
