"""Which analyte a laboratory code or name means; what a LOINC code promises of its unit; what is not serum."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

from service.logic.model import Analyte
from service.terminology.systems import NO_LOCAL_SYSTEMS, CodeSystems

LOINC = "http://loinc.org"
_SYSTEMS = {
    LOINC: "loinc",
    "urn:oid:2.16.840.1.113883.6.1": "loinc",
    "2.16.840.1.113883.6.1": "loinc",
    "https://loinc.org": "loinc",
    "http://snomed.info/sct": "snomed",
    "urn:oid:2.16.840.1.113883.6.96": "snomed",
    "urn:oid:1.2.208.176.2.1": "npu",
    "http://npu-terminology.org": "npu",
    "http://www.npu-terminology.org": "npu",
    "http://www.ama-assn.org/go/cpt": "cpt",
    "urn:oid:2.16.840.1.113883.6.12": "cpt",
    "http://terminology.hl7.org/codesystem/v2-0074": "v2-0074",
    "http://hl7.org/fhir/v2/0074": "v2-0074",
    "http://mimic.mit.edu/fhir/mimic/codesystem/mimic-d-labitems": "mimic",
    "http://fhir.mimic.mit.edu/codesystem/d-lab-items": "mimic",
}
# Words that say a name does not mean serum or plasma; a bare name such as "Magnesium" is read as serum.
_OTHER_SPECIMEN = re.compile(
    r"urin|моч(?!ев)|ادرار|orin|\brbc\b|erythro|eritro|эритро|red (?:blood )?cell|گلبول|dialys|диализ|csf|liquor|"
    r"ликвор|stool|faec|fec(?:al|es)|кал\b|hair|волос|sweat|whole blood|цельн|fluid|intake|water|tissue|"
    r"pleur|плевр|ascit|асцит|ex[su]+dat|экссудат|trans+udat|транссудат|punktat|пунктат|effusion|выпот|amnio|амнио|"
    r"synovi|синови|periton|перитон|\bbile\b|желч|gastric|saliva|speichel|слюн|sputum|мокрот|drainage|lymph|"
    r"breast milk|meconium|harn|stuhl|\bfeci\b|\bselles\b|\bfezes\b|\blcr\b|مدفوع|بزاق|نخاع|جنب|آسیت",
    re.IGNORECASE,
)
_SERUM = re.compile(
    r"\b(?:serum|plasma|serpl|ser plas|сыворот\w*|плазм\w*|سرم|پلاسما|suero|siero|soro|seric[oa]|[sp])\b"
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """An analyte and what its code promises: "mass", "molar" or "" where nothing is promised."""

    analyte: Analyte
    property: str = ""
    unlisted: bool = False  # by its name alone, beside a LOINC code that the table does not know


@dataclass(frozen=True, slots=True, eq=False)
class LabCodes:
    """The table: (system, code) -> meaning, plus names, panels and codes of other specimens."""

    codes: Mapping[tuple[str, str], Meaning]
    names: Mapping[str, Analyte]
    symbols: Mapping[str, Analyte]  # too short to be a name by themselves: "K" is one only in "K level", "S-K"
    idle_words: frozenset[str]  # of a level, a measurement, serum or plasma
    panels: Mapping[str, tuple[Analyte, ...]]
    others: frozenset[str]  # LOINC codes of our analytes in other specimens
    other_analytes: frozenset[str]  # LOINC codes of blood tests that are none of our analytes
    systems: CodeSystems = NO_LOCAL_SYSTEMS

    def by_code(self, system: str, code: str) -> Meaning | None:
        """The analyte of a code, or None."""
        own = self.codes.get((system_of(system), code))
        return own or self.codes.get((self._system(system), code))

    def is_loinc(self, system: str) -> bool:
        """True if codes of this system are LOINC's."""
        return self._system(system) == "loinc"

    def _system(self, system: str) -> str:
        return system_of(self.systems.standard(system))

    def is_other_specimen(self, system: str, code: str) -> bool:
        """True for LOINC codes of our analytes in other specimens."""
        return code in self.others and self.is_loinc(system)

    def is_other_analyte(self, system: str, code: str) -> bool:
        """True for LOINC codes of blood tests that are none of our analytes."""
        return code in self.other_analytes and self.is_loinc(system)

    def by_name(self, name: str) -> Analyte | None:
        """The analyte of a whole name in any of its languages, or None.

        Words that say only "a level, in serum" do not count: "Magnesium Lvl", "S-Kalium" and "Potassium [Moles/volume]
        in Serum or Plasma" are names; "Magnesium sulfate" and "Ferritin" are none. A name with the words of another
        specimen is read only if it is listed whole ("magnesium in urine").
        """
        folded = fold(_LOINC_PROPERTY.sub(r" \1", name))
        if (whole := self.names.get(folded)) is not None:
            return _unless_whole_blood(whole, name, folded)
        words = [word for word in folded.split() if word not in self.idle_words]
        core = " ".join(words)
        if core == folded or names_other_specimen(name):
            return None
        found = self.names.get(core) or self.symbols.get(core)
        return _unless_whole_blood(found, name, folded) if found else None

    def panel(self, system: str, code: str) -> tuple[Analyte, ...]:
        """The analytes that an ordered panel contains."""
        return self.panels.get(code, ()) if self.is_loinc(system) else ()

    def with_codes(self, local: Mapping[tuple[str, str], Analyte], systems: CodeSystems = NO_LOCAL_SYSTEMS) -> LabCodes:
        """The table with a site's own codes; (system, code) -> analyte; and with its own names of standard systems."""
        extra = {(system_of(system), code): Meaning(analyte) for (system, code), analyte in local.items()}
        return replace(self, codes=MappingProxyType(dict(self.codes) | extra), systems=systems)


@lru_cache(maxsize=1024)
def system_of(system: str) -> str:
    """The short name of a coding system, or its own URI without trailing slash and case."""
    plain = system.strip().lower().split("|")[0].rstrip("/")
    if plain.startswith("http://snomed.info/sct"):
        return "snomed"
    return _SYSTEMS.get(plain, plain)


_MARKS = str.maketrans({"\u200c": " "} | dict.fromkeys("™®©℠\xad\u200b\u200d\u200e\u200f\u2060\ufeff"))
_PERSIAN = str.maketrans({"ي": "ی", "ى": "ی", "ك": "ک", "ة": "ه"})
# "[Mass/volume] in Serum or Plasma by Electrophoresis": property and method say nothing of the analyte.
_LOINC_PROPERTY = re.compile(
    r"\[(?:mass|moles|substance|measurement|volume rate)[^\]]{0,40}\](?:(.*) by .*)?", re.IGNORECASE
)


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """A name without case, accents, trademarks, soft hyphens and punctuation; Persian letters in one spelling."""
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name.translate(_MARKS)).casefold())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter)).translate(_PERSIAN)
    return " ".join(re.sub(r"[\W_]+", " ", plain).split())


def _unless_whole_blood(analyte: Analyte, name: str, folded: str) -> Analyte | None:
    """In a LOINC name "in Blood" means whole blood, which is not serum where magnesium is concerned."""
    whole_blood = _LOINC_PROPERTY.search(name) and "blood" in folded.split() and "serum" not in folded.split()
    return None if whole_blood and analyte is Analyte.SERUM_MAGNESIUM else analyte


@lru_cache(maxsize=4096)
def names_other_specimen(text: str) -> bool:
    """True if a text speaks of urine, red cells, dialysis fluid or another specimen than serum."""
    return _OTHER_SPECIMEN.search(text) is not None


@lru_cache(maxsize=4096)
def names_serum(text: str) -> bool:
    """True if a text speaks of serum or plasma, and of no other specimen."""
    return _SERUM.search(fold(text)) is not None and not names_other_specimen(text)


def _load() -> LabCodes:
    text = files(__package__).joinpath("analytes.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    others, panels, idle, short = (table.pop(key) for key in ("other_specimen", "panels", "idle_words", "symbols"))
    foreign = table.pop("other_analyte")["loinc"].split()
    rows = {Analyte(key): row for key, row in table.items()}
    codes = {coding: meaning for analyte, row in rows.items() for coding, meaning in _codes(analyte, row)}
    names = {fold(name): analyte for analyte, row in rows.items() for name in row.get("names", ())}
    held = {code: tuple(Analyte(name) for name in listed) for code, listed in panels.items()}
    return LabCodes(
        codes=MappingProxyType(codes),
        names=MappingProxyType(names),
        symbols=MappingProxyType({fold(name): Analyte(key) for name, key in short.items()}),
        idle_words=frozenset(map(fold, idle["words"].split())),
        panels=MappingProxyType(held),
        others=frozenset(others["loinc"]),
        other_analytes=frozenset(foreign),
    )


def _codes(analyte: Analyte, row: Mapping[str, list[str]]) -> Iterator[tuple[tuple[str, str], Meaning]]:
    """(system, code) of one row, with what each code promises."""
    for listed, promise in (("mass", "mass"), ("molar", "molar"), ("any", ""), ("order", "")):
        yield from ((("loinc", code), Meaning(analyte, promise)) for code in row.get(listed, ()))
    for system in ("npu", "snomed", "cpt", "mimic"):
        yield from (((system, code), Meaning(analyte)) for code in row.get(system, ()))


LAB_CODES = _load()
