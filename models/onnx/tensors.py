"""ONNX tensors as NumPy arrays, decoded here: every count is compared before memory is taken."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from .limits import refuse, shape_of


@dataclass(frozen=True)
class Format:
    """One ONNX type: its NumPy dtype once decoded, how its bits are stored, and in which list.

    `word` is the little-endian dtype of what is stored, which holds several values where `bits` is
    less than eight.
    """

    dtype: str
    word: str
    typed: str
    bits: int = 0

    def words(self, count: int) -> int:
        """How many words hold `count` values."""
        return count if not self.bits else -(-count * self.bits // 8)


FORMATS: dict[int, Format] = {
    TensorProto.FLOAT: Format("float32", "<f4", "float_data"),
    TensorProto.DOUBLE: Format("float64", "<f8", "double_data"),
    TensorProto.FLOAT16: Format("float16", "<u2", "int32_data"),
    TensorProto.BFLOAT16: Format("float32", "<u2", "int32_data"),
    TensorProto.INT8: Format("int8", "<i1", "int32_data"),
    TensorProto.INT16: Format("int16", "<i2", "int32_data"),
    TensorProto.INT32: Format("int32", "<i4", "int32_data"),
    TensorProto.INT64: Format("int64", "<i8", "int64_data"),
    TensorProto.UINT8: Format("uint8", "<u1", "int32_data"),
    TensorProto.UINT16: Format("uint16", "<u2", "int32_data"),
    TensorProto.UINT32: Format("uint32", "<u4", "uint64_data"),
    TensorProto.UINT64: Format("uint64", "<u8", "uint64_data"),
    TensorProto.BOOL: Format("bool", "<u1", "int32_data"),
    TensorProto.INT4: Format("int8", "<u1", "int32_data", 4),
    TensorProto.UINT4: Format("uint8", "<u1", "int32_data", 4),
    TensorProto.INT2: Format("int8", "<u1", "int32_data", 2),
    TensorProto.UINT2: Format("uint8", "<u1", "int32_data", 2),
}
TYPED = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def type_name(kind: int) -> str:
    """What ONNX calls a type, or its number."""
    names = {number: name.lower() for name, number in TensorProto.DataType.items()}
    return names.get(kind, f"number {kind}")


def format_of(kind: int, what: str) -> Format:
    """The format of an ONNX type; refuse those that hold no numbers this importer can compute."""
    if kind not in FORMATS:
        refuse(
            what,
            f"is of type {type_name(kind)}, and only integers, booleans, float16, bfloat16, float "
            "and double are understood; convert it",
        )
    return FORMATS[kind]


def dtype_of(kind: int, what: str) -> str:
    """The dtype of a graph's input or output: NumPy's name, or ONNX's where NumPy has no such type.

    "bfloat16", "int4", "uint4", "int2" and "uint2" say more than what they are decoded to.
    """
    form = format_of(kind, what)
    return type_name(kind) if form.bits or kind == TensorProto.BFLOAT16 else form.dtype


def decode(tensor: TensorProto, what: str) -> NDArray[Any]:
    """The values of a tensor, read-only: bfloat16 as float32, 2 and 4 bits as 8 bits.

    Floats come out exactly as they are stored: NaN, infinities and -0.0 included, since a clip may
    have the bound infinity; whoever uses a value judges it.
    """
    if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
        refuse(
            what,
            "keeps its data in another file, which is never opened; load the model with "
            "onnx.load and save it again as one file",
        )
    if tensor.HasField("segment"):
        refuse(what, "is one segment of a tensor; store it whole")
    form = format_of(tensor.data_type, what)
    shape = shape_of(tensor.dims, what)
    count = math.prod(shape)
    words = _words(tensor, form, form.words(count), f"{type_name(tensor.data_type)} {shape}", what)
    values = _values(words, tensor.data_type, form, count, what).reshape(shape)
    values.setflags(write=False)
    return values


def _words(
    tensor: TensorProto, form: Format, wanted: int, described: str, what: str
) -> NDArray[Any]:
    """The stored words, exactly `wanted` of them, from raw data or from the one list allowed."""
    held = [name for name in TYPED if len(getattr(tensor, name))]
    if tensor.raw_data and held:
        refuse(what, f"has its values twice, in raw_data and {held[0]}; export the model again")
    if strangers := [name for name in held if name != form.typed]:
        refuse(what, f"is {described} and has its values in {strangers[0]}; export the model again")
    if not held:
        size = wanted * np.dtype(form.word).itemsize
        if len(tensor.raw_data) != size:
            refuse(
                what,
                f"is {described}, which takes {size} bytes, and has {len(tensor.raw_data)} bytes "
                "of data; export the model again",
            )
        return np.frombuffer(tensor.raw_data, form.word)
    stored = getattr(tensor, form.typed)
    if len(stored) != wanted:
        refuse(
            what,
            f"is {described}, which takes {wanted} entries of {form.typed}, and has "
            f"{len(stored)}; export the model again",
        )
    return _narrow(stored, form, what)


def _narrow(stored: Any, form: Format, what: str) -> NDArray[Any]:
    """A list of wide numbers as words; one that does not fit is refused, not wrapped."""
    wide = np.array(stored, {"float_data": "<f4", "double_data": "<f8"}.get(form.typed))
    word = np.dtype(form.word)
    if word.kind in "iu":
        limits = np.iinfo(word)
        for value in (int(wide.min()), int(wide.max())):
            if not limits.min <= value <= limits.max:
                refuse(
                    what,
                    f"holds {value} in {form.typed}, outside {limits.min}..{limits.max}; export "
                    "the model again",
                )
    return wide.astype(word)


def _values(words: NDArray[Any], kind: int, form: Format, count: int, what: str) -> NDArray[Any]:
    if form.bits:
        return _unpack(words, form, count)
    if kind == TensorProto.BFLOAT16:
        return (words.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if kind == TensorProto.FLOAT16:
        return words.astype(np.uint16).view(np.float16)
    if kind == TensorProto.BOOL and count and int(words.max()) > 1:
        refuse(what, f"holds the boolean {int(words.max())}, and only 0 and 1 are; convert it")
    return words.astype(form.dtype)


def _unpack(words: NDArray[Any], form: Format, count: int) -> NDArray[Any]:
    """Values of 2 or 4 bits, the first in the lowest bits of its byte."""
    shifts = np.arange(0, 8, form.bits, dtype=np.uint8)
    mask = np.uint8((1 << form.bits) - 1)
    codes = ((words[:, None] >> shifts) & mask).reshape(-1)[:count].copy()
    if form.dtype == "uint8":
        return codes
    sign = np.int8(1 << (form.bits - 1))
    return (codes.view(np.int8) ^ sign) - sign
