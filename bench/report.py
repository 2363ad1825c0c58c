"""Figures: what was measured, against which goal, and how they are printed and kept."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

MET, MISSED, NOT_MEASURABLE = "met", "missed", "not measurable here"
QUIET = 0.2  # cores that others may keep busy on a machine that is called idle


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: a number in its unit, the smallest and largest of the rounds, and the verdict on its goal."""

    section: str
    name: str
    value: float | None  # None: not measured
    unit: str
    low: float | None = None
    high: float | None = None
    note: str = ""
    goal: str = ""
    verdict: str = ""


def of_rounds(section: str, name: str, values: Sequence[float], unit: str, at_most: float | None = None) -> Figure:
    """The median of a figure over the rounds, held to a goal if there is one."""
    middle = statistics.median(values)
    goal = "" if at_most is None else f"at most {at_most:g}"
    verdict = "" if at_most is None else judged(middle <= at_most)
    return Figure(section, name, middle, unit, min(values), max(values), goal=goal, verdict=verdict)


def judged(holds: bool) -> str:
    """The word for a goal."""
    return MET if holds else MISSED


def show(figures: Iterable[Figure]) -> list[Figure]:
    """Print each figure as soon as it is there, under the heading of its section; all of them."""
    shown: list[Figure] = []
    for figure in figures:
        if not shown or shown[-1].section != figure.section:
            print(f"\n{figure.section}")
        print(_line(figure), flush=True)
        shown.append(figure)
    return shown


def _line(figure: Figure) -> str:
    spread = f"[{figure.low:.2f} to {figure.high:.2f}]" if figure.low is not None else ""
    value = "" if figure.value is None else f"{figure.value:.2f}"
    said = f"  {figure.name:<38} {value:>8} {figure.unit:<18} {spread:<18} {figure.note}"
    return f"{said.rstrip():<92} goal: {figure.goal}: {figure.verdict}" if figure.goal else said.rstrip()


def keep(path: Path, figures: Sequence[Figure]) -> None:
    """The figures as JSON, with when and on what they were measured."""
    machine = {"processors": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    content = {"measured": datetime.now(UTC), "machine": machine, "figures": figures}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
