"""The report: complete, self-contained, harmless whatever names it is given."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bitwright.codegen.bench import Trial
from bitwright.codegen.folding import build
from bitwright.codegen.verilog import write_rtl
from bitwright.hw.design import Design
from bitwright.models import container
from bitwright.models.fixed import BINARY, Grid, ProgramError, unsigned
from bitwright.models.ops import Add, Dot, Requantise, Thresholds, Window
from bitwright.models.program import Edge, Node, Program
from bitwright.sim import charts, rtl
from bitwright.sim.compare import compare_designs
from bitwright.sim.report import NetworkRun, Section, Simulation, render, write_report
from bitwright.sim.waves import read_streams

HOSTILE = "</style><script>alert(1)</script>\"'<img src=x onerror=alert(1)>"
VOID = {"meta", "br", "path", "rect"}
FIGURES = {"first": 40, "interval": 20, "total": 61}


def convolution(name: str = "network", layer: str = "signs") -> Program:
    rng = np.random.default_rng(0)
    rows = rng.choice([-1, 1], (4, 9))
    cuts = Thresholds(np.zeros((4, 1), int), np.full(4, -1), np.full(4, 2))
    return Program(
        name,
        Edge.of((5, 5, 1), unsigned(3)),
        (
            Node("window", Window((3, 3)), ("input",)),
            Node("dot", Dot(rows, BINARY), ("window",)),
            Node(layer, cuts, ("dot",)),
        ),
    )


def branched() -> Program:
    shift = Requantise(np.full(6, 3), np.zeros(6, int), 1, -8, 7)
    nodes = [Node("a", shift, ("input",)), Node("b", shift, ("a",)), Node("sum", Add(), ("b", "a"))]
    return Program("branched", Edge.of((4, 6), Grid(-8, 7)), tuple(nodes))


def run_of(program: Program, **more: object) -> NetworkRun:
    design = build(program)
    entry = compare_designs([design], None, lambda _: None)[0]
    return NetworkRun(program.name, "what it is", design, entry, **more)  # type: ignore[arg-type]


def simulation(**changes: object) -> Simulation:
    streams = {"checked": 3, "transfers": 1234, "differences": 0}
    cycles = {"promised": FIGURES, "measured": FIGURES}
    fields = {"engine": "icarus", "frames": 2, "stall": 0.0, "mismatches": 0, "streams": streams}
    fields |= {"cycles": cycles, "seconds": {"simulate": 0.5}} | changes
    return Simulation(**fields)  # type: ignore[arg-type]


class Checker(HTMLParser):
    """Collects tags, and refuses what is closed in the wrong order or not at all."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID or (tag in ("rect", "path") and not self.closed_itself()):
            self.open.append(tag)

    def closed_itself(self) -> bool:
        return (self.get_starttag_text() or "").endswith("/>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_report_is_well_formed_and_names_every_layer() -> None:
    program = convolution()
    html = render([run_of(program, simulations=[simulation()]), run_of(branched())], "two networks")
    words = " ".join(Checker(html).words)
    for name in ("two networks", "window", "dot", "signs", "sum", "fork", "Everything agrees."):
        assert name in words


def test_report_loads_nothing() -> None:
    html = render([run_of(convolution())])
    checker = Checker(html)
    assert not checker.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "a"}
    assert not checker.attributes & {"src", "href", "srcset", "xlink:href"}
    assert not re.search(r"https?:|//\w|url\(|@import|\bon\w+=", html)


def test_hostile_names_are_only_text() -> None:
    program = convolution(HOSTILE, layer=HOSTILE)
    html = render([run_of(program, simulations=[simulation(engine=HOSTILE)])], HOSTILE)
    checker = Checker(html)
    assert not checker.tags & {"script", "img"}
    assert not {name for name in checker.attributes if name.startswith("on")}
    assert HOSTILE in " ".join(checker.words)


def test_differences_are_said() -> None:
    late = {"promised": FIGURES, "measured": {**FIGURES, "total": 62}}
    for wrong in (simulation(mismatches=3), simulation(cycles=late)):
        run = run_of(convolution(), simulations=[simulation(), wrong])
        html = render([run])
        assert not Section(run).agrees
        assert "Something differs." in html
        assert "Everything agrees" not in html
    assert "DIFFERENT" in html


def test_area_is_shown_only_with_its_error() -> None:
    run = run_of(convolution())
    rows = [{**row, "lut": 12, "ff": 3, "bram": 0, "dsp": 0} for row in run.entry["layers"]]
    total = {**run.entry["total"], "lut": 36, "ff": 9, "bram": 0, "dsp": 0}
    entry = {**run.entry, "layers": rows, "total": total}
    error = "Median error 4 % on 40 units."
    shown = render([NetworkRun("n", "", run.design, entry, area_error=error)])
    assert error in shown
    assert "LUT" in shown
    hidden = render([NetworkRun("n", "", run.design, entry)])
    assert "No area is shown, because no calibrated estimate exists" in hidden
    assert "LUT" not in hidden


def test_a_layer_without_an_estimate_has_a_dash() -> None:
    run = run_of(convolution())
    rows = [{**row, "lut": 12, "ff": 3, "bram": 0, "dsp": 0} for row in run.entry["layers"]]
    rows[1] |= dict.fromkeys(("lut", "ff", "bram", "dsp"))
    known = NetworkRun("n", "", run.design, {**run.entry, "layers": rows}, area_error="Error 4 %.")
    bars = Section(known).area_bars
    assert set(bars) == {"LUT", "FF"}
    assert [bar.value for bar in bars["LUT"]] == ["12", "\N{EN DASH}", "12"]
    assert [bar.share for bar in bars["LUT"]] == [1, 0, 1]


def test_report_is_complete_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "report.html"
    assert write_report(path, [run_of(convolution())]) == path
    before = path.read_text()

    beside: list[Path] = []

    def interrupted(_: int) -> None:
        beside.extend(p for p in path.parent.iterdir() if p != path)
        raise KeyboardInterrupt

    monkeypatch.setattr(container.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(path, [run_of(branched())])
    assert len(beside) == 1, "nothing had been written beside the report"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert path.read_text() == before


def chain_of(design: Design, sheet: charts.Sheet) -> charts.Chain:
    names = {i.layer: "x" for i in design.instances if i.layer is not None}
    return charts.Chain(charts.cards(design, names), charts.arrows(design), sheet)


@pytest.mark.parametrize("sheet", [charts.WIDE, charts.NARROW])
def test_no_two_boxes_of_a_chain_overlap(sheet: charts.Sheet) -> None:
    shift = Requantise(np.full(6, 3), np.zeros(6, int), 1, -8, 7)
    nodes = [Node("n0", shift, ("input",))]
    nodes += [Node(f"n{k}", shift, (f"n{k - 1}",)) for k in range(1, 22)]
    nodes += [Node("sum", Add(), ("n21", "n3"))]
    design = build(Program("long", Edge.of((4, 6), Grid(-8, 7)), tuple(nodes)))
    chain = chain_of(design, sheet)
    assert len(set(chain.place.values())) == len(chain.place)
    assert chain.rank["sink"] == max(chain.rank.values())
    boxes = [r for r in chain.picture("").rects if "box" in r.kind or r.kind == "fork"]
    assert len(boxes) == len(chain.cards)
    picture = chain.picture("")
    for box in boxes:
        assert 0 <= box.x <= picture.width - box.width
        assert 0 <= box.y <= picture.height - box.height
    for k, one in enumerate(boxes):
        for other in boxes[:k]:
            apart_x = abs(one.x - other.x) >= sheet.box
            assert apart_x or abs(one.y - other.y) >= min(one.height, other.height)


def test_arrows_carry_widths_and_buffers() -> None:
    design = build(branched())
    found = {(arrow.start, arrow.end): arrow for arrow in charts.arrows(design)}
    assert set(found) == {
        ("source", "a"), ("a", "a__fork"), ("a__fork", "b"), ("a__fork", "sum"), ("b", "sum"),
        ("sum", "sink"),
    }  # fmt: skip
    assert found["b", "sum"].bits == (4, 4)
    assert all(arrow.depth >= 2 for arrow in found.values() if arrow.end != "a__fork")


@pytest.mark.parametrize("text", ["short", "a_name_that_is_much_too_long"])
def test_shortened_fits(text: str) -> None:
    assert len(charts.shortened(text, 12)) <= 12


@pytest.mark.cosim
def test_waveform_shows_the_transfers_of_the_schedule(tmp_path: Path) -> None:
    program = convolution()
    design = build(program)
    x = np.random.default_rng(1).integers(0, 8, (2, 5, 5, 1))
    wave = tmp_path / "wave.vcd"
    run = rtl.simulate([Trial("dut", design, write_rtl(design), x, {})], "icarus", wave=wave)
    assert run.outcomes[0].right
    scheduled = design.schedule(2)
    found = read_streams(wave, design, "dut", {s.name: s for s in design.streams})
    for name, samples in found.items():
        np.testing.assert_array_equal(samples.transfers, scheduled[name])
    html = render([run_of(program, wave=wave)])
    Checker(html)
    assert "Waveform of the first frame" in html
    with pytest.raises(ProgramError, match=r"holds no signal bench\.other"):
        read_streams(wave, design, "other", {"input": design.streams[0]})
