"""Fine-tuning: a compressed network trained on labelled data, and back to an exact program."""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..classes import top_1
from ..fixed import Ints, ProgramError
from ..lower import NONE
from ..network import Network, fold_batch_norm
from ..program import Execute, Program
from . import distil, ffn, lowrank, pruning, qcnn, winograd  # noqa: F401 - makes their forms known
from .held import Score, evidence, parted
from .model import Model, check_layers
from .start import BITS_LEAST, Draft, draft, scores_of
from .statistics import settle

Progress = Callable[[str], None]
TELL_SECONDS = 2.0


@dataclass(frozen=True)
class Options:
    """How to train: Adam with a cosine learning rate from `rate`.

    teacher: the share of the loss that is the float network's answers, softened by `temperature`;
    the rest are the labels.  hint: the weight of its activations beside that.  shift: frames (H, W,
    C) move by up to so many pixels, along axes longer than that, zeros moving in.  noise: the
    deviation of what is added in front of the signs of 1-bit activations, whose gradients live
    within -1..1.  hold: the share of the frames that is not trained on and judges whether training
    helped: if not, the result is the start, compressed by all frames.  With activations of one bit
    nothing is held back, as the start is no result there.
    """

    epochs: int = 20
    rate: float = 2e-3
    batch: int = 64
    teacher: float = 0.5
    temperature: float = 4.0
    hint: float = 0.0
    shift: int = 0
    noise: float = 0.0
    hold: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "epochs": (0, 10**6), "rate": (0, 1), "batch": (2, 10**6), "teacher": (0, 1),
            "temperature": (1e-3, 1e3), "hint": (0, 1e6), "shift": (0, 1000),
            "noise": (0, 1e3), "hold": (0, 0.9), "seed": (0, 2**63),
        }  # fmt: skip
        for item in fields(self):
            least, most = limits[item.name]
            value = getattr(self, item.name)
            whole = item.type != "int" or value == int(value)
            if not least <= value <= most or not whole:
                kind = "a whole number" if item.type == "int" else "a number"
                raise ProgramError(
                    f"fine-tuning takes {item.name} as {kind} from {least} to {most}, not {value}"
                )


def finetune(
    network: Network,
    x: NDArray[Any],
    y: Ints,
    weights: str = "bwnh",
    activation_bits: int = 8,
    options: Options = Options(),
    execute: Execute | None = None,
    mixed: Mapping[str, str] = NONE,
    progress: Progress | None = None,
) -> Program:
    """Compress `network` as `quantise` does, then train the result; return its exact program.

    x, y: training inputs (N, *shape) and their classes (N,), which calibrate as well; activations
    take `activation_bits` (1 to 8).  The same seed gives the same program on one machine.  Where
    frames are held back, the metadata says how many of them were answered rightly.
    """
    tell = progress or (lambda _: None)
    frames = network.accept(x)
    # Before the long part: what would be refused behind it.
    check_layers(network)
    if options.noise and activation_bits >= BITS_LEAST:
        raise ProgramError(
            f"noise stands in front of activations of 1 bit, and these have {activation_bits}; "
            "leave the noise at 0"
        )
    labels = _labels(y, frames, network)
    # With activations of one bit the start is no result that could be kept.
    judges = activation_bits >= BITS_LEAST and options.epochs > 0
    own, held = parted(len(frames), options.hold if judges else 0.0, options.seed)
    x, y = np.asarray(x), np.asarray(y)

    def start(rows: Ints) -> Draft:
        return draft(network, x[rows], weights, activation_bits, execute, mixed)

    def exact(one: Draft, rows: Ints) -> Program:
        return one.program(x[rows], weights, execute, mixed)

    def judged(one: Draft, program: Program) -> Score:
        reals = torch.from_numpy(reals_of(one, frames[held]))
        outputs = program.run(program.accept(x[held]), execute)[program.nodes[-1].name]
        right = top_1(outputs, y[held])
        return Score(right, evidence(model_of(one), reals, labels[held]))

    tell(f"{network.name}: compressing by {weights}")
    first = start(own)
    result = train(first, network, frames[own], y[own], options, tell)
    program = exact(result, own)
    notes: dict[str, Any] = {"finetuning": asdict(options)}
    if len(held):
        before, after = judged(first, exact(first, own)), judged(result, program)
        if after <= before:
            everything = np.arange(len(x))
            program = exact(start(everything), everything)
        notes["held"] = {
            "frames": len(held), "before": before.accuracy, "after": after.accuracy,
            "helped": after > before,
        }  # fmt: skip
    return replace(program, metadata={**program.metadata, **notes})


def train(
    first: Draft,
    network: Network,
    x: NDArray[Any],
    y: Ints,
    options: Options,
    progress: Progress | None = None,
) -> Draft:
    """The draft after training, with `network` as its teacher."""
    student = model_of(first)
    labels = _labels(y, x, network)
    if options.epochs:
        teacher = Model(fold_batch_norm(network), {}).float().eval().requires_grad_(False)
        reals = torch.from_numpy(reals_of(first, x)).float()
        student.float()
        run = _Training(student, teacher, options, progress or (lambda _: None))
        with deterministic(), student.noisy(options.noise, run.rng):
            run.run(reals, labels)
        student.double()
        settle(student, reals)
    found, weights = student.result()
    return replace(first, network=found, weights=weights)


@contextmanager
def deterministic() -> Iterator[None]:
    """Sums in one order inside, whatever the number of threads."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def model_of(one: Draft) -> Model:
    """A draft in PyTorch, in float64."""
    return Model(one.network, one.weights, float(one.border.scale[0])).double().eval()


def reals_of(one: Draft, x: NDArray[Any]) -> NDArray[np.float64]:
    """Inputs as the program sees them: rounded as at its border, in real numbers."""
    return float(one.border.scale[0]) * one.border.quantise(x, one.edge).astype(np.float64)


def _labels(y: Ints, x: NDArray[Any], network: Network) -> Tensor:
    classes = int(np.prod(network.shapes[scores_of(network)]))
    y = np.asarray(y)
    if len(x) == 0:
        raise ProgramError("there is nothing to train on: the data hold 0 inputs")
    if y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise ProgramError(
            f"labels are one whole number per input, of shape ({len(x)},), not {y.dtype} {y.shape}"
        )
    if int(y.min()) < 0 or int(y.max()) >= classes:
        raise ProgramError(
            f"labels are classes from 0 to {classes - 1}, and these span {y.min()}..{y.max()}; "
            "give those of this network"
        )
    return torch.from_numpy(y.astype(np.int64))


class _Training:
    """One run: a student, its teacher, and where their values are compared."""

    def __init__(self, student: Model, teacher: Model, options: Options, tell: Progress):
        self.student, self.teacher, self.options, self.tell = student, teacher, options, tell
        self.scores = scores_of(student.network)
        self.pairs = [
            (name, name.removesuffix("_rounded"))
            for name in student.network.shapes
            if name.endswith("_rounded") and name.removesuffix("_rounded") in teacher.parts
        ]
        if options.hint and not self.pairs:
            raise ProgramError(
                "hints compare rounded activations inside the network, and it has none; leave the "
                "hint at 0"
            )
        self.rng = torch.Generator().manual_seed(options.seed)

    def run(self, x: Tensor, y: Tensor) -> None:
        """Train on all of x and y, `epochs` times."""
        options = self.options
        optimiser = torch.optim.Adam(self.student.parameters(), options.rate)
        parts = max(1, len(x) // options.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.epochs * parts)
        self.student.train()
        told = time.monotonic()
        for epoch in range(options.epochs):
            total = 0.0
            for part in torch.randperm(len(x), generator=self.rng).tensor_split(parts):
                optimiser.zero_grad()
                loss = self.loss(shifted(x[part], options.shift, self.rng), y[part])
                loss.backward()
                optimiser.step()
                self.student.clip()
                schedule.step()
                total += float(loss.detach()) / parts
            # Behind signs a loss is finite whatever came before them.
            whole = all(bool(one.isfinite().all()) for one in self.student.parameters())
            if not (whole and np.isfinite(total)):
                raise ProgramError(
                    f"training diverged in epoch {epoch + 1}, at a rate of {options.rate:g}; "
                    "lower the rate"
                )
            if time.monotonic() - told > TELL_SECONDS or epoch == options.epochs - 1:
                told = time.monotonic()
                self.tell(f"epoch {epoch + 1} of {options.epochs}: loss {total:.4f}")

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """What labels, the teacher's answers and its activations have against the student."""
        options, own = self.options, self.student(x)
        scores = own[self.scores].flatten(1)
        loss = (1 - options.teacher) * F.cross_entropy(scores, y)
        if options.teacher or options.hint:
            with torch.no_grad():
                wanted = self.teacher(x)
        if options.teacher:
            soft = wanted[scores_of(self.teacher.network)].flatten(1)
            loss = loss + options.teacher * distil.logits(scores, soft, options.temperature)
        if options.hint:
            hints = [distil.hint(own[a], wanted[b]) for a, b in self.pairs]
            loss = loss + options.hint * torch.stack(hints).mean()
        return loss


def shifted(x: Tensor, most: int, rng: torch.Generator) -> Tensor:
    """Move each frame (N, H, W, C) by whole pixels, up to `most`, along axes longer than that."""
    for axis in (1, 2) if most and x.ndim == 4 else ():
        size = x.shape[axis]
        if size > most:
            around = (0, 0, most, most) if axis == 2 else (0, 0, 0, 0, most, most)
            start = torch.randint(0, 2 * most + 1, (len(x), 1), generator=rng)
            places = (start + torch.arange(size)).reshape(len(x), *[1] * (axis - 1), size)
            shape = [len(x), *x.shape[1:]]
            index = places.reshape(*places.shape, *[1] * (4 - places.ndim)).expand(shape)
            x = F.pad(x, around).gather(axis, index)
    return x
