"""MNIST-1D (Greydanus and Kobak, arXiv 2011.14439) and a small float CNN for it.

The data are made by the package `mnist1d` with its own settings and seed: 4,000 training and 1,000
test sequences of 40 numbers, here images (1, 40, 1).  Its authors' baselines: linear 32 %, MLP
68 %, CNN 94 %.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from mnist1d.data import make_dataset
from torch import Tensor, nn
from torch.nn import functional as F

from bitwright.models.layers import BatchNorm, Conv, Dense, Flatten, MaxPool, Relu
from bitwright.models.network import Network, Node

CLASSES = 10
SIZES = ((1, 32, 5), (32, 64, 5), (64, 64, 3))
"""Channels in and out, and taps, of each convolution; a pool of 2 stands behind each."""
EPOCHS, BATCH, RATE, DECAY, SHIFT = 40, 64, 4e-3, 1e-2, 2


@cache
def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training inputs (4000, 1, 40, 1) and classes, test inputs and classes."""
    made = make_dataset()
    x, test_x = (made[name].reshape(-1, 1, 40, 1) for name in ("x", "x_test"))
    return x, made["y"].astype(np.int64), test_x, made["y_test"].astype(np.int64)


class Net(nn.Module):
    """Three convolutions with batch norm, relu and pool, then ten scores."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(*s, padding=s[2] // 2, bias=False) for s in SIZES)
        self.norms = nn.ModuleList(nn.BatchNorm1d(outputs) for _, outputs, _ in SIZES)
        self.scores = nn.Linear(5 * SIZES[-1][1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.max_pool1d(norm(conv(x)).relu(), 2)
        return self.scores(x.permute(0, 2, 1).flatten(1))

    def export(self) -> Network:
        """The float network in bitwright's own form."""
        nodes: list[Node] = []

        def add(name: str, layer) -> None:
            nodes.append(Node(name, layer, (nodes[-1].name if nodes else "input",)))

        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True), 1):
            weights = np.ascontiguousarray(array(conv.weight).transpose(0, 2, 1)[:, None])
            side = weights.shape[2] // 2
            bias = np.zeros(len(weights), np.float32)
            add(f"conv{number}", Conv(weights, bias, padding=(0, side, 0, side)))
            arrays = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
            add(f"norm{number}", BatchNorm(*map(array, arrays), epsilon=norm.eps))
            add(f"relu{number}", Relu())
            add(f"pool{number}", MaxPool((1, 2), (1, 2)))
        add("flat", Flatten())
        add("scores", Dense(array(self.scores.weight), array(self.scores.bias)))
        return Network("mnist1d_cnn", (1, 40, 1), tuple(nodes))


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy().copy()


def fit(x: np.ndarray, y: np.ndarray, seed: int) -> Network:
    """A float network trained from its seed; sequences move by up to `SHIFT` places."""
    torch.set_num_threads(1)  # sums in one order, and faster on so small a network
    torch.manual_seed(seed)
    model, classes = Net(), torch.from_numpy(y)
    inputs = torch.from_numpy(x[:, 0, :, 0].astype(np.float32))
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))[: len(x) // BATCH * BATCH]
        for part in order.split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(model(_moved(inputs[part])), classes[part]).backward()
            optimiser.step()
            schedule.step()
    return model.eval().export()


def _moved(x: Tensor) -> Tensor:
    """Each row moved by up to `SHIFT` places, zeros moving in, as a batch of one channel."""
    start = torch.randint(0, 2 * SHIFT + 1, (len(x), 1))
    return F.pad(x, (SHIFT, SHIFT)).gather(1, start + torch.arange(x.shape[1]))[:, None]
