"""What an ONNX file may cost: limits on sizes and names, and a walk over its bytes before parsing.

protobuf makes objects before anyone can look at them: two bytes in a file are an empty node of a
hundred bytes in memory, one byte of a packed list is an integer of eight.  `check_wire` therefore
counts what a file holds, without making anything, and refuses it before protobuf sees it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from onnx import ModelProto

from ..fixed import ProgramError
from ..program import MAX_ELEMENTS

FILE_BYTES_MAX = 1 << 30
"""As for saved programs; VGG-16 in float32 has 0.52 GiB."""
CONSTANT_BYTES_MAX = 1 << 30
"""All constants together, once decoded: a file of packed 2-bit integers grows fourfold."""
NODES_MAX = 10_000
TENSORS_MAX = 65_536
FIELDS_MAX = 1 << 20
"""Fields of the whole file, nested ones included: 10,000 nodes of ordinary size have a third."""
PACKED_MAX = 1 << 23
"""Integers in packed lists; in raw data they take no more memory than file."""
DEPTH_MAX = 32
"""Messages inside messages; without subgraphs no valid file has more than seven."""
NAME_MAX = 1024
RANK_MAX = 16
ATTRIBUTE_MAX = 65_536
"""Numbers in one attribute, or bytes of its text."""

QUOTED = 80
DAMAGED = "is damaged or not an ONNX file ({}); export the model again"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIDTHS = {FIXED64: 8, FIXED32: 4}

Table = dict[int, Any]


def refuse(what: str, problem: str) -> NoReturn:
    """Raise the one sentence `what problem`."""
    raise ProgramError(f"{what} {problem}") from None


def quote(name: object) -> str:
    """A name from a file as it may stand in a message: printable, on one line and not long."""
    text = repr(name)
    return text if len(text) <= QUOTED + 3 else f"{text[:QUOTED]}..."


def text_of(value: object, what: str) -> str:
    """A text that is UTF-8 (protobuf hands out bytes where it is not) and not too long."""
    if not isinstance(value, str):
        refuse(what, f"is {quote(value)}, which is no UTF-8; rename it")
    if len(value) > NAME_MAX:
        refuse(what, f"is {len(value)} characters long, above {NAME_MAX}; rename it")
    return value


def identifier(value: object, what: str) -> str:
    """The name of an operator or attribute: ONNX allows only letters, digits and underscores."""
    text = text_of(value, what)
    if not (text.isascii() and text.isidentifier()):
        refuse(what, f"is {quote(text)}, which is no identifier; rename it")
    return text


def check_count(what: str, count: int, most: int) -> None:
    """Refuse a file that has more of something than the limit."""
    if count > most:
        refuse("the model", f"has {count} {what}, and at most {most} are allowed; split it")


def shape_of(dims: Iterable[int], what: str) -> tuple[int, ...]:
    """Dimensions whose product, in Python integers, NumPy can bear."""
    shape = tuple(dims)
    if len(shape) > RANK_MAX:
        refuse(what, f"has {len(shape)} dimensions, above the limit of {RANK_MAX}; reshape it")
    if min(shape, default=0) < 0:
        refuse(what, f"has shape {shape}, and no size is negative; export the model again")
    # An empty array of shape (0, 2**40, 2**40) is refused too: NumPy cannot address it.
    elements = math.prod(size for size in shape if size)
    if elements > MAX_ELEMENTS:
        refuse(
            what,
            f"has shape {shape}, which is {elements} elements, above the limit of {MAX_ELEMENTS}; "
            "split the network",
        )
    return shape


def check_wire(data: bytes) -> None:
    """Refuse bytes that are no sequence of fields, or that would cost more than the limits."""
    tables: list[Table] = [MODEL]
    ends = [len(data)]
    place = fields = packed = 0
    while True:
        while place == ends[-1]:
            ends.pop()
            tables.pop()
            if not ends:
                return
        fields += 1
        if fields > FIELDS_MAX:
            refuse("the model", f"has more than {FIELDS_MAX} fields; split it")
        key, place = _varint(data, place, ends[-1])
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            _, place = _varint(data, place, ends[-1])
        elif wire in WIDTHS:
            place += WIDTHS[wire]
        elif wire == BYTES:
            size, place = _varint(data, place, ends[-1])
            kind = tables[-1].get(number)
            if isinstance(kind, dict) and size <= ends[-1] - place:
                if len(ends) == DEPTH_MAX:
                    refuse("the model", f"nests more than {DEPTH_MAX} deep; flatten its subgraphs")
                ends.append(place + size)
                tables.append(kind)
                continue
            if kind is int and size <= ends[-1] - place:
                packed += _integers(data, place, size)
                _check_packed(packed)
            place += size
        else:
            refuse("the model", DAMAGED.format(f"wire type {wire}"))
        if place > ends[-1]:
            refuse("the model", DAMAGED.format("a field ends after what holds it"))


def _varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    """The number at `place` and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place == end:
            refuse("the model", DAMAGED.format("it ends inside a number"))
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    refuse("the model", DAMAGED.format("a number of more than ten bytes"))


def _integers(data: bytes, place: int, size: int) -> int:
    """How many variable-length integers the bytes hold."""
    return int(np.count_nonzero(np.frombuffer(data, np.int8, size, place) >= 0))


def _check_packed(count: int) -> None:
    if count > PACKED_MAX:
        refuse(
            "the model",
            f"has more than {PACKED_MAX} integers in lists; store tensors as raw_data, as "
            "onnx.numpy_helper.from_array does",
        )


def _table(message: Any, known: dict[str, Table]) -> Table:
    """What a message's fields hold, by number: the table of a message, or `int` for integers.

    A table is entered before it is filled, since a graph holds nodes that hold graphs.
    """
    if message.full_name not in known:
        table = known[message.full_name] = {}
        for field in message.fields:
            if field.message_type is not None:
                table[field.number] = _table(field.message_type, known)
            elif field.cpp_type not in NOT_INTEGERS:
                table[field.number] = int
    return known[message.full_name]


NOT_INTEGERS = {
    FieldDescriptor.CPPTYPE_FLOAT,
    FieldDescriptor.CPPTYPE_DOUBLE,
    FieldDescriptor.CPPTYPE_STRING,
}
MODEL = _table(ModelProto.DESCRIPTOR, {})
