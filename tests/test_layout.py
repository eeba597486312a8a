"""The house: imports point left only, one operator has one file name, every package is shipped."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import bitwright

ROOT = Path(__file__).resolve().parent.parent
ORDER = ["models", "hw", "codegen", "sim"]
FRONT = "bitwright"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

LATE_IMPORTS = {
    "bitwright/commands.py": "`--help` answers in 0.3 s, and Numba alone takes longer to import",
    "bitwright/cli.py": "so does a mistake in the arguments",
}
"""The files that may import inside functions, each with its reason."""


def files(*folders: str) -> list[str]:
    """Return the Python files of the folders as paths relative to the root."""
    found = (file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return sorted(file.relative_to(ROOT).as_posix() for file in found)


def imports(file: str) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of all that a file imports, relative imports resolved.

    `from a import b` yields a.b: whether b is a module or a name in a makes no difference here.
    """
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(file, node.level, node.module)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def absolute(file: str, level: int, module: str | None) -> str:
    """Return the dotted name that `from <level dots><module>` means inside a file of the house."""
    if level == 0:
        return module or ""
    folders = file.split("/")[:-1]
    package = folders if folders[0] == FRONT else [FRONT, *folders]
    kept = package[: len(package) - (level - 1)]
    assert kept, f"{file}: {level} dots lead out of bitwright"
    return ".".join([*kept, module] if module else kept)


def in_folder(name: str, folder: str) -> bool:
    return f"{name}.".startswith(f"{folder}.")


@pytest.mark.parametrize("file", files(*ORDER))
def test_imports_point_left(file: str):
    allowed = ORDER[: ORDER.index(file.split("/")[0]) + 1]
    for line, name in imports(file):
        if name.split(".")[0] != FRONT:
            continue
        assert name.split(".")[1] in allowed, (
            f"{file}:{line} imports {name}; only {', '.join(allowed)} stand at or to its left: "
            "pass in what it needs"
        )


@pytest.mark.parametrize("file", files(*ORDER))
def test_siblings_are_imported_relatively(file: str):
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            assert name.split(".")[0] not in {FRONT, *ORDER}, (
                f"{file}:{node.lineno} imports {name}; inside the folders write "
                "`from ..folder.module import name`"
            )


@pytest.mark.parametrize("file", files("bitwright", "tests", "benchmarks"))
def test_folders_are_imported_as_bitwright(file: str):
    for line, name in imports(file):
        assert name.split(".")[0] not in ORDER, (
            f"{file}:{line} imports {name}, a second copy of bitwright.{name}; import that"
        )


@pytest.mark.parametrize("file", files("sim/kernels"))
def test_kernels_do_not_see_the_hardware(file: str):
    for line, name in imports(file):
        if name.split(".")[0] != FRONT:
            continue
        assert in_folder(name, "bitwright.models") or in_folder(name, "bitwright.sim.kernels"), (
            f"{file}:{line} imports {name}; a kernel is a witness to the definition alone, and "
            "sees only models and its sibling kernels"
        )


@pytest.mark.parametrize("file", sorted({*files(FRONT, *ORDER)} - {*LATE_IMPORTS}))
def test_imports_stand_at_the_top(file: str):
    for function in ast.walk(ast.parse((ROOT / file).read_text())):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        late = [n.lineno for n in ast.walk(function) if isinstance(n, (ast.Import, ast.ImportFrom))]
        assert not late, (
            f"{file}:{late[0]} imports inside {function.name}; move it to the top of the file, or "
            "list the file in LATE_IMPORTS with its reason"
        )


def test_late_imports_are_listed_only_where_they_are():
    assert set(LATE_IMPORTS) <= set(files(FRONT, *ORDER))


WIRES_ONLY = {"reshape": "the order of the values does not change, so there is nothing to build"}
"""Operators without hardware, each with its reason."""

OPERATORS = [Path(file).stem for file in files("models/ops") if "/_" not in file]


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_has_one_name(name: str):
    wanted = [f"tests/test_{name}.py"] + ([] if name in WIRES_ONLY else [f"hw/{name}.py"])
    missing = [path for path in wanted if not (ROOT / path).is_file()]
    assert not missing, f"models/ops/{name}.py has no {' and no '.join(missing)}; write it"


@pytest.mark.parametrize("file", files("sim/kernels"))
def test_a_kernel_is_named_after_its_operator(file: str):
    operator = f"models/ops/{Path(file).name}"
    assert (
        not registers(file) or file.endswith("/__init__.py") or operator in files("models/ops")
    ), f"{file} registers a kernel, and there is no {operator}; give both the same name"


def registers(file: str) -> bool:
    """Tell whether a file adds a case to a singledispatch function."""
    return any(
        isinstance(node, ast.Attribute) and node.attr == "register"
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
    )


def test_every_package_is_shipped():
    found = {FRONT} | {
        ".".join([FRONT, *Path(file).parent.parts])
        for file in files(*ORDER)
        if file.endswith("/__init__.py")
    }
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize("file", files(*ORDER))
def test_every_module_is_in_a_package(file: str):
    assert (ROOT / file).parent.joinpath("__init__.py").is_file()


def test_the_version_is_the_same_everywhere():
    assert bitwright.__version__ == PROJECT["project"]["version"]


@pytest.mark.parametrize(
    ("file", "level", "module", "meaning"),
    [
        ("models/program.py", 1, "fixed", "bitwright.models.fixed"),
        ("models/ops/dot.py", 2, "fixed", "bitwright.models.fixed"),
        ("models/ops/dot.py", 3, "hw", "bitwright.hw"),
        ("sim/kernels/__init__.py", 1, "dot", "bitwright.sim.kernels.dot"),
        ("hw/__init__.py", 2, None, "bitwright"),
        ("bitwright/cli.py", 1, None, "bitwright"),
        ("hw/dot.py", 0, "numpy", "numpy"),
    ],
)
def test_relative_imports_are_resolved(file: str, level: int, module: str | None, meaning: str):
    assert absolute(file, level, module) == meaning
