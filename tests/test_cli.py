"""The commands that scripts rely on: their JSON, their exit codes, their one-sentence errors."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from programs import binary_convolution, every_operator, frames

from bitwright import api
from bitwright.cli import main
from bitwright.codegen import project
from bitwright.models.ops import Dot
from bitwright.models.saved import save
from bitwright.sim import compare


@pytest.fixture
def model(tmp_path):
    program = binary_convolution()
    save(program, tmp_path / "model.npz")
    np.save(tmp_path / "x.npy", frames(program, 3))
    return program, tmp_path


def run(capsys, *args):
    """Exit code, standard output, standard error."""
    code = main([str(arg) for arg in args])
    done = capsys.readouterr()
    return code, done.out, done.err


KEYS = {
    "model", "engine", "frames", "mismatches", "top_1_agreement", "streams", "cycles", "seconds",
}  # fmt: skip


@pytest.mark.cosim
def test_simulate_reports_what_scripts_read(model, capsys):
    program, folder = model
    code, out, _ = run(
        capsys, "simulate", folder / "model.npz", "--inputs", folder / "x.npy",
        "--engine", "icarus", "--output", folder / "y.npy", "--json",
    )  # fmt: skip
    result = json.loads(out)
    assert (code, set(result)) == (0, KEYS)
    assert (result["engine"], result["frames"], result["mismatches"]) == ("icarus", 3, 0)
    assert result["streams"]["differences"] == 0
    cycles = result["cycles"]
    assert set(cycles) == {"promised", "measured"}
    assert set(cycles["promised"]) == {"first", "interval", "total"}
    assert cycles["promised"] == cycles["measured"]
    np.testing.assert_array_equal(np.load(folder / "y.npy"), program(frames(program, 3)))


@pytest.mark.cosim
def test_with_stalls_cycles_are_null_and_every_stream_is_still_checked(model, capsys):
    _, folder = model
    code, out, _ = run(
        capsys, "simulate", folder / "model.npz", "--inputs", folder / "x.npy", "--engine",
        "icarus", "--stall", "0.4", "--seed", "7", "--frames", "2", "--json",
    )  # fmt: skip
    result = json.loads(out)
    assert (code, result["cycles"], result["frames"]) == (0, None, 2)
    assert result["streams"]["transfers"] > 1000
    assert result["streams"]["differences"] == 0


@pytest.mark.cosim
def test_one_frame_has_no_interval(model, capsys):
    _, folder = model
    _, out, _ = run(
        capsys, "simulate", folder / "model.npz", "--inputs", folder / "x.npy", "--engine",
        "icarus", "--frames", "1", "--json",
    )  # fmt: skip
    cycles = json.loads(out)["cycles"]
    assert cycles["measured"]["interval"] is None
    assert cycles["measured"]["total"] == cycles["measured"]["first"] + 1


@pytest.mark.parametrize("engine", ["reference", "numba"])
def test_software_engines_and_expected_values(model, capsys, engine):
    program, folder = model
    expect = program(frames(program, 3)).astype(float)
    command = ["simulate", folder / "model.npz", "--inputs", folder / "x.npy", "--engine", engine]
    for off, mismatches in ((0.0009, 0), (0.0011, 30)):
        np.save(folder / "e.npy", expect + off)
        code, out, _ = run(capsys, *command, "--expect", folder / "e.npy", "--json")
        result = json.loads(out)
        assert (code, result["mismatches"]) == (int(mismatches > 0), mismatches)
        assert result["cycles"] is None
        assert result["top_1_agreement"] == {"agreeing": 3, "frames": 3}
    expect[1, 2] += 1000
    np.save(folder / "e.npy", expect)
    code, out, _ = run(capsys, *command, "--expect", folder / "e.npy", "--json")
    result = json.loads(out)
    assert (code, result["mismatches"]) == (1, 1)
    assert result["top_1_agreement"] == {"agreeing": 2, "frames": 3}
    _, out, _ = run(capsys, *command, "--expect", folder / "e.npy")
    assert "\ntop-1 agrees in 2 of 3 frames\n" in out
    _, out, _ = run(capsys, *command, "--json")
    assert json.loads(out)["top_1_agreement"] is None


def test_generate_and_its_fold_file(model, capsys):
    _, folder = model
    (folder / "fold.json").write_text('{"dot1": {"pe": 4, "simd": 9}}')
    code, out, _ = run(
        capsys, "generate", folder / "model.npz", "-o", folder / "out",
        "--fold", folder / "fold.json", "--json",
    )  # fmt: skip
    manifest = json.loads(out)
    assert code == 0
    assert manifest["folding"]["dot1"] == {"pe": 4, "simd": 9}
    # The layers that the file leaves out keep up with it.
    assert manifest["cycles"]["interval"] == 36 * 9  # of the window, at its fastest
    assert json.loads((folder / "out" / "manifest.json").read_text()) == manifest


@pytest.mark.cosim
def test_compare_shows_cycles_three_times(model, capsys):
    _, folder = model
    code, out, _ = run(
        capsys, "compare", folder / "model.npz", "--cycles-per-frame", "400",
        "--cycles-per-frame", "2000", "--json",
    )  # fmt: skip
    models = json.loads(out)["models"]
    assert (code, len(models)) == (0, 2)
    for entry in models:
        assert entry["total"]["schedule"] == entry["total"]["rtl"]
        assert entry["total"]["formula"]["interval"] == entry["total"]["rtl"]["interval"]
        assert entry["limiting"] in {layer["layer"] for layer in entry["layers"]}
        for layer in entry["layers"]:
            assert layer["schedule"] == layer["rtl"]
            assert {"bits", "weights", "operations", "lut", "ff", "bram", "dsp"} <= set(layer)
    dot = next(la for la in models[0]["layers"] if la["layer"] == "dot1")
    assert (dot["weights"], dot["weight_bits"], dot["operations"]) == (288, 288, 36 * 288)


def test_the_zoo_lists_what_scripts_need(capsys):
    code, out, _ = run(capsys, "zoo", "--json")
    entries = json.loads(out)
    assert code == 0
    for entry in entries:
        assert {"name", "input_shape", "input_range", "output_shape", "accuracy"} <= set(entry)
        assert len(entry["input_range"]) == 2
        # Random weights (the published shapes) have no accuracy.
        shape = entry["kind"] == "shape, random weights"
        assert entry["accuracy"] is None if shape else 0.9 < entry["accuracy"] <= 1
    assert {"digits-bwnh", "digits-binary"} <= {entry["name"] for entry in entries}


def test_compress_makes_a_program_that_runs(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.integers(0, 17, (40, 8, 8, 1)))
    np.save(tmp_path / "y.npy", rng.integers(0, 10, 40))
    code, _, _ = run(
        capsys, "compress", "digits-cnn", "--data", tmp_path / "x.npy", "--weights", "int4",
        "--activations", "4", "--labels", tmp_path / "y.npy", "-o", tmp_path / "m.npz",
    )  # fmt: skip
    assert code == 0
    program = api.load(tmp_path / "m.npz")
    assert program.output.shape == (10,)
    assert 0 <= program.metadata["calibration_accuracy"] <= 1


def test_a_layer_may_have_a_method_of_its_own(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 17, (40, 8, 8, 1)))
    command = ["compress", "digits-cnn", "--data", tmp_path / "x.npy", "--weights", "bwnh"]
    command += ["-o", tmp_path / "m.npz", "--weights-of", "conv1=int8:bits=6"]
    assert run(capsys, *command)[0] == 0
    program = api.load(tmp_path / "m.npz")
    grids = [node.op.grid.bits for node in program.nodes if isinstance(node.op, Dot)]
    assert grids[0] == 6
    assert set(grids[1:]) == {1}
    assert program.metadata["mixed"] == {"conv1": "int8:bits=6"}


def test_search_saves_the_mixture_that_it_reports(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 17, (20, 8, 8, 1)))
    code, out, _ = run(
        capsys, "search", "digits-cnn", "--data", tmp_path / "x.npy", "--among", "int4,sign",
        "--minimise", "bits", "--most", "60000", "-o", tmp_path / "m.npz", "--json",
    )  # fmt: skip
    assert code == 0
    chosen = json.loads(out)["chosen"]
    program = api.load(tmp_path / "m.npz")
    assert program.metadata["weight_bits"] == chosen["cost"] <= 60000
    assert program.metadata["mixed"] == chosen["methods"]


BAD = {
    "nothing.npz does not exist; give the path of a saved file": [
        "generate", "nothing.npz", "-o", "o"],
    "nothing is neither a file nor in the zoo": ["generate", "nothing", "-o", "o"],
    "x.npy is damaged or not a saved file": ["generate", "x.npy", "-o", "o"],
    "takes inputs of shape (N, 6, 6, 4), not (3, 4)": [
        "simulate", "model.npz", "--inputs", "flat.npy", "--engine", "numba"],
    "input (0, 0, 0, 0) is 9": [
        "simulate", "model.npz", "--inputs", "nine.npy", "--engine", "numba"],
    "inputs hold NaN or infinity": [
        "simulate", "model.npz", "--inputs", "nan.npy", "--engine", "numba"],
    "expected values have shape (3, 10), not (3, 4)": [
        "simulate", "model.npz", "--inputs", "x.npy", "--expect", "flat.npy", "--engine", "numba"],
    "model.npz is not a complete .npy file": [
        "simulate", "model.npz", "--inputs", "model.npz", "--engine", "numba"],
    "layer 'dot1': Dot cannot be folded with pe 3 and simd 9": [
        "generate", "model.npz", "-o", "o", "--fold", "three.json"],
    "the folding names layer 'conv9'": [
        "generate", "model.npz", "-o", "o", "--fold", "unknown.json"],
    "the fold file broken.json is not JSON": [
        "generate", "model.npz", "-o", "o", "--fold", "broken.json"],
    "cycles a frame at its most parallel, above the 1 asked for": [
        "generate", "model.npz", "-o", "o", "--cycles-per-frame", "1"],
    "the folder . holds other files": ["generate", "model.npz", "-o", "."],
    "a share from 0 to below 1 is expected, not 1": [
        "simulate", "model.npz", "--inputs", "x.npy", "--stall", "1"],
    "no compression method is called 'magic'": [
        "compress", "digits-cnn", "--data", "digits.npy", "--weights", "magic", "-o", "o"],
    "has no layer 'stem' with weights to compress; choose conv1, ": [
        "compress", "digits-cnn", "--data", "digits.npy", "--weights-of", "stem=int8", "-o", "o"],
    "--output . is a folder; name a file to write": [
        "compress", "digits-cnn", "--data", "digits.npy", "-o", "."],
    "--output no/y.npy is in no folder that exists; make no first": [
        "simulate", "model.npz", "--inputs", "x.npy", "--engine", "numba", "-o", "no/y.npy"],
    "--output no/m.onnx is in no folder that exists; make no first": [
        "export", "model.npz", "-o", "no/m.onnx"],
    "LAYER=METHOD is expected, not int8": [
        "compress", "digits-cnn", "--data", "digits.npy", "--weights-of", "int8", "-o", "o"],
    "no mixture of int8, int4 costs at most 5, the cheapest found ": [
        "search", "digits-cnn", "--data", "digits.npy", "--among", "int8,int4", "--most", "5",
        "--minimise", "bits", "-o", "o"],
    "activations take 2 to 8 bits, not 1": [
        "compress", "digits-cnn", "--data", "x.npy", "--activations", "1", "-o", "o"],
}  # fmt: skip


@pytest.mark.parametrize("sentence", BAD)
def test_bad_input_is_one_sentence_and_code_2(model, capsys, monkeypatch, sentence):
    _, folder = model
    np.save(folder / "flat.npy", np.zeros((3, 4), int))
    np.save(folder / "nine.npy", np.full((1, 6, 6, 4), 9))
    np.save(folder / "nan.npy", np.full((1, 6, 6, 4), np.nan))
    np.save(folder / "digits.npy", np.ones((4, 8, 8, 1), int))
    (folder / "three.json").write_text('{"dot1": {"pe": 3, "simd": 9}}')
    (folder / "unknown.json").write_text('{"conv9": {"pe": 3, "simd": 9}}')
    (folder / "broken.json").write_text("{")
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.iterdir())
    try:
        code, out, err = run(capsys, *BAD[sentence])
    except SystemExit as stopped:
        code, (out, err) = stopped.code, capsys.readouterr()
    assert code == 2
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if not line.startswith("[")]) == 1
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_full_disk_is_one_sentence(model, capsys):
    _, folder = model
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    code, _, err = run(
        capsys, "simulate", folder / "model.npz", "--inputs", folder / "x.npy", "--engine",
        "numba", "--output", "/dev/full/y.npy",
    )  # fmt: skip
    assert code == 2
    assert "Traceback" not in err


def test_a_missing_simulator_is_one_sentence(model, capsys, monkeypatch):
    _, folder = model
    monkeypatch.setenv("PATH", str(folder))
    code, _, err = run(
        capsys, "simulate", folder / "model.npz", "--inputs", folder / "x.npy", "--engine", "icarus"
    )
    assert code == 2
    assert "Icarus Verilog (iverilog) is not installed" in err


@pytest.mark.cosim
def test_a_wrong_circuit_fails(model, monkeypatch):
    """The command must be able to fail: one altered weight word is seen, named and counted."""
    program, _ = model
    honest = api.write_rtl

    def altered(design):
        rtl = honest(design)
        name = next(name for name in rtl.memories if "dot4" in name)
        first, _, rest = rtl.memories[name].partition("\n")
        rtl.memories[name] = f"{int(first, 16) ^ 1:0{len(first)}x}\n{rest}"
        return rtl

    monkeypatch.setattr(api, "write_rtl", altered)
    result = api.simulate(program, frames(program, 2), engine="icarus")
    assert result["mismatches"] > 0
    assert "unit dot4, stream dot4__to" in result["report"][0]
    assert "expected" in result["report"][0]


def test_every_operator_has_a_place_in_a_table(capsys, tmp_path):
    save(every_operator(), tmp_path / "m.npz")
    entries = api.compare([tmp_path / "m.npz"], engine=None)["models"]
    assert entries[0]["total"]["rtl"] is None
    assert {layer["operator"] for layer in entries[0]["layers"]} >= {"Window", "Dot", "Add", "TopK"}


def test_the_api_is_the_front_door():
    code = "import bitwright; print(bitwright.load('digits-bwnh').output.shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(10,)\n"


@pytest.mark.cosim
def test_compare_fails_where_the_circuit_is_not_as_promised(model, capsys, monkeypatch):
    _, folder = model
    honest = compare.write_rtl

    def altered(design):
        rtl = honest(design)
        name = next(name for name in rtl.memories if "dot4" in name)
        first, _, rest = rtl.memories[name].partition("\n")
        rtl.memories[name] = f"{int(first, 16) ^ 1:0{len(first)}x}\n{rest}"
        return rtl

    monkeypatch.setattr(compare, "write_rtl", altered)
    code, out, _ = run(capsys, "compare", folder / "model.npz", "--json")
    assert code == 1
    assert json.loads(out)["models"][0]["differences"] > 0


@pytest.mark.parametrize(
    "option", [["--stall", "0.5"], ["--wave", "w"], ["--cycles-per-frame", "9"]]
)
def test_software_refuses_what_only_hardware_does(model, capsys, option):
    _, folder = model
    code, _, err = run(
        capsys, "simulate", folder / "model.npz", "--inputs", folder / "x.npy", "--engine", "numba",
        *option,
    )  # fmt: skip
    assert code == 2
    assert "engine 'numba' has no hardware to stall, fold or record" in err


def test_a_full_disk_while_generating_is_one_sentence(model, capsys, monkeypatch):
    _, folder = model

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(project, "write_vectors", full)
    code, out, err = run(capsys, "generate", folder / "model.npz", "-o", folder / "out")
    assert (code, out) == (2, "")
    assert err == (
        "bitwright: generate: No space left on device; free some space and run it again, "
        "nothing was left half-done\n"
    )
    assert not (folder / "out").exists()


@pytest.mark.cosim
def test_an_undefined_output_is_wrong_even_where_0_is_expected(model, monkeypatch):
    program, _ = model
    honest = api.write_rtl

    def undefined(design):
        rtl = honest(design)
        name = next(name for name in rtl.memories if "dot4" in name)
        rtl.memories[name] = re.sub(r"[0-9a-f]", "x", rtl.memories[name])
        return rtl

    monkeypatch.setattr(api, "write_rtl", undefined)
    x = frames(program, 2)
    result = api.simulate(program, x, program(x), engine="icarus")
    assert result["mismatches"] == 20
    assert result["top_1_agreement"] == {"agreeing": 0, "frames": 2}
    assert "got undefined" in result["report"][0]
