"""cocotb bench of generated accelerators: every value and every cycle of every stream.

It needs cocotb and numpy alone, and reads what it needs from the working directory: `bench.json`
(the designs and their streams) and `golden.npz` (words and promised cycles).  Before a run it
writes these as binary files for the sources, sinks and checkers of the bench module (`bench.v`),
into the folder `vectors`; after it, it reads the checkers' logs there, and judges.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer

REPORTED = 10
"""Mismatches described in full; the rest are counted."""

VECTORS = Path("vectors")
PERIOD = 10
"""Nanoseconds of a clock cycle."""

STEPS = 50
"""Parts in which a run is waited for; after each its progress is written down."""


class Model:
    """What a design must do: the words of each stream and the cycles in which they move."""

    def __init__(self, description: dict[str, Any], golden: Any) -> None:
        self.name: str = description["name"]
        self.streams: list[dict[str, Any]] = description["streams"]
        self.frames: int = description["frames"]
        key = f"{self.name}/"
        self.words = {s["name"]: golden[f"{key}words/{s['name']}"] for s in self.streams}
        self.cycles = {s["name"]: golden[f"{key}cycles/{s['name']}"] for s in self.streams}
        self.gates = {end: golden[f"{key}gates/{end}"] for end in ("source", "sink")}
        self.input, self.output = self.streams[0], self.streams[-1]

    @property
    def end(self) -> int:
        """The cycle in which the last promised transfer happens."""
        return max(int(cycles[-1]) for cycles in self.cycles.values())

    def lasts(self, stream: dict[str, Any]) -> np.ndarray:
        """For each beat of a stream whether it is the last of its frame."""
        beats = stream["beats"]
        return np.arange(beats * self.frames) % beats == beats - 1

    def write_golden(self) -> None:
        """Write what the checkers expect: a record for each transfer, its cycle and its word."""
        for k, stream in enumerate(self.streams):
            cycles = self.cycles[stream["name"]].astype(">u4").view(np.uint8).reshape(-1, 4)
            words = self.words[stream["name"]][:, ::-1]
            if stream is self.output:
                words = np.column_stack([self.lasts(stream), words])
            _write(f"{self.name}.{k}", np.column_stack([cycles, words]))

    def write_stimulus(
        self, lasts: np.ndarray | None = None, sink: np.ndarray | None = None
    ) -> None:
        """Write what source and sink do; `lasts` and `sink`, a gate, stand in for the usual."""
        lasts = self.lasts(self.input) if lasts is None else lasts
        words = self.words[self.input["name"]][:, ::-1]
        _write(f"{self.name}.source", np.column_stack([lasts, words]))
        _write(f"{self.name}.source.gate", self.gates["source"])
        _write(f"{self.name}.sink.gate", self.gates["sink"] if sink is None else sink)


def _write(name: str, rows: np.ndarray) -> None:
    (VECTORS / name).write_bytes(rows.astype(np.uint8).tobytes())


class Transfers:
    """What went through a stream; words of which a bit was undefined are 0.

    odd: the numbers of transfers that a checker found different, in their order.
    """

    def __init__(self, cycles: np.ndarray, words: np.ndarray, log: list[list[str]]) -> None:
        rows = [line for line in log if len(line) == 4]
        (count,) = (int(line[1]) for line in log if len(line) == 2)
        size = words.shape[1]
        self.odd = [int(number) for _, number, _, _ in rows]
        self.undefined: set[int] = set()
        self.cycles, self.words = np.zeros(count, np.int64), np.zeros((count, size), np.uint8)
        # A checker is silent of all that is as it must be.
        shared = min(count, len(cycles))
        self.cycles[:shared], self.words[:shared] = cycles[:shared], words[:shared]
        for _, number, cycle, word in rows:
            k = int(number)
            self.cycles[k] = int(cycle)
            if "x" in word.lower() or "z" in word.lower():
                self.undefined.add(k)
                word = "0"
            self.words[k] = np.frombuffer(int(word, 16).to_bytes(size, "little"), np.uint8)


class Judgement:
    """Compares what happened with the model and reports unit, frame, position, values, cycle."""

    def __init__(self, model: Model, error: bool) -> None:
        """error: whether the design's error output is set, which right frames never do."""
        self.model = model
        self.report: list[str] = []
        self.wrong = {"values": 0, "cycles": 0, "missing": 0, "tlast": 0, "error": 0}
        if error:
            self._say("error", model.input, 0, -1, "the error output is set by right frames")
        log: list[list[list[str]]] = [[] for _ in model.streams]
        for line in (VECTORS / f"{model.name}.log").read_text().splitlines():
            words = line.split()
            log[int(words[0])].append(words)
        self.streams = {
            stream["name"]: self._compare(stream, log[k]) for k, stream in enumerate(model.streams)
        }

    def _compare(self, stream: dict[str, Any], log: list[list[str]]) -> Transfers:
        expected, promised = self.model.words[stream["name"]], self.model.cycles[stream["name"]]
        is_output = stream is self.model.output
        lasts = self.model.lasts(stream)
        golden = np.column_stack([expected, lasts]) if is_output else expected
        found = Transfers(promised, golden, log)
        for k in found.odd:
            if k >= len(expected):
                continue
            word, cycle = found.words[k], int(found.cycles[k])
            if is_output:
                last, word = word[-1], word[:-1]
                if k not in found.undefined and last != lasts[k]:
                    self._say("tlast", stream, k, cycle, f"tlast is {last}")
            if k in found.undefined or (word != expected[k]).any():
                got = "undefined" if k in found.undefined else _hex(word)
                self._say("values", stream, k, cycle, f"expected {_hex(expected[k])}, got {got}")
            if cycle != promised[k]:
                self._say("cycles", stream, k, cycle, f"promised in cycle {promised[k]}")
        count = len(found.cycles)
        if count != len(expected):
            text = f"{len(expected)} transfers expected, got {count}"
            self._say("missing", stream, min(count, len(expected) - 1), -1, text)
        return found

    def _say(self, kind: str, stream: dict[str, Any], beat: int, cycle: int, text: str) -> None:
        self.wrong[kind] += 1
        if len(self.report) < REPORTED:
            frame, position = divmod(beat, stream["beats"])
            self.report.append(
                f"{self.model.name}: unit {stream['unit']}, stream {stream['name']}, frame {frame},"
                f" beat {position} (value {position * stream['lanes']} on), cycle {cycle}: {text}"
            )


def _hex(word: np.ndarray) -> str:
    return f"{int.from_bytes(word.tobytes(), 'little'):x}"


class Bench:
    """All designs of the bench module under one clock."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        document = json.loads(Path("bench.json").read_text())
        with np.load("golden.npz", allow_pickle=False) as golden:
            self.models = [Model(entry, golden) for entry in document["designs"]]
        self.end = max(model.end for model in self.models)
        VECTORS.mkdir(exist_ok=True)
        for model in self.models:
            model.write_golden()
            model.write_stimulus()
        dut.finish.value = 0
        dut.aresetn.value = 0
        Clock(dut.aclk, PERIOD, "ns").start()

    async def reset(self) -> None:
        """Hold reset for one edge, at which all begins anew; the edge after it is cycle 0."""
        self.dut.aresetn.value = 0
        self.dut.finish.value = 0
        await RisingEdge(self.dut.aclk)
        self.dut.aresetn.value = 1

    async def cycles(self, count: int) -> None:
        """Wait for `count` rising edges, in few steps."""
        step = max(1, -(-count // STEPS))
        for done in range(0, count, step):
            await Timer(min(step, count - done) * PERIOD - PERIOD // 2, "ns")
            await RisingEdge(self.dut.aclk)
            self.tell(min(done + step, count), count)

    def tell(self, done: int, count: int) -> None:
        """Write down how far a run is, for whoever waits for it."""
        scratch = Path("progress.new")
        scratch.write_text(f"{done} {count}")
        scratch.replace("progress")

    async def finish(self) -> list[Judgement]:
        """Let everything promised happen, have the logs completed, and judge every stream."""
        # What moves after the last promised cycle is too late, and a few cycles show it.
        await self.cycles(self.end + 20)
        self.dut.finish.value = 1
        await self.cycles(1)
        return [Judgement(model, self.error(model)) for model in self.models]

    async def frames(self) -> list[Judgement]:
        """Run all frames of all designs from reset and judge every stream."""
        await self.reset()
        return await self.finish()

    def error(self, model: Model) -> bool:
        """Whether the error output of a design is set."""
        return bool(getattr(self.dut, f"{model.name}_error").value != 0)


def _save(judgements: list[Judgement]) -> None:
    """Write results.json, and in results.npz all cycles and the words of the outputs."""
    results: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for made in judgements:
        name, output = made.model.name, made.streams[made.model.output["name"]]
        undefined = sorted(output.undefined)
        results.append(
            {"name": name, "wrong": made.wrong, "report": made.report, "undefined": undefined}
        )
        arrays |= {f"{name}/cycles/{key}": found.cycles for key, found in made.streams.items()}
        arrays[f"{name}/words"] = output.words[:, :-1]
    np.savez("results.npz", allow_pickle=False, **arrays)  # type: ignore[arg-type]
    Path("results.json").write_text(json.dumps(results))


def _assert_right(judgements: list[Judgement]) -> None:
    report = [line for made in judgements for line in made.report]
    assert not report, "\n".join(report)


@cocotb.test(timeout_time=10, timeout_unit="sec")
async def frames(dut: Any) -> None:
    """Every value of every stream is the reference's, in the promised cycle."""
    judgements = await Bench(dut).frames()
    _save(judgements)
    _assert_right(judgements)


@cocotb.test(timeout_time=10, timeout_unit="sec")
async def reset_in_mid_frame(dut: Any) -> None:
    """A reset at any time returns to the initial state: afterwards all is as from the start."""
    bench = Bench(dut)
    # First as usual, then with the sink closed, so that every register of the design is full.
    for flowing, length in ((True, max(3, bench.end // 3)), (False, 1 + bench.end // 7)):
        for model in bench.models:
            model.write_stimulus(sink=None if flowing else np.zeros(length, bool))
        await bench.reset()
        await bench.cycles(length)
    for model in bench.models:
        model.write_stimulus()
    _assert_right(await bench.frames())


@cocotb.test(timeout_time=10, timeout_unit="sec")
async def wrong_frame_length(dut: Any) -> None:
    """A misplaced tlast sets the sticky error, never hangs, and a reset clears it."""
    bench = Bench(dut)
    for late in (False, True):
        for model in bench.models:
            beats, lasts = model.input["beats"], model.lasts(model.input)
            # Short: tlast on the first beat.  Long: tlast a beat late, or never.
            lasts[beats - 1] = False
            if not late:
                lasts[0] = beats > 1
            elif beats < len(lasts):
                lasts[beats] = True
            model.write_stimulus(lasts)
        await bench.reset()
        # Between the edge of the reset and that of cycle 0.
        await FallingEdge(dut.aclk)
        assert not any(bench.error(model) for model in bench.models)
        await RisingEdge(dut.aclk)
        for judgement in await bench.finish():
            # Data flows as if nothing had happened; the error alone is wrong.
            wrong = {kind: count for kind, count in judgement.wrong.items() if count}
            assert wrong == {"error": 1}, "\n".join(judgement.report)
    for model in bench.models:
        model.write_stimulus()
    _assert_right(await bench.frames())
