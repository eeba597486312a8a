"""The layers of a float network: frozen dataclasses whose call is their meaning.

Arrays are channels last, (N, H, W, C) with the frames first; shapes of one frame, (H, W, C) or
(S,), leave N out.  A layer computes in the precision of its input and weights (float32 or float64).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .fixed import ProgramError
from .layer import Floats as Floats
from .layer import Layer as Layer
from .layer import Pair as Pair
from .layer import Shape as Shape
from .layer import Sides as Sides
from .layer import Slide as Slide
from .layer import check_channels, check_image, check_integers, check_length


class Sliding(Layer):
    """A layer with a kernel that slides; abstract.  `padding` is (top, left, bottom, right)."""

    stride: Pair
    padding: Sides
    dilation: Pair

    sizes: ClassVar[dict[str, tuple[int, int]]] = {
        "stride": (2, 1),
        "padding": (4, 0),
        "dilation": (2, 1),
    }

    @property
    @abstractmethod
    def window(self) -> Pair:
        """Rows and columns of the kernel."""

    @property
    def slide(self) -> Slide:
        """The walk over the input."""
        return Slide(self.window, self.stride, self.padding, self.dilation)


@dataclass(frozen=True, eq=False)
class Conv(Sliding):
    """y[i, j, n] = bias[n] + sum weights[n, ky, kx, c] * x[i, j under (ky, kx), c] (see `Slide`).

    `weights` (N, kh, kw, C/groups), `bias` (N,); padding holds zeros.  Outputs and inputs fall into
    `groups` equal runs of channels, and each run of outputs reads its own run of inputs.
    """

    weights: Floats
    bias: Floats
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    ranks: ClassVar[dict[str, int]] = {"weights": 4, "bias": 1}

    def check(self) -> None:
        check_length("bias", self.bias, len(self.weights))
        if type(self.groups) is not int or self.groups < 1 or len(self.weights) % self.groups:
            raise ProgramError(
                f"groups is an integer that divides the {len(self.weights)} output channels, not "
                f"{self.groups!r}"
            )

    @property
    def window(self) -> Pair:
        return self.weights.shape[1], self.weights.shape[2]

    def shape(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        size = self.slide.shape(self, x)
        check_channels(self, x, self.weights.shape[3] * self.groups)
        return (*size, len(self.weights))

    def split(self) -> list[tuple[slice, Floats]]:
        """For each group the input channels that it reads, and its weights (N/groups, ...)."""
        inputs = self.weights.shape[3]
        runs = [slice(k * inputs, (k + 1) * inputs) for k in range(self.groups)]
        return list(zip(runs, np.split(self.weights, self.groups), strict=True))

    def __call__(self, *xs: Floats) -> Floats:
        parts = [
            sum(tap @ weights[:, ky, kx].T for ky, kx, tap in self.slide.taps(xs[0][..., run]))
            for run, weights in self.split()
        ]
        return np.concatenate(parts, axis=-1) + self.bias


@dataclass(frozen=True, eq=False)
class DepthwiseConv(Sliding):
    """y[i, j, c] = bias[c] + sum weights[c, ky, kx] * x[i, j under (ky, kx), c] (see `Slide`).

    `weights` (C, kh, kw), `bias` (C,); padding holds zeros.
    """

    weights: Floats
    bias: Floats
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)

    ranks: ClassVar[dict[str, int]] = {"weights": 3, "bias": 1}

    def check(self) -> None:
        check_length("bias", self.bias, len(self.weights))

    @property
    def window(self) -> Pair:
        return self.weights.shape[1], self.weights.shape[2]

    def shape(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        size = self.slide.shape(self, x)
        check_channels(self, x, len(self.weights))
        return (*size, len(self.weights))

    def __call__(self, *xs: Floats) -> Floats:
        walk = self.slide.taps(xs[0])
        return sum((tap * self.weights[:, ky, kx] for ky, kx, tap in walk), self.bias)


@dataclass(frozen=True, eq=False)
class Dense(Layer):
    """y[n] = bias[n] + sum_s weights[n, s] * x[s]: (S,) -> (N,)."""

    weights: Floats
    bias: Floats

    ranks: ClassVar[dict[str, int]] = {"weights": 2, "bias": 1}

    def check(self) -> None:
        check_length("bias", self.bias, len(self.weights))

    def shape(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        if len(x) != 1:
            raise ProgramError(f"Dense takes (S,), not {x}; put a Flatten before it")
        check_channels(self, x, self.weights.shape[1])
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
            check_length(name, getattr(self, name), len(self.gamma))
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
        check_channels(self, shapes[0], len(self.gamma))
        return shapes[0]

    def __call__(self, *xs: Floats) -> Floats:
        dtype = np.result_type(xs[0], self.gamma)
        return xs[0] * self.factor.astype(dtype) + self.term.astype(dtype)


class Activation(Layer):
    """A function of each value alone; abstract: the others are in `activations.py`."""

    @property
    def monotone(self) -> bool:
        """True if no larger x gives a smaller y."""
        return True

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]


@dataclass(frozen=True, eq=False)
class Relu(Activation):
    """y = max(x, 0)."""

    def __call__(self, *xs: Floats) -> Floats:
        return np.maximum(xs[0], 0)


@dataclass(frozen=True, eq=False)
class Pool(Sliding):
    """A kernel that slides over each channel (see `Slide`); abstract: subclasses reduce it."""

    kernel: Pair
    stride: Pair
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)

    sizes: ClassVar[dict[str, tuple[int, int]]] = Sliding.sizes | {"kernel": (2, 1)}

    @property
    def window(self) -> Pair:
        return self.kernel

    def shape(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return (*self.slide.shape(self, x), x[-1])


@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    """y[i, j, c] = max over (ky, kx) of x[i, j under (ky, kx), c]; padding never wins."""

    def shape(self, *shapes: Shape) -> Shape:
        shape = super().shape(*shapes)
        if self.slide.misses(shapes[0]):
            raise ProgramError(
                f"MaxPool pads {shapes[0]} by {self.padding}, and some output reads padding alone; "
                "pad less"
            )
        return shape

    def __call__(self, *xs: Floats) -> Floats:
        return np.maximum.reduce([tap for _, _, tap in self.slide.taps(xs[0], -np.inf)])


@dataclass(frozen=True, eq=False)
class AveragePool(Pool):
    """y[i, j, c] = mean over (ky, kx) of x[i, j under (ky, kx), c]; padding counts, as 0."""

    def __call__(self, *xs: Floats) -> Floats:
        return np.add.reduce([tap for _, _, tap in self.slide.taps(xs[0])]) / prod(self.kernel)


@dataclass(frozen=True, eq=False)
class GlobalAveragePool(Layer):
    """(H, W, C) -> (1, 1, C): the mean over all positions."""

    def shape(self, *shapes: Shape) -> Shape:
        check_image(self, shapes[0])
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
class Reshape(Layer):
    """Any shape -> `size`, in row-major order."""

    size: Shape

    def check(self) -> None:
        check_integers("size", self.size, None, 1)

    def shape(self, *shapes: Shape) -> Shape:
        if prod(shapes[0]) != prod(self.size):
            raise ProgramError(
                f"Reshape keeps the number of values, and {shapes[0]} has {prod(shapes[0])} while "
                f"{self.size} has {prod(self.size)}; correct the size"
            )
        return self.size

    def __call__(self, *xs: Floats) -> Floats:
        return xs[0].reshape(len(xs[0]), *self.size)


@dataclass(frozen=True, eq=False)
class Pad(Layer):
    """(H, W, C) -> (top + H + bottom, left + W + right, C), zeros around."""

    padding: Sides

    sizes: ClassVar[dict[str, tuple[int, int]]] = {"padding": (4, 0)}

    def shape(self, *shapes: Shape) -> Shape:
        return (*Slide((1, 1), padding=self.padding).shape(self, shapes[0]), shapes[0][-1])

    def __call__(self, *xs: Floats) -> Floats:
        ((_, _, padded),) = Slide((1, 1), padding=self.padding).taps(xs[0])
        return padded


@dataclass(frozen=True, eq=False)
class Select(Layer):
    """(..., C) -> (..., K): y[..., k] = x[..., channels[k]], in any order."""

    channels: tuple[int, ...]

    def check(self) -> None:
        check_integers("channels", self.channels, None, 0)

    def shape(self, *shapes: Shape) -> Shape:
        if max(self.channels) >= shapes[0][-1]:
            raise ProgramError(
                f"Select takes channel {max(self.channels)}, and the last axis of {shapes[0]} is "
                f"{shapes[0][-1]}; name existing channels"
            )
        return (*shapes[0][:-1], len(self.channels))

    def __call__(self, *xs: Floats) -> Floats:
        return xs[0][..., self.channels]


@dataclass(frozen=True, eq=False)
class ArgMax(Layer):
    """(..., C) -> (..., 1): the channel of the largest value, the first of equals."""

    def shape(self, *shapes: Shape) -> Shape:
        return (*shapes[0][:-1], 1)

    def __call__(self, *xs: Floats) -> Floats:
        return xs[0].argmax(-1)[..., None].astype(xs[0].dtype)


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
