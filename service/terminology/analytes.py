"""Which analyte a laboratory code or name means; what a LOINC code promises of its unit; what is not serum."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

from service.logic.model import Analyte

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
    "http://mimic.mit.edu/fhir/mimic/codesystem/mimic-d-labitems": "mimic",
    "http://fhir.mimic.mit.edu/codesystem/d-lab-items": "mimic",
}
# Words that say a name does not mean serum or plasma; a bare name such as "Magnesium" is read as serum.
_OTHER_SPECIMEN = re.compile(
    r"urin|моч|ادرار|orina|\brbc\b|erythro|eritro|эритро|red (?:blood )?cell|گلبول|dialys|диализ|csf|liquor|ликвор|"
    r"stool|"
    r"faec|fec(?:al|es)|кал\b|hair|волос|sweat|whole blood|цельн|fluid|intake|water|tissue",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """An analyte and what its code promises: "mass", "molar" or "" where nothing is promised."""

    analyte: Analyte
    property: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class LabCodes:
    """The table: (system, code) -> meaning, plus names, panels and codes of other specimens."""

    codes: Mapping[tuple[str, str], Meaning]
    names: Mapping[str, Analyte]
    panels: Mapping[str, tuple[Analyte, ...]]
    others: frozenset[str]

    def by_code(self, system: str, code: str) -> Meaning | None:
        """The analyte of a code, or None."""
        return self.codes.get((system_of(system), code))

    def is_other_specimen(self, system: str, code: str) -> bool:
        """True for LOINC codes of our analytes in other specimens."""
        return code in self.others and system_of(system) == "loinc"

    def by_name(self, name: str) -> Analyte | None:
        """The analyte of a whole name, or None; names of other specimens are never read as serum."""
        return self.names.get(fold(name))

    def panel(self, system: str, code: str) -> tuple[Analyte, ...]:
        """The analytes that an ordered panel contains."""
        return self.panels.get(code, ()) if system_of(system) == "loinc" else ()

    def with_codes(self, local: Mapping[tuple[str, str], Analyte]) -> LabCodes:
        """The table with a site's own codes; (system, code) -> analyte."""
        extra = {(system_of(system), code): Meaning(analyte) for (system, code), analyte in local.items()}
        return LabCodes(MappingProxyType(dict(self.codes) | extra), self.names, self.panels, self.others)


@lru_cache(maxsize=1024)
def system_of(system: str) -> str:
    """The short name of a coding system, or its own URI without trailing slash and case."""
    plain = system.strip().lower().split("|")[0].rstrip("/")
    if plain.startswith("http://snomed.info/sct"):
        return "snomed"
    return _SYSTEMS.get(plain, plain)


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """A name without case, punctuation and double blanks."""
    return " ".join(re.sub(r"[^\w]+", " ", name.lower().replace("\u200c", " "), flags=re.UNICODE).split())


@lru_cache(maxsize=4096)
def names_other_specimen(text: str) -> bool:
    """True if a text speaks of urine, red cells, dialysis fluid or another specimen than serum."""
    return _OTHER_SPECIMEN.search(text) is not None


def _load() -> LabCodes:
    text = files(__package__).joinpath("analytes.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    others, panels = table.pop("other_specimen"), table.pop("panels")
    codes: dict[tuple[str, str], Meaning] = {}
    names: dict[str, Analyte] = {}
    for key, row in table.items():
        analyte = Analyte(key)
        for promise, listed in (("mass", "mass"), ("molar", "molar"), ("", "any"), ("", "order")):
            codes.update({("loinc", code): Meaning(analyte, promise) for code in row.get(listed, ())})
        for system in ("npu", "snomed", "cpt", "mimic"):
            codes.update({(system, code): Meaning(analyte) for code in row.get(system, ())})
        names.update({fold(name): analyte for name in row.get("names", ())})
    held = {code: tuple(Analyte(name) for name in listed) for code, listed in panels.items()}
    return LabCodes(
        MappingProxyType(codes), MappingProxyType(names), MappingProxyType(held), frozenset(others["loinc"])
    )


LAB_CODES = _load()
