"""Programs outside Python that a design is given to: found, run with a time limit, remembered."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from ..models.fixed import ProgramError

SECONDS_FOR_A_VERSION = 300
"""The first run of a YoWASP tool compiles it."""


def find(name: str) -> str | None:
    """Return the program of this Python environment, else the one on PATH, else None."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.is_file() else shutil.which(name)


def needed(name: str, found: str | None, purpose: str = "synthesis") -> str:
    """Return the path of a program, or say how to get it."""
    if found is None:
        raise ProgramError(
            f"{purpose} needs {name}, which is not installed; run: "
            f"{sys.executable} -m pip install 'bitwright[synth]'"
        )
    return found


def run(command: list[str], folder: Path, seconds: float, what: str, tool: str = "Yosys") -> str:
    """Return what a program says; `ProgramError` if it fails on `what` or is not done in time."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProgramError(
            f"{tool} did not finish {what!r} in {seconds:g} seconds; fold the design further, or "
            "allow more time"
        ) from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it gave no reason"]
        reason = next((line for line in lines if "ERROR" in line), lines[-1])
        raise ProgramError(f"{tool} refused {what!r}: {reason}")
    return done.stdout


@cache
def version(path: str) -> str:
    """Return the version that a tool of YoWASP tells of itself, e.g. "nextpnr-0.11.1"."""
    done = subprocess.run(
        [path, "--version"],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        timeout=SECONDS_FOR_A_VERSION,
        check=False,
    )
    said = (done.stdout + done.stderr).strip()
    named = re.search(r"Version ([\w.+-]+)", said)
    return named.group(1) if named else said.splitlines()[-1] if said else "unknown"


def cache_folder() -> Path:
    """Where what is slow to make is kept (BITWRIGHT_CACHE, else the user's cache folder)."""
    base = os.environ.get("BITWRIGHT_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitwright"


def remembered(kind: str, key: list[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `make` returns (JSON), from the cache where the same `key` was made before."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    file = cache_folder() / kind / f"{digest}.json"
    if file.is_file():
        return json.loads(file.read_text())
    made = make()
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.{id(made)}.part")
    part.write_text(json.dumps(made))
    part.replace(file)
    return made
