"""Outputs as classes: which one each row names, and how often it is the right one."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .fixed import ProgramError

Array = NDArray[Any]


def classes(outputs: Array) -> Array:
    """The class of each row: where its largest value (the first of equals) stands, or it alone."""
    scores = outputs.reshape(len(outputs), -1)
    return scores.argmax(1) if scores.shape[1] > 1 else scores[:, 0]


def top_1(outputs: Array, labels: Array) -> float:
    """The share of rows whose class is that of the labels (N,)."""
    if labels.shape != (len(outputs),):
        raise ProgramError(
            f"labels are one class per input, of shape ({len(outputs)},), not {labels.shape}"
        )
    return float((classes(outputs) == labels).mean())
