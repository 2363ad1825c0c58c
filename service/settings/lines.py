"""Where in a TOML text a key stands: `tomllib` reads values but forgets the lines that a message should name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

Path = tuple[str | int, ...]

_ASSIGNMENT = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def key_lines(text: str) -> Mapping[Path, int]:
    """The line, counted from 1, of each table header and key; the path of an array element holds its index.

    A search, not a parser: of a value over several lines only the first is known, which is what a message needs.
    """
    lines: dict[Path, int] = {}
    table: Path = ()
    arrays: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("["):
            keys = _keys(line)
            if keys:
                table = _table(keys, arrays, starts_element=line.lstrip().startswith("[["))
                lines.setdefault(table, number)
        elif match := _ASSIGNMENT.match(line):
            path = table + _keys(f"{match[1]} = 0")
            for length in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:length], number)
    return lines


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """The line of `path` or of the nearest thing around it; None if nothing of it stands in the text."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)


def _keys(line: str) -> Path:
    try:
        return tuple(_descend(tomllib.loads(line)))
    except tomllib.TOMLDecodeError:
        return ()  # a line of a longer value that only looks like a header


def _descend(node: object) -> Iterator[str]:
    while isinstance(node, dict | list) and node:
        if isinstance(node, list):
            node = node[0]
        else:
            key, node = next(iter(node.items()))
            yield key


def _table(keys: Path, arrays: dict[Path, int], *, starts_element: bool) -> Path:
    """The header's keys with the index of the current element after each array of tables on the way."""
    path: Path = ()
    for position, key in enumerate(keys, start=1):
        path = (*path, key)
        if starts_element and position == len(keys):
            arrays[path] = arrays.get(path, -1) + 1
        if path in arrays:
            path = (*path, arrays[path])
    return path
