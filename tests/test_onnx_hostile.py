"""Bad ONNX files: each is refused in its one sentence, quickly, with nothing written beside it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import onnx_bad
import onnx_bad_meaning
import pytest

from bitwright.models.fixed import ProgramError
from bitwright.models.onnx.load import imported
from bitwright.models.onnx.read import parse, read
from bitwright.sim import fuzz_onnx, spoil

SECONDS = 5
CASES = 300

IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from bitwright.models.fixed import ProgramError
from bitwright.models.onnx.load import imported
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

MISBEHAVING = """
import os, time, warnings
from bitwright.models.fixed import ProgramError

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
        if COUNT > 4:
            function()
    return call

take = later(lambda: bytearray(2 << 30))
crash = later(os.abort)
wait = later(lambda: time.sleep(60))
"""


@pytest.mark.parametrize("bad", onnx_bad.READING, ids=lambda bad: bad.name)
def test_a_bad_file_gets_its_sentence(bad: onnx_bad.Bad, tmp_path: Path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(bad.bytes())
    start = time.perf_counter()
    with pytest.raises(ProgramError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: {bad.sentence}"
    assert str(caught.value).isprintable()
    assert time.perf_counter() - start < SECONDS
    assert list(tmp_path.iterdir()) == [path]


def test_bad_files_take_little_memory(tmp_path: Path):
    """128 MiB more than the process has anyway: protobuf alone would take more for some."""
    paths = [tmp_path / f"{bad.name}.onnx" for bad in onnx_bad.READING]
    for path, bad in zip(paths, onnx_bad.READING, strict=True):
        path.write_bytes(bad.bytes())
    command = [sys.executable, "-c", IN_LITTLE_MEMORY, *map(str, paths)]
    subprocess.run(command, check=True, timeout=120)


@pytest.mark.parametrize("name", onnx_bad_meaning.MEANING)
def test_the_reader_leaves_meaning_to_others(name: str):
    parse(onnx_bad_meaning.MEANING[name]().SerializeToString())


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
