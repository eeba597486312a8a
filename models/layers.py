"""The layers of a float network: frozen dataclasses whose call is their meaning.

Arrays are channels last, (N, H, W, C) with the frames first; shapes of one frame, (H, W, C) or
(S,), leave N out.  A layer computes in the precision of its input and weights (float32 or float64).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import prod
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

    def __post_init__(self) -> None:
        for name, rank in self.ranks.items():
            object.__setattr__(self, name, _floats(name, getattr(self, name), rank))
        for name, (length, least) in self.sizes.items():
            _check_integers(name, getattr(self, name), length, least)
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


def _check_integers(name: str, value: Any, length: int, least: int) -> None:
    if (
        not isinstance(value, tuple)
        or len(value) != length  # type: ignore[arg-type]
        or any(type(v) is not int or not least <= v <= SIZE_MAX for v in value)  # type: ignore[misc]
    ):
        raise ProgramError(
            f"{name} is a tuple of {length} integers from {least} to {SIZE_MAX}, not {value!r}"
        )


def _check_channels(layer: Layer, shape: Shape, channels: int) -> None:
    if shape[-1] != channels:
        raise ProgramError(
            f"{type(layer).__name__} has weights for {channels} input channels, and the last axis "
            f"of {shape} is {shape[-1]}; make them equal"
        )


def _check_length(name: str, array: Floats, length: int) -> None:
    if array.shape != (length,):
        raise ProgramError(f"{name} has one value per channel, ({length},), not {array.shape}")


def _check_image(layer: Layer, shape: Shape) -> None:
    if len(shape) != 3:
        raise ProgramError(f"{type(layer).__name__} takes (H, W, C), not {shape}; reshape it")


def sliding_shape(layer: Layer, shape: Shape, kernel: Pair, stride: Pair, padding: Sides) -> Pair:
    """Rows and columns of output positions of a kernel that slides over the padded image."""
    _check_image(layer, shape)
    top, left, bottom, right = padding
    height, width = shape[0] + top + bottom, shape[1] + left + right
    if height < kernel[0] or width < kernel[1]:
        raise ProgramError(
            f"{type(layer).__name__} has a kernel of {kernel[0]}x{kernel[1]}, beyond the padded "
            f"input of {height}x{width}; pad more or use a smaller kernel"
        )
    return (height - kernel[0]) // stride[0] + 1, (width - kernel[1]) // stride[1] + 1


def taps(
    x: Floats, kernel: Pair, stride: Pair, padding: Sides
) -> Iterator[tuple[int, int, Floats]]:
    """Yield (ky, kx, x under that kernel position (N, Ho, Wo, C)); padding holds 0."""
    top, left, bottom, right = padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    last_row, last_column = x.shape[1] - kernel[0], x.shape[2] - kernel[1]
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            rows = slice(ky, last_row + ky + 1, stride[0])
            yield ky, kx, x[:, rows, kx : last_column + kx + 1 : stride[1]]


def patches(x: Floats, kernel: Pair, stride: Pair, padding: Sides) -> Floats:
    """The im2col of x: (N, Ho, Wo, kh*kw*C), taps in the order (ky, kx, c)."""
    return np.concatenate([tap for _, _, tap in taps(x, kernel, stride, padding)], axis=-1)


@dataclass(frozen=True, eq=False)
class Conv(Layer):
    """y[i, j, n] = bias[n] + sum weights[n, ky, kx, c] * x[i*sh + ky - top, j*sw + kx - left, c].

    `weights` (N, kh, kw, C), `bias` (N,), `padding` (top, left, bottom, right) with zeros.
    """

    weights: Floats
    bias: Floats
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)

    ranks: ClassVar[dict[str, int]] = {"weights": 4, "bias": 1}
    sizes: ClassVar[dict[str, tuple[int, int]]] = {"stride": (2, 1), "padding": (4, 0)}

    def check(self) -> None:
        _check_length("bias", self.bias, len(self.weights))

    @property
    def kernel(self) -> Pair:
        """Rows and columns."""
        return self.weights.shape[1], self.weights.shape[2]

    def shape(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        size = sliding_shape(self, x, self.kernel, self.stride, self.padding)
        _check_channels(self, x, self.weights.shape[3])
        return (*size, len(self.weights))

    def __call__(self, *xs: Floats) -> Floats:
        walk = taps(xs[0], self.kernel, self.stride, self.padding)
        return sum((tap @ self.weights[:, ky, kx].T for ky, kx, tap in walk), self.bias)


@dataclass(frozen=True, eq=False)
class DepthwiseConv(Layer):
    """y[i, j, c] = bias[c] + sum weights[c, ky, kx] * x[i*sh + ky - top, j*sw + kx - left, c].

    `weights` (C, kh, kw), `bias` (C,), `padding` (top, left, bottom, right) with zeros.
    """

    weights: Floats
    bias: Floats
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)

    ranks: ClassVar[dict[str, int]] = {"weights": 3, "bias": 1}
    sizes: ClassVar[dict[str, tuple[int, int]]] = {"stride": (2, 1), "padding": (4, 0)}

    def check(self) -> None:
        _check_length("bias", self.bias, len(self.weights))

    @property
    def kernel(self) -> Pair:
        """Rows and columns."""
        return self.weights.shape[1], self.weights.shape[2]

    def shape(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        size = sliding_shape(self, x, self.kernel, self.stride, self.padding)
        _check_channels(self, x, len(self.weights))
        return (*size, len(self.weights))

    def __call__(self, *xs: Floats) -> Floats:
        walk = taps(xs[0], self.kernel, self.stride, self.padding)
        return sum((tap * self.weights[:, ky, kx] for ky, kx, tap in walk), self.bias)


@dataclass(frozen=True, eq=False)
class Dense(Layer):
    """y[n] = bias[n] + sum_s weights[n, s] * x[s]: (S,) -> (N,)."""

    weights: Floats
    bias: Floats

    ranks: ClassVar[dict[str, int]] = {"weights": 2, "bias": 1}

    def check(self) -> None:
        _check_length("bias", self.bias, len(self.weights))

    def shape(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        if len(x) != 1:
            raise ProgramError(f"Dense takes (S,), not {x}; put a Flatten before it")
        _check_channels(self, x, self.weights.shape[1])
        return (len(self.weights),)

    def __call__(self, *xs: Floats) -> Floats:
        return xs[0] @ self.weights.T + self.bias


@dataclass(frozen=True, eq=False)
class BatchNorm(Layer):
    """y[c] = gamma[c] * (x[c] - mean[c]) / sqrt(variance[c] + epsilon) + beta[c]."""

    gamma: Floats
    beta: Floats
    mean: Floats
    variance: Floats
    epsilon: float = 1e-5

    ranks: ClassVar[dict[str, int]] = {"gamma": 1, "beta": 1, "mean": 1, "variance": 1}

    def check(self) -> None:
        for name in self.ranks:
            _check_length(name, getattr(self, name), len(self.gamma))
        if type(self.epsilon) is not float or not 0 <= self.epsilon <= 1:
            raise ProgramError(f"epsilon is a float from 0 to 1, not {self.epsilon!r}")
        if float(self.variance.min()) + self.epsilon <= 0:
            raise ProgramError(
                "variance + epsilon is above 0 in every channel, and the least is "
                f"{float(self.variance.min()) + self.epsilon}; correct the variance"
            )

    @property
    def factor(self) -> NDArray[np.float64]:
        """Gamma / sqrt(variance + epsilon), (C,)."""
        deviation = np.sqrt(self.variance.astype(np.float64) + self.epsilon)
        return self.gamma.astype(np.float64) / deviation

    @property
    def term(self) -> NDArray[np.float64]:
        """Beta - mean * factor, (C,)."""
        return self.beta.astype(np.float64) - self.mean.astype(np.float64) * self.factor

    def shape(self, *shapes: Shape) -> Shape:
        _check_channels(self, shapes[0], len(self.gamma))
        return shapes[0]

    def __call__(self, *xs: Floats) -> Floats:
        dtype = np.result_type(xs[0], self.gamma)
        return xs[0] * self.factor.astype(dtype) + self.term.astype(dtype)


@dataclass(frozen=True, eq=False)
class Relu(Layer):
    """y = max(x, 0)."""

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def __call__(self, *xs: Floats) -> Floats:
        return np.maximum(xs[0], 0)


@dataclass(frozen=True, eq=False)
class Pool(Layer):
    """A kernel that slides over each channel, without padding; abstract: subclasses reduce it."""

    kernel: Pair
    stride: Pair

    sizes: ClassVar[dict[str, tuple[int, int]]] = {"kernel": (2, 1), "stride": (2, 1)}

    def shape(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return (*sliding_shape(self, x, self.kernel, self.stride, (0, 0, 0, 0)), x[-1])

    def taps(self, x: Floats) -> Iterator[Floats]:
        """Yield x under each kernel position, (N, Ho, Wo, C)."""
        return (tap for _, _, tap in taps(x, self.kernel, self.stride, (0, 0, 0, 0)))


@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    """y[i, j, c] = max over ky, kx of x[i*sh + ky, j*sw + kx, c]."""

    def __call__(self, *xs: Floats) -> Floats:
        return np.maximum.reduce(list(self.taps(xs[0])))


@dataclass(frozen=True, eq=False)
class AveragePool(Pool):
    """y[i, j, c] = mean over ky, kx of x[i*sh + ky, j*sw + kx, c]."""

    def __call__(self, *xs: Floats) -> Floats:
        return np.add.reduce(list(self.taps(xs[0]))) / prod(self.kernel)


@dataclass(frozen=True, eq=False)
class GlobalAveragePool(Layer):
    """(H, W, C) -> (1, 1, C): the mean over all positions."""

    def shape(self, *shapes: Shape) -> Shape:
        _check_image(self, shapes[0])
        return (1, 1, shapes[0][-1])

    def __call__(self, *xs: Floats) -> Floats:
        return xs[0].mean(axis=(1, 2), keepdims=True)


@dataclass(frozen=True, eq=False)
class Flatten(Layer):
    """(H, W, C) -> (H*W*C,), in row-major order."""

    def shape(self, *shapes: Shape) -> Shape:
        return (prod(shapes[0]),)

    def __call__(self, *xs: Floats) -> Floats:
        return xs[0].reshape(len(xs[0]), -1)


@dataclass(frozen=True, eq=False)
class Add(Layer):
    """y = a + b, both of one shape."""

    inputs: ClassVar[tuple[int, int]] = (2, 2)

    def shape(self, *shapes: Shape) -> Shape:
        if shapes[0] != shapes[1]:
            raise ProgramError(
                f"Add takes two inputs of one shape, not {shapes[0]} and {shapes[1]}; "
                "bring the branches to one shape"
            )
        return shapes[0]

    def __call__(self, *xs: Floats) -> Floats:
        return xs[0] + xs[1]


@dataclass(frozen=True, eq=False)
class Concatenate(Layer):
    """(..., C1), (..., C2), ... -> (..., C1 + C2 + ...)."""

    inputs: ClassVar[tuple[int, int]] = (2, 16)

    def shape(self, *shapes: Shape) -> Shape:
        if len({shape[:-1] for shape in shapes}) > 1:
            raise ProgramError(
                "Concatenate takes inputs that differ in channels only, not "
                f"{', '.join(map(str, shapes))}"
            )
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def __call__(self, *xs: Floats) -> Floats:
        return np.concatenate(xs, axis=-1)


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
