"""Products of 8-bit activations with signed 8-bit weights in int32.

Where the processor has AMX or AVX-512 VNNI, tiles are accumulated by TDPBUSD or VPDPBUSD, which
multiply unsigned bytes by signed ones, four to an int32. Elsewhere the product is made of float32
products in chunks short enough to be exact. Signed activations are raised by 128 to unsigned ones,
and the sums start from -128 times the sum of the weights.

Both instructions wrap instead of saturating, so the sums are exact modulo 2**32 in any order, and
the result is the true one whenever that fits int32. Its magnitude is at most the largest activation
(255 or, signed, 128) times the largest sum of magnitudes of the weights of one output; products
where this exceeds 2**31 - 1 are refused. Weights of any value stay within it up to K = 65793
unsigned and K = 131071 signed activations.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import chain, product
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .kernel import aligned, compiles_for_this
from .matmul_wide import EXACT_LIMITS, chunked_float_matmul

OFFSET = 128
STRIP = 128  # Rows whose copy and sums stay in the second-level cache; a multiple of BLOCK.
INT32_MAX = 2**31 - 1

# The largest magnitude of an activation by its type.
ACTIVATIONS = {np.dtype(np.uint8): 255, np.dtype(np.int8): 128}

# VNNI: a register tile of ROWS x VECTORS sums, a vector having LANES of four bytes.
LANES = 16
VECTORS = 4
ROWS = 6

# AMX: a tile register has TILE rows of TILE int32; four of them hold a block of sums.
TILE = 16
BLOCK = 2 * TILE
DEPTH = 9 * TILE

Array = np.ndarray[Any, Any]

_CHUNK = EXACT_LIMITS[np.float32] // (255 * 128)
_I32 = ir.IntType(32)
_SUMS = ir.VectorType(_I32, LANES)
_TILE_NUMBER = ir.IntType(8)
_ADDRESS = ir.IntType(8).as_pointer()


@dataclass(frozen=True)
class Engine:
    """What an instruction set multiplies at once, to which the matrices are padded.

    `multiply(x, panels, out)` adds the products of x (M, G) with panels (P, G, width), both of
    four bytes in an int32, to out (M, P * width) int32, all on cache lines; M is a multiple of
    `rows`, 4 * G of `depth`. `feature` is LLVM's name of what the processor must have: where it
    is not `available`, `multiply` would end the process.
    """

    feature: str
    rows: int
    width: int
    depth: int
    multiply: Callable[[Array, Array, Array], None]

    def available(self) -> bool:
        """Tell whether Numba compiles for this processor as it is, and that one has the engine."""
        return compiles_for_this() and _host_grants(self.feature)


@dataclass(frozen=True, eq=False)
class PanelWeights:
    """Weights of `outputs` x `length` as panels (P, G, width) of four bytes in an int32.

    `panels[p, g, c]` holds the weights 4 * g to 4 * g + 3 of output `p * width + c`, zero beyond
    the matrix; `sums` (P * width,) int32 are the sums of each output's weights.
    """

    engine: Engine
    panels: Array
    sums: Array
    outputs: int
    length: int
    norm: int

    @classmethod
    def pack(cls, weights: Array, engine: Engine) -> PanelWeights:
        outputs, length = weights.shape
        padded = np.zeros(_padded(weights.shape, engine.width, engine.depth), np.int8)
        padded[:outputs, :length] = weights
        count, groups = len(padded) // engine.width, padded.shape[1] // 4
        panels = aligned((count, groups, engine.width), np.int32)
        words = padded.view(np.int32).reshape(count, engine.width, groups)
        panels[...] = words.transpose(0, 2, 1)
        sums = padded.sum(axis=1, dtype=np.int32)
        return cls(engine, panels, sums, outputs, length, _norm(weights))

    def product(self, x: Array) -> Array:
        """Multiply padded copies of strips of x, raised to unsigned, and cut the result."""
        if not self.engine.available():
            raise RuntimeError(
                f"these weights are packed for {self.engine.feature}, which is not available here; "
                "pack them with pack_int8"
            )
        raised = OFFSET if x.dtype == np.int8 else 0
        rows, depth = _padded(x.shape, self.engine.rows, self.engine.depth)
        words = aligned((min(rows, STRIP), depth // 4), np.int32)
        out = aligned((rows, len(self.sums)), np.int32)
        for first in range(0, rows, STRIP):
            strip, sums = x[first : first + STRIP], out[first : first + STRIP]
            # The padding stays as it is: its columns meet weights of zero, its rows are cut.
            octets = words.view(np.uint8)[: len(strip), : x.shape[1]]
            np.bitwise_xor(strip.view(np.uint8), np.uint8(raised), out=octets)
            sums[...] = self.sums * np.int32(-raised)
            self.engine.multiply(words[: len(sums)], self.panels, sums)
        return np.ascontiguousarray(out[: len(x), : self.outputs])


@dataclass(frozen=True, eq=False)
class PortableWeights:
    """Weights as float32 (N, K), for other processors."""

    values: Array
    length: int
    norm: int

    @classmethod
    def pack(cls, weights: Array) -> PortableWeights:
        return cls(weights.astype(np.float32), weights.shape[1], _norm(weights))

    def product(self, x: Array) -> Array:
        """Add exact float32 products over chunks of K, on the threads of NumPy's BLAS."""
        return chunked_float_matmul(x, self.values, _CHUNK).astype(np.int32)


def pack_int8(weights: Array) -> PanelWeights | PortableWeights:
    """Pack int8 weights (N, K) in the form that is fast here; O(N * K), once a matrix."""
    if weights.dtype != np.int8 or weights.ndim != 2:
        raise ValueError(
            f"pack_int8 takes int8 weights (N, K), got {weights.dtype} {weights.shape}; "
            "use wide_matmul for other integers"
        )
    engine = next((engine for engine in ENGINES if engine.available()), None)
    return PanelWeights.pack(weights, engine) if engine else PortableWeights.pack(weights)


def int8_matmul(x: Array, weights: PanelWeights | PortableWeights) -> Array:
    """Return the exact int32 products (M, N) of uint8 or int8 rows x (M, K) with the weights.

    Raises OverflowError where the bound of this module does not prove that the result fits int32.
    Costs M * N * K multiply-additions, with VNNI 64 and with AMX 16384 an instruction, on one
    thread.
    """
    if x.dtype not in ACTIVATIONS or x.ndim != 2 or x.shape[1] != weights.length:
        raise ValueError(
            f"x must be uint8 or int8 (M, {weights.length}), got {x.dtype} {x.shape}; "
            "use wide_matmul for other integers"
        )
    bound = ACTIVATIONS[x.dtype] * weights.norm
    if bound > INT32_MAX:
        raise OverflowError(
            f"the products of a row may sum up to {bound}, beyond int32 ({INT32_MAX}); "
            "use wide_matmul"
        )
    return weights.product(x)


@cache
def _host_grants(feature: str) -> bool:
    """Tell whether the processor has `feature`, asking Linux for AMX where it is AMX.

    The tile registers add 8 kB to the state of a thread; the kernel grants them once to a process.
    """
    if not get_host_cpu_features().get(feature, False):
        return False
    if not feature.startswith("amx"):
        return True
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return (
        sys.platform == "linux"
        and ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0
    )


def _padded(shape: tuple[int, ...], rows: int, columns: int) -> tuple[int, int]:
    """Return a shape rounded up to multiples of `rows` and `columns`."""
    return -(-shape[0] // rows) * rows, -(-shape[1] // columns) * columns


def _norm(weights: Array) -> int:
    """Return the largest sum of magnitudes of the weights of one output."""
    return int(np.abs(weights, dtype=np.int16).sum(axis=1, dtype=np.int64).max(initial=0))


def _element(context, builder, kind, array, *indices):
    """Emit the address of `array[indices]`."""
    struct = context.make_array(kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, kind, struct, indices)


def _length(context, builder, kind, array, axis):
    """Emit the length of `array` along `axis`."""
    shape = context.make_array(kind)(context, builder, array).shape
    return cgutils.unpack_tuple(builder, shape)[axis]


def _broadcast(builder, scalar):
    """Emit a vector with `scalar` in each of its lanes."""
    empty = ir.Constant(_SUMS, ir.Undefined)
    first = builder.insert_element(empty, scalar, _I32(0))
    return builder.shuffle_vector(first, empty, ir.Constant(_SUMS, None))


def _dot_add(builder, total, unsigned, signed):
    """Emit VPDPBUSD: add the products of four bytes to each int32 of `total`.

    LLVM 22 types the bytes as <64 x i8> and upgrades this older form by itself.
    """
    kind = ir.FunctionType(_SUMS, [_SUMS] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
    return builder.call(function, [total, unsigned, signed])


@intrinsic(prefer_literal=True)
def _vnni_tile(_, rows, x, panel, out, row, column):
    """Add to a register tile of `rows` (a constant) x LANES * VECTORS sums.

    x (M, G); panel (G, width); out (M, >= column + width), all int32.
    """
    signature = types.void(rows, x, panel, out, row, column)
    height = rows.literal_value

    def codegen(context, builder, signature, args):
        def vector_at(argument, *indices):
            address = _element(context, builder, signature.args[argument], args[argument], *indices)
            return builder.bitcast(address, _SUMS.as_pointer())

        index = args[4].type
        row_of = [builder.add(args[4], index(r)) for r in range(height)]
        lane_of = [index(LANES * v) for v in range(VECTORS)]
        targets = [
            [vector_at(3, r, builder.add(args[5], lane)) for lane in lane_of] for r in row_of
        ]
        sums = [[cgutils.alloca_once(builder, _SUMS) for _ in lane_of] for _ in row_of]
        for target, slot in zip(chain(*targets), chain(*sums), strict=True):
            builder.store(builder.load(target, align=4), slot)

        groups = _length(context, builder, panel, args[2], 0)
        with cgutils.for_range(builder, groups, intp=index) as loop:
            weight = [builder.load(vector_at(2, loop.index, lane), align=4) for lane in lane_of]
            for r, slots in zip(row_of, sums, strict=True):
                word = builder.load(_element(context, builder, x, args[1], r, loop.index))
                octets = _broadcast(builder, word)
                for w, slot in zip(weight, slots, strict=True):
                    builder.store(_dot_add(builder, builder.load(slot), octets, w), slot)

        for target, slot in zip(chain(*targets), chain(*sums), strict=True):
            builder.store(builder.load(slot), target, align=4)
        return context.get_dummy_value()

    return signature, codegen


@njit(cache=True, nogil=True)
def _multiply_vnni(x, panels, out):
    """Run the engine `VNNI`: `ROWS` rows at a time and the remaining rows one by one."""
    rows = len(x)
    whole = rows - rows % ROWS
    for p in range(len(panels)):
        panel, column = panels[p], p * LANES * VECTORS
        for row in range(0, whole, ROWS):
            _vnni_tile(ROWS, x, panel, out, row, column)
        for row in range(whole, rows):
            _vnni_tile(1, x, panel, out, row, column)


def _amx(builder, name, *args):
    """Emit an AMX instruction; its tile registers are the constants among `args`."""
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in args])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}")
    builder.call(function, args)


@intrinsic
def _configure_tiles(_, layout):
    """Set up this thread's tile registers from the 64 bytes of `layout`."""

    def codegen(context, builder, signature, args):
        address = _element(context, builder, layout, args[0], context.get_constant(types.intp, 0))
        _amx(builder, "ldtilecfg", builder.bitcast(address, _ADDRESS))
        return context.get_dummy_value()

    return types.void(layout), codegen


@intrinsic
def _release_tiles(_):
    """Give the tile registers back, so that a switch of threads need not save them."""

    def codegen(context, builder, signature, args):
        _amx(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _amx_block(_, x, panel, out, row, column, first, last):
    """Add to BLOCK x BLOCK sums over the groups `first` to `last`, in the shapes of `_vnni_tile`.

    Tiles 0 to 3 are the sums, 4 and 5 the rows of x, 6 and 7 the columns of the panel: two tiles
    a side share their loads.
    """
    signature = types.void(x, panel, out, row, column, first, last)

    def codegen(context, builder, signature, args):
        def move(name, tile, argument, *indices):
            kind, array = signature.args[argument], args[argument]
            address = _element(context, builder, kind, array, *indices)
            stride = builder.mul(_length(context, builder, kind, array, 1), index(4))
            address = builder.bitcast(address, _ADDRESS)
            _amx(builder, name, _TILE_NUMBER(tile), address, stride)

        def move_sums(name):
            for tile, (r, c) in enumerate(product(rows, columns)):
                move(name, tile, 2, r, c)

        index = args[3].type
        halves = [index(0), index(TILE)]
        rows = [builder.add(args[3], half) for half in halves]
        columns = [builder.add(args[4], half) for half in halves]
        move_sums("tileloadd64")
        groups = cgutils.for_range_slice(builder, args[5], args[6], index(TILE), intp=index)
        with groups as (group, _):
            for i in (0, 1):
                move("tileloadd64", 4 + i, 0, rows[i], group)
                move("tileloadd64", 6 + i, 1, group, halves[i])
            for i, j in product((0, 1), repeat=2):
                tiles = [_TILE_NUMBER(n) for n in (2 * i + j, 4 + i, 6 + j)]
                _amx(builder, "tdpbusd", *tiles)
        move_sums("tilestored64")
        return context.get_dummy_value()

    return signature, codegen


def _tile_layout() -> Array:
    """Return the operand of LDTILECFG: palette 1, eight tiles of TILE rows of 4 * TILE bytes."""
    layout = np.zeros(64, np.uint8)
    layout[0] = 1
    layout[16:32:2] = 4 * TILE
    layout[48:56] = TILE
    return layout


_TILE_LAYOUT = _tile_layout()


@njit(cache=True, nogil=True)
def _multiply_amx(x, panels, out):
    """Run the engine `AMX`: DEPTH groups of BLOCK rows stay in the first-level cache."""
    groups = x.shape[1]
    _configure_tiles(_TILE_LAYOUT)
    for row in range(0, len(x), BLOCK):
        for first in range(0, groups, DEPTH):
            last = min(first + DEPTH, groups)
            for p in range(len(panels)):
                _amx_block(x, panels[p], out, row, p * BLOCK, first, last)
    _release_tiles()


VNNI = Engine("avx512vnni", rows=1, width=LANES * VECTORS, depth=4, multiply=_multiply_vnni)
AMX = Engine("amx-int8", rows=BLOCK, width=BLOCK, depth=4 * TILE, multiply=_multiply_amx)
ENGINES = (AMX, VNNI)  # The fastest first.
