"""The container: exact round trips, the same bytes each time, and no harm from hostile files."""

from __future__ import annotations

import json
import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bitwright.models import container
from bitwright.models.fixed import ProgramError

DOCUMENT = {"name": "é", "list": [1, 2.5, None, True], "nested": {"b": 1, "a": 2}}
ARRAYS = {
    "signs": np.array([[1, -1, 1]], dtype=np.int8),
    "layer.weights": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 2, 2),
    "wide": np.array([-(1 << 63), (1 << 63) - 1]),
    "flag": np.array(True),
    "none": np.zeros((0, 4), dtype=np.uint16),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.npz"
    container.save(path, "test", 1, DOCUMENT, ARRAYS)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ProgramError) as caught:
        container.load(path, "test", [1])
    return str(caught.value)


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def assert_holds_what_was_saved(document, arrays) -> None:
    assert document == DOCUMENT
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert np.array_equal(arrays[name], array)


def test_round_trip(saved):
    document, arrays = container.load(saved, "test", [1])
    assert_holds_what_was_saved(document, arrays)
    assert not any(array.flags.writeable for array in arrays.values())


def test_numpy_reads_every_array(saved):
    with np.load(saved, allow_pickle=False) as members:
        for name, array in ARRAYS.items():
            assert np.array_equal(members[name], array)
        assert json.loads(members["document.json"])["kind"] == "test"


def test_memory_order_and_byte_order_leave_no_trace(tmp_path):
    plain = np.arange(6, dtype="<i4").reshape(2, 3)
    for number, array in enumerate([plain, np.asfortranarray(plain), plain.astype(">i4")]):
        container.save(tmp_path / f"{number}", "test", 1, {}, {"a": array})
    files = {(tmp_path / f"{number}").read_bytes() for number in range(3)}
    assert len(files) == 1


def test_the_same_content_is_the_same_bytes(saved, tmp_path):
    other = tmp_path / "elsewhere.npz"
    container.save(
        other,
        "test",
        1,
        dict(reversed(DOCUMENT.items())),
        dict(reversed(ARRAYS.items())),
    )
    assert other.read_bytes() == saved.read_bytes()


def test_a_failed_save_leaves_the_old_file_and_nothing_else(saved, monkeypatch):
    before = saved.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ProgramError) as caught:
        container.save(saved, "test", 1, {}, {})
    assert str(caught.value) == (
        f"{saved} cannot be written (no space left on device); choose another place or free some "
        "space"
    )
    assert saved.read_bytes() == before
    assert [entry.name for entry in saved.parent.iterdir()] == [saved.name]


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(ProgramError, match="cannot be written"):
        container.save(tmp_path / "no" / "model.npz", "test", 1, {}, {})


@pytest.mark.parametrize(
    "array", [np.array([1j]), np.array(["a"]), np.array([None]), np.array([1], "longdouble")]
)
def test_save_refuses_other_types(tmp_path, array):
    with pytest.raises(ProgramError, match="only integers, floats of at most 64 bits"):
        container.save(tmp_path / "model.npz", "test", 1, {}, {"a": array})


@pytest.mark.parametrize("name", ["", "../a", "a/b", "a b", "x" * 201, ".a"])
def test_save_refuses_other_names(tmp_path, name):
    with pytest.raises(ProgramError, match="rename it"):
        container.save(tmp_path / "model.npz", "test", 1, {}, {name: np.zeros(1)})


def test_missing_file(tmp_path):
    path = tmp_path / "none.npz"
    assert refusal(path) == f"{path} does not exist; give the path of a saved file"
    assert refusal(tmp_path) == f"{tmp_path} is a folder; give the path of a saved file"


def test_another_kind(saved):
    with pytest.raises(ProgramError) as caught:
        container.load(saved, "other", [1])
    assert str(caught.value) == f"{saved} is of kind 'test', not 'other'; give another file"


def test_a_newer_version(saved):
    with pytest.raises(ProgramError) as caught:
        container.load(saved, "test", [2, 3])
    assert str(caught.value) == (
        f"{saved} has version 1 of 'test', and this bitwright reads 2, 3; "
        "read it with the bitwright that wrote it"
    )


def test_a_numpy_file_without_a_document(tmp_path):
    path = tmp_path / "plain.npz"
    np.savez(path, a=np.zeros(3))
    assert refusal(path) == (
        f"{path} has no member 'document.json'; give a file saved by bitwright"
    )


def test_pickled_objects_are_refused(saved):
    members = members_of(saved)
    np.save(saved.with_suffix(".npy"), np.array([{}]), allow_pickle=True)
    members["signs.npy"] = saved.with_suffix(".npy").read_bytes()
    write_zip(saved, members)
    assert refusal(saved) == (
        f"{saved} has a member 'signs.npy' that is no plain array; save it again"
    )


@pytest.mark.parametrize(
    "shape",
    [b"(1, 4)", b"(9999999999999999999, 9999999999999999999)", b"(0, 9999999999999999999)"],
)
def test_a_shape_that_is_not_there_takes_no_memory(saved, shape):
    members = members_of(saved)
    signs = members["signs.npy"].replace(b"(1, 3)", shape)
    grown = len(shape) - len(b"(1, 3)")
    length = int.from_bytes(signs[8:10], "little") + grown
    members["signs.npy"] = signs[:8] + length.to_bytes(2, "little") + signs[10:]
    write_zip(saved, members)
    assert "has a member 'signs.npy' of 3 bytes for" in refusal(saved)


def test_booleans_are_0_or_1(saved):
    members = members_of(saved)
    members["flag.npy"] = members["flag.npy"][:-1] + b"\x02"
    write_zip(saved, members)
    assert "with booleans other than 0 and 1" in refusal(saved)


def test_a_zip_bomb_is_refused_before_it_unpacks(saved, monkeypatch):
    monkeypatch.setattr(container, "BYTES_MAX", 1 << 20)
    write_zip(saved, {**members_of(saved), "bomb.npy": bytes(1 << 21)})
    monkeypatch.setattr(container, "_read_member", lambda *_: pytest.fail("it was unpacked"))
    assert "at most 1048576 are allowed" in refusal(saved)


def test_too_many_members_are_refused(saved):
    write_zip(saved, {**members_of(saved), **{f"a{i}.npy": b"" for i in range(4096)}})
    assert "and at most 4096 are allowed; split it" in refusal(saved)


def test_a_huge_document_is_refused(saved, monkeypatch):
    monkeypatch.setattr(container, "DOCUMENT_BYTES_MAX", 100)
    assert "at most 100 are allowed; move long lists into arrays" in refusal(saved)


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"kind": NaN}', b'{"a": ' + b"1" * 5000 + b"}"],
)
def test_a_document_that_is_no_document(saved, document):
    write_zip(saved, {**members_of(saved), "document.json": document})
    assert "save it again" in refusal(saved)


@pytest.mark.parametrize("version", ["1", 1.0, True, None, [1]])
def test_a_version_that_is_no_integer(saved, version):
    text = json.dumps({"kind": "test", "version": version, "document": {}, "arrays": []})
    write_zip(saved, {"document.json": text.encode()})
    assert "read it with the bitwright that wrote it" in refusal(saved)


@pytest.mark.parametrize("name", ["../a.npy", "a.txt", "x" * 201 + ".npy", "a/b.npy"])
def test_odd_members_are_refused(saved, name):
    write_zip(saved, {**members_of(saved), name: b""})
    assert "which is no array; save it again" in refusal(saved)


def test_other_packing_is_refused(saved):
    write_zip(saved, members_of(saved), zipfile.ZIP_BZIP2)
    assert "not deflate; save it again" in refusal(saved)


def test_a_lost_or_renamed_array_is_refused(saved):
    members = members_of(saved)
    members["other.npy"] = members.pop("signs.npy")
    for wrong in members, {n: d for n, d in members.items() if n != "other.npy"}:
        write_zip(saved, wrong)
        assert refusal(saved) == (
            f"{saved} does not hold the arrays that its document lists; save it again"
        )


def test_every_truncation_is_refused(saved):
    whole = saved.read_bytes()
    for length in range(0, len(whole), 7):
        saved.write_bytes(whole[:length])
        assert "save it again" in refusal(saved)


def test_flipped_bytes_are_refused_or_harmless(saved):
    whole, rng = saved.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= rng.randrange(1, 256)
        saved.write_bytes(damaged)
        try:
            document, arrays = container.load(saved, "test", [1])
        except ProgramError:
            refused += 1
        else:
            assert_holds_what_was_saved(document, arrays)
    assert refused > 1000
