"""The options by which a folding is asked for reach the design, and the front is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from programs import binary_convolution

from bitwright import api, cli
from bitwright.codegen import pareto
from bitwright.codegen.choices import Choices
from bitwright.codegen.folding import build


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("wishes") / "model.npz"
    api.save(binary_convolution(), path)
    return path


def run(capsys, *arguments):
    """Exit code, standard output, standard error."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code
    return code, *capsys.readouterr()


def test_a_target_and_a_budget_fold_the_project(model, tmp_path, capsys):
    ways = {
        ("--target-fps", "20000", "--clock", "10"): build(binary_convolution(), 500),
        ("--budget", "lut=2500,bram=2"): build(
            binary_convolution(), budget={"lut": 2500, "bram": 2}
        ),
        ("--cycles-per-frame", "400", "--minimise", "ff"): build(
            binary_convolution(), 400, minimise="ff"
        ),
    }
    for number, (options, design) in enumerate(ways.items()):
        out = tmp_path / str(number)
        code, said, err = run(capsys, "generate", model, "-o", out, *options)
        assert (code, err) == (0, "")
        assert f": {design.interval:,} cycles a frame" in said
        assert ("frames per second at 10 MHz" in said) == ("--clock" in options)
        folding = json.loads((out / "manifest.json").read_text())["folding"]
        assert folding == {n: {"pe": f.pe, "simd": f.simd} for n, f in design.folds.items()}


def test_a_column_per_wish(model):
    columns = api.compare(
        [model], [400], target_fps=[20000], budgets=[{"lut": 2500}], clock=10, engine=None
    )["models"]
    budgeted = build(binary_convolution(), budget={"lut": 2500}).interval
    assert [column["interval"] for column in columns] == [
        build(binary_convolution(), 400).interval,
        build(binary_convolution(), 500).interval,
        budgeted,
    ]


def test_the_front_in_json_and_as_a_table(model, capsys):
    code, out, err = run(capsys, "explore", model, "--json")
    result = json.loads(out)
    front = pareto.front(Choices(binary_convolution()))
    assert code == 0
    assert "folding to" in err
    assert [point["cycles"] for point in result["points"]] == [point.cycles for point in front]
    assert [point["lut"] for point in result["points"]] == [point.area["lut"] for point in front]
    assert result["points"][0]["folding"]["dot1"].keys() == {"pe", "simd"}
    assert set(result["error"]) >= {"lut", "ff", "bram", "dsp"}

    code, out, _ = run(capsys, "explore", model, "--points", "2", "--minimise", "lut")
    lines = out.splitlines()
    assert lines[0] == "binary_conv on ecp5: 2 foldings of least lut for their cycles per frame"
    assert lines[1].split() == ["cycles", "limiting", "lut", "ff", "bram", "dsp", "beyond"]
    assert lines[4] == (f"estimated, with the least buffers; median error {result['off']}")
    assert result["off"].startswith("of 4 networks not in the fit: LUT ")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--budget", "lut=x"], "a budget is lut=N,ff=N,bram=N,dsp=N, or some of these, not lut=x"),
        (["--budget", "lut=1,lut=2"], "or some of these, not lut=1,lut=2"),
        (["--budget", "uram=1"], "or some of these, not uram=1"),
        (["--budget", "lut=9"], "takes at least"),
        (["--target-fps", "0"], "a number above 0 is expected, not 0"),
        (["--target-fps", "9"], "a target of frames per second needs the clock in MHz; give one"),
        (["--budget", "lut=9999", "--cycles-per-frame", "9"], "not allowed with argument"),
        (["--cycles-per-frame", "9999", "--family", "stratix"], "invalid choice: 'stratix'"),
    ],
)
def test_wishes_that_are_refused(model, tmp_path, capsys, options, sentence):
    code, out, err = run(capsys, "generate", model, "-o", tmp_path / "out", *options)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
