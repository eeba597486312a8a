"""The demonstration, in small: one network, one simulator, few frames."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bitwright import demo
from bitwright.models.fixed import ProgramError


@pytest.mark.cosim
def test_demonstration_agrees_and_writes_its_report(tmp_path: Path) -> None:
    said: list[str] = []
    example = demo.EXAMPLES[-1]
    shown = demo.demonstrate(tmp_path, 2, ("icarus",), (example,), said.append)
    assert shown.agrees
    assert shown.report == tmp_path / "report.html"
    html = shown.report.read_text()
    assert "Everything agrees." in html
    assert "Waveform of the first frame" in html
    (run,) = shown.runs
    assert [(s.stall, s.mismatches) for s in run.simulations] == [(0.0, 0), (demo.STALL, 0)]
    assert run.accuracy is not None
    assert run.accuracy > 0.95
    assert any("as promised" in line for line in said)
    figures = json.loads(json.dumps(shown.as_json()))
    cycles = figures["networks"][0]["simulations"][0]["cycles"]
    assert cycles["promised"] == cycles["measured"]
    wrong = replace(run, simulations=[replace(run.simulations[0], mismatches=1)])
    assert not replace(shown, runs=[wrong]).agrees
    assert not replace(shown, kernel_differences=1).agrees


@pytest.mark.parametrize("frames", [0, 451])
def test_frames_are_test_images(tmp_path: Path, frames: int) -> None:
    with pytest.raises(ProgramError) as error:
        demo.demonstrate(tmp_path / "out", frames, ())
    assert str(error.value) == f"frames are test images, from 1 to 450, not {frames}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("agrees", "code"), [(True, 0), (False, 1)])
def test_exit_code_and_json(
    agrees: bool,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = demo.Demonstration([], 0 if agrees else 1, tmp_path / "report.html", 1.5)
    monkeypatch.setattr(demo, "demonstrate", lambda *_, **__: shown)
    assert demo.main(["--out", str(tmp_path), "--json"]) == code
    assert json.loads(capsys.readouterr().out)["agrees"] is agrees
    assert demo.main(["--out", str(tmp_path)]) == code
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "report.html")


def test_a_missing_tool_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ProgramError("Icarus Verilog is not installed")

    monkeypatch.setattr(demo, "demonstrate", missing)
    assert demo.main([]) == 2
    captured = capsys.readouterr()
    assert captured.err == "bitwright.demo: Icarus Verilog is not installed\n"
    assert captured.out == ""
