"""Tables for a terminal."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Rows = list[dict[str, Any]]
FRONT = "at least as fast and as small in LUT, FF, BRAM and DSP, and better in one of them"
"""What a design would have to be to beat another of the same program."""


def table(rows: Rows) -> str:
    """Set rows under the union of their keys, numbers to the right; "-" stands for null."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, *([cell(row.get(key)) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [all(_is_number(row.get(key)) for row in rows) for key in columns]
    return "\n".join(_row(line, widths, right) for line in lines)


def side_by_side(models: Sequence[Mapping[str, Any]], front: Sequence[int]) -> str:
    """Set the totals of compared designs below one another; "*" marks the `front`.

    Areas are those of netlists if all designs have one, else all are estimates.
    systolic: the least cycles of an array of equal size, whatever its dataflow.
    """
    rows: Rows = []
    measured = all(model["placed"] for model in models)
    for number, model in enumerate(models, 1):
        total = model["total"]
        area = model["placed"] if measured else total
        array = model["systolic"] or {}
        rows.append(
            {
                "design": f"{number}{'*' if number in front else ''}",
                "model": printable(model["model"]),
                "cycles": total["schedule"]["interval"],
                "latency": total["schedule"]["first"] + 1,
                "frames/s": model["speed"] and round(model["speed"]["frames_per_second"]),
                **{name: area[name] for name in ("lut", "ff", "bram", "dsp")},
                "energy_nj": total["energy_nj"],
                "systolic": min(
                    (array[k] for k in array if k.endswith("stationary")), default=None
                ),
            }
        )
    return f"{table(rows)}\n(* no other design of the same model is {FRONT})"


def _row(cells: Iterable[str], widths: list[int], right: list[bool]) -> str:
    placed = (
        text.rjust(width) if to_right else text.ljust(width)
        for text, width, to_right in zip(cells, widths, right, strict=True)
    )
    return "  ".join(placed).rstrip()


def cell(value: object) -> str:
    """Return a value as the text of one cell."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " x ".join(map(str, value))
    return str(value)


def printable(name: str, most: int = 60) -> str:
    """A name from a file as it may stand in a table: on one line, and not long."""
    plain = name if name.isprintable() else ascii(name)
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, (int, float))


def is_plain(value: object) -> bool:
    """Tell whether a value fits one cell."""
    return not isinstance(value, (dict, list))


def agrees(result: dict[str, Any]) -> bool:
    """Tell whether every value and, where cycles were measured, every cycle is as promised."""
    cycles, streams = result["cycles"], result["streams"]
    return (
        result["mismatches"] == 0
        and (cycles is None or cycles["promised"] == cycles["measured"])
        and (streams is None or streams["differences"] == 0)
    )


def simulated(result: dict[str, Any]) -> str:
    """What `simulate` found: the verdict, cycles, streams, seconds."""
    verdict = "agrees" if agrees(result) else "DISAGREES"
    counts = f"{result['frames']} frames, {result['mismatches']} mismatches"
    lines = [f"{result['model']} on {result['engine']}: {verdict}; {counts}"]
    top_1 = result["top_1_agreement"]
    if top_1:
        lines.append("top-1 agrees in {agreeing} of {frames} frames".format(**top_1))
    if result["cycles"]:
        cycles = result["cycles"].items()
        lines.append(table([{"cycles": who, **(what or {})} for who, what in cycles]))
    if result["streams"]:
        lines.append(
            "{checked} streams, {transfers} transfers compared in value and cycle, "
            "{differences} differences".format(**result["streams"])
        )
    spent = (f"{name} {seconds:.2f} s" for name, seconds in result["seconds"].items())
    return "\n".join([*lines, "time: " + ", ".join(spent)])


def finetuned(result: dict[str, Any]) -> str:
    """Say what fine-tuning did, and what is kept where it did not help."""
    text = f"{printable(result['network'])} fine-tuned to {result['model']}"
    held = result["held"]
    if held is None:
        return f"{text}: {result['training_accuracy']:.2%} of all inputs right"
    text += (
        f": {held['before']:.2%} of {held['frames']:,} inputs held back were right before, "
        f"{held['after']:.2%} after"
    )
    if not held["helped"]:
        text += "; no gain: what is saved is the start, from all inputs (another --rate may help)"
    return text


def compared(result: dict[str, Any]) -> str:
    """What `compare` found: a table for each design, and their totals side by side."""
    parts: list[str] = []
    for model in result["models"]:
        area = model["area"]
        plain = {k: v for k, v in model.items() if is_plain(v) and k not in ("area", "program")}
        heading = ", ".join(f"{k} {cell(v)}" for k, v in plain.items())
        total = {"layer": "total", **model["total"]} | {
            way: _figures(model["total"][way]) for way in ("formula", "schedule", "rtl")
        }
        rows = [{k: v for k, v in row.items() if is_plain(v)} for row in (*model["layers"], total)]
        lines = [heading, _times(model), table(rows), _forms(model["forms"]), area]
        parts.append("\n".join(filter(None, lines)))
    return "\n\n".join([*parts, side_by_side(result["models"], result["front"]), result["energy"]])


def _times(model: dict[str, Any]) -> str:
    """Frames per second and latency of a design that has a clock, and where that is from."""
    if not model["clock"]:
        return ""
    return "{frames_per_second:,.0f} frames per second, latency {latency_us:.4g} us".format(
        **model["speed"]
    ) + " at {mhz:g} MHz ({source})".format(**model["clock"])


def _forms(forms: dict[str, str]) -> str:
    """How many roundings of an imported model have each form."""
    counts = [f"{form} ({count})" for form, count in Counter(forms.values()).items()]
    return f"roundings, all exact: {', '.join(counts)}" if counts else ""


def _figures(of: dict[str, int] | None) -> str | None:
    """First and interval of a whole design, for one cell of a table."""
    return f"{of['first']}, then {of['interval']}" if of else None
