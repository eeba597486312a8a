"""Window: definition, kernel and hardware against taps picked by nested loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from agree import check_hardware, check_unit, check_values, one_node, refused, samples, stalls
from hypothesis import assume, given
from hypothesis import strategies as st

from bitwright.hw.design import Design, with_depths
from bitwright.hw.unit import Fold
from bitwright.hw.window import Buffered, walk_of
from bitwright.models.fixed import BINARY, TERNARY, Grid, Ints, ProgramError, signed, unsigned
from bitwright.models.ops import Window
from bitwright.models.program import Edge


def naive(op: Window, x: Ints) -> Ints:
    frames, height, width, _ = x.shape
    (kh, kw), (sy, sx), (dy, dx) = op.kernel, op.stride, op.dilation
    top, left, bottom, right = op.padding
    seen_rows = [row for row in range(height) for _ in range(op.repeat[0])]
    seen_columns = [column for column in range(width) for _ in range(op.repeat[1])]
    rows = range(0, len(seen_rows) + top + bottom - (kh - 1) * dy, sy)
    columns = range(0, len(seen_columns) + left + right - (kw - 1) * dx, sx)
    y = []
    for frame, oy, ox, ky, kx in product(range(frames), rows, columns, range(kh), range(kw)):
        iy, ix = oy + ky * dy - top, ox + kx * dx - left
        if 0 <= iy < len(seen_rows) and 0 <= ix < len(seen_columns):
            y.append(x[frame, seen_rows[iy], seen_columns[ix]])
        else:
            y.append(np.full_like(x[0, 0, 0], op.pad))
    return np.array(y).reshape(frames, len(rows), len(columns), -1)


CASES = {
    "plain": ((5, 6, 4), Window((3, 3))),
    "one by one": ((3, 4, 2), Window((1, 1))),
    "the whole input": ((4, 3, 2), Window((4, 3))),
    "a row": ((4, 5, 2), Window((1, 3))),
    "a column": ((5, 4, 2), Window((3, 1))),
    "padded": ((4, 5, 2), Window((3, 3), padding=(1, 1, 1, 1))),
    "padded unevenly": ((4, 5, 2), Window((3, 2), (2, 1), (1, 1, 2, 0))),
    "padded beyond the input": ((2, 2, 1), Window((1, 1), padding=(3, 3, 2, 2))),
    "windows of padding only": ((2, 3, 2), Window((2, 2), padding=(2, 2, 2, 2))),
    "padding that no window reaches": ((4, 4, 1), Window((2, 2), (2, 2), (0, 0, 1, 1))),
    "strided": ((6, 7, 2), Window((2, 3), (2, 3))),
    "stride beyond the kernel": ((7, 6, 2), Window((1, 2), (3, 4))),
    "rows that no window needs": ((6, 5, 2), Window((1, 1), (4, 2))),
    "dilated": ((7, 8, 2), Window((2, 3), (1, 2), (0, 2, 1, 1), (2, 2))),
    "dilated beyond the input": ((3, 3, 1), Window((2, 2), (1, 1), (1, 1, 1, 1), (4, 3))),
    "one row": ((1, 6, 2), Window((1, 3), padding=(0, 1, 0, 1))),
    "one column": ((6, 1, 2), Window((3, 1), padding=(1, 0, 1, 0))),
    "one pixel": ((1, 1, 4), Window((1, 1))),
    "one pixel in padding": ((1, 1, 2), Window((3, 3), padding=(1, 1, 1, 1))),
    "cropped": ((6, 5, 4), Window((2, 2), padding=(-1, -2, -2, -1))),
    "cropped above": ((5, 3, 2), Window((2, 1), padding=(-2, 0, 0, 0))),
    "cropped below": ((5, 3, 2), Window((2, 1), padding=(0, 0, -2, 0))),
    "cropped to one pixel": ((4, 5, 2), Window((1, 1), padding=(-2, -3, -1, -1))),
    "cropped and padded": ((5, 4, 2), Window((2, 3), padding=(-1, 1, 2, -2))),
    "cropped at the left, padded above": ((4, 5, 2), Window((3, 2), padding=(2, -2, 0, 0))),
    "a slice with steps": ((7, 6, 2), Window((1, 1), (2, 3), (-1, -2, 0, 0))),
    "cropped and dilated": ((8, 7, 1), Window((2, 2), (1, 2), (-2, -1, 1, 0), (3, 2))),
    "cropped until padding alone is left": ((2, 3, 2), Window((2, 1), padding=(3, 0, -2, 0))),
    "repeated": ((3, 4, 4), Window((1, 1), repeat=(2, 2))),
    "repeated rows": ((3, 2, 2), Window((1, 1), repeat=(3, 1))),
    "repeated columns": ((3, 2, 2), Window((1, 1), repeat=(1, 3))),
    "one row repeated": ((1, 4, 2), Window((1, 1), repeat=(3, 2))),
    "one column repeated": ((4, 1, 2), Window((1, 1), repeat=(2, 3))),
    "one pixel repeated": ((1, 1, 1), Window((1, 1), repeat=(2, 3))),
}


@pytest.mark.parametrize(("shape", "op"), CASES.values(), ids=CASES)
def test_any_geometry(shape: tuple[int, int, int], op: Window):
    simd = max(1, shape[2] // 2)
    check_unit(op, Edge.of(shape, signed(4)), lambda x: naive(op, x), Fold(1, simd), frames=3)


@pytest.mark.parametrize("simd", [1, 2, 3, 6])
def test_every_folding(simd: int):
    op = Window((2, 3), (1, 2), (1, 0, 0, 1))
    edge = Edge.of((3, 5, 6), signed(3))
    check_unit(op, edge, lambda x: naive(op, x), Fold(1, simd), frames=3, seed=simd)


@pytest.mark.parametrize(
    ("grid", "pad", "bits"),
    [
        (BINARY, 0, 2),
        (BINARY, 1, 1),
        (BINARY, -1, 1),
        (BINARY, 5, 4),
        (TERNARY, 0, 2),
        (unsigned(3), 0, 3),
        (unsigned(3), -1, 4),
        (signed(3), -4, 3),
        (signed(3), 9, 5),
        (Grid(3, 5), 0, 3),
        (Grid(-1, 0), 0, 1),
        (Grid(4, 4), 4, 3),
        (unsigned(33), -(2**40), 41),
    ],
    ids=str,
)
def test_any_padding(grid: Grid, pad: int, bits: int):
    op = Window((3, 3), (2, 1), (1, 1, 1, 1), pad=pad)
    assert op.infer(Edge.of((3, 3, 2), grid)).grid.bits == bits
    check_unit(op, Edge.of((3, 3, 2), grid), lambda x: naive(op, x), Fold(1, 2), frames=3)


def test_signs_stay_signs_where_no_padding_is_read():
    edge = Edge.of((4, 4, 1), BINARY)
    assert Window((2, 2)).infer(edge).step == 2
    assert Window((2, 2), (2, 2), (0, 0, 1, 1)).infer(edge).step == 2
    assert Window((2, 2), padding=(0, 0, 0, 1)).infer(edge).step == 1


def test_ranges_follow_taps():
    """A tap that padding never reaches keeps its channel's range."""
    edge = Edge((3, 3, 2), np.array([2, -9]), np.array([3, -8]))
    y = Window((1, 2), padding=(0, 1, 0, 0)).infer(edge)
    assert (y.lo.tolist(), y.hi.tolist()) == ([0, -9, 2, -9], [3, 0, 3, -8])


sizes = st.tuples(st.integers(1, 5), st.integers(1, 5))
small = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(size=sizes, kernel=small, stride=small, dilation=small,
       padding=st.tuples(*[st.integers(-3, 3)] * 4), channels=st.integers(1, 3))  # fmt: skip
def test_any_geometry_is_exact(size, kernel, stride, dilation, padding, channels):
    op, edge = Window(kernel, stride, padding, dilation), Edge.of((*size, channels), signed(4))
    assume(fits_in(op, edge))
    program = one_node(op, edge)
    check_values(program, samples(edge, 3), lambda x: naive(op, x))


@pytest.mark.parametrize("seed", range(12))
def test_random_geometries_in_hardware(seed: int):
    rng = np.random.default_rng(seed)

    def draw(low: int, high: int, count: int) -> tuple[int, ...]:
        return tuple(rng.integers(low, high, count, endpoint=True).tolist())

    while True:
        op = Window(draw(1, 3, 2), draw(1, 3, 2), draw(-2, 3, 4), draw(1, 2, 2), int(rng.choice([-1, 0])))  # type: ignore[arg-type]  # fmt: skip # noqa: E501
        edge = Edge.of((*draw(1, 5, 2), 2), [BINARY, signed(3)][seed % 2])
        if fits_in(op, edge):
            break
    check_unit(op, edge, lambda x: naive(op, x), Fold(1, 1 + seed // 2 % 2), frames=3, seed=seed)


def fits_in(op: Window, edge: Edge) -> bool:
    """Tell whether at least one position fits into the padded input."""
    try:
        op.infer(edge)
    except ProgramError:
        return False
    return True


@given(size=sizes, repeat=small, channels=st.integers(1, 3))
def test_any_repetition_is_exact(size, repeat, channels):
    op, edge = Window((1, 1), repeat=repeat), Edge.of((*size, channels), signed(4))
    check_values(one_node(op, edge), samples(edge, 3), lambda x: naive(op, x))


@pytest.mark.parametrize("simd", [1, 2, 3, 6])
@pytest.mark.parametrize("repeat", [(2, 2), (1, 3), (2, 1)])
def test_repeating_in_every_folding(repeat: tuple[int, int], simd: int):
    op, edge = Window((1, 1), repeat=repeat), Edge.of((3, 2, 6), BINARY)
    check_unit(op, edge, lambda x: naive(op, x), Fold(1, simd), frames=3, seed=simd)


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (Window((1, 1), padding=(-4, -1, 0, 0)), 1),
        (Window((2, 1), padding=(-3, 0, 0, 0)), 7),
        (Window((1, 1), (3, 1), padding=(-2, 0, 0, 0)), 1),
        (Window((1, 1), repeat=(1, 4)), 1),
        (Window((1, 1), repeat=(2, 1)), 6),
    ],
)
def test_a_ring_holds_only_what_is_read_again(op: Window, words: int):
    """Rows cropped away take no room; a line that is repeated takes its own."""
    design = Design(one_node(op, Edge.of((8, 6, 1), signed(4))), {}, {})
    assert walk_of(Buffered(op), design.by_name["unit"].place)[0].least_depth == words


@pytest.mark.parametrize(
    "op", [Window((2, 2), padding=(-1, -1, 0, -1)), Window((1, 1), repeat=(2, 2))]
)
@pytest.mark.parametrize("more", [1, 5, 30])
def test_cropping_and_repeating_in_any_ring(op: Window, more: int):
    design = Design(one_node(op, Edge.of((4, 5, 2), signed(3))), {}, {})
    depth = walk_of(Buffered(op), design.by_name["unit"].place)[0].least_depth + more
    x = samples(design.program.input, 3)
    check_hardware(with_depths(design, {"unit": depth}), x, stalls(0.3, more))


@pytest.mark.parametrize("more", [0, 1, 2, 7, 40])
def test_any_ring(more: int):
    """Rings deeper than the least are as exact, their schedules too."""
    program = one_node(Window((2, 2), (1, 2), (1, 0, 0, 1)), Edge.of((4, 4, 2), signed(3)))
    design = Design(program, {}, {})
    x = samples(program.input, 3)
    check_hardware(with_depths(design, {"unit": 14 + more}), x, stalls(0.3, more))


def test_a_ring_too_small_is_refused():
    program = one_node(Window((2, 2)), Edge.of((4, 5, 1), signed(3)))
    with refused("a window ring of 6 words is too small; it needs 7 or more"):
        Design(program, {}, {"unit": 6}).schedule(1)


@pytest.mark.parametrize(
    ("field", "value", "size", "least"),
    [
        ("kernel", (3, 0), 2, 1),
        ("kernel", (3,), 2, 1),
        ("stride", (1, 65537), 2, 1),
        ("padding", (1, 1), 4, -65536),
        ("padding", (0, 0, -65537, 0), 4, -65536),
        ("dilation", (0, 1), 2, 1),
        ("repeat", (2, 0), 2, 1),
    ],
)
def test_parameters_out_of_range(field: str, value: tuple[int, ...], size: int, least: int):
    with refused(f"Window {field} has {size} integers from {least} to 65536, not {value}"):
        Window(**{"kernel": (1, 1), field: value})  # type: ignore[arg-type]


def test_the_input_has_three_axes():
    with refused("Window takes (H, W, C), not (4, 4); reshape the input"):
        Window((1, 1)).infer(Edge.of((4, 4), BINARY))


def test_the_kernel_fits_the_padded_input():
    with refused(
        "Window reaches 5x1, beyond the padded input of 4x3; pad more or use a smaller kernel"
    ):
        Window((3, 1), padding=(1, 0, 0, 0), dilation=(2, 1)).infer(Edge.of((3, 3, 1), BINARY))


def test_cropping_leaves_room_for_the_kernel():
    with refused(
        "Window reaches 1x1, beyond the padded input of 0x3; pad more or use a smaller kernel"
    ):
        Window((1, 1), padding=(-2, 0, -1, 0)).infer(Edge.of((3, 3, 1), BINARY))


@pytest.mark.parametrize(
    ("field", "value", "plain"),
    [
        ("kernel", (1, 2), (1, 1)),
        ("stride", (2, 1), (1, 1)),
        ("padding", (0, -1, 0, 0), (0, 0, 0, 0)),
        ("dilation", (1, 3), (1, 1)),
    ],
)
def test_repeating_goes_with_one_tap_alone(
    field: str, value: tuple[int, ...], plain: tuple[int, ...]
):
    with refused(
        f"a Window with repeat (1, 2) has {field} {plain}, not {value}; put a second Window "
        "behind it"
    ):
        Window(**{"kernel": (1, 1), "repeat": (1, 2), field: value})  # type: ignore[arg-type]


def test_a_frame_of_repetitions_is_limited():
    with refused(
        f"Window makes {2**32} values of a frame, above the limit of {2**28}; use a smaller "
        "kernel or input"
    ):
        Window((1, 1), repeat=(2**16, 2**16)).infer(Edge.of((1, 1, 1), BINARY))


def test_padding_beyond_64_bits_is_refused():
    with refused(
        "the padding value reaches 9223372036854775808, beyond signed 64 bits; use narrower "
        "weights or inputs"
    ):
        Window((1, 1), padding=(1, 0, 0, 0), pad=2**63).infer(Edge.of((2, 2, 1), BINARY))


def test_a_padding_value_that_no_tap_shows_need_not_fit():
    check_unit(Window((1, 1), pad=300), Edge.of((2, 2, 1), signed(8)), lambda x: x)
