"""A generated folder is complete or absent, the same each time, and runs without bitwright."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
from programs import binary_convolution, every_operator

from bitwright.codegen import project
from bitwright.codegen.folding import build
from bitwright.codegen.project import generate
from bitwright.models.fixed import ProgramError
from bitwright.models.saved import save


def test_the_manifest_says_what_is_there(tmp_path):
    program = binary_convolution()
    manifest = generate(build(program, 400), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest
    assert manifest["input"] == {
        "shape": [6, 6, 4], "range": [-1, 1], "step": 2, "bits": 1, "lanes": 4,
    }  # fmt: skip
    assert manifest["cycles"]["interval"] == build(program, 400).interval
    for name, digest in manifest["files"].items():
        data = (tmp_path / "out" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
    present = {path.name for path in (tmp_path / "out").iterdir()}
    assert present == {*manifest["files"], "manifest.json"}


GENERATE = """
import sys
from bitwright import api
api.generate(sys.argv[1], sys.argv[2], cycles_per_frame=700)
"""


def test_the_same_bytes_under_two_paths_and_two_hash_seeds(tmp_path):
    script = tmp_path / "generate.py"
    script.write_text(GENERATE)
    contents = []
    for seed, where in (("1", "a"), ("2", "deeper/b")):
        (tmp_path / where).mkdir(parents=True)
        save(every_operator(), tmp_path / where / "model.npz")
        subprocess.run(
            [sys.executable, script, "model.npz", "out"],
            cwd=tmp_path / where, env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
        )  # fmt: skip
        files = sorted((tmp_path / where / "out").iterdir())
        contents.append({path.name: path.read_bytes() for path in files})
    assert contents[0] == contents[1]


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    design = build(binary_convolution(), 400)
    generate(design, tmp_path / "old")
    before = {p.name: p.read_bytes() for p in (tmp_path / "old").iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(project, "write_vectors", full)
    for name in ("new", "old"):
        with pytest.raises(OSError, match="No space left"):
            generate(design, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "old").iterdir()} == before


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ProgramError) as error:
        generate(build(binary_convolution(), 400), tmp_path)
    assert str(error.value) == (
        f"the folder {tmp_path} holds other files; give one that is new, empty or an old project"
    )
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_an_old_project_is_replaced(tmp_path):
    generate(build(binary_convolution(0), 400), tmp_path / "out")
    (tmp_path / "out" / "left.over").write_text("")
    manifest = generate(build(binary_convolution(1), 400), tmp_path / "out")
    assert not (tmp_path / "out" / "left.over").exists()
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


WITHOUT_BITWRIGHT = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("bitwright", "amaranth", "numba"):
            raise ImportError(f"{name} is not for the generated bench")
sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.cosim
def test_the_bench_runs_without_bitwright(tmp_path):
    generate(build(every_operator(), 700), tmp_path / "out")
    blocker = tmp_path / "site"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(WITHOUT_BITWRIGHT)
    command = [sys.executable, "runner.py", "--engine", "icarus"]
    env = {**os.environ, "PYTHONPATH": str(blocker)}
    done = subprocess.run(
        command, cwd=tmp_path / "out", env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == "every value and every cycle is right"
    # The three tests: frames, reset in mid-frame, wrong frame length.
    assert (tmp_path / "out" / "results.xml").read_text().count("<testcase") == 3
    memory = next((tmp_path / "out").glob("*fc_weights.hex"))
    words = memory.read_text().split()
    words[0] = f"{int(words[0], 16) ^ 1:x}"
    memory.write_text("\n".join(words))
    done = subprocess.run(
        command, cwd=tmp_path / "out", env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "expected" in done.stdout
