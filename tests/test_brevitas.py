"""What Brevitas exports means, to the oracle, what Brevitas itself computes.

The files in tests/data come from tools/make_onnx_samples.py, so that this needs no torch; one test
makes some of them anew where Brevitas is installed.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_oracle import first_difference

DATA = Path(__file__).parent / "data"
TOOL = Path(__file__).parent.parent / "tools" / "make_onnx_samples.py"
SAMPLES = sorted(path.stem for path in DATA.glob("brevitas_*.onnx"))
LIVE = ["brevitas_mlp_4bit_qonnx", "brevitas_residual_2bit_qcdq", "brevitas_cnn_1bit_qonnx"]
TORCH = ("torch", "brevitas", "onnxoptimizer", "onnxscript")


def assert_equals_brevitas(path):
    model = onnx.load(path)
    frames = np.load(path.with_suffix(".npz"))
    theirs = {model.graph.output[0].name: frames["y"]}
    assert first_difference(model, frames["x"], theirs, tolerance=1e-5) is None
    assert np.unique(frames["y"]).size > 10


@pytest.mark.parametrize("name", SAMPLES)
def test_a_committed_export(name):
    assert_equals_brevitas(DATA / f"{name}.onnx")


def test_the_committed_exports_are_small_and_say_nothing_of_a_machine():
    files = list(DATA.glob("brevitas_*"))
    assert len(SAMPLES) == 20
    assert len(files) == 40
    assert max(path.stat().st_size for path in files) < 100_000
    assert sum(path.stat().st_size for path in files) < 600_000
    for name in SAMPLES:
        data = (DATA / f"{name}.onnx").read_bytes()
        assert not any(word in data for word in (b"site-packages", b".py", b"stack_trace"))


@pytest.mark.skipif(
    not all(find_spec(name) for name in TORCH), reason=f"needs {', '.join(TORCH)}, all of them"
)
def test_exports_made_now(tmp_path):
    subprocess.run([sys.executable, TOOL, tmp_path, *LIVE], check=True, capture_output=True)
    for name in LIVE:
        assert_equals_brevitas(tmp_path / f"{name}.onnx")
    assert len(list(tmp_path.iterdir())) == 2 * len(LIVE)
