"""Writes the tables of docs/onnx.md: every operator, and what becomes of it.

    python tools/onnx_page.py [FILE]      (default: docs/onnx.md; what stands above the line stays)

What is accepted stands in the docstrings of the handlers, what is folded in `folding.RULES`.  Why
the rest is refused is said here, and nothing may stand here that is not refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from onnx import defs

from bitwright.models.onnx.constants.folding import DEQUANTISERS, QUANTISERS, foldable
from bitwright.models.onnx.floats.network import HANDLERS as FLOAT_HANDLERS
from bitwright.models.onnx.graph import MICROSOFT, ONNX, QONNX, Node
from bitwright.models.onnx.nodes import HANDLERS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "onnx.md"
LINE = "<!-- What follows is written by tools/onnx_page.py: edit the code, not this. -->\n"
OPSET = 28
"""The version of the standard whose operators are listed; newer ones are not on the page."""

BY_READER = "Constant"
"""The operator that is no node any more once a file has been read."""

REASONS = {
    "Functions between grids: let a quantiser follow one of those above, or `compress` the float "
    "model, which knows more": (
        "Acos Acosh Asin Asinh Atan Atanh Celu Cos Cosh Elu Erf Exp Gelu Log Mish Selu Shrink Sin "
        "Sinh Softplus Softsign Swish SwiGLU Tan ThresholdedRelu"
    ),
    "Normalised by what each frame holds; use BatchNormalization": (
        "GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization "
        "MeanVarianceNormalization RMSNormalization"
    ),
    "Products of two tensors that depend on the input": (
        "Attention Einsum LinearAttention RotaryEmbedding"
    ),
    "State from step to step": "CausalConvWithState CumProd CumSum GRU LSTM RNN",
    "Control flow, sequences, optional values: unroll or inline them before exporting": (
        "ConcatFromSequence If Loop Optional OptionalGetElement OptionalHasElement Scan SequenceAt "
        "SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap "
        "SplitToSequence"
    ),
    "Places or sizes that depend on values": (
        "AffineGrid Compress DeformConv GatherND GridSample MaxRoiPool MaxUnpool NonMaxSuppression "
        "NonZero OneHot ReverseSequence RoiAlign Scatter ScatterElements ScatterND TensorScatter "
        "Unique"
    ),
    "Rearrangements that are not wires in a stream": (
        "CenterCropPad Col2Im ConvTranspose Trilu"
    ),
    "Reductions and ranks other than sums, means and maxima": (
        "ArgMin Det GlobalLpPool Hardmax LpPool Mean ReduceL1 ReduceL2 ReduceLogSum "
        "ReduceLogSumExp ReduceSumSquare"
    ),
    "Types and bits": (
        "BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CastLike EyeLike IsInf IsNaN"
    ),
    "Signals": "BlackmanWindow DFT HammingWindow HannWindow MelWeightMatrix STFT",
    "Chance": (
        "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike"
    ),
    "Training": "NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss",
    "Texts and image files": (
        "ImageDecoder RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer"
    ),
}  # fmt: skip
"""Why operators of the standard are refused."""

QONNX_REFUSED = {
    "FloatQuant": "Grids of floats are no grids of integers; quantise by Quant",
    "Im2Col MaxPoolNHWC QuantAvgPool2d XnorPopcountMatMul": (
        "Made inside FINN and qonnx; give the file as it was exported"
    ),
}
"""Operators of the qonnx package that are not taken, and why."""


STANDARD = """## Operators of the ONNX standard

The {every} operators of opset {opset}, each in one of three tables."""
TAKEN = """### In hardware ({count})

*Folded*: where all inputs are constants, the node is computed while the file is read."""
CONSTANT = """### On constants alone ({count})

Computed exactly while the file is read; refused where an input depends on the graph's input.
`Constant` is a constant itself, and `Shape` and `Size` are constants of any tensor."""
REFUSED = """### Refused ({count})

One sentence names the node. Where only constants go into it, fold it before exporting."""
OF_QONNX = """## QONNX

The domains `qonnx.custom_op.general`, `finn.custom_op.general` and `onnx.brevitas`."""
OF_MICROSOFT = """## ONNX Runtime

The domain `com.microsoft`; its other operators, and other domains, are refused by name."""
OF_FLOATS = """## Float models, by `bitwright compress`

In float models these are understood, and whatever is computed of constants alone:"""


def tables() -> str:
    """All that stands under the line."""
    names = standard()
    taken = [name for name in names if (ONNX, name) in HANDLERS and not _refuses(name)]
    folded = [name for name in names if name not in taken and _folds(ONNX, name)]
    folded = sorted([*folded, BY_READER])
    refused = [name for name in names if name not in {*taken, *folded}]
    parts = [
        STANDARD.format(every=len(names), opset=OPSET),
        TAKEN.format(count=len(taken)),
        _accepted(ONNX, taken),
        CONSTANT.format(count=len(folded)),
        _listed(folded),
        REFUSED.format(count=len(refused)),
        _reasons(refused),
        OF_QONNX,
        _accepted(QONNX, _others(QONNX)),
        _refused_of_qonnx(),
        OF_MICROSOFT,
        _accepted(MICROSOFT, _others(MICROSOFT)),
        OF_FLOATS,
        _listed(sorted(FLOAT_HANDLERS)),
    ]
    return "\n\n".join(parts) + "\n"


def standard() -> list[str]:
    """The operators of the standard up to opset `OPSET`, sorted."""
    if defs.onnx_opset_version() < OPSET:
        raise SystemExit(f"docs/onnx.md lists opset {OPSET}; install an onnx that knows it")
    every = defs.get_all_schemas_with_history()
    return sorted({s.name for s in every if s.domain == ONNX and s.since_version <= OPSET})


def _folds(domain: str, name: str) -> bool:
    return foldable(Node("", name, domain, OPSET, (), ()))


def _refuses(name: str) -> bool:
    """Whether the handler is there only to say why not."""
    return HANDLERS[ONNX, name].accepted.startswith("Refused")


def _others(domain: str) -> list[str]:
    """The operators of a domain that is not the standard's."""
    known = {op for where, op in {*HANDLERS, *QUANTISERS, *DEQUANTISERS} if where == domain}
    return sorted(known | {name for name in ("Trunc",) if _folds(domain, name)})


def _accepted(domain: str, names: Iterable[str]) -> str:
    rows: list[list[str]] = []
    for name in names:
        handler = HANDLERS.get((domain, name))
        accepted = handler.accepted if handler else "On constants alone."
        if not accepted:
            raise SystemExit(f"the handler of {name} does not say what it accepts")
        rows.append([_listed([name]), accepted, "yes" if _folds(domain, name) else ""])
    return _rows(["Operator", "Accepted", "Folded"], rows)


def _reasons(refused: list[str]) -> str:
    known = {name: why for why, names in REASONS.items() for name in names.split()}
    stray = sorted(known.keys() - set(refused))
    if stray:
        raise SystemExit(f"{', '.join(stray)} are not refused; drop them from REASONS")
    rows = {why: [name for name in refused if known.get(name) == why] for why in REASONS}
    for name in sorted(set(refused) - known.keys()):
        handler = HANDLERS.get((ONNX, name))
        if handler is None:
            raise SystemExit(f"{name} is refused; say why in REASONS")
        rows.setdefault(handler.accepted.removeprefix("Refused, ").rstrip("."), []).append(name)
    cells = [[_listed(names), why[0].upper() + why[1:]] for why, names in rows.items()]
    return _rows(["Operators", "Why"], cells)


def _refused_of_qonnx() -> str:
    stray = {*" ".join(QONNX_REFUSED).split()} & {*_others(QONNX)}
    if stray:
        raise SystemExit(f"{', '.join(sorted(stray))} are taken; drop them from QONNX_REFUSED")
    cells = [[_listed(names.split()), why] for names, why in QONNX_REFUSED.items()]
    return _rows(["Refused", "Why"], cells)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _rows(heading: list[str], rows: list[list[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Write the tables anew."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    prose, line, _ = path.read_text().partition(LINE)
    if not line:
        raise SystemExit(f"{path} has no line {LINE.strip()!r}; put it above the tables")
    path.write_text(f"{prose}{LINE}\n{tables()}")


if __name__ == "__main__":
    main()
