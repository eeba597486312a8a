"""The state of turning a float graph into a network: what each tensor became, and the layers.

A tensor that depends on the input is a `View`: it knows which value of a layer stands at each of
its places.  Transposing, flattening and reshaping a tensor only moves these places, so
channels-first graphs become channels-last networks, and channels that a graph shuffles stay where
they are until somebody reads them in order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import permutations
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import activations, layers
from ...border import Border
from ...fixed import ProgramError
from ...layer import Floats, Layer, Shape
from ...network import INPUT
from ...network import Node as NetworkNode
from ..constants.constant import Constant
from ..graph import Node

Places = NDArray[np.int64]

NAME_MAX = 60
SUFFIXES = ("", "_window", "_dot", "_sum", "_best", "_argument", "_input")
"""What lowering appends to the names of layers, which no other layer may then be called."""
LATE = {"sigmoid": activations.Sigmoid, "tanh": activations.Tanh}
"""The finishes that can be computed where the answer is read again."""


@dataclass(frozen=True, eq=False)
class View:
    """A tensor that depends on the input.

    `places`, of the tensor's shape without the batch, holds the flat position of each element in
    the value of the layer `source`; it is a permutation.  `finish` names a function that the host
    applies last (`border.py`), as the graph's node `finisher` asks, unless somebody reads on.
    """

    source: str
    places: Places
    finish: str = ""
    finisher: str = ""

    @property
    def shape(self) -> Shape:
        """The tensor's shape without the batch."""
        return self.places.shape


Value = View | Constant


def refuse(node: Node, problem: str) -> ProgramError:
    """The error that `node` breaks a rule, to be raised."""
    return ProgramError(f"{node}: {problem}")


@lru_cache(maxsize=256)
def rows(shape: Shape) -> Places:
    """The flat positions of an array of this shape, read-only."""
    places = np.arange(prod(shape)).reshape(shape)
    places.flags.writeable = False
    return places


@dataclass(eq=False)
class Draft:
    """Values by tensor name, and the layers so far with their shapes.

    `dtype` is the precision of weights; `integers` says that the graph's inputs are integers.
    """

    batch: int
    dtype: type[np.floating[Any]]
    integers: bool
    values: dict[str, Value] = field(default_factory=dict[str, Value])
    nodes: dict[str, NetworkNode] = field(default_factory=dict[str, NetworkNode])
    shapes: dict[str, Shape] = field(default_factory=dict[str, Shape])
    taken: set[str] = field(default_factory=lambda: {INPUT})

    # Layers

    def emit(self, node: Node, layer: Layer, *sources: str, part: str = "") -> str:
        """Add a layer; return its name: the node's, and which part of the node it is."""
        try:
            shape = layer.shape(*(self.shapes[source] for source in sources))
        except ProgramError as error:
            raise refuse(node, str(error)) from None
        name = self._name(f"{node.name}_{part}" if part else node.name)
        self.nodes[name], self.shapes[name] = NetworkNode(name, layer, sources), shape
        return name

    def _name(self, label: str) -> str:
        """A name that neither a layer has nor lowering makes of one."""
        plain = re.sub(r"[^A-Za-z0-9]+", "_", label).strip("_")[:NAME_MAX] or "node"
        plain = plain if plain[0].isalpha() else f"n{plain}"
        name, number = plain, 2
        while any(name + suffix in self.taken for suffix in SUFFIXES):
            name, number = f"{plain}_{number}", number + 1
        self.taken |= {name + suffix for suffix in SUFFIXES}
        return name

    def layer(self, view: View) -> Layer | None:
        """The layer that a tensor is the value of; None for the input."""
        return self.nodes[view.source].layer if view.source in self.nodes else None

    def weights(self, values: NDArray[Any]) -> Floats:
        """Numbers in the precision of the network's weights."""
        with np.errstate(over="ignore"):
            return values.astype(self.dtype)

    # Inputs of a node

    def value(self, node: Node, number: int) -> Value:
        """Any input of a node, finished where it was waiting to be."""
        if number >= len(node.inputs) or not node.inputs[number]:
            raise refuse(node, f"input {number} is missing; export the model again")
        name = node.inputs[number]
        if name not in self.values:
            raise refuse(
                node,
                f"it reads {name!r}, a second output of a node that is not computed; export the "
                "model for inference",
            )
        return self.values[name]

    def unfinished(self, node: Node, number: int = 0) -> View:
        """An input that depends on the graph's, its finish still waiting."""
        value = self.value(node, number)
        if isinstance(value, Constant):
            raise refuse(
                node,
                f"input {number} is a constant where a tensor that depends on the graph's input "
                "belongs; fold the constants before exporting",
            )
        return value

    def view(self, node: Node, number: int = 0) -> View:
        """An input that depends on the graph's."""
        view = self.unfinished(node, number)
        if not view.finish:
            return view
        if view.finish not in LATE:
            raise refuse(
                node,
                f"it reads the result of {view.finisher}, which is left to the host and can only "
                "stand at the end; cut the model there",
            )
        source = self.emit(node, LATE[view.finish](), view.source, part=view.finish)
        self.values[node.inputs[number]] = view = View(source, view.places)
        return view

    def constant(self, node: Node, number: int, what: str) -> Constant:
        """An input that must be known."""
        value = self.value(node, number)
        if isinstance(value, View):
            raise refuse(
                node,
                f"{what} (input {number}) depends on the graph's input, and a network needs a "
                "constant there; make it an initialiser",
            )
        return value

    def optional(self, node: Node, number: int, what: str) -> Constant | None:
        """An input that must be known where it is given."""
        if number >= len(node.inputs) or not node.inputs[number]:
            return None
        return self.constant(node, number, what)

    def numbers(self, node: Node, number: int, what: str) -> NDArray[np.float64]:
        """An input that must be known, in float64."""
        return reals(self.constant(node, number, what))

    # Layouts

    def image(self, node: Node, view: View, axis: int = 0) -> tuple[str, Places]:
        """The layer (H, W, C) of a tensor whose channels stand along `axis`.

        Also returns where each of the tensor's channels stands among the layer's.  A tensor with
        one axis of positions is of height 1.
        """
        if len(view.shape) not in (2, 3):
            raise refuse(
                node,
                f"its input has the shape {self.with_batch(view)}, and images (N, C, H, W) and "
                "signals (N, C, L) are understood here; reshape it",
            )
        channels = self._channels(view, axis)
        if channels is not None:
            return view.source, channels
        moved = _moved(view, axis)
        if not np.array_equal(moved.ravel(), rows((moved.size,))):
            raise refuse(
                node,
                "its input arrives in another order than pixel by pixel with the channels of a "
                "pixel together, and no layer reorders pixels; avoid the transposition before it",
            )
        reshape = layers.Reshape(moved.shape)
        source = self.emit(node, reshape, view.source, part="reshape")
        return source, rows(moved.shape[2:])

    def _channels(self, view: View, axis: int) -> Places | None:
        """Where a tensor's channels stand in its layer, if that has them last, pixel by pixel."""
        moved, shape = _moved(view, axis), self.shapes[view.source]
        if shape[:-1] != moved.shape[:-1]:
            return None
        pixels, channels = np.divmod(moved, shape[-1])
        plain = bool((pixels == rows((*shape[:-1], 1))).all())
        return channels[0, 0] if plain and bool((channels == channels[0, 0]).all()) else None

    def channel_axis(self, view: View, axes: Sequence[int]) -> int:
        """The one of these axes along which the layer has its channels; the first in doubt."""
        return next((axis for axis in axes if self._channels(view, axis) is not None), axes[0])

    def ordered(self, node: Node, view: View, axis: int = 0) -> str:
        """The layer (H, W, C) of a tensor, its channels in the tensor's order."""
        source, channels = self.image(node, view, axis)
        if np.array_equal(channels, rows(channels.shape)):
            return source
        return self.select(node, channels, source)

    def select(self, node: Node, channels: Places, source: str) -> str:
        """Some channels of a layer, in this order."""
        layer = layers.Select(tuple(channels.tolist()))
        return self.emit(node, layer, source, part="select")

    def flat(self, node: Node, view: View) -> View:
        """The same tensor, its layer of one axis."""
        if len(self.shapes[view.source]) == 1:
            return view
        source = self.emit(node, layers.Flatten(), view.source, part="flatten")
        return replace(view, source=source)

    def vector(self, node: Node, view: View) -> str:
        """The layer of one axis that has the values of a tensor of one axis in order."""
        source = self.flat(node, view).source
        if np.array_equal(view.places, rows(view.shape)):
            return source
        return self.select(node, view.places, source)

    def image_view(
        self, source: str, shape: Shape, axis: int = 0, channels: Places | None = None
    ) -> View:
        """The tensor of `shape`, channels along `axis`, that an image (H, W, C) holds.

        `channels` says where each of the tensor's channels stands, if not in order.
        """
        places = rows(self.shapes[source])
        places = places if channels is None else places[..., channels]
        rest = shape[:axis] + shape[axis:][1:]
        places = places.reshape(*rest, places.shape[-1])
        return View(source, np.moveaxis(places, -1, axis).reshape(shape))

    def selected(self, node: Node, view: View, places: Places) -> View:
        """The part of a tensor at these places of its layer: some channels everywhere."""
        shape = self.shapes[view.source]
        used = np.zeros(prod(shape), bool)
        used[places] = True
        if int(used.sum()) != places.size:
            raise refuse(node, "it takes values more than once; take each once")
        by_pixel = used.reshape(-1, shape[-1])
        if not bool((by_pixel == by_pixel[0]).all()):
            if len(view.shape) > 1 or len(shape) == 1:
                raise refuse(
                    node, "it cuts pixels off, and only channels are cut; crop before the network"
                )
            return self.selected(node, self.flat(node, view), places)
        if bool(by_pixel[0].all()):
            return View(view.source, places)
        (channels,) = np.nonzero(by_pixel[0])
        source = self.select(node, channels, view.source)
        pixels, old = np.divmod(places, shape[-1])
        return View(source, pixels * len(channels) + np.searchsorted(channels, old))

    def with_batch(self, view: View) -> str:
        """A tensor's shape, for a message."""
        return f"({', '.join(map(str, ('N', *view.shape)))})"

    # Constants that meet a tensor

    def by_channel(
        self, node: Node, view: View, *tensors: NDArray[np.float64]
    ) -> tuple[View, list[Floats]]:
        """Tensors that broadcast against a view's, as one value per channel of its layer.

        Where they differ between pixels, the layer is flattened, so that each is its own channel.
        """
        spread = [self._spread(node, view, tensor) for tensor in tensors]
        if not all(bool((table == table[0]).all()) for table in spread):
            view = self.flat(node, view)
            spread = [self._spread(node, view, tensor) for tensor in tensors]
        return view, [self.weights(table[0]) for table in spread]

    def _spread(self, node: Node, view: View, tensor: NDArray[np.float64]) -> NDArray[np.float64]:
        """A tensor's values where the layer has its own, (pixels, channels)."""
        channels = self.shapes[view.source][-1]
        if tensor.size == 1:
            return np.full((1, channels), tensor.reshape(-1)[0])
        if tensor.ndim == len(view.shape) + 1 and len(tensor) == 1:
            tensor = tensor[0]
        try:
            values = np.broadcast_to(tensor, view.shape)
        except ValueError:
            raise refuse(
                node,
                f"a constant of shape {tensor.shape} does not broadcast against "
                f"{self.with_batch(view)}; reshape it",
            ) from None
        table = np.empty(values.size)
        table[view.places.ravel()] = values.ravel()
        return table.reshape(-1, channels)

    def affine(
        self, node: Node, view: View, factor: NDArray[np.float64], term: NDArray[np.float64]
    ) -> View:
        """The tensor times `factor`, plus `term`."""
        view, (gamma, beta) = self.by_channel(node, view, factor, term)
        layer = layers.BatchNorm(gamma, beta, 0 * gamma, 0 * gamma + 1, 0.0)
        return replace(view, source=self.emit(node, layer, view.source))

    # The end

    def border(self, node: Node, view: View) -> tuple[str, Border]:
        """The last layer, and how its output is the tensor that the graph gives."""
        axes = self._axes(view)
        if axes is None:
            view, axes = self._in_order(node, view)
        return view.source, Border(shape=view.shape, axes=axes, finish=view.finish)

    def _in_order(self, node: Node, view: View) -> tuple[View, tuple[int, ...]]:
        """A tensor whose channels its layer has in another order, put in order."""
        if len(view.shape) == 1:
            source = self.vector(node, view)
            return replace(view, source=source, places=rows(view.shape)), (0,)
        source = self.ordered(node, view)
        view = replace(self.image_view(source, view.shape), finish=view.finish)
        return view, (2, 0, 1)

    def _axes(self, view: View) -> tuple[int, ...] | None:
        """The order in which the tensor has the axes of its layer, if it has nothing but them."""
        places = rows(self.shapes[view.source])
        flat = view.places.ravel()
        for axes in permutations(range(places.ndim)):
            if np.array_equal(places.transpose(axes).ravel(), flat):
                return axes
        return None


def reals(constant: Constant) -> NDArray[np.float64]:
    """A constant in float64."""
    values = constant.values.astype(np.float64)
    return values if constant.scale is None else values * constant.scale.astype(np.float64)


def _moved(view: View, axis: int) -> Places:
    """The places of a tensor of two or three axes as (H, W, C), given its channels' axis."""
    moved = np.moveaxis(view.places, axis, -1)
    return moved[None] if moved.ndim == 2 else moved


def joined(parts: Sequence[tuple[str, Places]], sizes: Sequence[int]) -> Places:
    """Where things stand in a concatenation, given where they stand in parts of these sizes."""
    starts = np.cumsum([0, *sizes[:-1]])
    return np.concatenate(
        [places + start for (_, places), start in zip(parts, starts, strict=True)]
    )
