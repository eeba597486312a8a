"""What a layer of a float network is, with the checks and the sliding kernels that layers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .fixed import ProgramError

Floats = NDArray[Any]
Shape = tuple[int, ...]
Pair = tuple[int, int]
Sides = tuple[int, int, int, int]

SIZE_MAX = 1 << 16


class Layer(ABC):
    """One float operation; its arrays are copied, checked to be finite, and set read-only."""

    inputs: ClassVar[tuple[int, int]] = (1, 1)
    """Fewest and most inputs."""
    ranks: ClassVar[dict[str, int]] = {}
    """The float arrays among the fields, and how many axes each has."""
    sizes: ClassVar[dict[str, tuple[int, int]]] = {}
    """The integer tuples among the fields: how many integers each has, and the least allowed."""
    numbers: ClassVar[tuple[str, ...]] = ()
    """The fields that are finite floats."""

    def __post_init__(self) -> None:
        for name, rank in self.ranks.items():
            object.__setattr__(self, name, _floats(name, getattr(self, name), rank))
        for name, (length, least) in self.sizes.items():
            check_integers(name, getattr(self, name), length, least)
        for name in self.numbers:
            value = getattr(self, name)
            if type(value) is not float or not isfinite(value):
                raise ProgramError(f"{name} is a finite float, not {value!r}")
        self.check()

    def check(self) -> None:
        """Raise `ProgramError` where the fields do not fit one another."""

    @abstractmethod
    def shape(self, *shapes: Shape) -> Shape:
        """Return the output's shape; raise `ProgramError` where the inputs do not fit."""

    @abstractmethod
    def __call__(self, *xs: Floats) -> Floats:
        """Compute on arrays of shape (N, *shape)."""


def _floats(name: str, value: Any, rank: int) -> Floats:
    if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
        found = str(getattr(value, "dtype", type(value).__name__))
        raise ProgramError(f"{name} is an array of float32 or float64, not {found}; convert it")
    array: Floats = np.array(value)
    if array.ndim != rank or array.size == 0:
        raise ProgramError(f"{name} has {rank} axes and no empty one, not shape {array.shape}")
    if not bool(np.isfinite(array).all()):
        raise ProgramError(f"{name} holds NaN or infinity; every weight is a finite number")
    array.flags.writeable = False
    return array


def check_integers(name: str, value: Any, length: int | None, least: int) -> None:
    """Raise unless `value` is a tuple of so many integers, or of any number but none."""
    if (
        not isinstance(value, tuple)
        or not value
        or len(value) != (length or len(value))  # type: ignore[arg-type]
        or any(type(v) is not int or not least <= v <= SIZE_MAX for v in value)  # type: ignore[misc]
    ):
        count = f"{length} " if length else ""
        raise ProgramError(
            f"{name} is a tuple of {count}integers from {least} to {SIZE_MAX}, not {value!r}"
        )


def check_channels(layer: Layer, shape: Shape, channels: int) -> None:
    """Raise unless the last axis of `shape` has so many channels."""
    if shape[-1] != channels:
        raise ProgramError(
            f"{type(layer).__name__} has weights for {channels} input channels, and the last axis "
            f"of {shape} is {shape[-1]}; make them equal"
        )


def check_length(name: str, array: Floats, length: int) -> None:
    """Raise unless `array` has one value per channel."""
    if array.shape != (length,):
        raise ProgramError(f"{name} has one value per channel, ({length},), not {array.shape}")


def check_image(layer: Layer, shape: Shape) -> None:
    """Raise unless `shape` is that of an image."""
    if len(shape) != 3:
        raise ProgramError(f"{type(layer).__name__} takes (H, W, C), not {shape}; reshape it")


@dataclass(frozen=True)
class Slide:
    """A kernel that slides over a padded image.

    Output position (i, j) reads, under the kernel position (ky, kx),

        x[i*stride[0] + ky*dilation[0] - top, j*stride[1] + kx*dilation[1] - left].
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)

    @property
    def reach(self) -> Pair:
        """Rows and columns from the first to the last tap, both included."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    def shape(self, layer: Layer, shape: Shape) -> Pair:
        """Rows and columns of output positions on an image."""
        check_image(layer, shape)
        top, left, bottom, right = self.padding
        height, width = shape[0] + top + bottom, shape[1] + left + right
        if height < self.reach[0] or width < self.reach[1]:
            raise ProgramError(
                f"{type(layer).__name__} has a kernel of {self.reach[0]}x{self.reach[1]}, beyond "
                f"the padded input of {height}x{width}; pad more or use a smaller kernel"
            )
        return (
            (height - self.reach[0]) // self.stride[0] + 1,
            (width - self.reach[1]) // self.stride[1] + 1,
        )

    def taps(self, x: Floats, fill: float = 0.0) -> Iterator[tuple[int, int, Floats]]:
        """Yield (ky, kx, x under that kernel position (N, Ho, Wo, C)); padding holds `fill`."""
        top, left, bottom, right = self.padding
        around = ((0, 0), (top, bottom), (left, right), (0, 0))
        x = np.pad(x, around, constant_values=fill) if any(self.padding) else x
        rows, columns = x.shape[1] - self.reach[0] + 1, x.shape[2] - self.reach[1] + 1
        for ky in range(self.kernel[0]):
            y = ky * self.dilation[0]
            for kx in range(self.kernel[1]):
                z = kx * self.dilation[1]
                yield ky, kx, x[:, y : y + rows : self.stride[0], z : z + columns : self.stride[1]]

    def patches(self, x: Floats) -> Floats:
        """The im2col of x: (N, Ho, Wo, kh*kw*C), taps in the order (ky, kx, c)."""
        return np.concatenate([tap for _, _, tap in self.taps(x)], axis=-1)

    def misses(self, shape: Shape) -> bool:
        """Whether some output position reads padding only."""
        return not all(bool(inside(shape[axis], self, axis).any(1).all()) for axis in (0, 1))


def inside(size: int, slide: Slide, axis: int) -> NDArray[np.bool_]:
    """Along one axis of so many pixels, for each output position and tap: if it reads a pixel."""
    before, after = slide.padding[axis], slide.padding[axis + 2]
    last = size + before + after - slide.reach[axis]
    starts = np.arange(0, last + 1, slide.stride[axis]) - before
    taps = starts[:, None] + np.arange(slide.kernel[axis]) * slide.dilation[axis]
    return (taps >= 0) & (taps < size)


def layer_classes() -> dict[str, type[Layer]]:
    """Every final layer class by its name, those defined outside this file too."""
    found: dict[str, type[Layer]] = {}
    waiting = Layer.__subclasses__()
    for cls in waiting:
        waiting += cls.__subclasses__()
        if not cls.__subclasses__():
            found[cls.__name__] = cls
    return found


def field_names(cls: type[Layer]) -> list[str]:
    """The parameters of a layer class, in the order of its constructor."""
    return [item.name for item in fields(cls)]  # type: ignore[arg-type]  # all are dataclasses
