"""The table of operators of float graphs, and what their handlers share."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Node
from ..parameters import Attributes
from .views import Draft, Value, refuse

Handler = Callable[[Draft, Node, Attributes], Value | list[Value]]
HANDLERS: dict[str, Handler] = {}
"""What is computed, by name; a list is one value for each output."""


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Enter a function as the handler of operators."""

    def enter(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return enter


def axes_of(draft: Draft, node: Node, attributes: Attributes, rank: int) -> list[int] | None:
    """The axes of a tensor of this rank (the batch not among them) that a node names."""
    constant = draft.optional(node, 1, "the axes")
    if constant is not None:
        named = tuple(constant.integers().ravel().tolist())
    elif "axes" in attributes:
        named = attributes.integers("axes")
    else:
        return None
    return [own_axis(node, axis, rank) for axis in named] or None


def own_axis(node: Node, axis: int, rank: int) -> int:
    """An axis of the graph's tensor, of one axis more than `rank`, without the batch."""
    found = axis + rank + 1 if axis < 0 else axis
    if not 1 <= found <= rank:
        raise refuse(
            node,
            f"it works along axis {axis} of {rank + 1}, and frames of a batch are computed one by "
            "one; use axes from 1 on",
        )
    return found - 1
