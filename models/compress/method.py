"""What a compression method is: a subclass of `Method`, in any file, found by the names it gives.

A method makes a `Weight` of a layer's float weights: a small exact structure that knows the
responses it stands for and the operators that compute them.  `tests/test_compress_methods.py`
finds every subclass and holds it to the contract below.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from inspect import isabstract
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..fixed import Grid, Ints, ProgramError
from ..layers import Slide
from ..ops import Dot
from ..program import Edge, Op
from .problem import Floats, LayerProblem


@dataclass(frozen=True, eq=False)
class Sums:
    """Accumulators on their way to a rounding: real[n] = scale[n] * integer of the edge."""

    edge: str
    scale: Floats


class Site(Protocol):
    """Where in a growing program a layer's sums are to be computed.

    The layer slides a kernel over the edge `source` (H, W, C), or is a product with its last axis.
    All edges hold their values on the calibration data, so what is emitted can be rounded well.
    """

    @property
    def source(self) -> str:
        """The layer's input, before any window."""
        ...

    @property
    def scale(self) -> float:
        """What an integer 1 of the source, and of its windows, stands for."""
        ...

    @property
    def slide(self) -> Slide:
        """How the kernel slides; of 1 x 1 for a product."""
        ...

    @property
    def windows(self) -> str:
        """The edge (..., S) of whole windows, taps outermost: what weights (N, S) multiply."""
        ...

    def edge(self, name: str) -> Edge:
        """Shape and range of an edge."""
        ...

    def emit(self, part: str, op: Op, *inputs: str) -> str:
        """Append an operator, named after the layer and `part`; return its edge."""
        ...

    def window(self, part: str, source: str, slide: Slide) -> str:
        """Append the windows of a kernel over an edge, zeros outside; return their edge."""
        ...

    def rounded(self, part: str, sums: Sums, bits: int) -> tuple[str, float]:
        """Append the rounding of sums to signed integers of one scale; return edge and scale."""
        ...


class Weight(ABC):
    """Compressed weights (N, S) of a layer.

    exact: whether its sums are those of `response`, with no rounding on the way.
    """

    exact: ClassVar[bool] = True

    @abstractmethod
    def response(self, inputs: Floats) -> Floats:
        """What becomes of the layer's products with real inputs (R, S): (R, N)."""

    @abstractmethod
    def error(self, problem: LayerProblem) -> Floats:
        """The squared response error, one per filter: (N,)."""

    @property
    @abstractmethod
    def bits(self) -> int:
        """Bits that are stored of it, scales left out: weights, factors, codebooks and indices."""

    @abstractmethod
    def lower(self, site: Site) -> Sums:
        """Append the operators that compute its products with the layer's inputs."""


class Product(Weight):
    """Weights whose response is a product; abstract."""

    @abstractmethod
    def dense(self) -> Floats:
        """What^T, (N, S), in real numbers."""

    def response(self, inputs: Floats) -> Floats:
        return inputs @ self.dense().T

    def error(self, problem: LayerProblem) -> Floats:
        return problem.error(self.dense())


@dataclass(frozen=True, eq=False)
class Compressed(Product):
    """W is replaced by scale[n] * weights[n, s]: integers (N, S) on `grid`, scale (N,) >= 0."""

    weights: Ints
    grid: Grid
    scale: Floats

    def dense(self) -> Floats:
        return self.scale[:, None] * self.weights

    @property
    def bits(self) -> int:
        return self.weights.size * self.grid.bits

    def lower(self, site: Site) -> Sums:
        dot = site.emit("dot", Dot(self.weights, self.grid), site.windows)
        return Sums(dot, site.scale * self.scale)


class Method(ABC):
    """A way to replace float weights by something small, its hyperparameters as fields.

    A field out of its range is a `ProgramError` of `__post_init__`: users set fields by name.

    Contract: the same problem gives the same result; its error is at most that of `start`, over all
    filters; and with G = I (`LayerProblem.data_free`) it is `start`.

    symmetric: calibrate on the float network's inputs alone, not on those behind the compressed
    prefix.  samples: at most how many positions it reads one by one, besides G and c.
    """

    symmetric: bool = False
    samples: ClassVar[int] = 0

    @classmethod
    @abstractmethod
    def variants(cls) -> Mapping[str, Method]:
        """The ready-made settings, by the name that users type."""

    @abstractmethod
    def start(self, problem: LayerProblem, weights: Floats) -> Weight:
        """The data-free ancestor: what the method gives for weights (N, S) alone.

        Only the layer's kernel is read of `problem`.
        """

    @abstractmethod
    def compress(self, problem: LayerProblem, weights: Floats) -> Weight:
        """Compress weights (N, S) for the inputs and targets of `problem`."""

    @property
    def answers(self) -> Method:
        """What compresses the last layer of a network, whose filters are its answers.

        A method that gives whole filters up names one here that keeps them.
        """
        return self

    @property
    def depthwise(self) -> Method:
        """What compresses depthwise layers, whose problems have one filter each.

        It must give `Compressed` weights of one grid, which a `DepthwiseDot` takes: a method that
        makes another structure names one here that does not.
        """
        return self


def methods() -> dict[str, Method]:
    """Every method by name, of all subclasses imported so far."""
    found: dict[str, Method] = {}
    waiting = Method.__subclasses__()
    for cls in waiting:
        waiting += cls.__subclasses__()
        if isabstract(cls):
            continue
        for name, method in cls.variants().items():
            if name in found:
                raise ProgramError(f"two methods are called {name!r}; names must differ")
            found[name] = method
    return found


def method(name: str) -> Method:
    """The compression method called `name`, e.g. "bwnh"; "bwnh:sweeps=5" changes its fields."""
    name, colon, changes = name.partition(":")
    found = methods()
    if name not in found:
        raise ProgramError(f"no compression method is called {name!r}; choose {', '.join(found)}")
    return _changed(found[name], name, changes.split(",")) if colon else found[name]


def _changed(one: Method, name: str, changes: list[str]) -> Method:
    """The method with fields changed, each as FIELD=VALUE."""
    known = {item.name: type(getattr(one, item.name)) for item in fields(one)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or key not in known:
            raise ProgramError(
                f"method {name!r} has {', '.join(known) or 'no fields'}, and {change!r} sets none; "
                "write FIELD=VALUE"
            )
        if key in values:
            raise ProgramError(f"method {name!r} is given {key} twice; give it once")
        try:
            values[key] = (
                {"True": True, "False": False}[text] if known[key] is bool else (known[key](text))
            )
        except ProgramError as error:
            raise ProgramError(f"method {name!r}: {error}") from None
        except (KeyError, ValueError):
            raise ProgramError(
                f"method {name!r}: {key} is a {known[key].__name__}, not {text!r}"
            ) from None
    return replace(one, **values)  # type: ignore[type-var]


def check_limits(one: Method, what: str, **limits: tuple[int, int]) -> None:
    """Raise unless the fields of a method lie within their limits, both included."""
    for name, (least, most) in limits.items():
        value = getattr(one, name)
        if not least <= value <= most:
            raise ProgramError(f"{what} has {name} from {least} to {most}, not {value}")


def best_whole(problem: LayerProblem, a: Weight, b: Weight) -> Weight:
    """The one with the smaller error over all filters, `a` on equality."""
    errors = [float(one.error(problem).sum()) for one in (a, b)]
    return b if errors[1] < errors[0] else a


def better(problem: LayerProblem, a: Compressed, b: Compressed) -> Compressed:
    """For each filter the one with the smaller error, `a` on equality."""
    take: NDArray[np.bool_] = b.error(problem) < a.error(problem)
    return Compressed(
        np.where(take[:, None], b.weights, a.weights), a.grid, np.where(take, b.scale, a.scale)
    )
