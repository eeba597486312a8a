"""ONNX files at the front door: check, simulate, compress, export, and the page that lists all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_build import QONNX as QONNX_DOMAIN
from onnx_build import Builder

import bitwright
from bitwright import api, verdict
from bitwright.cli import main
from bitwright.codegen.folding import build
from bitwright.codegen.project import generate
from bitwright.expected import Expected
from bitwright.models.fixed import ProgramError, signed
from bitwright.models.onnx.constants.folding import foldable
from bitwright.models.onnx.graph import ONNX, Graph, Node, Tensor
from bitwright.models.onnx.load import imported
from bitwright.models.onnx.nodes import HANDLERS
from bitwright.models.ops import Reshape, TopK
from bitwright.models.program import Border, Edge, Program
from bitwright.models.program import Node as ProgramNode
from bitwright.sim.compare import compare_designs
from bitwright.sim.report import NetworkRun, render

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
SAMPLE = DATA / "brevitas_cnn_4bit_channel_qcdq.onnx"
EIGHT_BIT = DATA / "brevitas_residual_8bit_qcdq.onnx"


def run(capsys, *args):
    """Exit code, standard output, standard error."""
    code = main([str(arg) for arg in args])
    done = capsys.readouterr()
    return code, done.out, done.err


def quantised(b: Builder, x: str, scale: float, bits: float = 4) -> str:
    parts = [b.constant(value) for value in (scale, 0.0, bits)]
    return b.node("Quant", x, *parts, domain=QONNX_DOMAIN, signed=1, narrow=0)


def dense(b: Builder, x: str, inputs: int, outputs: int) -> str:
    grid = b.random.integers(-7, 8, (inputs, outputs))
    return b.node("MatMul", x, b.constant(grid * 0.25))


def written(b: Builder, output: str, shape, path: Path) -> Path:
    onnx.save(b.model(output, shape, "graph"), path)
    return path


@pytest.fixture
def classifier(tmp_path):
    """Quantised inputs and hidden values, five scores and a softmax."""
    b = Builder((6,), 1)
    hidden = quantised(b, dense(b, quantised(b, "x", 0.25), 6, 8), 0.5)
    scores = b.node("Softmax", dense(b, hidden, 8, 5), axis=-1)
    return written(b, scores, (5,), tmp_path / "classifier.onnx")


# check


def test_a_file_that_goes_through(classifier, capsys):
    code, out, err = run(capsys, "check", classifier, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == bitwright.check(classifier)
    program = api.load(classifier)
    assert json.loads(out) == {
        "model": str(classifier),
        "goes_through": True,
        "obstacles": [],
        "nodes": 5,
        "operators": 3,
        "input": {
            "shape": [6], "range": [-8, 7], "step": 1, "real_range": [-2.0, 1.75],
            "rounded": "half_even",
        },
        "output": {
            "shape": [5], "range": [program.output.grid.lo, program.output.grid.hi], "step": 1,
            "real_range": [program.output.grid.lo / 8, program.output.grid.hi / 8],
            "finish": "softmax",
        },
        "weights": 88,
        "weight_bits": 352,
        "forms": [{"node": "nt2", "form": "15 thresholds", "range": [-8, 7]}],
        "exact": True,
    }  # fmt: skip
    code, out, _ = run(capsys, "check", classifier)
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == (
        f"{classifier} goes through: 5 nodes become 3 operators with 88 weights in 352 bits"
    )
    assert lines[2].split() == ["input", "6", "-8..7", "-2..1.75"]
    assert lines[5].split() == ["nt2", "15", "thresholds", "-8..7"]
    assert lines[-2:] == [
        "Every rounding is exact: the integers are those of the file's real numbers.",
        "The softmax at the end is computed on the host.",
    ]


def test_every_obstacle_is_listed(tmp_path, capsys):
    b = Builder((6,), 1)
    x = b.node("Erf", quantised(b, "x", 0.25))
    x = b.node("Erf", quantised(b, b.node("Gelu", quantised(b, x, 0.5)), 0.5))
    path = written(b, x, (6,), tmp_path / "m.onnx")
    code, out, err = run(capsys, "check", path, "--json")
    found = json.loads(out)
    assert (code, err, found["goes_through"]) == (1, "", False)
    assert [sentence.split(":")[0] for sentence in found["obstacles"]] == [
        "node 'nt1' (Erf)", "node 'nt3' (Gelu)", "node 'nt5' (Erf)",
    ]  # fmt: skip
    assert {found[key] for key in ("operators", "input", "output", "forms", "exact")} == {None}
    code, out, _ = run(capsys, "check", path)
    assert code == 1
    assert out.splitlines()[0] == f"{path} does not go through: 3 obstacles"
    assert out.splitlines()[1:] == [f"- {sentence}" for sentence in found["obstacles"]]
    code, out, err = run(capsys, "generate", path, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert err.startswith(f"bitwright: {path}: node 'nt1' (Erf): ")
    assert "(and 2 more: `bitwright check` lists them)" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [None, b"", b"no model", b"\x08\x08"], ids=str)
def test_what_is_no_onnx_file_is_one_sentence(tmp_path, capsys, content):
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    code, out, err = run(capsys, "check", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"bitwright: {path}: the ")


def test_a_file_with_no_rounding_says_so(tmp_path):
    b = Builder((6,), 1)
    path = written(b, dense(b, quantised(b, "x", 0.25), 6, 3), (3,), tmp_path / "m.onnx")
    assert bitwright.check(path)["forms"] == []
    assert "Nothing is rounded behind the input" in verdict.text(bitwright.check(path))


def test_checking_imports_nothing_heavy():
    heavy = {"numba", "amaranth", "cocotb", "bitwright.api", "torch", "onnxruntime"}
    for call in (f"bitwright.check({str(SAMPLE)!r})", f"cli.main(['check', {str(SAMPLE)!r}])"):
        code = (
            f"import sys, bitwright; from bitwright import cli; {call}; "
            f"print({heavy} & set(sys.modules), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stderr == "set()\n"


HOSTILE = "a\x1b[2J\n<b>&" + "x" * 200


@pytest.fixture
def hostile(tmp_path):
    """A rounding whose name clears a terminal and is long."""
    b = Builder((6,), 1)
    b.domains.add(QONNX_DOMAIN)
    output = dense(b, quantised(b, dense(b, quantised(b, "x", 0.25), 6, 4), 0.5), 4, 3)
    for node in b.nodes[:-1]:
        node.name = f"{node.name}{HOSTILE}"
    return written(b, output, (3,), tmp_path / "m.onnx")


def test_names_of_a_file_are_printed_on_one_line(hostile, capsys):
    code, out, _ = run(capsys, "check", hostile)
    assert code == 0
    assert "\x1b" not in out
    assert max(map(len, out.splitlines()[1:])) < 120
    assert r"nt2a\x1b[2J\n<b>&xxx" in out


# What becomes of the forms


def test_the_manifest_holds_forms_and_borders(classifier, tmp_path):
    manifest = generate(build(api.load(classifier)), tmp_path / "out")
    assert manifest["forms"] == {"nt2": "15 thresholds"}
    assert manifest["borders"] == {
        "input": {
            "scale": ["1/4"], "offset": ["0/1"], "rounding": "half_even", "shape": [6],
            "axes": [0], "finish": "",
        },
        "output": {
            "scale": ["1/8"] * 5, "offset": ["0/1"] * 5, "rounding": "half_even", "shape": [5],
            "axes": [0], "finish": "softmax",
        },
    }  # fmt: skip


def test_the_manifest_says_where_the_models_axes_are(tmp_path):
    manifest = generate(build(api.load(SAMPLE)), tmp_path / "out")
    own = manifest["borders"]["input"]
    channels, height, width = own["shape"]
    assert own["axes"] == [2, 0, 1]
    assert manifest["input"]["shape"] == [height, width, channels]


def test_compare_counts_the_forms(capsys, classifier):
    result = api.compare([classifier], engine=None)
    assert result["models"][0]["forms"] == {"nt2": "15 thresholds"}
    code, out, _ = run(capsys, "compare", classifier)
    assert code == 0
    assert "\nroundings, all exact: 15 thresholds (1)\n" in out


def test_the_report_shows_the_forms(hostile):
    design = build(api.load(hostile))
    entry = compare_designs([design], None, print)[0]
    page = render([NetworkRun("title", "about", design, entry)])
    assert "<h3>Roundings</h3>" in page
    assert r"a\x1b[2J\n&lt;b&gt;&amp;xxx" in page
    assert '<td class="left">15 thresholds</td>' in page


def test_metadata_of_others_is_no_form():
    edge = Edge.of((2,), signed(4))
    node = ProgramNode("same", Reshape((2,)), ("input",))
    for metadata in ({"forms": 3}, {"forms": {"a": 1, "b": ["x"], "c": "\x1b"}}, {}):
        program = Program("p", edge, (node,), metadata=metadata)
        assert compare_designs([build(program)], None, print)[0]["forms"] == {}


# simulate


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["numba", "icarus"])
def test_simulating_a_file_in_its_own_layout(capsys, tmp_path, engine):
    frames = np.load(SAMPLE.with_suffix(".npz"))
    np.save(tmp_path / "x.npy", frames["x"])
    np.save(tmp_path / "y.npy", frames["y"])
    code, out, _ = run(
        capsys, "simulate", SAMPLE, "--inputs", tmp_path / "x.npy", "--expect", tmp_path / "y.npy",
        "--engine", engine, "--frames", "3", "-o", tmp_path / "ours.npy", "--json",
    )  # fmt: skip
    result = json.loads(out)
    assert (code, result["mismatches"]) == (0, 0)
    assert result["top_1_agreement"] == {"agreeing": 3, "frames": 3}
    np.testing.assert_allclose(np.load(tmp_path / "ours.npy"), frames["y"][:3], atol=1e-5)


def test_expected_values_of_another_shape_are_refused(capsys, tmp_path):
    frames = np.load(SAMPLE.with_suffix(".npz"))
    np.save(tmp_path / "x.npy", frames["x"])
    np.save(tmp_path / "y.npy", frames["y"][:, None])
    code, out, err = run(
        capsys, "simulate", SAMPLE, "--inputs", tmp_path / "x.npy", "--expect", tmp_path / "y.npy",
        "--engine", "numba",
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert "expected values have shape (8, 4), not (8, 1, 4); reshape them" in err


def test_float32_is_allowed_its_roundings_but_no_step():
    """Of 8-bit networks a step can be less than a hundred units in the last place of float32."""
    frames = np.load(EIGHT_BIT.with_suffix(".npz"))
    program = api.load(EIGHT_BIT)
    step = float(program.output_border.scale[1])
    assert frames["y"].dtype == np.float32
    assert np.abs(program.answer(program(program.accept(frames["x"]))) - frames["y"]).max() > (
        step / 1000
    )
    result = api.simulate(program, frames["x"], frames["y"], engine="reference")
    assert result["mismatches"] == 0
    off = result["outputs"].copy()
    off[2, 1] += step
    for dtype in (np.float32, np.float64):
        found = api.simulate(program, frames["x"], off.astype(dtype), engine="reference")
        assert found["mismatches"] == 1
    exact = api.simulate(program, frames["x"], frames["y"].astype(float), engine="reference")
    assert exact["mismatches"] > 0


def test_however_coarse_the_floats_a_step_is_seen():
    program = Program(
        "p", Edge.of((3,), signed(16)), (ProgramNode("r", Reshape((3,)), ("input",)),)
    )
    x = np.array([[30000, 5, 7]])
    expect = x.astype(np.float16)
    assert api.simulate(program, x, expect, engine="reference")["mismatches"] == 0
    expect[0, 1] += 1
    assert api.simulate(program, x, expect, engine="reference")["mismatches"] == 1


def classes(*nodes: ProgramNode, shape=(4,), border: Border | None = None) -> Program:
    border = border or Border()
    return Program("p", Edge.of(shape, signed(8)), nodes, output_border=border)


SAME = ProgramNode("same", Reshape((4,)), ("input",))
X = np.array([[1, 5, 5, 0], [-3, -4, -1, -2], [7, 0, 0, 0]])


@pytest.mark.parametrize(
    ("wanted", "agreeing"),
    [([1, 2, 0], 3), ([2, 2, 0], 2), ([0, 0, 1], 0)],
    ids=["first of equals", "the second of equals", "none"],
)
def test_top_1_is_the_first_of_the_largest(wanted, agreeing):
    expect = np.eye(4)[wanted]
    result = api.simulate(classes(SAME), X, expect, engine="reference")
    assert result["top_1_agreement"] == {"agreeing": agreeing, "frames": 3}


def test_top_1_of_a_negative_scale_is_that_of_the_answer():
    program = classes(SAME, border=Border((-1,), (0,)))
    result = api.simulate(program, X, -X.astype(float), engine="reference")
    assert result["mismatches"] == 0
    assert result["top_1_agreement"] == {"agreeing": 3, "frames": 3}


def test_top_1_of_listed_classes_is_the_first_one():
    top = ProgramNode("top", TopK(2), ("input",))
    expect = np.array([[1, 0], [2, 3], [1, 0]])
    result = api.simulate(classes(top), X, expect, engine="reference")
    assert result["top_1_agreement"] == {"agreeing": 2, "frames": 3}


@pytest.mark.parametrize("shape", [(2, 2), (1,)])
def test_outputs_that_are_no_classes_have_no_top_1(shape):
    program = classes(ProgramNode("same", Reshape(shape), ("input",)), shape=shape)
    x = np.ones((3, *shape), int)
    assert api.simulate(program, x, x, engine="reference")["top_1_agreement"] is None


def test_frames_that_never_came_or_are_undefined_do_not_agree():
    program = classes(SAME)
    expected = Expected.of(program, X, 3)
    lost = np.zeros((3, 4), bool)
    assert expected.agreement(X[:2], lost) == {"agreeing": 2, "frames": 3}
    assert expected.agreement(X[:0], lost) == {"agreeing": 0, "frames": 3}
    assert expected.missed(X[:2], X).sum() == 4
    lost[1, 2] = True
    assert expected.agreement(X, lost) == {"agreeing": 2, "frames": 3}


# compress and export


def image_model(path: Path) -> Path:
    """A float network on images of two channels, channels first."""
    b = Builder((2, 6, 5), 3)
    x = b.convolution("x", b.constant(b.weights(4, 2, 3, 3)), 3, b.bias(4))
    x = b.node("Flatten", b.node("MaxPool", b.node("Relu", x), kernel_shape=[2, 2], strides=[2, 2]))
    x = b.node("Gemm", x, b.constant(b.weights(5, 24)), b.bias(5), transB=1)
    return written(b, x, (5,), path)


def test_compressing_a_float_file_in_its_own_layout(capsys, tmp_path):
    path = image_model(tmp_path / "float net.onnx")
    x = np.random.default_rng(0).normal(size=(40, 2, 6, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    first = api.compress(path, x, "int8")
    best = np.argmax(first.answer(first(first.accept(x))), 1)
    np.save(tmp_path / "labels.npy", best)
    code, _, _ = run(
        capsys, "compress", path, "--data", tmp_path / "x.npy", "--weights", "int8",
        "--activations", "8", "--labels", tmp_path / "labels.npy", "-o", tmp_path / "m.npz",
    )  # fmt: skip
    program = api.load(tmp_path / "m.npz")
    assert (code, program.name) == (0, "float net")
    assert program.input.shape == (6, 5, 2)
    assert program.input_border.shape == (2, 6, 5)
    assert program.metadata["calibration_accuracy"] == 1.0
    inside = api.compress(path, x.transpose(0, 2, 3, 1), "int8", labels=best)
    assert inside.digest == program.digest
    assert inside.metadata["calibration_accuracy"] == 1.0


def test_a_float_file_is_pointed_to_compress(capsys, tmp_path):
    path = image_model(tmp_path / "m.onnx")
    code, out, _ = run(capsys, "check", path)
    assert code == 1
    assert "bitwright compress" in out


@pytest.mark.parametrize("data", [b"", "a quantised file"], ids=["empty", "quantised"])
def test_what_cannot_be_compressed_is_one_sentence(capsys, tmp_path, data):
    path = tmp_path / "m.onnx" if data == b"" else SAMPLE
    if data == b"":
        path.write_bytes(data)
    np.save(tmp_path / "x.npy", np.zeros((4, 1, 8, 8)))
    code, out, err = run(
        capsys, "compress", path, "--data", tmp_path / "x.npy", "-o", tmp_path / "m.npz"
    )
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"bitwright: {path}: ")
    assert not (tmp_path / "m.npz").exists()


@pytest.mark.parametrize("model", ["digits-binary", str(SAMPLE)])
def test_an_exported_program_comes_back(capsys, tmp_path, model):
    path = tmp_path / "m.onnx"
    code, out, _ = run(capsys, "export", model, "-o", path, "--json")
    assert (code, json.loads(out)) == (0, {"model": model, "onnx": str(path)})
    program, back = api.load(model), api.load(path)
    rng = np.random.default_rng(0)
    x = rng.integers(program.input.lo, program.input.hi + 1, (5, *program.input.shape))
    answers = back.answer(back(back.accept(program.input_border.outward(x, program.input))))
    # A file holds scales in float32.
    np.testing.assert_allclose(answers, program.answer(program(x)), rtol=1e-6)


def test_export_writes_nothing_it_cannot_write_exactly(capsys, tmp_path):
    wide = Edge.of((4,), signed(30))
    program = Program("wide", wide, (SAME,))
    api.save(program, tmp_path / "m.npz")
    code, out, err = run(capsys, "export", tmp_path / "m.npz", "-o", tmp_path / "m.onnx")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "m.onnx").exists()
    with pytest.raises(ProgramError):
        bitwright.export(program, tmp_path / "m.onnx")


# The page


OPSET = 28
PAGE = (ROOT / "docs" / "onnx.md").read_text()
newest = pytest.mark.skipif(
    onnx.defs.onnx_opset_version() != OPSET,
    reason=f"docs/onnx.md lists opset {OPSET}, and this onnx has another",
)


@newest
def test_the_page_is_what_the_code_says(tmp_path):
    path = tmp_path / "onnx.md"
    path.write_text(PAGE)
    tool = [sys.executable, ROOT / "tools" / "onnx_page.py", path]
    subprocess.run(tool, check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert path.read_text() == PAGE, "run `make docs`"


def listed(heading: str) -> list[str]:
    """The operators of one part of the page."""
    _, _, rest = PAGE.partition(f"### {heading} (")
    part = re.split(r"\n##", rest)[0]
    count = int(part[: part.index(")")])
    if heading == "In hardware":
        names = re.findall(r"^\| `(\w+)`", part, re.M)
    elif heading == "Refused":
        names = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| ([^|]*) \|", part, re.M)))
    else:
        names = re.findall(r"`(\w+)`", part.splitlines()[-1])
    assert len(names) == count
    return names


@newest
def test_the_page_has_every_operator_once():
    schemas = onnx.defs.get_all_schemas_with_history()
    every = {s.name for s in schemas if s.domain == "" and s.since_version <= OPSET}
    names = listed("In hardware") + listed("On constants alone") + listed("Refused")
    assert sorted(names) == sorted(every)


def with_node(op: str) -> Graph:
    """A graph of one quantised input and a node that reads it twice over."""
    nodes = (
        Node("quant", "Quant", "qonnx", 1, ("x", "scale", "zero", "bits"), ("q",), {}),
        Node("node", op, ONNX, OPSET, ("q", "q"), ("y",), {}),
    )
    constants = {
        name: np.array(value, np.float32)
        for name, value in {"scale": 1, "zero": 0, "bits": 4}.items()
    }
    ends = [(Tensor(name, "float32", (1, 4)),) for name in ("x", "y")]
    return Graph("g", ends[0], ends[1], nodes, constants)


@pytest.mark.parametrize("op", listed("Refused"))
def test_what_the_page_calls_refused_is_refused(op):
    found = imported(with_node(op), "g")
    assert found.program is None
    assert found.obstacles[0].startswith(f"node 'node' ({op}): ")
    assert not foldable(Node("node", op, ONNX, OPSET, (), ()))


def test_every_handler_says_what_it_accepts():
    assert not [name for name, handler in HANDLERS.items() if not handler.accepted]
