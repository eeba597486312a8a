"""Kernel, strides, dilations and pads of ONNX's layers as the program's `Window`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from ... import ops
from ...fixed import Ints, ProgramError
from ...program import MAX_ELEMENTS
from ..graph import Node
from ..parameters import Attributes

Pair = tuple[int, int]
LARGEST = 1 << 16
READS_MAX = 1 << 20


@dataclass(frozen=True)
class Windowing:
    """A window over (H, W); pairs are (vertical, horizontal), padding is as in `ops.Window`."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)

    @property
    def is_plain(self) -> bool:
        """True where each position is its own window."""
        return self.kernel == self.stride == (1, 1) and not any(self.padding)

    def window(self, pad: int = 0) -> ops.Window:
        """The operator."""
        return ops.Window(self.kernel, self.stride, self.padding, self.dilation, pad)

    def pads(self, size: Pair) -> bool:
        """Whether some position reads padding."""
        return bool(self.window().padded_taps(*size).any())


def windowing(
    node: Node, attributes: Attributes, kernel: Pair | None, size: Pair, flat: bool
) -> Windowing:
    """The window of a layer over an image of `size`; `flat` for 1-D layers, of height 1.

    `kernel` is known from weights, or read from the node.  ceil_mode is read, and answered by
    padding at the end: a pooling must know which taps that adds.
    """
    axes = 1 if flat else 2
    given = attributes.integers("kernel_shape", kernel[-axes:] if kernel else None)
    strides = attributes.integers("strides", (1,) * axes)
    dilations = attributes.integers("dilations", (1,) * axes)
    pads = attributes.integers("pads", (0,) * (2 * axes))
    auto = attributes.text("auto_pad", "NOTSET")
    for name, values, count, least in (
        ("kernel_shape", given, axes, 1),
        ("strides", strides, axes, 1),
        ("dilations", dilations, axes, 1),
        ("pads", pads, 2 * axes, 0),
    ):
        if len(values) != count or min(values) < least or max(values) > LARGEST:
            raise ProgramError(
                f"{node}: {name} has {count} integers from {least} to {LARGEST}, not "
                f"{shortened(values)}; export the model again"
            )
    if kernel is not None and tuple(given) != tuple(kernel[-axes:]):
        raise ProgramError(
            f"{node}: kernel_shape is {given}, and its weights have {tuple(kernel[-axes:])}; "
            "export the model again"
        )
    if flat:
        given, strides, dilations = (1, *given), (1, *strides), (1, *dilations)
        pads = (0, pads[0], 0, pads[1])
    if auto != "NOTSET" and any(pads):
        raise ProgramError(f"{node}: it states both auto_pad and pads; keep one of them")
    shape = Windowing(_pair(given), _pair(strides), tuple(pads), _pair(dilations))  # type: ignore[arg-type]
    shape = _automatic(node, shape, auto, size)
    _check_size(node, shape, size)
    return shape


def _check_size(node: Node, shape: Windowing, size: Pair) -> None:
    """Refuse windows that do not fit their input, or are too many, before any is looked at."""
    taps = 1
    for axis in (0, 1):
        padded = size[axis] + shape.padding[axis] + shape.padding[axis + 2]
        reach = (shape.kernel[axis] - 1) * shape.dilation[axis] + 1
        if padded < reach:
            raise ProgramError(
                f"{node}: its kernel reaches {reach}, beyond its padded input of {padded}; pad "
                "more or use a smaller kernel"
            )
        reads = ((padded - reach) // shape.stride[axis] + 1) * shape.kernel[axis]
        taps *= reads
        if reads > READS_MAX or taps > MAX_ELEMENTS:
            raise ProgramError(
                f"{node}: its windows read {taps} values of each channel, above the limit of "
                f"{READS_MAX} along an axis or {MAX_ELEMENTS} in all; use a smaller kernel"
            )


def _automatic(node: Node, shape: Windowing, auto: str, size: Pair) -> Windowing:
    """The window with the padding that auto_pad asks for."""
    if auto == "NOTSET":
        return shape
    if auto == "VALID":
        return Windowing(shape.kernel, shape.stride, (0, 0, 0, 0), shape.dilation)
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise ProgramError(
            f"{node}: auto_pad is NOTSET, VALID, SAME_UPPER or SAME_LOWER, not {auto[:40]!r}; "
            "export the model again"
        )
    before, after = [], []
    for length, kernel, stride, dilation in zip(
        size, shape.kernel, shape.stride, shape.dilation, strict=True
    ):
        reach = (kernel - 1) * dilation + 1
        total = max(0, (ceil(length / stride) - 1) * stride + reach - length)
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    padding = (before[0], before[1], after[0], after[1])
    return Windowing(shape.kernel, shape.stride, padding, shape.dilation)


def shortened(values: object) -> str:
    """A list for a message."""
    text = str(values)
    return text if len(text) <= 80 else f"{text[:77]}..."


def pooling(
    node: Node, attributes: Attributes, size: Pair, flat: bool
) -> tuple[Windowing, Windowing]:
    """The window of a pool with what ceil_mode adds at the end, and as it was asked for.

    Each window holds at least one value of the image, so that padding never wins and no mean is of
    nothing.
    """
    asked = windowing(node, attributes, None, size, flat)
    shape = asked
    if attributes.flag("ceil_mode", False):
        padding = list(asked.padding)
        for axis in (0, 1):
            reach = (asked.kernel[axis] - 1) * asked.dilation[axis] + 1
            before, stride = padding[axis], asked.stride[axis]
            beyond = size[axis] + before + padding[axis + 2] - reach
            # No window starts behind the image and the padding before it.
            last = min(-(-beyond // stride), (size[axis] + before - 1) // stride)
            padding[axis + 2] += max(0, last * stride - beyond)
        shape = replace(asked, padding=(padding[0], padding[1], padding[2], padding[3]))
    if int(taps_inside(shape, (0, 0, 0, 0), size).min()) == 0:
        raise ProgramError(
            f"{node}: a window of it holds padding alone, with kernel {asked.kernel}, dilations "
            f"{asked.dilation} and pads {asked.padding}; pad less"
        )
    return shape, asked


def taps_inside(shape: Windowing, padding: tuple[int, int, int, int], size: Pair) -> Ints:
    """How many taps of each position lie inside the image and `padding` around it."""
    window = shape.window()
    rows, columns = window.rows(size[0]), window.columns(size[1])
    top, left, bottom, right = padding
    down = ((rows >= -top) & (rows < size[0] + bottom)).sum(1)
    across = ((columns >= -left) & (columns < size[1] + right)).sum(1)
    return down[:, None] * across


def _pair(values: tuple[int, ...]) -> Pair:
    return values[0], values[1]
