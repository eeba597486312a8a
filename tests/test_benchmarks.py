"""Benchmarks that write pages: whole ones, or none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["accelerators", "--seeds", "0"], "page of all networks, placed; give no names"),
        (["accelerators", "tfc"], "page of all networks, placed; give no names and no --json"),
        (["units", "--only", "XNOR"], "page of all units; leave --only out"),
        (["half_add", "--families", "ecp5"], "page of all families; leave --families out"),
    ],
)
def test_a_page_is_written_whole_or_not_at_all(command, sentence):
    name, *options = command
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"bench_{name}.py", "--write", *options],
        capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PATH": ""},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: --write makes the {sentence}" in done.stderr
