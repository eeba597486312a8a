"""Tests of the tests: whatever is altered in the hardware or in what it must do is caught."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from agree import chain, run_bench, samples

from bitwright.codegen.bench import Trial, write_vectors
from bitwright.codegen.verilog import Rtl, write_rtl
from bitwright.hw.design import Design
from bitwright.hw.unit import Fold
from bitwright.models.fixed import signed
from bitwright.models.ops import Dot, MaxPool, Thresholds, Window
from bitwright.models.program import Edge
from bitwright.sim import rtl
from bitwright.sim.rtl import Outcome, simulate

pytestmark = pytest.mark.cosim

FRAMES = 10
SENTENCE = re.compile(
    r"(?P<design>\w+): unit (?P<unit>\w+), stream (?P<stream>\w+), frame (?P<frame>\d+), "
    r"beat (?P<beat>\d+) \(value \d+ on\), cycle (?P<cycle>-?\d+): .+"
)


@cache
def original() -> Trial:
    """A small convolution, folded: first unstalled, then with a slow source, then a slow sink."""
    rng = np.random.default_rng(0)
    program = chain(
        "original",
        Edge.of((4, 4, 2), signed(4)),
        Window((2, 2), (1, 1), (1, 0, 0, 1)),
        Dot(rng.integers(-8, 8, (4, 8)), signed(4)),
        Thresholds(np.sort(rng.integers(-60, 60, (4, 3))), np.zeros(4, int), np.ones(4, int)),
        MaxPool(2),
    )
    folds = {"n0": Fold(1, 2), "n1": Fold(2, 4), "n2": Fold(2), "n3": Fold(1)}
    design = Design(program, folds, {})
    phase = np.repeat([0, 1, 2], [150, 900, 600])
    gates = {
        "source": rng.random(len(phase)) >= np.array([0, 0.9, 0])[phase],
        "sink": rng.random(len(phase)) >= np.array([0, 0, 0.8])[phase],
    }
    return Trial("t", design, write_rtl(design), samples(program.input, FRAMES), gates)


def mutant(name: str, verilog: str | None = None, **memories: str) -> Trial:
    """The original under another name, with other text or memory files (by a part of their name).

    Names in the text begin with the top module's name, so that many mutants share one bench.
    """
    trial = original()
    top = trial.rtl.top
    text = trial.rtl.verilog if verilog is None else verilog
    files = dict(trial.rtl.memories)
    for part, words in memories.items():
        (file,) = (file for file in files if part in file)
        assert files[file] != words, "nothing was altered"
        files[file] = words
    renamed = Rtl(
        f"{top}_{name}",
        re.sub(rf"\b{top}(?=\b|_)", f"{top}_{name}", text),
        {file.replace(top, f"{top}_{name}", 1): words for file, words in files.items()},
    )
    return replace(trial, name=name, rtl=renamed)


def memory(part: str) -> str:
    (words,) = (text for file, text in original().rtl.memories.items() if part in file)
    return words


def flipped(words: str, line: int, bit: int) -> str:
    """Memory words with one bit of one line flipped."""
    lines = words.splitlines()
    lines[line] = f"{int(lines[line], 16) ^ (1 << bit):0{len(lines[line])}x}"
    return "\n".join([*lines, ""])


def edited(module: str, pattern: str, new: str) -> str:
    """The Verilog with the first match of a pattern in a module replaced."""
    text = original().rtl.verilog
    begin = re.search(
        rf"^module {original().rtl.top}{module and '__'}{module}\b", text, re.MULTILINE
    )
    assert begin, f"no module {module}"
    head, tail = text[: begin.end()], text[begin.end() :]
    changed = re.sub(pattern, new, tail, count=1, flags=re.MULTILINE)
    assert changed != tail, f"{pattern!r} is not in {module}"
    return head + changed


def altered_vectors(
    name: str, kind: str, stream: str, alter: Callable[[np.ndarray], None]
) -> Callable[[Sequence[Trial], Path], None]:
    """Write the vectors as always, then alter one array of one design in golden.npz."""

    def write(trials: Sequence[Trial], folder: Path) -> None:
        write_vectors(trials, folder)
        with np.load(folder / "golden.npz", allow_pickle=False) as golden:
            arrays = dict(golden)
        alter(arrays[f"{name}/{kind}/{stream}"])
        np.savez_compressed(folder / "golden.npz", **arrays)

    return write


def caught(outcome: Outcome, kind: str, unit: str | None = None) -> list[dict[str, str]]:
    """The sentences of an outcome that is wrong, the first at a unit."""
    assert not outcome.right
    assert outcome.wrong[kind] > 0
    assert outcome.report
    told = [SENTENCE.fullmatch(line) for line in outcome.report]
    assert all(told), outcome.report
    found = [match.groupdict() for match in told if match]
    if unit is not None:
        assert unit in {entry["unit"] for entry in found}, outcome.report
    return found


@cache
def altered_hardware() -> dict[str, Outcome]:
    """All mutants of the hardware in one simulator run, beside the original."""
    weights, limits = memory("weights"), memory("limits")
    made = [
        mutant("original"),
        mutant("weight", weights=flipped(weights, 0, 0)),
        mutant("last_weight", weights=flipped(weights, len(weights.splitlines()) - 1, 31)),
        mutant("threshold", limits=flipped(limits, 1, 2)),
        mutant("constant", edited("n1", r"(sum\d = \(first \? \d+'d)0", r"\g<1>1")),
        mutant("counter", edited("n1", r"address \+ (\d+'d)1", r"address + \g<1>2")),
        mutant("cycle", edited("source__fifo_fifo", r"(level != \d+'d)2", r"\g<1>1")),
        mutant("no_register", edited("n1", r"always @\(posedge aclk\)\n +if \(rst\)\n +p6_1 <= "
               r"[^;]*;\n +else if \(take5\)\n +(p6_1 <=) ([^;]*);",
               r"always @* p6_1 = \2;")),
    ]  # fmt: skip
    return dict(zip([m.name for m in made], simulate(made, "icarus").outcomes, strict=True))


def test_the_original_is_right():
    outcome = altered_hardware()["original"]
    assert (outcome.right, outcome.report) == (True, [])


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("weight", "values", "n1"),
        ("last_weight", "values", "n1"),
        ("threshold", "values", "n2"),
        ("constant", "values", "n1"),
        ("counter", "values", "n1"),
        ("cycle", "cycles", "source"),
        ("no_register", "values", "n1"),
    ],
)
def test_altered_hardware_is_caught(name: str, kind: str, unit: str):
    found = caught(altered_hardware()[name], kind, unit)
    stream = next(s for s in original().design.streams if s.name == found[0]["stream"])
    assert found[0]["design"] == name
    assert stream.producer[0] == found[0]["unit"]
    assert 0 <= int(found[0]["frame"]) < FRAMES
    assert 0 <= int(found[0]["beat"]) < stream.port.beats
    assert int(found[0]["cycle"]) >= 0


def test_an_altered_expected_value_is_caught(monkeypatch: pytest.MonkeyPatch):
    beats = original().design.output.beats

    def alter(words: np.ndarray) -> None:
        words[2 * beats + 3, 0] ^= 1

    monkeypatch.setattr(rtl, "write_vectors", altered_vectors("t", "words", "output", alter))
    (outcome,) = simulate([original()], "icarus").outcomes
    (found,) = caught(outcome, "values")
    assert outcome.wrong == {"values": 1, "cycles": 0, "missing": 0, "tlast": 0, "error": 0}
    assert (found["stream"], found["frame"], found["beat"]) == ("output", "2", "3")


def test_an_altered_promised_cycle_is_caught(monkeypatch: pytest.MonkeyPatch):
    design = original().design
    stream = next(s for s in design.streams if s.name == "n1__to_fifo")

    def alter(cycles: np.ndarray) -> None:
        cycles[stream.port.beats + 2] += 1

    monkeypatch.setattr(rtl, "write_vectors", altered_vectors("t", "cycles", stream.name, alter))
    (outcome,) = simulate([original()], "icarus").outcomes
    (found,) = caught(outcome, "cycles", "n1")
    assert outcome.wrong == {"values": 0, "cycles": 1, "missing": 0, "tlast": 0, "error": 0}
    assert (found["stream"], found["frame"], found["beat"]) == (stream.name, "1", "2")


@pytest.mark.parametrize(
    ("test", "altered"),
    [
        # Initial values hide registers without reset until reset comes in mid-frame.
        ("reset_in_mid_frame", lambda text: text.replace("if (rst)", "if (1'b0)")),
        ("wrong_frame_length", lambda text: text.replace("error <= 1'b1", "error <= 1'b0")),
        ("wrong_frame_length", lambda text: text.replace("error <= 1'b0", "error <= error")),
        # An error that right frames set is wrong, even where every word is right.
        ("frames", lambda text: re.sub(r"(source_beat == \d+'d)(\d+)", r"\g<1>1", text, count=1)),
    ],
    ids=["no reset", "no error", "an error for ever", "an error of right frames"],
)
def test_the_other_tests_catch_what_values_do_not_show(
    test: str, altered: Callable[[str], str], tmp_path: Path
):
    text = original().rtl.verilog
    assert altered(text) != text
    log = run_bench([mutant("altered", altered(text))], "icarus", tmp_path)
    assert log is not None
    failed = re.findall(r"testbench\.(\w+) +FAIL", log)
    assert test in failed
    assert "frames" not in failed or test == "frames"


SWAPS = {"&": "|", "|": "&", "+": "-", "-": "+", "==": "!=", "!=": "==", "? ": "? ~"}
TOKEN = re.compile(r"(?<= )(?:&|\||\+|-|==|!=|\? )(?= |(?<=\? ))|\d+'d\d+")


def mutations(text: str) -> list[tuple[int, str, str]]:
    """Every single-token change: (position, old, new).

    Left out are initial values, which reset sets again, and + or - of one bit, which are the same.
    """
    found = []
    for match in TOKEN.finditer(text):
        line = text[text.rfind("\n", 0, match.start()) + 1 : text.find("\n", match.start())]
        if line.lstrip().startswith("initial") or ("1'b" in line and match[0] in "+-"):
            continue
        old = match[0]
        if "'d" in old:
            size, value = map(int, old.split("'d"))
            new = f"{size}'d{value ^ 1}"
        else:
            new = SWAPS[old]
        found.append((match.start(), old, new))
    return found


def compiles(trial: Trial, folder: Path) -> bool:
    file = folder / f"{trial.name}.v"
    file.write_text(trial.rtl.verilog)
    command = ["iverilog", "-g2005", "-t", "null", str(file)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_random_mutations_are_killed(tmp_path: Path):
    """Of twenty random changes of one token at least eighteen are caught, all in one bench."""
    text = original().rtl.verilog
    choices = mutations(text)
    rng = np.random.default_rng(2024)
    chosen = [choices[k] for k in sorted(rng.choice(len(choices), 20, replace=False).tolist())]
    made = []
    for k, (at, old, new) in enumerate(chosen):
        made.append(mutant(f"m{k}", text[:at] + new + text[at + len(old) :]))
    alive = [trial for trial in made if compiles(trial, tmp_path)]
    outcomes = simulate(alive, "icarus").outcomes
    survivors = [trial.name for trial, out in zip(alive, outcomes, strict=True) if out.right]
    for name in survivors:
        at, old, new = chosen[int(name[1:])]
        line = text[text.rfind("\n", 0, at) + 1 : text.find("\n", at)].strip()
        module = re.findall(r"^module (\w+)", text[:at], re.MULTILINE)[-1]
        print(f"survived in {module}: {old} -> {new} in {line}")
    assert len(chosen) - len(survivors) >= 18
