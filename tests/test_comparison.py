"""Designs side by side: figures, the Pareto front, and the page that shows them."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from programs import binary_convolution
from test_report import HOSTILE, Checker, convolution

from bitwright import api, cli, synthesis
from bitwright.codegen.folding import build
from bitwright.codegen.synth import Area
from bitwright.hw import cost
from bitwright.hw.work import Work, doing
from bitwright.models import zoo
from bitwright.models.fixed import ProgramError
from bitwright.sim.compare import Clock, Placed, area_error, compare_designs
from bitwright.sim.comparison import Comparison, titles
from bitwright.sim.energy import energy
from bitwright.sim.pareto import Field, front_of
from bitwright.sim.plots import NARROW, WIDE, Axis
from bitwright.sim.report import write_comparison
from bitwright.sim.roofline import Roofline, Traffic, roofline
from bitwright.sim.systolic import DATAFLOWS


def entry(lut, interval, model="m", fps=None, placed=None, others=(0, 0, 0), source="assumed"):
    speed = None if fps is None else {"frames_per_second": fps, "latency_us": 1.0}
    schedule = {"first": 9, "interval": interval, "total": 99}
    total = {"schedule": schedule, **resources(lut, *others)}
    return {
        "model": model, "program": model, "interval": interval, "total": total, "speed": speed,
        "clock": fps and {"source": source}, "placed": placed,
    }  # fmt: skip


def resources(lut, ff=0, bram=0, dsp=0):
    return {"lut": lut, "ff": ff, "bram": bram, "dsp": dsp}


def test_the_front_is_what_no_other_design_beats():
    entries = [
        entry(100, 50), entry(90, 50), entry(200, 20), entry(150, 60), entry(90, 50),
        entry(None, 1),
    ]  # fmt: skip
    assert front_of(entries) == [2, 3, 5]
    field = Field.of(entries)
    assert [point.number for point in field.points] == [1, 2, 3, 4, 5]
    assert (field.area, field.speed) == ("LUTs, estimated", "frames per million cycles")
    assert field.points[2].speed == 1e6 / 20
    assert [[point.number for point in steps] for steps in field.steps] == [[2, 3]]


@pytest.mark.parametrize("resource", range(3))
def test_luts_are_not_all_that_counts(resource):
    few = tuple(3 if k == resource else 4 for k in range(3))
    assert front_of([entry(90, 50, others=(4, 4, 4)), entry(100, 50, others=few)]) == [1, 2]
    assert front_of([entry(90, 50, others=(4, 4, 4)), entry(100, 50, others=(4, 4, 4))]) == [1]


def test_a_small_network_does_not_beat_a_large_one():
    entries = [entry(10, 5, "small"), entry(900, 70, "large"), entry(800, 60, "large")]
    assert front_of(entries) == [1, 3]
    field = Field.of(entries)
    assert [[point.number for point in steps] for steps in field.steps] == [[1], [3]]
    assert len([line for line in field.picture(WIDE).lines if line.kind == "front"]) == 2


def test_a_clock_turns_cycles_into_frames_per_second_and_real_area_goes_before():
    real = resources(70)
    entries = [entry(100, 50, fps=1000.0, placed=real), entry(90, 50, fps=1500.0, placed=real)]
    field = Field.of(entries)
    assert (field.area, field.speed) == ("LUTs", "frames per second")
    assert [(point.luts, point.speed) for point in field.points] == [(70, 1000.0), (70, 1500.0)]
    assert [point.number for point in field.front] == [2]


def test_netlists_are_not_compared_with_estimates_nor_reached_clocks_with_assumed_ones():
    reached = entry(100, 50, fps=10.0, placed=resources(70), source="place and route")
    entries = [reached, entry(90, 50, fps=99.0)]
    field = Field.of(entries)
    assert (field.area, field.speed) == ("LUTs, estimated", "frames per million cycles")
    assert [point.luts for point in field.points] == [100, 90]
    assert [point.number for point in field.front] == [2]
    assert Comparison(entries, ["a", "b"]).area(reached) == reached["total"]


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_every_dot_is_in_the_picture(size):
    entries = [entry(lut, 10**k) for k, lut in enumerate((1, 37, 37, 5_000, 2_000_000))]
    picture = Field.of(entries).picture(size)
    assert len(picture.rects) == 5
    for dot in picture.rects:
        assert 0 < dot.x < size.width - dot.width
        assert 0 < dot.y < size.height - dot.height
    assert {text.text for text in picture.texts if text.kind == "number"} == set("12345")


@pytest.mark.parametrize("ends", [(5, 5), (5, 6), (1, 1e9), (0.01, 0.2)])
def test_an_axis_has_room_and_some_ticks(ends):
    axis = Axis.around(ends, 0, 100)
    assert 0 < axis.at(ends[0]) <= axis.at(ends[1]) < 100
    assert 3 <= len(axis.ticks) <= 15


def test_energy_follows_the_stated_rule():
    assert energy(doing("add", 32)).total == pytest.approx(0.1)
    assert energy(doing("multiply", 32 * 32)).total == pytest.approx(3.1)
    assert energy(doing("multiply", 8 * 8)).total == pytest.approx(0.2, rel=0.04)
    assert energy(doing("add", 16)).total == pytest.approx(0.05)
    read = energy(Work(constant_reads=32, value_reads=16, value_writes=16))
    assert (read.arithmetic, read.memory) == (0, pytest.approx(10))


def test_the_roof_is_the_designs_own_arithmetic():
    design = build(zoo.programs()["tfc"].load(), 700)
    found = roofline(design, design.interval)
    assert found is not None
    products = 784 * 64 + 2 * 64 * 64 + 64 * 10
    assert found.per_frame == products
    assert found.achieved == products / design.interval <= found.peak
    # A frame takes as many cycles as the slowest matrix unit reads its memory, and as many as each
    # stream has beats, however wide the other is.
    slowest = max(unit.cycles for unit in design.instances if unit.layer and "fc" in unit.layer)
    assert list(found.traffic) == ["weights", "input", "output"]
    assert found.traffic["weights"].cycles == slowest
    for name, port in (("input", design.input), ("output", design.output)):
        assert found.traffic[name].cycles == port.beats
        assert found.bound(name) == pytest.approx(min(found.peak, products / port.beats))
    for name in found.traffic:
        assert found.achieved <= found.bound(name) <= found.peak


def test_a_stream_of_one_bit_is_not_helped_by_a_wide_one():
    moved = {"input": Traffic(1, 1000), "output": Traffic(512, 512)}
    found = Roofline(64, 5000, 1000, moved)
    assert [found.bound(name) for name in moved] == [5, 64]
    assert found.achieved == 5


def test_the_error_is_said_of_so_many_networks_and_random_programs():
    document = json.loads(cost.data_file("ecp5").read_text())
    networks, drawn = (
        [
            design["error"]["lut"]
            for design in document["designs"]
            if design["design"].startswith("random") == random and not design["without_estimate"]
        ]
        for random in (False, True)
    )
    said = area_error("ecp5")
    for errors, of in ((networks, "networks not in the fit"), (drawn, "random programs, parts")):
        off = re.search(rf"of (\d+) {of}[^:]*: LUT ([\d.]+)% \(worst ([\d.]+)%\)", said)
        assert off is not None
        assert int(off[1]) == len(errors)
        assert float(off[2]) == pytest.approx(100 * np.median(errors), abs=0.06)
        assert float(off[3]) == pytest.approx(100 * max(errors), abs=0.06)
    assert "of whole designs" not in said
    assert area_error("none such") == ""


def test_titles_tell_designs_apart():
    entries = [entry(1, 50), entry(1, 60), entry(1, 50), entry(1, 9, model="other")]
    assert titles(entries) == ["m, 50 cycles", "m, 60 cycles", "m, 50 cycles (2)", "other"]


def test_entries_hold_what_the_page_shows():
    design = build(binary_convolution())
    (found,) = compare_designs([design], None, lambda _: None, clock=50.0)
    cycles = found["total"]["schedule"]
    assert found["clock"] == {
        "mhz": 50.0, "lowest": None, "highest": None, "seeds": 0, "source": "assumed",
    }  # fmt: skip
    assert found["speed"]["frames_per_second"] == 50e6 / cycles["interval"]
    assert found["speed"]["latency_us"] == (cycles["first"] + 1) / 50
    work = found["total"]["work"]
    assert found["total"]["energy_nj"] == pytest.approx(work["arithmetic_nj"] + work["memory_nj"])
    assert found["total"]["energy_nj"] > sum(layer["energy_nj"] for layer in found["layers"])
    products = [layer["work"]["xnor"] + layer["work"]["multiply"] for layer in found["layers"]]
    assert found["total"]["operations"] == sum(products)
    assert json.loads(json.dumps(found)) == found


def placed(design) -> Placed:
    return Placed(Clock(60.0, 55.5, 64.0, 5), cost.Estimate(1234, 567, 8, 9), "a tool 1.0")


def test_what_place_and_route_found_goes_before_the_assumption(tmp_path):
    design = build(convolution())
    entries = compare_designs([design], None, lambda _: None, clock=100.0, place=placed)
    assert entries[0]["clock"]["mhz"] == 60.0
    assert entries[0]["placed"] == {
        "lut": 1234,
        "ff": 567,
        "bram": 8,
        "dsp": 9,
        "tools": "a tool 1.0",
    }
    page = write_comparison(tmp_path / "page.html", [design], entries).read_text()
    assert "60 MHz (place and route, median of 5 seeds, 55.5 to 64)" in page
    assert "1,234" in page
    assert "assumed" not in page


def test_a_netlist_without_a_clock_keeps_its_area(tmp_path):
    design, area = build(convolution()), cost.Estimate(1234, 567, 8, 9)
    entries = compare_designs(
        [design], None, lambda _: None, "gowin", place=lambda _: Placed(None, area, "a tool")
    )
    assert (entries[0]["clock"], entries[0]["speed"]) == (None, None)
    assert entries[0]["placed"]["lut"] == 1234
    page = write_comparison(tmp_path / "page.html", [design], entries).read_text()
    assert "1,234" in page
    assert "are estimates" not in page


def test_the_command_places_designs(monkeypatch, tmp_path, capsys):
    asked = []

    def place(rtl, family, *, seeds, clock, tell):
        asked.append((rtl.top, family, seeds, clock))
        netlist = Area(1000, 500, 4, 2, 1.0)
        runs = () if family == "gowin" else (50.0, 60.0, 40.0)
        median = 50.0 if runs else None
        return SimpleNamespace(netlist=netlist, mhz=median, clocks=runs, device=f"{family} device")

    monkeypatch.setattr(synthesis, "place", place)
    monkeypatch.setattr(synthesis.synth, "yosys_version", lambda: "Yosys 1")
    model = tmp_path / "model.npz"
    api.save(binary_convolution(), model)
    for family, clock in (("ecp5", 50.0), ("gowin", None)):
        command = ["compare", str(model), "--engine", "none", "--family", family, "--json"]
        assert cli.main([*command, "--place", "3"]) == 0
        (found,) = json.loads(capsys.readouterr().out)["models"]
        assert found["placed"] == {
            **resources(1000, 500, 4, 2), "tools": f"Yosys 1, nextpnr for {family} device",
        }  # fmt: skip
        assert (found["clock"] and found["clock"]["mhz"]) == clock
        assert asked.pop()[1:] == (family, 3, None)
    assert cli.main(["compare", str(model), "--family", "xc7", "--place", "3"]) == 2
    assert capsys.readouterr().err == (
        "bitwright: no open tool places designs for xc7; choose ice40, ecp5, gowin, or leave place "
        "and route out\n"
    )
    assert asked == []


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (".", "--report . is a folder; name a file to write"),
        ("deep/page.html", "--report deep/page.html is in no folder that exists; make deep first"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_any_work(
    path, sentence, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "compare", lambda *_, **__: pytest.fail("work has begun"))
    assert cli.main(["compare", "tfc", "--report", path]) == 2
    assert capsys.readouterr().err == f"bitwright: {sentence}\n"


def test_the_page_is_complete_and_harmless(tmp_path):
    programs = [convolution(HOSTILE, layer=HOSTILE), binary_convolution()]
    designs = [build(program) for program in programs]
    entries = compare_designs(designs, None, lambda _: None, clock=100.0)
    html = write_comparison(tmp_path / "page.html", designs, entries, HOSTILE).read_text()
    checker = Checker(html)
    words = " ".join(checker.words)
    assert HOSTILE in words
    for heading in (
        "Speed against area", "Beside systolic arrays of equal size", "Roofline",
        "Energy per layer", "The first two frames, and what each unit waits for",
        "100 MHz (assumed)", "Energy is a model and no measurement", "Horowitz",
    ):  # fmt: skip
        assert heading in words
    assert not checker.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "a"}
    assert not {name for name in checker.attributes if name.startswith("on")}
    assert not re.search(r"https?:|url\(|@import", html)
    for found in entries:
        assert f"{found['total']['schedule']['interval']:,}" in words


def test_without_a_clock_there_are_no_times(tmp_path):
    design = build(convolution())
    entries = compare_designs([design], None, lambda _: None)
    assert entries[0]["speed"] is None
    page = write_comparison(tmp_path / "page.html", [design], entries).read_text()
    assert "state one with --clock MHz" in page
    assert "Frames<br>per second" not in page


def test_differences_are_on_the_page(tmp_path):
    design = build(convolution())
    entries = compare_designs([design], None, lambda _: None)
    wrong = [{**entries[0], "differences": 3, "transfers": 400}]
    page = write_comparison(tmp_path / "page.html", [design], wrong).read_text()
    assert "In RTL 3 of 400 transfers differ from the promised value or cycle." in page
    assert "DIFFERENT" in page
    assert Comparison(wrong, ["x"]).measured


def test_the_command_writes_the_page(tmp_path, capsys):
    page = tmp_path / "page.html"
    code = cli.main(
        ["compare", "tfc", "--cycles-per-frame", "900", "--cycles-per-frame", "4000", "--engine",
         "none", "--clock", "80", "--report", str(page), "--json"]
    )  # fmt: skip
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert code == 0
    assert [model["differences"] for model in result["models"]] == [None, None]
    assert result["energy"].startswith("Energy is a model and no measurement")
    assert set(result["front"]) <= {1, 2}
    assert "design 2 of 2: tfc" in err
    assert page.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("value", ["0", "-5", "fast", "nan", "inf"])
def test_a_clock_is_a_frequency(value, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["compare", "tfc", f"--clock={value}"])
    assert stop.value.code == 2
    assert f"MHz above 0 and up to 10000 are expected, not {value}" in capsys.readouterr().err


def test_the_front_door_takes_a_family():
    with pytest.raises(ProgramError, match=r"^no device is known for the family 'none such'; "):
        api.compare(["tfc"], engine=None, family="none such")


def test_the_terminal_ends_with_designs_side_by_side(capsys):
    folding = ["--cycles-per-frame", "900", "--cycles-per-frame", "4096"]
    assert cli.main(["compare", "tfc", *folding, "--engine", "none", "--clock", "80"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    heading, *rows, legend = blocks[-2].splitlines()
    assert legend == (
        "(* no other design of the same model is at least as fast and as small in LUT, FF, BRAM "
        "and DSP, and better in one of them)"
    )
    assert heading.split()[:5] == ["design", "model", "cycles", "latency", "frames/s"]
    assert [row.split()[1] for row in rows] == ["tfc", "tfc"]
    models = api.compare(["tfc"], [900, 4096], engine=None, clock=80)["models"]
    arrays = [min(model["systolic"][flow] for flow in DATAFLOWS) for model in models]
    assert [row.split()[-1] for row in rows] == [str(cycles) for cycles in arrays]
    fps = f"{80e6 / models[0]['interval']:,.0f} frames per second"
    assert fps in blocks[0]
    assert "at 80 MHz (assumed)" in blocks[0]
    assert blocks[-1].startswith("Energy is a model")
