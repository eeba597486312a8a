"""cocotb bench of generated accelerators: every value and every cycle of every stream.

It needs cocotb and numpy alone, and reads what it needs from the working directory: `bench.json`
(the designs and their streams) and `golden.npz` (words and promised cycles).  The bench module
(`bench.v`) traces internal streams to files, one per design, which `Checker` reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

REPORTED = 10
"""Mismatches described in full; the rest are counted."""


class Gate:
    """A stall pattern, a boolean per cycle from reset's end: open where it holds and beyond it."""

    def __init__(self, pattern: np.ndarray) -> None:
        self.pattern = pattern.tolist()

    def open(self, cycle: int) -> bool:
        return cycle >= len(self.pattern) or self.pattern[cycle]


class Axis:
    """The signals of one AXI4-Stream port of one design."""

    def __init__(self, dut: Any, prefix: str) -> None:
        self.clock = dut.aclk
        self.valid = getattr(dut, f"{prefix}_tvalid")
        self.ready = getattr(dut, f"{prefix}_tready")
        self.data = getattr(dut, f"{prefix}_tdata")
        self.last = getattr(dut, f"{prefix}_tlast")


class Driver:
    """Offers words, begins to in cycles where its gate is open, and holds each until taken."""

    def __init__(self, port: Axis, words: list[int], lasts: list[bool], gate: Gate) -> None:
        self.port, self.words, self.lasts, self.gate = port, words, lasts, gate
        self.sent = 0

    async def run(self) -> None:
        cycle, offering = 0, False
        while self.sent < len(self.words):
            if not offering and self.gate.open(cycle):
                offering = True
                self.port.data.value = self.words[self.sent]
                self.port.last.value = int(self.lasts[self.sent])
            self.port.valid.value = int(offering)
            await RisingEdge(self.port.clock)
            if offering and self.port.ready.value == 1:
                self.sent, offering = self.sent + 1, False
            cycle += 1
        self.port.valid.value = 0


class Monitor:
    """Takes words in cycles where its gate is open; hands each to `on_word(cycle, word, last)`."""

    def __init__(self, port: Axis, gate: Gate, on_word: Callable[[int, int, bool], None]) -> None:
        self.port, self.gate, self.on_word = port, gate, on_word

    async def run(self) -> None:
        cycle = 0
        while True:
            ready = self.gate.open(cycle)
            self.port.ready.value = int(ready)
            await RisingEdge(self.port.clock)
            if ready and self.port.valid.value == 1:
                data = self.port.data.value
                # Undefined bits read as a word that nothing expects.
                word = data.to_unsigned() if data.is_resolvable else -1
                self.on_word(cycle, word, self.port.last.value == 1)
            cycle += 1


class Model:
    """What a design must do: the words of each stream and the cycles in which they move."""

    def __init__(self, description: dict[str, Any], golden: Any) -> None:
        self.name: str = description["name"]
        self.streams: list[dict[str, Any]] = description["streams"]
        self.frames: int = description["frames"]
        key = f"{self.name}/"
        self.words = {s["name"]: _integers(golden[f"{key}words/{s['name']}"]) for s in self.streams}
        self.cycles = {s["name"]: golden[f"{key}cycles/{s['name']}"] for s in self.streams}
        self.gates = {end: Gate(golden[f"{key}gates/{end}"]) for end in ("source", "sink")}
        self.input, self.output = self.streams[0], self.streams[-1]

    @property
    def end(self) -> int:
        """The cycle in which the last promised transfer happens."""
        return max(int(cycles[-1]) for cycles in self.cycles.values())

    def lasts(self, stream: dict[str, Any]) -> list[bool]:
        beats = stream["beats"]
        return [k % beats == beats - 1 for k in range(beats * self.frames)]


class Checker:
    """Compares what happened with the model and reports unit, frame, position, values, cycle."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.received: list[tuple[int, int, bool]] = []
        self.report: list[str] = []
        self.wrong = {"values": 0, "cycles": 0, "missing": 0, "tlast": 0, "error": 0}

    def on_word(self, cycle: int, word: int, last: bool) -> None:
        self.received.append((cycle, word, last))

    def judge(self, trace: Path, error: bool) -> dict[str, Any]:
        """Compare every stream; the result counts differences and describes the first ones.

        error: whether the design's error output is set, which right frames never do.
        """
        if error:
            self._say("error", self.model.input, 0, -1, "the error output is set by right frames")
        traced = _read_trace(trace, len(self.model.streams))
        for stream, (cycles, words) in zip(self.model.streams, traced, strict=True):
            self._compare(stream, cycles, words)
        lasts = self.model.lasts(self.model.output)
        for k, (cycle, _, last) in enumerate(self.received[: len(lasts)]):
            if last != lasts[k]:
                self._say("tlast", self.model.output, k, cycle, f"tlast is {int(last)}")
        return {
            "name": self.model.name,
            "wrong": self.wrong,
            "report": self.report,
            "words": [f"{max(word, 0):x}" for _, word, _ in self.received],
            "undefined": [k for k, (_, word, _) in enumerate(self.received) if word < 0],
            "cycles": [cycle for cycle, _, _ in self.received],
            "first_input": traced[0][0][0] if traced[0][0] else 0,
            "streams": {
                stream["name"]: cycles
                for stream, (cycles, _) in zip(self.model.streams, traced, strict=True)
            },
        }

    def _compare(self, stream: dict[str, Any], cycles: list[int], words: list[int]) -> None:
        expected, promised = self.model.words[stream["name"]], self.model.cycles[stream["name"]]
        for k, word in enumerate(words[: len(expected)]):
            if word != expected[k]:
                got = f"{word:x}" if word >= 0 else "undefined"
                self._say("values", stream, k, cycles[k], f"expected {expected[k]:x}, got {got}")
            if cycles[k] != promised[k]:
                self._say("cycles", stream, k, cycles[k], f"promised in cycle {promised[k]}")
        if len(words) != len(expected):
            text = f"{len(expected)} transfers expected, got {len(words)}"
            self._say("missing", stream, min(len(words), len(expected) - 1), -1, text)

    def _say(self, kind: str, stream: dict[str, Any], beat: int, cycle: int, text: str) -> None:
        self.wrong[kind] += 1
        if len(self.report) < REPORTED:
            frame, position = divmod(beat, stream["beats"])
            self.report.append(
                f"{self.model.name}: unit {stream['unit']}, stream {stream['name']}, frame {frame},"
                f" beat {position} (value {position * stream['lanes']} on), cycle {cycle}: {text}"
            )


class Bench:
    """All designs of the bench module under one clock."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        document = json.loads(Path("bench.json").read_text())
        with np.load("golden.npz", allow_pickle=False) as golden:
            self.models = [Model(entry, golden) for entry in document["designs"]]
        Clock(dut.aclk, 10, "ns").start()

    def port(self, model: Model, name: str) -> Axis:
        return Axis(self.dut, f"{model.name}_{name}")

    async def reset(self) -> None:
        """Hold reset for one edge; the edge after this returns is cycle 0."""
        self.dut.aresetn.value = 0
        self.dut.flush.value = 0
        for model in self.models:
            source, sink = self.port(model, "s_axis"), self.port(model, "m_axis")
            source.valid.value = 0
            source.data.value = 0
            source.last.value = 0
            sink.ready.value = 0
        await self.cycles(1)
        self.dut.aresetn.value = 1

    async def cycles(self, count: int) -> None:
        for _ in range(count):
            await RisingEdge(self.dut.aclk)

    def start(self, model: Model, lasts: list[bool] | None = None) -> tuple[Checker, list[Any]]:
        """Start driver and monitor of a design; returns its checker and the running tasks."""
        checker = Checker(model)
        words = model.words[model.input["name"]]
        lasts = model.lasts(model.input) if lasts is None else lasts
        driver = Driver(self.port(model, "s_axis"), words, lasts, model.gates["source"])
        monitor = Monitor(self.port(model, "m_axis"), model.gates["sink"], checker.on_word)
        return checker, [cocotb.start_soon(driver.run()), cocotb.start_soon(monitor.run())]

    async def frames(self) -> list[dict[str, Any]]:
        """Run all frames of all designs from reset and judge every stream."""
        await self.reset()
        running = [self.start(model) for model in self.models]
        # What moves after the last promised cycle is too late, and a few cycles show it.
        await self.cycles(max(model.end for model in self.models) + 20)
        for _, tasks in running:
            for task in tasks:
                task.cancel()
        self.dut.flush.value = 1
        await self.cycles(1)
        return [checker.judge(*self.evidence(checker.model)) for checker, _ in running]

    def evidence(self, model: Model) -> tuple[Path, bool]:
        """The trace of a design, and whether its error output is set."""
        error = getattr(self.dut, f"{model.name}_error").value != 0
        return Path(f"{model.name}.trace"), bool(error)


def _integers(words: np.ndarray) -> list[int]:
    """Rows of little-endian bytes as integers."""
    return [int.from_bytes(row.tobytes(), "little") for row in words]


def _read_trace(path: Path, streams: int) -> list[tuple[list[int], list[int]]]:
    """Cycles and words of each stream since the last reset; undefined words are -1."""
    found: list[tuple[list[int], list[int]]] = [([], []) for _ in range(streams)]
    for line in path.read_text().rpartition("reset\n")[2].splitlines():
        stream, cycle, word = line.split()
        cycles, words = found[int(stream)]
        cycles.append(int(cycle))
        words.append(int(word, 16) if "x" not in word.lower() and "z" not in word else -1)
    return found


def _assert_right(results: list[dict[str, Any]]) -> None:
    report = [line for result in results for line in result["report"]]
    assert not report, "\n".join(report)


@cocotb.test(timeout_time=10, timeout_unit="sec")
async def frames(dut: Any) -> None:
    """Every value of every stream is the reference's, in the promised cycle."""
    results = await Bench(dut).frames()
    Path("results.json").write_text(json.dumps(results))
    _assert_right(results)


@cocotb.test(timeout_time=10, timeout_unit="sec")
async def reset_in_mid_frame(dut: Any) -> None:
    """A reset at any time returns to the initial state: afterwards all is as from the start."""
    bench = Bench(dut)
    end = max(model.end for model in bench.models)
    # First as usual, then with the sink closed, so that every register of the design is full.
    for flowing, length in ((1, max(3, end // 3)), (0, 1 + end // 7)):
        await bench.reset()
        running = [bench.start(model) for model in bench.models]
        if not flowing:
            for _, (_, monitor) in running:
                monitor.cancel()
        await bench.cycles(length)
        for _, tasks in running:
            for task in tasks:
                task.cancel()
    _assert_right(await bench.frames())


@cocotb.test(timeout_time=10, timeout_unit="sec")
async def wrong_frame_length(dut: Any) -> None:
    """A misplaced tlast sets the sticky error, never hangs, and a reset clears it."""
    bench = Bench(dut)
    for change in (lambda beats: 0, lambda beats: beats):
        await bench.reset()
        await bench.cycles(1)
        running = []
        for model in bench.models:
            assert getattr(dut, f"{model.name}_error").value == 0
            lasts = model.lasts(model.input)
            beats = model.input["beats"]
            # Short: tlast on the first beat.  Long: tlast a beat late, or never.
            lasts[beats - 1] = False
            if change(beats) < len(lasts):
                lasts[change(beats)] = True
            if beats == 1:
                lasts[0] = False
            running.append(bench.start(model, lasts))
        await bench.cycles(max(model.end for model in bench.models) + 20)
        for checker, tasks in running:
            for task in tasks:
                task.cancel()
            assert getattr(dut, f"{checker.model.name}_error").value == 1
            words = [word for _, word, _ in checker.received]
            assert words == checker.model.words[checker.model.output["name"]]
    _assert_right(await bench.frames())
