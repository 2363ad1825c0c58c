"""Tables and colour for a terminal. `click.echo` takes the colour off where the output is none, or NO_COLOR is set."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Sequence[str]
WIDEST = 120
ROOM = 24  # characters of the last column at least; a narrower terminal breaks lines itself
STYLES = {
    "critical": "bold red",
    "warning": "yellow",
    "info": "cyan",
    "failed": "bold red",
    "finding": "yellow",
    "withheld": "magenta",
    "lacking": "dim",
    "off": "dim",
    "silent": "dim",
}
"""Of words that stand for what has to be seen first."""
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]+")  # what could steer a terminal; the line feed stays


def width(wanted: int | None = None) -> int:
    """Characters in a line: those of the terminal, 120 at most."""
    return min(wanted or shutil.get_terminal_size().columns, WIDEST)


def printable(value: Any) -> Any:
    """A JSON value in whose strings nothing steers a terminal."""
    if isinstance(value, dict):
        return {name: printable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [printable(item) for item in value]
    return _CONTROL.sub(" ", value) if isinstance(value, str) else value


def styled(text: str, style: str = "bold") -> str:
    """Text in a style of rich, a line by itself."""
    return "\n".join(_rendered(Text(line, style), len(line) + 1) for line in text.splitlines())


def table(title: str, columns: Row, rows: Iterable[Row], wide: int) -> str:
    """Columns as wide as their longest cell; the last one takes what is left and is wrapped."""
    listed = list(rows)
    if not listed:
        return f"{title}: none"
    drawn = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        drawn.add_column(Text(column), no_wrap=place < len(columns) - 1, overflow="fold")
    for row in listed:
        drawn.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
    lead = sum(max(cell_len(row[place]) for row in (columns, *listed)) + 2 for place in range(len(columns) - 1))
    lines = _rendered(drawn, max(wide - 2, lead + ROOM)).splitlines()
    return "\n".join([styled(title), *(f"  {line}" for line in lines)])


def _rendered(what: Text | Table, wide: int) -> str:
    """With the signs of its colours, without blanks at the ends of lines."""
    out = StringIO()
    Console(file=out, width=wide, force_terminal=True, color_system="standard", no_color=False).print(what)
    return re.sub(r" +((?:\x1b\[[0-9;]*m)*)$", r"\1", out.getvalue().rstrip("\n"), flags=re.MULTILINE)
