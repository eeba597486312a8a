"""What a unit does over time, as stacked bars: in each slice of time the share of each activity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .stalls import Activity, shares

SLICES = 240
"""Slices of time in a picture."""


@dataclass(frozen=True)
class Track:
    """What a unit does over time: path data by kind, stacked, in a box of SLICES x 100."""

    label: str
    paths: Mapping[str, str]
    title: str


def track(label: str, does: Activity, end: int) -> Track:
    """Stack what a unit does in each slice of time: work on both frames, then waits."""
    kinds = {"f0": does.work[0], "f1": does.work[1], "input": does.input, "room": does.room}
    base = np.zeros(SLICES)
    paths: dict[str, str] = {}
    for kind, spans in kinds.items():
        height = 100 * shares(spans, end, SLICES)
        paths[kind] = _band(base, base + height)
        base = base + height
    title = (
        f"{label} waits for input {does.share(does.input):.1%} of its time, "
        f"for room {does.share(does.room):.1%}"
    )
    return Track(label, paths, title)


def _band(low: np.ndarray, high: np.ndarray) -> str:
    """Path data of bars between two heights, equal neighbours as one."""
    edges = np.rint(100 - np.stack([high, low], 1)).astype(int)
    begins = [0, *(np.flatnonzero((edges[1:] != edges[:-1]).any(1)) + 1).tolist(), len(edges)]
    return "".join(
        f"M{begin} {edges[begin, 0]}H{end}V{edges[begin, 1]}H{begin}z"
        for begin, end in pairwise(begins)
        if edges[begin, 0] < edges[begin, 1]
    )
