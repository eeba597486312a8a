"""One file for a JSON document and its arrays: safe to read from anyone, the same bytes each time.

The file is a zip (`.npz`): one `.npy` member per array, which `numpy.load(path,
allow_pickle=False)` reads, and a member `document.json` holding {"kind", "version", "document",
"arrays"}, the last a list of their names.  Reading trusts nothing: there is no pickle, every size
is compared with a limit and with the member that claims it, in Python integers, before memory is
taken, and whatever is wrong with a file comes out as one `ProgramError`.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import secrets
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from .fixed import ProgramError

Arrays = dict[str, NDArray[Any]]

MEMBERS_MAX = 4096
BYTES_MAX = 1 << 30
DOCUMENT_BYTES_MAX = 64 << 20
NAME_LENGTH_MAX = 200

DOCUMENT = "document.json"
DOCUMENT_KEYS = {"kind", "version", "document", "arrays"}
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
NPY_MAGIC = b"\x93NUMPY\x01\x00"
NPY_HEADER = re.compile(
    rb"\{'descr': '(\|b1|\|[iu]1|<[iu][248]|<f[248])', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,19}, ?)*(?:[0-9]{1,19})?)\), \} *\n"
)
DIMENSIONS_MAX = 16
# What zipfile, zlib and json raise on damaged input; RecursionError is a RuntimeError and
# UnicodeDecodeError a ValueError.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    OverflowError,
    LookupError,
)


def save(
    path: str | Path, kind: str, version: int, document: Mapping[str, Any], arrays: Arrays
) -> None:
    """Write `document` and `arrays` to `path`: completely, or not at all."""
    path = Path(path)
    whole = {"kind": kind, "version": version, "document": document, "arrays": sorted(arrays)}
    text = json.dumps(whole, sort_keys=True, allow_nan=False, indent=1) + "\n"
    members = {DOCUMENT: text.encode()}
    for name in sorted(arrays):
        _check_name(path, name)
        members[f"{name}.npy"] = _npy_bytes(path, name, arrays[name])
    _check_sizes(path, {name: len(data) for name, data in members.items()})
    replace_file(path, _zip_bytes(members))


def load(
    path: str | Path, kind: str, versions_understood: Collection[int]
) -> tuple[dict[str, Any], Arrays]:
    """Return the document and the arrays (read-only) of `path`, a file of `kind`."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = _read_members(path, archive)
    except ProgramError:
        raise
    except FileNotFoundError:
        _refuse(path, "does not exist; give the path of a saved file")
    except IsADirectoryError:
        _refuse(path, "is a folder; give the path of a saved file")
    except PermissionError:
        _refuse(path, "may not be read; change its permissions")
    except DAMAGE as error:
        _refuse(path, f"is damaged or not a saved file ({error or 'ends early'}); save it again")
    whole = _parse_document(path, members.pop(DOCUMENT), kind, versions_understood)
    # A damaged directory can lose members without a trace, so the document lists them.
    if whole["arrays"] != sorted(name.removesuffix(".npy") for name in members):
        _refuse(path, "does not hold the arrays that its document lists; save it again")
    return whole["document"], {
        name.removesuffix(".npy"): _parse_npy(path, name, data) for name, data in members.items()
    }


def _refuse(path: Path, reason: str) -> NoReturn:
    raise ProgramError(f"{path} {reason}") from None


def _check_name(path: Path, name: str) -> None:
    if len(name) > NAME_LENGTH_MAX or not NAME.fullmatch(name):
        _refuse(
            path,
            f"would hold an array called {name[:NAME_LENGTH_MAX]!r}, and names are 1 to "
            f"{NAME_LENGTH_MAX} letters, digits, '_', '.' and '-'; rename it",
        )


def _check_sizes(path: Path, sizes: Mapping[str, int]) -> None:
    """Refuse too many members, or too many bytes, before any of them is held in memory."""
    if len(sizes) > MEMBERS_MAX:
        _refuse(path, f"has {len(sizes)} members, and at most {MEMBERS_MAX} are allowed; split it")
    if sizes.get(DOCUMENT, 0) > DOCUMENT_BYTES_MAX:
        _refuse(
            path,
            f"has a document of {sizes[DOCUMENT]} bytes, and at most {DOCUMENT_BYTES_MAX} are "
            "allowed; move long lists into arrays",
        )
    if sum(sizes.values()) > BYTES_MAX:
        _refuse(
            path,
            f"unpacks to {sum(sizes.values())} bytes, and at most {BYTES_MAX} are allowed; "
            "split it",
        )


def _npy_bytes(path: Path, name: str, array: NDArray[Any]) -> bytes:
    if array.dtype.kind not in "iufb" or array.dtype.itemsize > 8:
        _refuse(
            path,
            f"would hold array {name!r} of {array.dtype}, and only integers, floats of at most 64 "
            "bits and booleans are allowed; convert it",
        )
    buffer = io.BytesIO()
    plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    np.lib.format.write_array(buffer, plain, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _zip_bytes(members: Mapping[str, bytes]) -> bytes:
    """A zip with nothing in it that depends on the clock, the user or the system."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.create_system, member.external_attr = 3, 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, data)
    return buffer.getvalue()


def replace_file(path: Path, data: bytes) -> None:
    """Write beside and rename, so that a reader sees the old file or the new one, never half."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            with beside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        _refuse(path, f"cannot be written ({reason}); choose another place or free some space")


def _read_members(path: Path, archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Return the bytes of every member; zipfile checks each against its CRC-32."""
    infos = archive.infolist()
    sizes = {info.filename: info.file_size for info in infos}
    if len(sizes) < len(infos):
        _refuse(path, "names one of its members twice; save it again")
    _check_sizes(path, sizes)
    if DOCUMENT not in sizes:
        _refuse(path, f"has no member {DOCUMENT!r}; give a file saved by bitwright")
    return {info.filename: _read_member(path, archive, info) for info in infos}


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    name = info.filename
    if name != DOCUMENT and not (
        name.endswith(".npy")
        and len(name) <= NAME_LENGTH_MAX + len(".npy")
        and NAME.fullmatch(name.removesuffix(".npy"))
    ):
        _refuse(path, f"has a member {name[:NAME_LENGTH_MAX]!r}, which is no array; save it again")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        _refuse(path, f"packs {name!r} in method {info.compress_type}, not deflate; save it again")
    with archive.open(info) as member:
        data = member.read(info.file_size)
        if len(data) != info.file_size or member.read(1):
            _refuse(path, f"has {len(data)} of {info.file_size} bytes of {name!r}; save it again")
    return data


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _parse_document(
    path: Path, data: bytes, kind: str, versions_understood: Collection[int]
) -> dict[str, Any]:
    try:
        parsed = json.loads(data.decode(), parse_constant=_no_constant)
    except DAMAGE as error:
        _refuse(path, f"has a document that is not JSON ({error}); save it again")
    whole = cast(dict[str, Any], parsed) if isinstance(parsed, dict) else {}
    if whole.keys() != DOCUMENT_KEYS:
        _refuse(path, "has a document without kind, version or contents; save it again")
    if whole["kind"] != kind:
        _refuse(path, f"is of kind {str(whole['kind'])[:80]!r}, not {kind!r}; give another file")
    if type(whole["version"]) is not int or whole["version"] not in versions_understood:
        understood = ", ".join(map(str, sorted(versions_understood)))
        _refuse(
            path,
            f"has version {str(whole['version'])[:80]} of {kind!r}, and this bitwright reads "
            f"{understood}; read it with the bitwright that wrote it",
        )
    if not isinstance(whole["document"], dict):
        _refuse(path, "has a document that is no JSON object; save it again")
    return whole


def _parse_npy(path: Path, name: str, data: bytes) -> NDArray[Any]:
    """Read exactly the headers that `save` writes, so that the parser is one regular expression."""
    start = len(NPY_MAGIC) + 2
    length = int.from_bytes(data[len(NPY_MAGIC) : start], "little")
    header = NPY_HEADER.fullmatch(data[start : start + length])
    if not data.startswith(NPY_MAGIC) or header is None:
        _refuse(path, f"has a member {name!r} that is no plain array; save it again")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(size) for size in header[2].replace(b",", b" ").split())
    claimed, held = math.prod(shape) * dtype.itemsize, len(data) - start - length
    if claimed != held or len(shape) > DIMENSIONS_MAX or max(shape, default=0) > BYTES_MAX:
        _refuse(
            path,
            f"has a member {name!r} of {held} bytes for {claimed} bytes of shape {shape[:8]}; "
            "save it again",
        )
    array = np.frombuffer(data, dtype, offset=start + length).reshape(shape)
    if dtype.kind == "b" and array.size and int(array.view(np.uint8).max()) > 1:
        _refuse(path, f"has a member {name!r} with booleans other than 0 and 1; save it again")
    return array
