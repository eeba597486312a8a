"""A network in PyTorch: one part for each node, which computes it and says what it has become.

Arrays are channels last, as everywhere in the house.  A value carries the step in which it was
rounded, so that branches of unequal steps meet as the lowering has it (`Lowering.common`).
"""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import singledispatch
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import layers
from ..activations import Clip, Quantize, Sign
from ..compress.method import Weight
from ..fixed import Grid, ProgramError
from ..layers import Layer, Slide
from ..network import INPUT, Linear, Network, Node
from .form import floats, form, rms, tensor
from .straight import activation_signs, rounded
from .uniform import Rounding


class Value(NamedTuple):
    """Real numbers x (N, *shape), and what an integer 1 stands for where they were rounded."""

    x: Tensor
    step: Tensor | None = None


class Part(nn.Module):
    """A node of the network; parts without anything to learn are their layer."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.start = layer

    @abstractmethod
    def forward(self, *values: Value) -> Value:
        """Compute the node."""

    def layer(self) -> Layer:
        """The layer as it is now."""
        return self.start


class Model(nn.Module):
    """`network` with trainable forms of `weights`; layers without any stay as they are."""

    def __init__(self, network: Network, weights: Mapping[str, Weight], step: float | None = None):
        super().__init__()
        self.network, self.step = network, step
        # Nodes may be called as members of a module are: PyTorch sees the parts without names.
        self.parts: dict[str, Part] = {}
        for node in network.nodes:
            self.parts[node.name] = _part(node, weights)
        self.all = nn.ModuleList(self.parts.values())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Every value, from real inputs (N, *shape)."""
        step = None if self.step is None else x.new_tensor(self.step)
        values = {INPUT: Value(x, step)}
        for node in self.network.nodes:
            values[node.name] = self.parts[node.name](*(values[name] for name in node.inputs))
        return {name: value.x for name, value in values.items()}

    def clip(self) -> None:
        """Bring latent weights back to where their gradients live."""
        for one in self.parts.values():
            if isinstance(one, Weighted):
                one.form.clip()

    @contextmanager
    def noisy(self, noise: float, rng: torch.Generator) -> Iterator[None]:
        """Signs are those of disturbed values inside: +1 with a chance that rises with the value.

        noise: the deviation; what stands in front of signs starts with root mean square 1.  As the
        stochastic neurons of arXiv 1308.3432, with normal noise.
        """
        signs = [one for one in self.parts.values() if isinstance(one, Signed)]
        for one in signs:
            one.noise, one.rng = noise, rng
        try:
            yield
        finally:
            for one in signs:
                one.noise = 0.0

    def result(self) -> tuple[Network, dict[str, Weight]]:
        """The network as it is now, and its exact weights."""
        nodes = [replace(node, layer=self.parts[node.name].layer()) for node in self.network.nodes]
        weights = {
            name: one.form.weight() for name, one in self.parts.items() if isinstance(one, Weighted)
        }
        return replace(self.network, nodes=tuple(nodes)), weights


def _part(node: Node, weights: Mapping[str, Weight]) -> Part:
    """The part of a node: trainable weights, a norm behind them, or what its layer says."""
    weight = weights.get(node.name)
    if weight is not None:
        assert isinstance(node.layer, Linear)
        return Weighted(node.layer, weight)
    # Only behind trained weights: any other is a fixed function of the user's network.
    if isinstance(node.layer, layers.BatchNorm) and node.inputs[0] in weights:
        return Norm(node.layer)
    return part(node.layer)


class Plain(Part):
    """A layer with nothing to learn."""

    def forward(self, *values: Value) -> Value:
        return Value(compute(self.start, values[0].x), _kept(self.start, values[0].step))


class Fixed(Part):
    """A layer whose float weights stay, such as those of a teacher."""

    def __init__(self, layer: Linear):
        super().__init__(layer)
        self.register_buffer("weights", tensor(layer.weights))
        self.register_buffer("bias", tensor(layer.bias))

    def forward(self, *values: Value) -> Value:
        return Value(linear(self.start, values[0].x, self.weights, self.bias))


class Weighted(Part):
    """A layer with compressed weights and a bias, both trainable."""

    def __init__(self, layer: Linear, weight: Weight):
        super().__init__(layer)
        rows = layer.weights.reshape(len(layer.weights), -1)
        self.form = form(weight, rows.astype(float))
        self.bias = nn.Parameter(tensor(layer.bias))

    def forward(self, *values: Value) -> Value:
        weights = self.form().reshape(self.start.weights.shape)
        return Value(linear(self.start, values[0].x, weights, self.bias))

    def layer(self) -> Layer:
        weights = self.form.weight().dense().reshape(self.start.weights.shape)
        return replace(self.start, weights=weights, bias=floats(self.bias))


class Norm(Part):
    """Batch normalisation, by the statistics of the batch in training.

    settling: the next forward pass keeps the statistics of its batch.
    """

    def __init__(self, layer: layers.BatchNorm):
        super().__init__(layer)
        self.unit = float(rms(layer.gamma, 0)[0])
        self.gamma = nn.Parameter(tensor(layer.gamma / self.unit))
        self.beta = nn.Parameter(tensor(layer.beta / self.unit))
        self.register_buffer("mean", tensor(layer.mean))
        self.register_buffer("variance", tensor(layer.variance))
        self.settling = False

    def forward(self, *values: Value) -> Value:
        x, mean, variance = values[0].x, self.mean, self.variance
        if self.training:
            variance, mean = torch.var_mean(x, tuple(range(x.ndim - 1)), correction=0)
        if self.settling:
            self.mean, self.variance = mean.detach(), variance.detach()
        # One product and one sum per value: what is once per channel costs nothing.
        factor = self.unit * self.gamma / torch.sqrt(variance + self.start.epsilon)
        return Value(torch.addcmul(self.unit * self.beta - mean * factor, x, factor))

    def layer(self) -> Layer:
        own = {name: self.unit * floats(getattr(self, name)) for name in ("gamma", "beta")}
        return replace(self.start, mean=floats(self.mean), variance=floats(self.variance), **own)


class Rounded(Part):
    """A rounding with a learned step."""

    def __init__(self, layer: Quantize):
        super().__init__(layer)
        self.rounding = Rounding(layer.step, Grid(layer.lo, layer.hi))

    def forward(self, *values: Value) -> Value:
        return Value(*self.rounding(values[0].x))

    def layer(self) -> Layer:
        return replace(self.start, step=self.rounding.value())


class Signed(Part):
    """A sign; its step stays, as the scales of the weights that read it are trained.

    noise: the deviation of what `Model.noisy` adds in front of it, drawn from rng.
    """

    noise = 0.0
    rng: torch.Generator | None = None

    def forward(self, *values: Value) -> Value:
        x = values[0].x
        step = x.new_tensor(self.start.step)
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=self.rng, dtype=x.dtype)
        return Value(step * activation_signs(x), step)


class Joined(Part):
    """A sum or a concatenation; rounded branches are rounded anew to the coarsest step of all."""

    def forward(self, *values: Value) -> Value:
        steps = [value.step for value in values if value.step is not None]
        step = torch.stack(steps).max() if len(steps) == len(values) else None
        xs = [value.x if step is None else _rescaled(value, step) for value in values]
        if isinstance(self.start, layers.Add):
            return Value(xs[0] + xs[1])
        return Value(torch.cat(xs, -1), step)


def _rescaled(value: Value, step: Tensor) -> Tensor:
    same = bool(value.step == step)
    return value.x if same else step * rounded(value.x / step)


@singledispatch
def part(layer: Layer) -> Part:
    """The part that computes a layer without compressed weights."""
    return Plain(layer)


part.register(Linear, Fixed)
part.register(Quantize, Rounded)
part.register(Sign, Signed)
part.register(layers.Add, Joined)
part.register(layers.Concatenate, Joined)

PASSING = (
    layers.Relu, layers.MaxPool, layers.Flatten, layers.Reshape, layers.Pad, layers.Select
)  # fmt: skip
"""Layers that keep the step of what they read."""


def _kept(layer: Layer, step: Tensor | None) -> Tensor | None:
    return step if isinstance(layer, PASSING) else None


@singledispatch
def compute(layer: Layer, x: Tensor) -> Tensor:
    """A layer without weights on values (N, *shape)."""
    raise ProgramError(_unknown(layer))


def _unknown(layer: Layer) -> str:
    return (
        f"fine-tuning knows no {type(layer).__name__}; register one with "
        "bitwright.models.train.model.compute, or compress this network without fine-tuning"
    )


def check_layers(network: Network) -> None:
    """Raise unless all layers can be trained, or passed."""
    for node in network.nodes:
        layer = node.layer
        if isinstance(layer, layers.Conv) and layer.groups > 1:
            raise ProgramError(
                f"layer {node.name!r} has {layer.groups} groups, and fine-tuning takes "
                "convolutions of one group and depthwise ones; compress this network without "
                "fine-tuning"
            )
        known = part.dispatch(type(layer)), compute.dispatch(type(layer))
        if known == (part.dispatch(Layer), compute.dispatch(Layer)):
            raise ProgramError(f"layer {node.name!r}: {_unknown(layer)}")


@compute.register
def _(layer: layers.BatchNorm, x: Tensor) -> Tensor:
    return x * tensor(layer.factor).to(x) + tensor(layer.term).to(x)


@compute.register
def _(layer: layers.Relu, x: Tensor) -> Tensor:
    return x.relu()


@compute.register
def _(layer: Clip, x: Tensor) -> Tensor:
    return x.clamp(layer.lo, layer.hi)


@compute.register
def _(layer: layers.MaxPool, x: Tensor) -> Tensor:
    return torch.stack(list(_taps(layer.slide, x, -torch.inf))).amax(0)


@compute.register
def _(layer: layers.AveragePool, x: Tensor) -> Tensor:
    return torch.stack(list(_taps(layer.slide, x))).mean(0)


@compute.register
def _(layer: layers.GlobalAveragePool, x: Tensor) -> Tensor:
    return x.mean((1, 2), keepdim=True)


@compute.register
def _(layer: layers.Flatten, x: Tensor) -> Tensor:
    return x.flatten(1)


@compute.register
def _(layer: layers.Reshape, x: Tensor) -> Tensor:
    return x.reshape(len(x), *layer.size)


@compute.register
def _(layer: layers.Pad, x: Tensor) -> Tensor:
    return _padded(x, layer.padding)


@compute.register
def _(layer: layers.Select, x: Tensor) -> Tensor:
    return x[..., list(layer.channels)]


@compute.register
def _(layer: layers.ArgMax, x: Tensor) -> Tensor:
    return x.argmax(-1, keepdim=True).to(x)


def linear(layer: Linear, x: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """A layer with the weights and the bias of its shapes that are passed in."""
    if isinstance(layer, layers.Dense):
        return F.linear(x, weights, bias)
    depthwise = isinstance(layer, layers.DepthwiseConv)
    kernels = weights[:, None] if depthwise else weights.permute(0, 3, 1, 2)
    groups = len(weights) if depthwise else layer.groups
    image = _padded(x, layer.padding).permute(0, 3, 1, 2)
    found = F.conv2d(image, kernels, bias, layer.stride, 0, layer.dilation, groups)
    return found.permute(0, 2, 3, 1)


def _padded(x: Tensor, padding: layers.Sides, fill: float = 0.0) -> Tensor:
    top, left, bottom, right = padding
    return F.pad(x, (0, 0, left, right, top, bottom), value=fill) if any(padding) else x


def _taps(slide: Slide, x: Tensor, fill: float = 0.0):
    """What stands under each tap of a kernel, (N, Ho, Wo, C): see `Slide.taps`."""
    x = _padded(x, slide.padding, fill)
    rows, columns = x.shape[1] - slide.reach[0] + 1, x.shape[2] - slide.reach[1] + 1
    for ky in range(slide.kernel[0]):
        y = ky * slide.dilation[0]
        for kx in range(slide.kernel[1]):
            z = kx * slide.dilation[1]
            yield x[:, y : y + rows : slide.stride[0], z : z + columns : slide.stride[1]]
