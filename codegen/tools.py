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
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..models.fixed import ProgramError


class Missing(ProgramError):
    """A program is not installed."""


class TooSlow(ProgramError):
    """A program was not done in time."""


class Refused(ProgramError):
    """A program ended with an error; said: all that it wrote."""

    def __init__(self, sentence: str, said: str) -> None:
        super().__init__(sentence)
        self.said = said


SECONDS_FOR_A_VERSION = 300
"""The first run of a YoWASP tool compiles it."""


def find(name: str) -> str | None:
    """Return the program of this Python environment, else the one on PATH, else None."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.is_file() else shutil.which(name)


def needed(name: str, found: str | None, purpose: str = "synthesis") -> str:
    """Return the path of a program, or say how to get it."""
    if found is None:
        raise Missing(
            f"{purpose} needs {name}, which is not installed; run: "
            f"{sys.executable} -m pip install 'bitwright[synth]'"
        )
    return found


def run(command: list[str], folder: Path, seconds: float, what: str, tool: str = "Yosys") -> str:
    """Return what a program says; raises `TooSlow`, or `Refused` if it fails on `what`."""
    done = _ended(command, folder, seconds, what, tool)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it gave no reason"]
        reason = next((line for line in lines if "ERROR" in line), lines[-1])
        raise Refused(f"{tool} refused {what!r}: {reason}", done.stdout + done.stderr)
    return done.stdout


def _ended(
    command: list[str], folder: Path, seconds: float, what: str, tool: str
) -> subprocess.CompletedProcess[str]:
    prepare(command[0])
    try:
        return subprocess.run(
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
        raise TooSlow(
            f"{tool} did not finish {what!r} in {seconds:g} seconds; fold the design further, or "
            "allow more time"
        ) from None
    except OSError as error:
        raise Missing(f"{tool} cannot be started ({error}); install it again") from None


@cache
def prepare(path: str) -> None:
    """Make the first run of a tool of YoWASP, which compiles it, in one process alone.

    The others wait: the result is written in place, and who ran half of it would crash.
    """
    program = Path(path)
    if not program.name.startswith("yowasp-") or not program.is_file():
        return
    key = hashlib.sha256(f"{program.resolve()} {program.stat().st_mtime_ns}".encode())
    # Where YoWASP keeps what it compiles: it is one for all caches of ours, and goes with its mark.
    folder = os.environ.get("YOWASP_CACHE_DIR") or _user_cache() / "YoWASP"
    mark = Path(folder) / f"bitwright-{key.hexdigest()[:32]}"
    if mark.exists():
        return
    # Whatever goes wrong here does so again in the run that follows, which says it.
    with suppress(OSError, subprocess.SubprocessError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{mark}.lock"):
            if not mark.exists():
                subprocess.run(
                    [path, "--version"],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=SECONDS_FOR_A_VERSION,
                    check=True,
                )
                mark.touch()


@cache
def version(path: str) -> str:
    """Return the version that a tool of YoWASP tells of itself, e.g. "nextpnr-0.11.1".

    Raises `TooSlow` and `Refused`, as a program that cannot even say this is of no use.
    """
    name = Path(path).name
    command = [path, "--version"]
    try:
        done = _ended(command, Path.cwd(), SECONDS_FOR_A_VERSION, "--version", name)
    except TooSlow:
        raise TooSlow(
            f"{name} did not tell its version in {SECONDS_FOR_A_VERSION} seconds; install it again"
        ) from None
    said = (done.stdout + done.stderr).strip()
    if done.returncode:
        last = said.splitlines()[-1] if said else "it gave no reason"
        raise Refused(f"{name} does not tell its version ({last}); install it again", said)
    named = re.search(r"Version ([\w.+-]+)", said)
    return named.group(1) if named else said.splitlines()[-1] if said else "unknown"


def cache_folder() -> Path:
    """Where what is slow to make is kept (BITWRIGHT_CACHE, else the user's cache folder)."""
    base = os.environ.get("BITWRIGHT_CACHE")
    if base:
        return Path(base)
    return _user_cache() / "bitwright"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def remembered(
    kind: str,
    key: list[Any],
    make: Callable[[], dict[str, Any]],
    keeps: Callable[[dict[str, Any]], bool] = lambda _: True,
) -> dict[str, Any]:
    """Return what `make` returns (JSON), from the cache where the same `key` was made before.

    A file of the cache that is damaged counts as none and is written anew.  keeps: whether what
    was made may be kept.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    file = cache_folder() / kind / f"{digest}.json"
    if (kept := _kept(file)) is not None:
        return kept
    made = make()
    if not keeps(made):
        return made
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.{id(made)}.part")
    part.write_text(json.dumps(made))
    part.replace(file)
    return made


def _kept(file: Path) -> dict[str, Any] | None:
    """What a file of the cache holds, if it is there and whole."""
    try:
        kept = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return kept if isinstance(kept, dict) else None
