"""Figures as a reader wants them: grouped digits, per cent, units; a dash where there is none."""

from __future__ import annotations


def count(value: int | None) -> str:
    """A whole number with its digits in groups."""
    return "\N{EN DASH}" if value is None else f"{value:,}"


def some(value: int) -> str:
    """A whole number; a dash for none."""
    return count(value or None)


def percent(share: float | None) -> str:
    """A share to a hundredth of a per cent."""
    return "\N{EN DASH}" if share is None else f"{100 * share:.2f}\N{NARROW NO-BREAK SPACE}%"


def part(share: float) -> str:
    """A share in whole per cent."""
    return f"{share:.0%}" if share == 0 or share >= 0.01 else "< 1%"


def nanojoules(energy: float | None) -> str:
    """An energy given in nJ."""
    if energy is None:
        return "\N{EN DASH}"
    for limit, unit in ((1e6, "mJ"), (1e3, "\N{MICRO SIGN}J"), (1, "nJ")):
        if energy >= limit:
            return f"{energy / limit:.3g}\N{NARROW NO-BREAK SPACE}{unit}"
    return f"{1000 * energy:.3g}\N{NARROW NO-BREAK SPACE}pJ"


def time(seconds: float) -> str:
    """Seconds."""
    return f"{seconds:.2f}\N{NARROW NO-BREAK SPACE}s" if seconds < 9.995 else f"{seconds:.1f} s"


def short(value: float) -> str:
    """A number of few characters: 0.5, 20, 3 k, 40 M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}\N{NARROW NO-BREAK SPACE}{unit}"
    return f"{value:.3g}"


def microseconds(time: float) -> str:
    """A time given in microseconds."""
    unit, name = (1e3, "ms") if time >= 1e3 else (1, "\N{MICRO SIGN}s")
    return f"{time / unit:.4g}\N{NARROW NO-BREAK SPACE}{name}"
