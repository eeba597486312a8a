"""The command line answers at once, in JSON where asked, and to a mistake in one sentence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import bitwright
from bitwright import cli, doctor, files

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
COMMANDS = [
    "check", "compress", "search", "finetune", "export", "generate", "simulate", "synth",
    "compare", "explore", "zoo", "doctor",
]  # fmt: skip


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bitwright", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refused(*arguments: str) -> str:
    """Return the one sentence with which a command is refused."""
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr.rstrip("\n")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=str)
def test_help(command: list[str]):
    done = run(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(" ".join(["usage: bitwright", *command]))


def test_help_names_every_command():
    assert all(f"\n    {name} " in run("--help").stdout for name in COMMANDS)


def test_version():
    assert run("--version").stdout == f"bitwright {bitwright.__version__}\n"


def test_the_command_line_imports_nothing_heavy():
    heavy = {"numpy", "numba", "amaranth", "cocotb", "onnx", "matplotlib", "torch"}
    code = f"import sys, bitwright.cli; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_finetune_without_pytorch_names_the_extra(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(3))
    arguments = ["digits-cnn", "--data", "x.npy", "--labels", "x.npy", "-o", "out.npz"]
    code = (
        "import sys; sys.modules['torch'] = None; from bitwright.cli import main; "
        f"sys.exit(main(['finetune', *{arguments}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr == (
        "bitwright: fine-tuning needs PyTorch, which is not installed; run pip install "
        "'bitwright[train]'\n"
    )


def test_doctor_prints_json_alone():
    done = run("doctor", "--json")
    found = json.loads(done.stdout)
    assert found["bitwright"] == bitwright.__version__
    assert done.returncode == (0 if found["complete"] else 1)
    names = [tool["name"] for tool in found["tools"]]
    assert {"python", "numpy", "onnx", "verilator", "iverilog", "g++", "perl"} <= set(names)
    for tool in found["tools"]:
        assert tool["missing"] == (tool["path"] is None) == (tool["remedy"] is not None)


def test_doctor_looks_for_every_package_that_bitwright_depends_on():
    wanted = {
        re.split(r"[^\w.-]", line, maxsplit=1)[0]
        for line in tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    }
    assert "highspy" in wanted
    assert wanted <= {tool.name for tool in doctor.tools() if tool.needed}


def test_doctor_says_what_is_missing_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    found = doctor.tools()
    assert not doctor.complete(found)
    (icarus,) = [tool for tool in found if tool.name == "iverilog"]
    assert icarus.missing
    assert icarus.remedy == (
        "install it with the system's package manager, e.g. apt-get install iverilog"
    )
    assert "MISSING" in doctor.table(found)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("generate digits", "the following arguments are required: -o/--output"),
        (
            "generate digits -o d --fold f --cycles-per-frame 9",
            "argument --cycles-per-frame: not allowed with argument --fold",
        ),
        (
            "simulate digits --inputs x.npy --stall 1",
            "argument --stall: a share from 0 to below 1 is expected, not 1",
        ),
        (
            "simulate digits --inputs x.npy --frames 0",
            "argument --frames: a whole number from 1 is expected, not 0",
        ),
        ("compare", "the following arguments are required: MODEL"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments: str, says: str):
    command = arguments.split()[0]
    sentence = f"bitwright {command}: {says}; see 'bitwright {command} --help'"
    assert refused(*arguments.split()) == sentence


def test_no_command_is_one_sentence():
    says = "the following arguments are required: COMMAND"
    assert refused() == f"bitwright: {says}; see 'bitwright --help'"


def test_an_unknown_command_is_one_sentence():
    assert "invalid choice: 'simulte'" in refused("simulte")


def fails(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """Return the exit code of a command that raises `error`."""

    def tools() -> list[doctor.Tool]:
        raise error

    monkeypatch.setattr(doctor, "tools", tools)
    return cli.main(["doctor"])


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (files.ProgramError("a rule; a remedy"), 2, "bitwright: a rule; a remedy\n"),
        (
            OSError(28, "No space left on device", "out/top.v"),
            2,
            (
                "bitwright: out/top.v: No space left on device; free some space and run it again, "
                "nothing was left half-done\n"
            ),
        ),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            2,
            "bitwright: the Python package torch is missing; `bitwright doctor` says more\n",
        ),
        (KeyboardInterrupt(), 130, "bitwright: interrupted\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_user_can_mend_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    sentence: str,
):
    assert fails(monkeypatch, error) == code
    assert capsys.readouterr() == ("", sentence)


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"^ours$"):
        fails(monkeypatch, ValueError("ours"))


@pytest.mark.parametrize(
    "values",
    [np.arange(6.0).reshape(2, 3), np.zeros((0, 4), np.int8), np.array(3), np.eye(3, order="F")],
    ids=str,
)
def test_arrays_come_back_as_saved(tmp_path: Path, values: np.ndarray):
    path = tmp_path / "x.npy"
    files.save_array(path, values)
    read = files.read_array(path, "--inputs")
    assert read is not None
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_what_is_no_array_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(files.ProgramError) as caught:
        files.read_array(path, "--inputs")
    assert str(caught.value) == (
        f"--inputs {path} is not a complete .npy file of numbers; write it with numpy.save"
    )


def test_a_shortened_array_is_refused(tmp_path: Path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros(1000))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(files.ProgramError, match=r"is not a complete \.npy file of numbers"):
        files.read_array(path, "--inputs")


@pytest.mark.parametrize("values", [np.array([{}]), np.array([1j]), np.array(["a"])], ids=str)
def test_arrays_of_anything_but_numbers_are_refused(tmp_path: Path, values: np.ndarray):
    path = tmp_path / "x.npy"
    np.save(path, values, allow_pickle=True)
    with pytest.raises(files.ProgramError, match="numbers"):
        files.read_array(path, "--inputs")


def test_a_fold_file_is_read(tmp_path: Path):
    path = tmp_path / "fold.json"
    path.write_text('{"conv1": {"pe": 2, "simd": 8}}')
    assert files.read_fold(path) == {"conv1": {"pe": 2, "simd": 8}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "holds no JSON object"),
        ('{"a": {"pe": 0, "simd": 1}}', 'gives layer \'a\' the folding {"pe": 0, "simd": 1}'),
        ('{"a": {"pe": true, "simd": 1}}', "gives layer 'a'"),
        ('{"a": {"pe": 1}}', "gives layer 'a'"),
        ('{"a": 3}', "gives layer 'a' the folding 3"),
    ],
)
def test_a_wrong_fold_file_is_refused(tmp_path: Path, text: str, says: str):
    path = tmp_path / "fold.json"
    path.write_text(text)
    with pytest.raises(files.ProgramError) as caught:
        files.read_fold(path)
    assert says in str(caught.value)
