"""Trains nothing, exports everything: the Brevitas networks that the ONNX importer is tested on.

    python tools/make_onnx_samples.py [FOLDER [NAME ...]]      (default: all, into tests/data)

needs torch, brevitas and onnxoptimizer.  Every sample is `brevitas_NAME.onnx` and, beside it,
`brevitas_NAME.npz` with a few frames `x` and what Brevitas itself computes for them, `y`.  The
tests read the committed files; a live test makes them anew where Brevitas is installed.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from brevitas import nn as quantised
from brevitas.export import export_onnx_qcdq, export_qonnx
from brevitas.quant import (
    Int8BiasPerTensorFloatInternalScaling,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
)
from google.protobuf.message import Message
from torch import Tensor, nn

STEPS = 20
"""Training-mode passes over random frames, which set the activation scales and the statistics."""


@dataclass(frozen=True)
class Layers:
    """Makes layers of some bits; one bit is binary, weights and activations."""

    bits: int
    per_channel: bool = False
    bias_quantised: bool = False

    def _weights(self) -> dict[str, Any]:
        if self.bits == 1:
            return {"weight_quant": SignedBinaryWeightPerTensorConst}
        more: dict[str, Any] = {
            "weight_bit_width": self.bits,
            "weight_scaling_per_output_channel": self.per_channel,
        }
        if self.bias_quantised:
            more["bias_quant"] = Int8BiasPerTensorFloatInternalScaling
        return more

    def conv(self, inputs: int, outputs: int, kernel: int, **more: Any) -> nn.Module:
        more = {"padding": kernel // 2, "bias": False} | more
        return quantised.QuantConv2d(inputs, outputs, kernel, **more, **self._weights())

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return quantised.QuantLinear(inputs, outputs, bias=True, **self._weights())

    def relu(self) -> nn.Module:
        if self.bits == 1:
            return quantised.QuantIdentity(SignedBinaryActPerTensorConst)
        return quantised.QuantReLU(bit_width=self.bits, collect_stats_steps=STEPS // 2)

    def signed(self, bits: int | None = None) -> nn.Module:
        """A signed activation without a function; of 8 bits for a network's input."""
        bits = self.bits if bits is None else bits
        if bits == 1:
            return quantised.QuantIdentity(SignedBinaryActPerTensorConst)
        return quantised.QuantIdentity(bit_width=bits, collect_stats_steps=STEPS // 2)


def mlp(layers: Layers) -> nn.Module:
    """Three matrix products with batch normalisation between."""
    return nn.Sequential(
        layers.signed(8),
        layers.linear(16, 14),
        nn.BatchNorm1d(14),
        layers.relu(),
        layers.linear(14, 12),
        nn.BatchNorm1d(12),
        layers.relu(),
        layers.linear(12, 4),
    )


def cnn(layers: Layers) -> nn.Module:
    """Two convolutions with batch normalisation and max pools, and a matrix product."""
    return nn.Sequential(
        layers.signed(8),
        layers.conv(1, 4, 3),
        nn.BatchNorm2d(4),
        layers.relu(),
        nn.MaxPool2d(2),
        layers.conv(4, 6, 3),
        nn.BatchNorm2d(6),
        layers.relu(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        layers.linear(24, 4),
    )


def depthwise(layers: Layers) -> nn.Module:
    """A depthwise-separable block with a stride, and a mean over what is left of the frame."""
    return nn.Sequential(
        layers.signed(8),
        layers.conv(1, 6, 3),
        nn.BatchNorm2d(6),
        layers.relu(),
        layers.conv(6, 6, 3, groups=6, stride=2),
        nn.BatchNorm2d(6),
        layers.relu(),
        layers.conv(6, 8, 1),
        nn.BatchNorm2d(8),
        layers.relu(),
        nn.AvgPool2d(4),
        layers.signed(max(layers.bits, 2)),
        nn.Flatten(),
        layers.linear(8, 4),
    )


class Residual(nn.Module):
    """One block with an identity branch; both branches share the quantiser before the sum."""

    def __init__(self, layers: Layers):
        super().__init__()
        self.stem = nn.Sequential(
            layers.signed(8), layers.conv(1, 5, 3), nn.BatchNorm2d(5), layers.relu()
        )
        self.main = nn.Sequential(
            layers.conv(5, 5, 3),
            nn.BatchNorm2d(5),
            layers.relu(),
            layers.conv(5, 5, 3),
            nn.BatchNorm2d(5),
        )
        self.shared = layers.signed()
        self.after = layers.relu()
        self.last = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), layers.linear(80, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.last(self.after(self.shared(self.main(x)) + self.shared(x)))


@dataclass(frozen=True)
class Sample:
    """A network and the form in which it is exported, "qonnx" or "qcdq".

    `older` asks for torch's exporter by tracing, which names and folds differently.
    """

    network: Callable[[Layers], nn.Module]
    layers: Layers
    form: str
    shape: tuple[int, ...] = (1, 8, 8)
    older: bool = False

    @property
    def name(self) -> str:
        kind = self.network.__name__.lower()
        per = "_channel" if self.layers.per_channel else ""
        traced = "_traced" if self.older else ""
        return f"brevitas_{kind}_{self.layers.bits}bit{per}_{self.form}{traced}"


SAMPLES = [
    Sample(mlp, Layers(1), "qonnx", (16,)),
    Sample(mlp, Layers(2, per_channel=True), "qonnx", (16,)),
    Sample(mlp, Layers(4, bias_quantised=True), "qonnx", (16,)),
    Sample(mlp, Layers(8, per_channel=True), "qcdq", (16,)),
    Sample(cnn, Layers(1), "qonnx"),
    Sample(cnn, Layers(2), "qonnx"),
    Sample(cnn, Layers(4, per_channel=True), "qonnx"),
    Sample(cnn, Layers(4, per_channel=True), "qcdq"),
    Sample(cnn, Layers(8), "qcdq"),
    Sample(Residual, Layers(1), "qonnx"),
    Sample(Residual, Layers(2), "qcdq"),
    Sample(Residual, Layers(4, per_channel=True), "qonnx"),
    Sample(Residual, Layers(8), "qcdq"),
    Sample(depthwise, Layers(1), "qonnx"),
    Sample(depthwise, Layers(4, per_channel=True), "qonnx"),
    Sample(depthwise, Layers(4), "qcdq"),
    Sample(depthwise, Layers(8, per_channel=True), "qonnx"),
    Sample(mlp, Layers(2), "qonnx", (16,), older=True),
    Sample(cnn, Layers(4, per_channel=True), "qcdq", older=True),
    Sample(Residual, Layers(4), "qonnx", older=True),
]


def make(sample: Sample, folder: Path) -> Path:
    """Write a sample's two files, and give the path of the first."""
    path = folder / f"{sample.name}.onnx"
    with tempfile.TemporaryDirectory() as temporary:  # torch puts weights in a second file
        x, y = _export(sample, Path(temporary) / "model.onnx")
        model = onnx.load(Path(temporary) / "model.onnx")
    strip(model)
    onnx.checker.check_model(model)
    assert_no_paths(model)
    onnx.save(model, path)
    np.savez_compressed(path.with_suffix(".npz"), x=x, y=y)
    return path


def _export(sample: Sample, path: Path) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = sample.network(sample.layers)
        network.train()
        for _ in range(STEPS):
            network(torch.randn(32, *sample.shape, generator=generator))
        _shake(network)
    network.eval()
    frames = torch.randn(8, *sample.shape, generator=generator)
    with torch.no_grad():
        results = network(frames)
    export, opset = {"qonnx": (export_qonnx, 20), "qcdq": (export_onnx_qcdq, 18)}[sample.form]
    opset = 13 if sample.older else opset
    options = {"export_path": str(path), "opset_version": opset, "dynamo": not sample.older}
    with silence():
        export(network, args=frames[:1], **options)
    return frames.numpy(), results.numpy()


def _shake(network: nn.Module) -> None:
    """Gains and shifts as training leaves them, one gain in four negative."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(0.6, 1.4)
                module.weight[3::4] *= -1
                module.bias.normal_(0, 0.3)


@contextlib.contextmanager
def silence() -> Any:
    """The exporters print, log and warn."""
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def strip(message: Message) -> None:
    """Drop every documentation string and every metadata entry, at all depths."""
    for field, value in list(message.ListFields()):
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in value if not isinstance(value, Message) else (value,):
                strip(part)


def assert_no_paths(model: onnx.ModelProto) -> None:
    """Nothing of the machine that exported is left in the file."""
    data = model.SerializeToString()
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    for trace in (b"site-packages", b".py", b'File "', str(Path.cwd()).encode(), b"/tmp/"):
        assert trace not in data, trace


def main(folder: Path, names: list[str]) -> None:
    """Write the samples of these names, or all, into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for sample in SAMPLES:
        if names and sample.name not in names:
            continue
        path = make(sample, folder)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    here = Path(__file__).resolve().parent.parent / "tests" / "data"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else here, sys.argv[2:])
