"""Activation functions of float networks beside `Relu`: frozen dataclasses that are their meaning.

Lowering needs nothing but the meaning: a clamp becomes part of a rounding, every other function a
row of thresholds or a table (`lower.py`).  `Quantize` and `Sign` say themselves how values are
rounded, as networks have it that were trained so; elsewhere calibration chooses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .fixed import ProgramError
from .layer import Floats, Shape
from .layers import Activation

LARGEST = float(np.finfo(np.float32).max)
"""Stands for no bound at all."""
LEVEL_MAX = 1 << 15
"""The largest integer that an activation may stand for."""


@dataclass(frozen=True, eq=False)
class Clip(Activation):
    """y = min(max(x, lo), hi)."""

    lo: float = -LARGEST
    hi: float = LARGEST

    numbers: ClassVar[tuple[str, ...]] = ("lo", "hi")

    def check(self) -> None:
        if self.lo > self.hi:
            raise ProgramError(f"Clip needs lo <= hi, not {self.lo} and {self.hi}")

    def __call__(self, *xs: Floats) -> Floats:
        return np.clip(xs[0], self.lo, self.hi)


@dataclass(frozen=True, eq=False)
class Quantize(Activation):
    """y = step * min(max(floor(x / step + 1/2), lo), hi): integers lo..hi in steps of `step`."""

    step: float = 1.0
    lo: int = -128
    hi: int = 127

    numbers: ClassVar[tuple[str, ...]] = ("step",)

    def check(self) -> None:
        if self.step <= 0:
            raise ProgramError(f"Quantize has a step above 0, not {self.step}")
        for name in ("lo", "hi"):
            value = getattr(self, name)
            if type(value) is not int or abs(value) > LEVEL_MAX:
                raise ProgramError(
                    f"{name} of Quantize is an integer from -{LEVEL_MAX} to {LEVEL_MAX}, "
                    f"not {value!r}"
                )
        if self.lo > self.hi:
            raise ProgramError(f"Quantize needs lo <= hi, not {self.lo} and {self.hi}")

    def __call__(self, *xs: Floats) -> Floats:
        return self.step * np.clip(np.floor(xs[0] / self.step + 0.5), self.lo, self.hi)


@dataclass(frozen=True, eq=False)
class Sign(Activation):
    """y = step where x >= 0, else -step: one bit."""

    step: float = 1.0

    numbers: ClassVar[tuple[str, ...]] = ("step",)

    def check(self) -> None:
        if self.step <= 0:
            raise ProgramError(f"Sign has a step above 0, not {self.step}")

    def __call__(self, *xs: Floats) -> Floats:
        return np.where(xs[0] >= 0, self.step, -self.step).astype(xs[0].dtype)


@dataclass(frozen=True, eq=False)
class LeakyRelu(Activation):
    """y = x where x >= 0, else slope * x."""

    slope: float = 0.01

    numbers: ClassVar[tuple[str, ...]] = ("slope",)

    @property
    def monotone(self) -> bool:
        return self.slope >= 0

    def __call__(self, *xs: Floats) -> Floats:
        return np.where(xs[0] >= 0, xs[0], self.slope * xs[0])


@dataclass(frozen=True, eq=False)
class PRelu(Activation):
    """y[c] = x[c] where x[c] >= 0, else slopes[c] * x[c]; `slopes` (C,)."""

    slopes: Floats

    ranks: ClassVar[dict[str, int]] = {"slopes": 1}

    @property
    def monotone(self) -> bool:
        return bool((self.slopes >= 0).all())

    def shape(self, *shapes: Shape) -> Shape:
        if shapes[0][-1] != len(self.slopes):
            raise ProgramError(
                f"PRelu has {len(self.slopes)} slopes, and the last axis of {shapes[0]} is "
                f"{shapes[0][-1]}; give one per channel"
            )
        return shapes[0]

    def __call__(self, *xs: Floats) -> Floats:
        return np.where(xs[0] >= 0, xs[0], self.slopes * xs[0])


@dataclass(frozen=True, eq=False)
class Elu(Activation):
    """y = x where x >= 0, else alpha * (exp(x) - 1)."""

    alpha: float = 1.0

    numbers: ClassVar[tuple[str, ...]] = ("alpha",)

    @property
    def monotone(self) -> bool:
        return self.alpha >= 0

    def __call__(self, *xs: Floats) -> Floats:
        return np.where(xs[0] >= 0, xs[0], self.alpha * np.expm1(np.minimum(xs[0], 0)))


@dataclass(frozen=True, eq=False)
class Softplus(Activation):
    """y = log(1 + exp(x))."""

    def __call__(self, *xs: Floats) -> Floats:
        return np.logaddexp(xs[0], 0)


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


@dataclass(frozen=True, eq=False)
class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x))."""

    def __call__(self, *xs: Floats) -> Floats:
        return sigmoid(xs[0])


@dataclass(frozen=True, eq=False)
class Tanh(Activation):
    """y = tanh(x)."""

    def __call__(self, *xs: Floats) -> Floats:
        return np.tanh(xs[0])


@dataclass(frozen=True, eq=False)
class Silu(Activation):
    """y = x / (1 + exp(-x)), which falls at first: swish."""

    @property
    def monotone(self) -> bool:
        return False

    def __call__(self, *xs: Floats) -> Floats:
        return xs[0] * sigmoid(xs[0])


@dataclass(frozen=True, eq=False)
class HardSigmoid(Activation):
    """y = min(max(alpha * x + beta, 0), 1)."""

    alpha: float = 0.2
    beta: float = 0.5

    numbers: ClassVar[tuple[str, ...]] = ("alpha", "beta")

    @property
    def monotone(self) -> bool:
        return self.alpha >= 0

    def __call__(self, *xs: Floats) -> Floats:
        return np.clip(self.alpha * xs[0] + self.beta, 0, 1)


@dataclass(frozen=True, eq=False)
class HardSwish(Activation):
    """y = x * min(max(alpha * x + beta, 0), 1), which falls at first."""

    alpha: float = 1 / 6
    beta: float = 0.5

    numbers: ClassVar[tuple[str, ...]] = ("alpha", "beta")

    @property
    def monotone(self) -> bool:
        return False

    def __call__(self, *xs: Floats) -> Floats:
        return xs[0] * np.clip(self.alpha * xs[0] + self.beta, 0, 1)
