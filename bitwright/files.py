"""The files that the command line reads and writes: arrays and foldings."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitwright.models.container import replace_file
from bitwright.models.fixed import ProgramError

Array = NDArray[Any]


def read_optional(path: Path | None, option: str) -> Array | None:
    """Read a .npy file where one was given."""
    return None if path is None else read_array(path, option)


def read_array(path: Path, option: str) -> Array:
    """Read a .npy file of numbers; pickled objects are refused, and so is a shortened file."""
    try:
        # Mapped first: a header that promises more than the file holds allocates nothing.
        mapped = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, OverflowError) as error:
        raise ProgramError(
            f"{option} {path} is not a complete .npy file of numbers; write it with numpy.save"
        ) from error
    if mapped.dtype.kind not in "biuf":
        raise ProgramError(f"{option} {path} holds {mapped.dtype}; it must hold numbers")
    return np.array(mapped)


def save_array(path: Path, values: Array) -> None:
    """Write a .npy file beside `path`, then rename it: a reader sees all of it or none."""
    data = io.BytesIO()
    np.save(data, values, allow_pickle=False)
    replace_file(path, data.getvalue())


def check_output(path: Path | None, option: str) -> None:
    """Refuse a file that could not be written, before the work whose result it takes."""
    if path is None:
        return
    if path.is_dir():
        raise ProgramError(f"{option} {path} is a folder; name a file to write")
    if not path.parent.is_dir():
        raise ProgramError(f"{option} {path} is in no folder that exists; make {path.parent} first")


def read_fold(path: Path | None) -> dict[str, dict[str, int]] | None:
    """Read a fold file, {layer: {"pe": P, "simd": S}}; whether it fits is the design's to say."""
    if path is None:
        return None
    try:
        fold = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ProgramError(f"the fold file {path} is not JSON: {error}") from error
    rule = 'it must be {"LAYER": {"pe": P, "simd": S}, ...} with positive integers'
    if not isinstance(fold, dict):
        raise ProgramError(f"the fold file {path} holds no JSON object; {rule}")
    for layer, factors in fold.items():
        if not _is_folding(factors):
            raise ProgramError(
                f"the fold file {path} gives layer {layer!r} the folding {json.dumps(factors)}; "
                f"{rule}"
            )
    return fold


def _is_folding(factors: object) -> bool:
    return (
        isinstance(factors, dict)
        and factors.keys() == {"pe", "simd"}
        and all(type(factor) is int and factor >= 1 for factor in factors.values())
    )
