"""Elements of SVG as text: everything escaped, nothing that XML forbids, and how wide words will be."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from html import escape

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # in XML 1.0, in any form
_NARROW, _BROAD = "ijltfrI.,:;'|!()[] ·", "mwMW@%—"


def clean(words: str) -> str:
    """Text without what no document may hold."""
    return _FORBIDDEN.sub("\ufffd", words)


def safe(words: str) -> str:
    """Text that may stand in an element or an attribute, whatever it was."""
    return escape(clean(words))


def element(name: str, inside: str = "", /, **attributes: object) -> str:
    """`<name …>inside</name>`; `inside` is markup, an attribute's `_` becomes `-`, one that is None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{safe(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>"


def _number(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def hint(words: str) -> str:
    """What is shown where the pointer rests, and read aloud."""
    return element("title", safe(words)) if words else ""


def length(words: str, size: float) -> float:
    """About how wide words are, in the unit of their size: no font is asked."""
    return size * sum(map(_share, words))


def _share(sign: str) -> float:
    if unicodedata.category(sign) in {"Mn", "Me", "Cf"}:
        return 0.0
    if unicodedata.east_asian_width(sign) in {"W", "F"}:
        return 1.0
    if sign in _NARROW:
        return 0.34
    return 0.9 if sign in _BROAD else 0.68 if sign.isupper() else 0.56


def cut(words: str, size: float, room: float) -> str:
    """As much of the words as there is room for."""
    if length(words, size) <= room:
        return words
    kept = words
    while kept and length(kept, size) > room - size:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


_LRI, _PDI = "\u2066", "\u2069"
_TOGETHER = re.compile(f"(?:{_LRI}[^{_PDI}]*{_PDI}|[^\\s{_LRI}])+")


def _words(words: str, size: float, room: float) -> Iterator[str]:
    """What stays on one line: a word, a run that is isolated from the direction around it; a long run in pieces."""
    for found in _TOGETHER.findall(words):
        if " " in found and length(found, size) > room / 2:
            yield from (f"{_LRI}{piece}{_PDI}" for piece in re.sub(f"[{_LRI}{_PDI}]", "", found).split())
        else:
            yield found


def wrapped(words: str, size: float, room: float) -> list[str]:
    """Lines of at most this width; a word that is wider is cut."""
    lines: list[str] = []
    for word in _words(words, size, room):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and length(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(cut(word, size, room))
    return lines
