"""What several reports ask of a design's units."""

from __future__ import annotations

from ..hw.design import Instance
from ..models.program import Op


def operator(instance: Instance) -> Op:
    """The program's operator behind a unit (windows are wrapped with their buffer)."""
    return getattr(instance.op, "op", instance.op)
