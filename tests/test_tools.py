"""Programs outside Python: how each way of failing is told, and what a damaged cache means."""

import json
from pathlib import Path

import pytest

from bitwright.codegen import tools
from bitwright.models.fixed import ProgramError


@pytest.fixture
def program(tmp_path: Path):
    """Makes a program of a shell script."""

    def make(script: str) -> str:
        path = tmp_path / "tool"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture(autouse=True)
def forget():
    tools.version.cache_clear()


def failure(kind: type[ProgramError], call) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_a_version(program):
    assert tools.version(program("echo 'tool (Version nextpnr-0.11.1)'")) == "nextpnr-0.11.1"


def test_a_program_that_does_not_tell_its_version(program, monkeypatch):
    path = program("echo broken >&2; exit 3")
    assert failure(tools.Refused, lambda: tools.version(path)) == (
        "tool does not tell its version (broken); install it again"
    )
    monkeypatch.setattr(tools, "SECONDS_FOR_A_VERSION", 0.2)
    path = program("exec sleep 60")
    assert failure(tools.TooSlow, lambda: tools.version(path)) == (
        "tool did not tell its version in 0.2 seconds; install it again"
    )


def test_every_way_of_failing_has_its_type(program, tmp_path):
    def run(path, seconds=60.0):
        return lambda: tools.run([path], tmp_path, seconds, "net")

    assert failure(tools.Refused, run(program("echo one; echo 'ERROR: no'; exit 1"))) == (
        "Yosys refused 'net': ERROR: no"
    )
    assert failure(tools.TooSlow, run(program("exec sleep 60"), 0.2)) == (
        "Yosys did not finish 'net' in 0.2 seconds; fold the design further, or allow more time"
    )
    absent = failure(tools.Missing, run(str(tmp_path / "absent")))
    assert absent.startswith("Yosys cannot be started (")
    assert failure(tools.Missing, lambda: tools.needed("yosys", None)).startswith(
        "synthesis needs yosys, which is not installed; run: "
    )


@pytest.mark.parametrize("damage", [b"", b'{"a": ', b"\xff\xfe", b"[1]", b"[" * 100_000])
def test_a_damaged_file_of_the_cache_is_none(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("BITWRIGHT_CACHE", str(tmp_path))
    assert tools.remembered("kind", ["key"], lambda: {"a": 1}) == {"a": 1}
    (file,) = (tmp_path / "kind").iterdir()
    file.write_bytes(damage)
    assert tools.remembered("kind", ["key"], lambda: {"a": 2}) == {"a": 2}
    assert json.loads(file.read_text()) == {"a": 2}
    assert tools.remembered("kind", ["key"], lambda: {"a": 3}) == {"a": 2}
