"""Whether an order is a magnesium test or another blood test of chemistry or haematology; see `lab_orders.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files

from service.logic.model import Analyte
from service.terminology.analytes import LAB_CODES, LabCodes, fold, system_of

_MAGNESIUM = frozenset({Analyte.SERUM_MAGNESIUM, Analyte.IONISED_MAGNESIUM})
_NO_BLOOD = frozenset(
    {
        Analyte.URINE_MAGNESIUM, Analyte.URINE_MAGNESIUM_24H, Analyte.URINE_CREATININE,
        Analyte.QTC, Analyte.WEIGHT, Analyte.HEIGHT,
    }
)  # fmt: skip
_PARTS = re.compile(r"[,;+|\n]|\s(?:&|and|with|plus|и|و|und|mit|y|con|e|et)\s", re.IGNORECASE)
_LONGEST_TEXT = 500  # characters read of one text


class OrderKind(StrEnum):
    """What an order of a test is. A magnesium test is a blood test too."""

    MAGNESIUM = "magnesium"  # in serum or plasma, total or ionised
    BLOOD = "blood"


def kinds_of_order(
    codings: Iterable[tuple[str, str]], texts: Iterable[str], codes: LabCodes = LAB_CODES
) -> frozenset[OrderKind]:
    """The kinds of an ordered test, by its (system, code) pairs and by its words (text and displays); empty for others.

    `codes` is the table with the site's own codes. CPT 83735 is magnesium in any specimen: its words decide, so
    `[(CPT, "83735")], ["Magnesium, urine"]` is none; `[], ["BMP + Mg"]` is both; `[], ["Magnesium replacement
    protocol"]` is none.
    """
    said = tuple(text[:_LONGEST_TEXT] for text in texts)
    found = {kind for text in said for kind in _kinds_of_text(text)}
    elsewhere = not found and any(_elsewhere(fold(text)) for text in said)
    if not elsewhere:
        found |= {kind for system, code in codings for kind in _kinds_of_code(system, code, codes)}
    return frozenset(found | ({OrderKind.BLOOD} if OrderKind.MAGNESIUM in found else set()))


def _kinds_of_code(system: str, code: str, codes: LabCodes) -> Iterator[OrderKind]:
    meaning = codes.by_code(system, code)
    if meaning is not None:
        yield from _kinds_of_analyte(meaning.analyte)
    elif (
        codes.is_other_analyte(system, code)
        or codes.panel(system, code)
        or _is_blood_code(system_of(codes.systems.standard(system)), code)
    ):
        yield OrderKind.BLOOD


def _kinds_of_analyte(analyte: Analyte) -> Iterator[OrderKind]:
    if analyte in _MAGNESIUM:
        yield OrderKind.MAGNESIUM
    if analyte not in _NO_BLOOD:
        yield OrderKind.BLOOD


def _is_blood_code(system: str, code: str) -> bool:
    if system == "cpt" and re.fullmatch(r"\d{5}", code):
        return code not in _CPT_OTHER and any(first <= code <= last for first, last in _CPT)
    return code in _BLOOD_CODES.get(system, ())


@lru_cache(maxsize=4096)
def _kinds_of_text(text: str) -> frozenset[OrderKind]:
    """By the whole text if it is one name, else by each of its parts."""
    whole = LAB_CODES.by_name(text)
    if whole is not None:
        return frozenset(_kinds_of_analyte(whole))
    parts = [part for piece in _PARTS.split(text) if (part := fold(piece))]
    found = {kind for part in parts if not _elsewhere(part) for kind in _kinds_of_part(part)}
    if OrderKind.MAGNESIUM in found and _elsewhere(fold(text)):  # "Magnesium, urine"
        return frozenset()
    return frozenset(found)


def _kinds_of_part(part: str) -> Iterator[OrderKind]:
    named = Analyte.SERUM_MAGNESIUM if part == "mg" else LAB_CODES.by_name(part)
    if named is not None:
        yield from _kinds_of_analyte(named)
    elif _BLOOD.search(part):
        yield OrderKind.BLOOD


def _elsewhere(folded: str) -> bool:
    """True if the words speak of urine, a swab, an infusion: no blood goes to the laboratory."""
    return _NOT_BLOOD.search(folded) is not None


def _any_of(terms: str) -> re.Pattern[str]:
    """Finds any of the terms as whole words; `*` stands for any ending."""
    words = (r"\w*".join(map(re.escape, _fold_starred(term).split("*"))) for term in terms.split(";") if term.strip())
    return re.compile(rf"\b(?:{'|'.join(sorted(words, key=len, reverse=True))})\b")


def _fold_starred(term: str) -> str:
    """`fold`, keeping the `*` that ends a word."""
    return " ".join(fold(word.rstrip("*")) + ("*" if word.endswith("*") else "") for word in term.split())


def _ranges(listed: str) -> tuple[tuple[str, str], ...]:
    return tuple((first, last) for item in listed.split() for first, _, last in [item.partition("-")])


_table: dict[str, str] = tomllib.loads(files(__package__).joinpath("lab_orders.toml").read_text(encoding="utf-8"))
_BLOOD_CODES = {name: frozenset(_table[name].split()) for name in ("loinc", "snomed", "v2-0074")}
_CPT = _ranges(_table["cpt"])
_CPT_OTHER = frozenset(_table["cpt_other"].split())
_BLOOD = _any_of(_table["blood"])
_NOT_BLOOD = _any_of(_table["not_blood"])
