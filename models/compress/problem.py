"""The layer problem that compression methods solve, and how it is gathered from calibration data.

With X (S x R) the inputs of one layer in the float network at R output positions, Xq those it sees
behind the compressed prefix, W (S x N) its weights and T = X^T W, every method minimises

    || T - Xq^T What ||_F^2  =  sum_n ( what_n^T G what_n - 2 c_n^T what_n + t_n )
    G = Xq Xq^T  (S x S)      c = Xq T  (S x N)      t_n = || T_n ||^2

over its own set of What.  G and c are sums over positions, so chunks of X suffice; a method whose
response is no product of matrices reads some positions one by one besides.  Using Xq instead of X
in G and c is the asymmetric form: the errors of earlier layers are repaired instead of piling up
(Hu, Wang and Cheng, arXiv 1802.02733; Wu et al., arXiv 1512.06473).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Samples:
    """Some columns of Xq and of T, as rows: inputs (R, S) and targets (R, N).

    Each stands for `share` positions.
    """

    inputs: Floats
    targets: Floats
    share: float


@dataclass(frozen=True, eq=False)
class LayerProblem:
    """gram = G (S, S), cross = c^T (N, S), energy = t (N,).

    kernel: rows and columns of the layer's kernel; input s = (ky * kw + kx) * channels + channel.
    samples: None where the method asks for none.
    """

    gram: Floats
    cross: Floats
    energy: Floats
    kernel: tuple[int, int] = (1, 1)
    samples: Samples | None = None

    @classmethod
    def data_free(cls, weights: Floats, kernel: tuple[int, int] = (1, 1)) -> LayerProblem:
        """The problem with G = I: to be near the weights (N, S) themselves.

        Its positions are the unit vectors, whose responses are the columns of the weights.
        """
        unit = np.eye(weights.shape[1])
        samples = Samples(unit, weights.T.copy(), 1.0)
        return cls(unit, weights.copy(), (weights**2).sum(1), kernel, samples)

    @property
    def drawn(self) -> Samples:
        """The samples, of a problem that was gathered with some."""
        assert self.samples is not None, "gather the problem with the `samples` of its method"
        return self.samples

    @property
    def taps(self) -> int:
        """Positions of the kernel."""
        return prod(self.kernel)

    @property
    def channels(self) -> int:
        """Channels of the layer's input."""
        return len(self.gram) // self.taps

    def error(self, approximation: Floats) -> Floats:
        """The squared response error of What^T (N, S), one per filter: (N,)."""
        quadratic = (approximation @ self.gram * approximation).sum(1)
        return quadratic - 2 * (self.cross * approximation).sum(1) + self.energy

    def damped(self, weights: Floats, strength: float) -> LayerProblem:
        """Add strength * mean(diag G) * ||W - What||^2 to the error.

        Inputs that calibration never excited leave G singular, and their weights would run away.
        """
        pull = strength * float(np.mean(np.diag(self.gram)))
        return replace(
            self,
            gram=self.gram + pull * np.eye(len(self.gram)),
            cross=self.cross + pull * weights,
            energy=self.energy + pull * (weights**2).sum(1),
        )


class Reservoir:
    """At most `most` of all rows that come by, each as likely as any other, in their order.

    Every row draws a number, and those with the least are kept: the same rows for the same stream,
    in whatever chunks it comes (bottom-k sampling: Cohen and Kaplan, PODC 2007).
    """

    def __init__(self, most: int):
        self.most, self.seen = most, 0
        self.draws = np.random.default_rng(0)
        self.keys, self.rows = np.empty(0), list[Floats]()

    def add(self, *rows: Floats) -> None:
        """Let rows (R, ...) of several arrays come by together."""
        keys = self.draws.random(len(rows[0]))
        self.seen += len(keys)
        limit = self.keys.max() if len(self.keys) == self.most > 0 else 1.0
        new = np.flatnonzero(keys < limit)
        keys = np.concatenate([self.keys, keys[new]])
        least = np.sort(np.argsort(keys, kind="stable")[: self.most])
        before = self.rows or [one[:0] for one in rows]
        self.keys = keys[least]
        self.rows = [
            np.concatenate([old, one[new]])[least] for old, one in zip(before, rows, strict=True)
        ]


class Gatherer:
    """Sums up the problem of one layer with weights (N, S), chunk by chunk.

    It keeps at most `samples` positions.
    """

    def __init__(self, weights: NDArray[Any], kernel: tuple[int, int] = (1, 1), samples: int = 0):
        self.weights, self.kernel = weights.astype(np.float64), kernel
        self.reservoir = Reservoir(samples)
        count, size = weights.shape
        self.gram = np.zeros((size, size))
        self.cross = np.zeros((count, size))
        self.energy = np.zeros(count)

    def add(self, inputs: NDArray[Any], compressed_inputs: NDArray[Any]) -> None:
        """Add R positions: inputs (R, S) in the float network, and behind the compressed prefix.

        Both are in real units (integers of the prefix already multiplied by their scale).
        """
        x, xq = inputs.astype(np.float64), compressed_inputs.astype(np.float64)
        target = x @ self.weights.T
        self.gram += xq.T @ xq
        self.cross += target.T @ xq
        self.energy += (target**2).sum(0)
        if self.reservoir.most:
            self.reservoir.add(xq, target)

    def problem(self, damping: float = 0.01) -> LayerProblem:
        """The damped problem of everything added; the data-free one where every input was 0."""
        if not self.gram.any():
            return LayerProblem.data_free(self.weights, self.kernel)
        found = LayerProblem(self.gram, self.cross, self.energy, self.kernel, self.samples())
        return found.damped(self.weights, damping)

    def samples(self) -> Samples | None:
        """The positions kept, where any were asked for."""
        if not self.reservoir.most:
            return None
        inputs, targets = self.reservoir.rows
        return Samples(inputs, targets, self.reservoir.seen / len(inputs))
