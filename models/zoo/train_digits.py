"""Train the digits networks: python -m bitwright.models.zoo.train_digits --network cnn --seed 0.

Needs PyTorch (pip install 'bitwright[train]').  Without -o it trains on four fifths of the
training part and reports accuracy on the rest: the hyperparameters below were chosen that way.
With -o it trains on the whole training part; the test images are used once, for the accuracy that
is written into the metadata of the result.
"""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import saved
from ..fixed import Ints
from ..layers import BatchNorm, Conv, Dense, Flatten, MaxPool, Relu
from ..network import Network, Node
from ..program import Program
from . import digits
from .binary import BinaryNetwork, sign_of_batch_norm

SCORE_SCALE = 1 / 8


@dataclass(frozen=True)
class Options:
    """Hyperparameters of one network; `shift`: images move by up to that many pixels."""

    epochs: int
    batch: int
    rate: float
    decay: float
    shift: int


CNN = Options(epochs=60, batch=64, rate=3e-3, decay=1e-4, shift=1)
BINARY = Options(epochs=60, batch=64, rate=5e-2, decay=0.0, shift=0)


class Sign(torch.autograd.Function):
    """Sign with sign(0) = +1; the gradient passes straight through where |x| <= 1."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


class BinaryConv(nn.Conv2d):
    """A convolution by the signs of its weights, without padding or bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int):
        super().__init__(inputs, outputs, kernel, bias=False)
        nn.init.uniform_(self.weight, -0.1, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, Sign.apply(self.weight))

    def signs(self) -> Ints:
        """(N, kh, kw, C) of -1 and +1."""
        return channels_last(torch.where(self.weight >= 0, 1, -1))


class BinaryNet(nn.Module):
    """64-64-128 channels of 3 x 3, a hidden layer of 128, ten integer scores."""

    def __init__(self):
        super().__init__()
        sizes = [(1, 64, 3), (64, 64, 3), (64, 128, 3), (128, 128, 2)]
        self.convs = nn.ModuleList(BinaryConv(*size) for size in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _, outputs, _ in sizes)
        self.scores = BinaryConv(128, digits.CLASSES, 1)
        self.bias = nn.Parameter(torch.zeros(digits.CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = Sign.apply(norm(conv(x)))
        rounded = self.bias + (self.bias.round() - self.bias).detach()
        return (self.scores(x).flatten(1) + rounded) * SCORE_SCALE

    def clip(self) -> None:
        """Keep weights where the straight-through gradient can still move them."""
        for conv in [*self.convs, self.scores]:
            conv.weight.data.clamp_(-1, 1)

    def export(self) -> Program:
        """The exact integer program of this network."""
        layers = []
        largest = digits.PIXELS_MAX
        for conv, norm in zip(self.convs, self.norms, strict=True):
            layers.append(sign_of_batch_norm(conv.signs(), batch_norm(norm), largest))
            largest = 1
        return BinaryNetwork(
            "digits_binary",
            digits.INPUT_SHAPE,
            (0, digits.PIXELS_MAX),
            tuple(layers),
            self.scores.signs().reshape(digits.CLASSES, -1),
            self.bias.detach().round().long().numpy(),
        ).program()


class Block(NamedTuple):
    """A convolution with batch norm and relu, and a pool behind it where `pool` is above 1."""

    channels: int
    kernel: int
    padding: int
    pool: int


CNN_BLOCKS = (Block(16, 3, 1, 1), Block(32, 3, 1, 2), Block(64, 3, 1, 2))
WIDE_BLOCKS = (Block(64, 3, 0, 1), Block(64, 3, 0, 1), Block(256, 3, 0, 1), Block(512, 2, 0, 1))
"""`BinaryNet` with more filters where one costs few operations: the teacher of one bit."""


class FloatNet(nn.Module):
    """Blocks, then ten scores of the `flat` values that the last one leaves."""

    def __init__(self, blocks: Sequence[Block], flat: int):
        super().__init__()
        self.blocks = blocks
        inputs = (1, *(block.channels for block in blocks))
        self.convs = nn.ModuleList(
            nn.Conv2d(count, block.channels, block.kernel, padding=block.padding, bias=False)
            for count, block in zip(inputs, blocks, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(block.channels) for block in blocks)
        self.scores = nn.Linear(flat, digits.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for block, conv, norm in zip(self.blocks, self.convs, self.norms, strict=True):
            x = norm(conv(x)).relu()
            if block.pool > 1:
                x = F.max_pool2d(x, block.pool)
        # Channels last before flattening, as the saved network does.
        return self.scores(x.permute(0, 2, 3, 1).flatten(1))

    def clip(self) -> None:
        """Float weights are free."""

    def export(self) -> Network:
        """The float network in bitwright's own form."""
        nodes: list[Node] = []

        def add(name: str, layer) -> None:
            nodes.append(Node(name, layer, (nodes[-1].name if nodes else "input",)))

        layers = zip(self.blocks, self.convs, self.norms, strict=True)
        for number, (block, conv, norm) in enumerate(layers, start=1):
            weights = channels_last(conv.weight)
            bias = np.zeros(len(weights), np.float32)
            add(f"conv{number}", Conv(weights, bias, padding=(block.padding,) * 4))
            add(f"norm{number}", batch_norm(norm))
            add(f"relu{number}", Relu())
            if block.pool > 1:
                add(f"pool{number}", MaxPool((block.pool,) * 2, (block.pool,) * 2))
        add("flat", Flatten())
        add("scores", Dense(numpy(self.scores.weight), numpy(self.scores.bias)))
        return Network("digits_cnn", digits.INPUT_SHAPE, tuple(nodes), (0, digits.PIXELS_MAX))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "cnn": lambda: FloatNet(CNN_BLOCKS, 2 * 2 * 64),
    "wide": lambda: FloatNet(WIDE_BLOCKS, WIDE_BLOCKS[-1].channels),
    "binary": BinaryNet,
}


def numpy(tensor: Tensor) -> np.ndarray:
    """A copy outside PyTorch."""
    return tensor.detach().numpy().copy()


def channels_last(weights: Tensor) -> np.ndarray:
    """(N, C, kh, kw) -> (N, kh, kw, C)."""
    return np.ascontiguousarray(numpy(weights).transpose(0, 2, 3, 1))


def batch_norm(norm: nn.BatchNorm2d) -> BatchNorm:
    """The batch normalisation of inference, with the running statistics."""
    arrays = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return BatchNorm(*(numpy(array) for array in arrays), epsilon=norm.eps)


def shifted(x: Tensor, most: int) -> Tensor:
    """Move each square image (N, 1, H, H) by a random whole number of pixels, zeros moving in."""
    padded = F.pad(x, (most,) * 4)
    rows = torch.arange(x.shape[-1])
    dy, dx = torch.randint(0, 2 * most + 1, (2, len(x), 1))
    frames = torch.arange(len(x))[:, None, None]
    return padded[frames, 0, (rows + dy)[:, :, None], (rows + dx)[:, None, :]][:, None]


def train(model: nn.Module, x: Tensor, y: Tensor, options: Options) -> None:
    """Adam with a cosine learning rate; x is (N, 1, 8, 8)."""
    optimizer = torch.optim.AdamW(model.parameters(), options.rate, weight_decay=options.decay)
    steps = options.epochs * (len(x) // options.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(options.epochs):
        order = torch.randperm(len(x))[: len(x) // options.batch * options.batch]
        for part in order.split(options.batch):
            optimizer.zero_grad()
            F.cross_entropy(model(shifted(x[part], options.shift)), y[part]).backward()
            optimizer.step()
            model.clip()
            schedule.step()
    model.eval()


def fit(network: str, seed: int, x: Ints, y: Ints, options: Options) -> nn.Module:
    """Train one network from its seed, the same on every run on one machine."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    model = MODELS[network]()
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32))
    train(model, images, torch.from_numpy(y), options)
    return model


def accuracy(scores: Callable[[Ints], np.ndarray], x: Ints, y: Ints) -> float:
    """The share of images whose largest score is that of their label, in NumPy."""
    return float((scores(x).argmax(-1) == y).mean())


def validate(network: str, seed: int, options: Options) -> float:
    """Accuracy on a fifth of the training part after training on the rest."""
    split = digits.load()
    x, held_x, y, held_y = digits.stratified(split.train_x, split.train_y, len(split.train_x) // 5)
    return accuracy(fit(network, seed, x, y, options).export(), held_x, held_y)


def build(network: str, seed: int, options: Options) -> Network | Program:
    """Train on the whole training part; the test images only measure."""
    split = digits.load()
    trained = fit(network, seed, split.train_x, split.train_y, options).export()
    metadata = {
        "accuracy": accuracy(trained, split.test_x, split.test_y),
        "seed": seed,
        "training": asdict(options),
        "torch": torch.__version__,
        "made_by": f"python -m bitwright.models.zoo.train_digits --network {network} --seed {seed}",
    }
    return replace(trained, metadata=metadata)


def main() -> None:
    """Train one network and save it, or validate hyperparameters given as options."""
    parser = argparse.ArgumentParser(description="Train a digits network.")
    parser.add_argument("--network", choices=list(MODELS), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, help="without it: validate, and save nothing")
    for item in fields(Options):
        parser.add_argument(f"--{item.name}", type=float if item.type == "float" else int)
    arguments = parser.parse_args()
    given = {item.name: getattr(arguments, item.name) for item in fields(Options)}
    options = replace(
        BINARY if arguments.network == "binary" else CNN,
        **{name: value for name, value in given.items() if value is not None},
    )
    if arguments.output is None:
        print(f"validation accuracy {validate(arguments.network, arguments.seed, options):.4f}")
    else:
        trained = build(arguments.network, arguments.seed, options)
        if isinstance(trained, Network):
            trained.save(arguments.output)
        else:
            saved.save(trained, arguments.output)
        print(f"{arguments.output}: test accuracy {trained.metadata['accuracy']:.4f}")


if __name__ == "__main__":
    main()
