"""Bad ONNX files: each is refused in its one sentence, quickly, with nothing written beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx_bad
import onnx_bad_meaning as bad
import onnx_bad_shapes
import onnx_bombs
import pytest
from onnx_bombs import BOMBS

from bitwright import api
from bitwright.models.fixed import ProgramError
from bitwright.models.onnx import budget
from bitwright.models.onnx.constants import constant as constants
from bitwright.models.onnx.load import check, imported, load
from bitwright.models.onnx.read import parse, read
from bitwright.sim import fuzz_onnx, spoil

SECONDS = 5
CASES = 300

MEANINGLESS = {**bad.LAYERS, **onnx_bad_shapes.SHAPES}

IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from bitwright.models.fixed import ProgramError
from bitwright.models.onnx.read import read
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (128 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    try:
        read(path)
    except ProgramError:
        continue
    sys.exit(path)
"""

IN_A_GIBIBYTE = """
import json, resource, sys, time
from pathlib import Path
from bitwright.models.fixed import ProgramError
from bitwright.models.onnx.load import load
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    start = time.process_time()
    try:
        told = str(load(path))
    except ProgramError as error:
        told = str(error).removeprefix(f"{path}: ")
    print(json.dumps([told, time.process_time() - start]))
"""

MISBEHAVING = """
import os, time, warnings
from bitwright.models.fixed import ProgramError
from bitwright.sim.spoil import models

COUNT = 0

def fail(path):
    raise KeyError("a key")

def warn(path):
    warnings.warn("a warning")

def say(path):
    raise ProgramError(f"{path}: two\\nlines")

def forget(path):
    raise ProgramError("no path")

def write(path):
    (path.parent / "beside").write_bytes(b"")
    raise ProgramError(f"{path}: it is refused; leave it")

def later(function):
    # The good models come first, before the limits are set.
    def call(path):
        global COUNT
        COUNT += 1
        if COUNT > len(models()):
            function()
    return call

take = later(lambda: bytearray(2 << 30))
crash = later(os.abort)
wait = later(lambda: time.sleep(60))
"""


@pytest.mark.parametrize("file", onnx_bad.READING, ids=lambda file: file.name)
def test_a_bad_file_gets_its_sentence(file: onnx_bad.Bad, tmp_path: Path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(file.bytes())
    start = time.perf_counter()
    with pytest.raises(ProgramError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: {file.sentence}"
    assert str(caught.value).isprintable()
    assert time.perf_counter() - start < SECONDS
    assert list(tmp_path.iterdir()) == [path]


def test_bad_files_take_little_memory(tmp_path: Path):
    """128 MiB more than the process has anyway: protobuf alone would take more for some."""
    paths = [tmp_path / f"{file.name}.onnx" for file in onnx_bad.READING]
    for path, file in zip(paths, onnx_bad.READING, strict=True):
        path.write_bytes(file.bytes())
    command = [sys.executable, "-c", IN_LITTLE_MEMORY, *map(str, paths)]
    subprocess.run(command, check=True, timeout=120)


@pytest.mark.parametrize("name", MEANINGLESS)
def test_a_model_that_means_nothing_gets_its_sentence(name: str, tmp_path: Path):
    sentence, model = MEANINGLESS[name]
    path = tmp_path / "bad.onnx"
    path.write_bytes(model().SerializeToString())
    start = time.perf_counter()
    with pytest.raises(ProgramError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {sentence}"
    assert str(caught.value).isprintable()
    found = check(path)
    assert found.program is None
    assert found.obstacles == (sentence,)
    assert time.perf_counter() - start < SECONDS


def test_all_of_several_faults_are_listed(tmp_path: Path):
    path = tmp_path / "bad.onnx"
    faults = [bad.node("Frobnicate", ["d"], ["k"], "one"), bad.node("Det", ["d"], ["l"], "two")]
    model = bad.between(*faults, bad.node("Sum", ["d", "k", "l"], ["e"]))
    path.write_bytes(model.SerializeToString())
    obstacles = check(path).obstacles
    assert [obstacle.partition(":")[0] for obstacle in obstacles] == [
        "node 'one' (Frobnicate)",
        "node 'two' (Det)",
    ]
    with pytest.raises(ProgramError) as caught:
        load(path)
    rest = "(and 1 more: `bitwright check` lists them)"
    assert str(caught.value) == f"{path}: {obstacles[0]} {rest}"


def test_odd_but_legal_steps_of_a_slice_are_taken(tmp_path: Path):
    path = tmp_path / "good.onnx"
    ends = (bad.ints(end) for end in (bad.LARGEST, bad.SMALLEST, 3, bad.SMALLEST))
    path.write_bytes(bad.one("Slice", *ends).SerializeToString())
    program = load(path)
    frames = np.random.default_rng(0).integers(-128, 128, (3, 2, 6, 6)) / 8
    taken = program.answer(program(program.accept(frames)))
    assert np.array_equal(taken, frames[..., 5:])


def test_what_is_too_much_is_refused_in_time_and_in_a_gibibyte(tmp_path: Path):
    paths = [tmp_path / f"{name}.onnx" for name in BOMBS]
    for path, bomb in zip(paths, BOMBS.values(), strict=True):
        path.write_bytes(bomb.model().SerializeToString())
        assert path.stat().st_size < 2_000_000
    command = [sys.executable, "-c", IN_A_GIBIBYTE, *map(str, paths)]
    done = subprocess.run(command, check=True, timeout=300, stdout=subprocess.PIPE, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    told = [sentence.partition(" (and ")[0] for sentence, _ in answers]
    assert dict(zip(BOMBS, told, strict=True)) == {
        name: bomb.sentence for name, bomb in BOMBS.items()
    }
    assert max(seconds for _, seconds in answers) < SECONDS


def test_work_of_many_nodes_is_refused_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(budget, "WORK_MAX", 60_000)
    model = onnx_bombs.chain(1000, "Transpose", perm=[0, 1, 3, 2])
    found = imported(parse(model.SerializeToString()), "chain")
    (sentence,) = found.obstacles
    assert sentence == (
        "node 'Transpose_104' (Transpose): up to here the model takes 60480 units of work, above "
        "the limit of 60000; use smaller tensors, fewer bits or fewer nodes"
    )


def test_long_numbers_are_refused_by_their_number_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "ALL_BITS_MAX", 100)
    model = onnx_bad_shapes.folded("Add", bad.floats(*[0.3] * 6), bad.floats(0.1))
    found = imported(parse(model.SerializeToString()), "numbers")
    (sentence,) = found.obstacles
    assert sentence == (
        "node 'bad' (Add): exact arithmetic makes 6 numbers of 28 bits, above the limit of 100 "
        "bits in all; fold the constants before exporting"
    )


# Names.

NAMES = (
    "a\nb", "\x1b[31mred", "A" * 1000, "input", "output", "__proto__", "../../x", "x y", "x_y",
    "x-y", '`include "x"', "endmodule", "<script>alert(1)</script>", "$(reboot)", "'; DROP",
    "\N{SNOWMAN}", "\u202e", "*/", "//", "clk", "CLK",
)  # fmt: skip


def named() -> bytes:
    """Layers of all these names, with weights and thresholds of their own."""
    nodes, last = list(bad.FRONT), "d"
    for number, name in enumerate(NAMES):
        op, weights = ("MatMul", "w") if number % 2 else ("MultiThreshold", "t")
        domain = "" if number % 2 else bad.QONNX
        nodes.append(bad.node(op, [last, weights], [f"{number}\n`"], name, domain=domain))
        last = nodes[-1].output[0]
    table = np.arange(-7.5, 7, dtype=np.float32)[None]
    weights = (np.eye(4)[[1, 2, 3, 0]] * 2 - 1).astype(np.float32)
    constants = {**bad.CONSTANTS, "w": weights, "t": table}
    model = bad.model(nodes, constants, shape=(1, 4), outputs=(last,))
    model.graph.name, model.producer_name = "graph\n$(x)", "\x1b[2J"
    return model.SerializeToString()


def test_names_of_a_file_stay_out_of_what_is_generated(tmp_path: Path):
    path = tmp_path / "we ird\n$(name).onnx"
    path.write_bytes(named())
    out = tmp_path / "out"
    manifest = api.generate(path, out)
    assert sorted(tmp_path.iterdir()) == [out, path]
    assert json.loads((out / "manifest.json").read_text()) == manifest
    assert set(manifest["files"]) | {"manifest.json"} == {file.name for file in out.iterdir()}
    for file in out.iterdir():
        assert file.is_file()
        assert re.fullmatch(r"[A-Za-z0-9_]+\.(v|hex|json|npz|md|py)", file.name), file.name
    verilog = "".join(file.read_text() for file in sorted(out.glob("*.v")))
    assert verilog.isascii()
    assert not re.search(r"`include|<script|\$\(reboot|DROP|\.\./|\x1b", verilog)
    modules = re.findall(r"^module (\w+)", verilog, re.MULTILINE)
    assert len(modules) > len(NAMES)
    assert len({module.lower() for module in modules}) == len(modules)


def test_a_bad_file_generates_nothing(tmp_path: Path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(MEANINGLESS["groups_that_do_not_divide"].model().SerializeToString())
    with pytest.raises(ProgramError):
        api.generate(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


# The campaign.


@pytest.mark.parametrize("name", spoil.models())
def test_the_models_to_be_spoilt_are_good(name: str):
    assert imported(parse(spoil.models()[name]), name).obstacles == ()


def test_spoilt_files_are_read_or_refused():
    campaign = fuzz_onnx.run(range(CASES))
    assert [str(case) for case in campaign.findings] == []
    assert campaign.counts.total() == CASES
    assert min(campaign.counts[fuzz_onnx.READ], campaign.counts[fuzz_onnx.REFUSED]) > CASES // 60
    assert len(campaign.sentences) > 20


@pytest.mark.parametrize(
    ("function", "outcome", "told"),
    [
        ("fail", "traceback", "KeyError: 'a key'"),
        ("warn", "traceback", "UserWarning: a warning"),
        ("say", "words", "two\nlines"),
        ("forget", "words", "no path"),
        ("write", "litter", "beside, model.onnx"),
        ("take", "memory", "MemoryError"),
        ("crash", "crash", "status -6"),
        ("wait", "hang", "no answer in 1.0 s"),
    ],
)
def test_what_is_neither_read_nor_refused_is_found(
    function: str, outcome: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    (tmp_path / "misbehaving.py").write_text(MISBEHAVING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(fuzz_onnx, "SECONDS", 1.0)
    folder = tmp_path / "findings"
    entry = f"misbehaving:{function}"
    assert fuzz_onnx.main(["--replay", "7", "--entry", entry, "--folder", str(folder)]) == 1
    assert f"{outcome} 1" in capsys.readouterr().out
    assert (folder / "7.onnx").read_bytes() == spoil.variant(7)[1]
    assert told in (folder / "7.txt").read_text()


def test_a_campaign_goes_on_after_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "misbehaving.py").write_text(MISBEHAVING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    campaign = fuzz_onnx.run(range(3), "misbehaving:crash", workers=1)
    assert [(case.seed, case.outcome) for case in campaign.findings] == [
        (seed, "crash") for seed in range(3)
    ]
