"""Whether a specimen is blood, serum or plasma, by its code or its words; everything else is not read as serum."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

from service.terminology.analytes import fold, names_other_specimen, system_of

# SNOMED CT specimens and substances; HL7 v2 tables 0487 (specimen type) and 0070 (its predecessor).
_BLOOD_CODES = {
    "snomed": frozenset(
        {
            "119297000", "119298005", "119361006", "119364003", "122551003", "122552005", "122554006", "122555007",
            "122592007", "258580003", "445295009", "446272009", "708048008", "708049000", "67922002",
            "50863008", "87612001",
        }
    ),
    "v2": frozenset({"SER", "PLAS", "BLD", "BLDV", "BLDA", "BLDC", "BLDCO", "BLDMV", "PPP", "PRP", "SERP", "WB"}),
}  # fmt: skip
_V2_SYSTEMS = re.compile(r"v2[-/]?(?:0487|0070)$|2\.16\.840\.1\.113883\.(?:18\.311|5\.129|12\.487)$")
_BLOOD_WORDS = re.compile(
    r"\b(?:blood|serum|plasma|ser|plas|venous|arterial|capillar\w*|edta|heparin\w*|citrat\w*|citraat|sst|pst"
    r"|(?:red|gold|green|purple|lavender|yellow|blue|gray|grey|royal blue|tiger) top|blut|vollblut|bloed"
    r"|\w*plasma|\w*serum|sangre|suero|sang|sangue|siero|soro|кров\w*|сыворотк\w*|плазм\w*|خون|سرم|پلاسما)\b"
)
_LETTERS = re.compile(r"[^\W\d_]{3}")
# Says nothing: every specimen is one.
_IDLE = re.compile(
    r"^(?:specimen|sample|laboratory|lab|probe|material|unknown|other|muestra|проба|образец|материал|نمونه| )*$"
)


class SpecimenKind(StrEnum):
    """What a specimen is, as far as it is told."""

    BLOOD = "blood"  # or serum, or plasma
    OTHER = "other"
    UNCLEAR = "unclear"  # words that are not understood: not to be read as serum
    UNSTATED = "unstated"


def specimen_kind(codings: Iterable[tuple[str, str]], texts: Iterable[str]) -> SpecimenKind:
    """What (system, code) pairs and the words beside them say of a specimen.

    Words of another specimen go before everything ("pleural fluid in EDTA"), then words or a known code of blood, then
    any other code of the tables. A code of an unknown system is read as a word ("Blood", "URINE"); one that is no word
    ("4711", "X7") says nothing.
    """
    listed = tuple(codings)
    words = [*texts, *(code for system, code in listed if _system(system) not in _BLOOD_CODES)]
    if any(map(_says_other, words)):
        return SpecimenKind.OTHER
    if any(map(_says_blood, words)) or any(_is_blood_code(system, code) for system, code in listed):
        return SpecimenKind.BLOOD
    if any(_system(system) in _BLOOD_CODES for system, _ in listed):
        return SpecimenKind.OTHER
    return SpecimenKind.UNCLEAR if any(map(_is_unclear, words)) else SpecimenKind.UNSTATED


def _is_unclear(word: str) -> bool:
    folded = fold(word)
    return bool(_LETTERS.search(folded)) and not _IDLE.match(folded)


def _is_blood_code(system: str, code: str) -> bool:
    return code.strip() in _BLOOD_CODES.get(_system(system), ())


def _says_blood(word: str) -> bool:
    return _BLOOD_WORDS.search(fold(word)) is not None


@lru_cache(maxsize=1024)
def _system(system: str) -> str:
    return "v2" if _V2_SYSTEMS.search(system.strip().lower()) else system_of(system)


def _says_other(word: str) -> bool:
    """Whole blood is blood here: whether it is serum is the code's matter."""
    folded = fold(word)
    return names_other_specimen(re.sub(r"\bwhole blood\b|цельн\w+ кров\w*", "blood", folded))
