"""The verb `finetune`, which needs PyTorch: compress, then train what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from bitwright.models.classes import top_1
from bitwright.models.fixed import Ints
from bitwright.models.lower import NONE
from bitwright.models.network import Network
from bitwright.models.program import Program
from bitwright.models.train.finetune import Options
from bitwright.models.train.finetune import finetune as train
from bitwright.sim import kernels

from .api import Array, float_network
from .expected import check_classes

AS_USUAL = Options()


def finetune(
    network: Network | str | Path,
    data: Array,
    labels: Ints,
    weights: str = "bwnh",
    activations: int = 8,
    mixed: Mapping[str, str] = NONE,
    options: Options = AS_USUAL,
    progress: Callable[[str], None] | None = None,
) -> Program:
    """Compress a float network as `compress` does, then train the result on labelled data.

    data, labels: training inputs (N, *shape) and their classes (N,); activations: bits of each (1
    to 8); options: see `bitwright.models.train.finetune.Options`.  The float network is the
    teacher.  The program's metadata holds its accuracy on the training data.
    """
    floats = float_network(network)
    check_classes(floats)
    program = train(
        floats, data, labels, weights, activations, options, kernels.execute, mixed, progress
    )
    accuracy = top_1(kernels.run(program, floats.accept(data)), labels)
    return replace(program, metadata={**program.metadata, "training_accuracy": accuracy})
