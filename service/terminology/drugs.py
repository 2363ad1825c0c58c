"""Recognises the drugs of `drugs.toml` in a coding or in the words with which a medication is named."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib import resources
from typing import Final

import msgspec

from service.errors import SettingsError

RXNORM: Final = "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC: Final = "http://www.whocc.no/atc"
SNOMED: Final = "http://snomed.info/sct"
NDC: Final = "http://hl7.org/fhir/sid/ndc"

_SPELLINGS: Final = {
    "http://hl7.org/fhir/sid/rxnorm": RXNORM,
    "https://rxnav.nlm.nih.gov": RXNORM,
    "http://purl.bioontology.org/ontology/rxnorm": RXNORM,
    "urn:oid:2.16.840.1.113883.6.88": RXNORM,
    "https://www.whocc.no/atc_ddd_index": ATC,
    "http://www.whocc.no/atc_ddd_index": ATC,
    "http://fhir.de/codesystem/bfarm/atc": ATC,
    "http://fhir.de/codesystem/dimdi/atc": ATC,
    "http://fhir.de/codesystem/atc": ATC,
    "urn:oid:2.16.840.1.113883.6.73": ATC,
    "urn:oid:2.16.840.1.113883.6.96": SNOMED,
    "urn:oid:2.16.840.1.113883.6.69": NDC,
}

# ATC groups whose members act where they are applied; carbonic anhydrase inhibitors by mouth sit among the eye drugs.
_LOCAL_ATC: Final = ("A01", "A07", "B05C", "D", "G01", "R01", "R02", "S", "V04")
_SYSTEMIC_ATC: Final = ("S01EC01", "S01EC02", "S01EC05")

_LONGEST_TEXT: Final = 1000  # characters read of a name; a nutrition mixture with all its parts needs about 500
_REMEMBERED: Final = 4096  # names kept with what they mean


@dataclass(frozen=True, slots=True)
class Drug:
    """One ingredient: its international name and its class, both as in `drugs.toml`.

    A class that begins with `TRAP_` says "sounds like it, is not it": report it as recognised, draw nothing from it.
    """

    name: str
    drug_class: str


# Where in a text a name may begin. After a hyphen or inside brackets a bare cation is a counter-ion, not a supplement.
_INSIDE, _COMPONENT, _HYPHEN, _BRACKET = range(4)
_CATIONS: Final = frozenset({"magnesium", "potassium (unnamed)", "calcium (unnamed)", "iron (unnamed)"})


@dataclass(frozen=True, slots=True)
class _Name:
    rest: list[str]  # the words after the first
    drugs: tuple[Drug, ...]  # none: known not to be a medication of this list
    alone: bool  # only if no other plain word follows: "potassium 20 mmol", but not "potassium iodide"


@dataclass(frozen=True, slots=True)
class _NameIndex:
    names: Mapping[str, Sequence[_Name]]  # by first word, longest first
    skip: frozenset[str]  # units, forms and routes that may stand before a name
    join: frozenset[str]  # words between two components
    anywhere: frozenset[str]  # words that begin a component wherever they stand
    local: frozenset[str]  # words of products that act where they are applied


@dataclass(frozen=True, slots=True, eq=False)
class DrugVocabulary:
    """An immutable table of drugs; `with_codes` gives an enlarged one. Look-ups never raise and do no I/O."""

    drugs: Mapping[str, Drug]  # by name
    codes: Mapping[tuple[str, str], tuple[Drug, ...]]  # (canonical system, upper-case code); ATC groups by prefix
    index: _NameIndex
    find: Callable[[str], tuple[Drug, ...]]  # remembers what it has read

    @property
    def ingredients(self) -> tuple[str, ...]:
        """The names of all drugs, for those who map local codes to them."""
        return tuple(self.drugs)

    def by_code(self, system: str, code: str) -> tuple[Drug, ...]:
        """The listed ingredients of a coded drug or product; empty if the code is unknown or acts only locally."""
        system, code = _key(system, code)
        found = self.codes.get((system, code))
        if found is None and system == ATC:
            found = next((self.codes[key] for n in (5, 4) if (key := (ATC, code[:n])) in self.codes), None)
        return found or ()

    def by_name(self, text: str) -> tuple[Drug, ...]:
        """The listed ingredients that a medication's name names, in any of its languages; empty if there are none.

        Whole words, and only at the start of a component: "esomeprazole magnesium" is not magnesium.
        """
        return self.find(text[:_LONGEST_TEXT])

    def local_name(self, text: str) -> bool:
        """True if the name says that the product acts where it is applied: eye, ear, skin, irrigation."""
        return not self.index.local.isdisjoint(_TOKEN.findall(_plain(text[:_LONGEST_TEXT])))

    def with_codes(self, codes: Mapping[tuple[str, str], Sequence[str]]) -> DrugVocabulary:
        """Also knows these: (system, code) -> ingredient names as in `drugs.toml`. Later rows replace earlier ones.

        Raises SettingsError, naming every ingredient that is not in the table.
        """
        unknown = sorted({name for names in codes.values() for name in names} - self.drugs.keys())
        if unknown:
            raise SettingsError([f"no such ingredient in drugs.toml: {name}" for name in unknown])
        more = {_key(*coding): tuple(self.drugs[name] for name in names) for coding, names in codes.items()}
        return replace(self, codes={**self.codes, **more})


def local_code(system: str, code: str) -> bool:
    """True if the code is an ATC code of a product that acts where it is applied."""
    system, code = _key(system, code)
    return system == ATC and code.startswith(_LOCAL_ATC) and code not in _SYSTEMIC_ATC


# ---------------------------------------------------------------------------------------------------------- codes


def _key(system: str, code: str) -> tuple[str, str]:
    system = _canonical(system)
    return system, _ndc11(code) if system == NDC else code.strip().upper()


@lru_cache(maxsize=1024)
def _canonical(system: str) -> str:
    """The usual spelling of a code system's address, without edition or version."""
    plain = system.strip().rstrip("/").lower().partition("|")[0]
    if plain.startswith(SNOMED + "/"):
        return SNOMED
    secure = plain.replace("https://", "http://", 1)
    return _SPELLINGS.get(plain) or _SPELLINGS.get(secure, secure)


def _ndc11(code: str) -> str:
    """Eleven digits without dashes: 5-4-2, each part filled with zeros on the left."""
    parts = code.strip().split("-")
    if len(parts) != 3:
        return "".join(parts)
    return "".join(part.zfill(width) for part, width in zip(parts, (5, 4, 2), strict=True))


# ---------------------------------------------------------------------------------------------------------- names

_TOKEN: Final = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+\d*|[-,/+;:|&•\n()\[\]{}]")
_BRAND: Final = re.compile(r"\[[^\]]*\]")
_BREAKS: Final = frozenset("/+;:|&•\n")
_BRACKETS: Final = frozenset("()[]{}")
_LETTERS: Final = str.maketrans(
    {"ي": "ی", "ك": "ک", "ة": "ه", "\u200c": " ", "'": None, "’": None, "`": None, "–": "-"}
)
_PREFIX_LETTERS: Final = 4  # "pre-", "post-", "non-", "anti-": what follows is not the product


def _plain(text: str) -> str:
    """Lower case, no diacritics (so ё = е), one spelling of Persian letters, "sulf" for "sulph"."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return text.lower().translate(_LETTERS).replace("sulph", "sulf")


def _words(text: str) -> tuple[list[str], list[int]]:
    """The words of a text, and for each whether a name may begin there. A break is a word of its own."""
    words: list[str] = []
    starts: list[int] = []
    start = _COMPONENT
    for piece in _TOKEN.findall(_plain(text)):
        if piece == "-":
            start = start or _HYPHEN
        elif piece in _BRACKETS:
            start = start or _BRACKET
        elif piece == ",":
            start = _COMPONENT
        else:
            words.append(piece)
            starts.append(start)
            start = _COMPONENT if piece in _BREAKS else _INSIDE
    return words, starts


def _find(index: _NameIndex, text: str) -> tuple[Drug, ...]:
    """What the name says outside square brackets (where RxNorm puts the brand), else what it says at all."""
    return _scan(index, _BRAND.sub(" ", text)) or (_scan(index, text) if "[" in text else ())


def _scan(index: _NameIndex, text: str) -> tuple[Drug, ...]:
    words, starts = _words(text)
    found: dict[Drug, None] = {}
    at, start, matched_to = 0, _INSIDE, -1
    while at < len(words):
        word = words[at]
        start = start if start == _COMPONENT else starts[at] or start
        if word in index.join or word in _BREAKS:
            at, start = at + 1, _COMPONENT
            continue
        if word in index.anywhere:
            start = _COMPONENT
        may_begin = _may_begin(start, words, at, matched_to, bool(found))
        if may_begin and (name := _longest(index, words, starts, at)):
            found.update((drug, None) for drug in name.drugs if start == _COMPONENT or drug.name not in _CATIONS)
            at = matched_to = at + 1 + len(name.rest)
            start = _INSIDE
        else:
            start = start if word in index.skip or word[0].isdigit() else _INSIDE
            at += 1
    return tuple(found)


def _may_begin(start: int, words: Sequence[str], at: int, matched_to: int, found: bool) -> bool:
    if start == _HYPHEN:
        return matched_to == at or (at > 0 and len(words[at - 1]) > _PREFIX_LETTERS)
    return start == _COMPONENT or (start == _BRACKET and not found)


def _longest(index: _NameIndex, words: list[str], starts: list[int], at: int) -> _Name | None:
    for name in index.names.get(words[at], ()):
        end = at + 1 + len(name.rest)
        if words[at + 1 : end] != name.rest:
            continue
        if not name.alone or end >= len(words) or starts[end] or not _plain_word(index, words[end]):
            return name
    return None


def _plain_word(index: _NameIndex, word: str) -> bool:
    return word[0].isalpha() and word not in index.skip and word not in index.join


# ---------------------------------------------------------------------------------------------------------- table


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    """One ingredient of `drugs.toml`."""

    rxnorm: list[str] = []
    atc: list[str] = []
    snomed: list[str] = []
    en: list[str] = []
    ru: list[str] = []
    de: list[str] = []
    es: list[str] = []
    fa: list[str] = []
    brands: list[str] = []
    alone: list[str] = []

    def coded(self) -> Iterator[tuple[str, str]]:
        """(system, code) of each code."""
        for system, codes in ((RXNORM, self.rxnorm), (ATC, self.atc), (SNOMED, self.snomed)):
            yield from ((system, code) for code in codes)

    def named(self) -> Iterator[str]:
        """Every name but those that must stand alone."""
        for names in (self.en, self.ru, self.de, self.es, self.fa, self.brands):
            yield from names
        yield from (name + "а" for name in self.ru if name[-1] in "бвгдзклмнпрстфхцчшщ")  # "раствор фуросемида"


class _Combination(msgspec.Struct, forbid_unknown_fields=True):
    names: list[str]
    ingredients: list[str]


class _Group(msgspec.Struct, forbid_unknown_fields=True):
    prefix: str
    ingredients: list[str]


class _Words(msgspec.Struct, forbid_unknown_fields=True):
    skip: list[str]
    join: list[str]
    anywhere: list[str]
    local: list[str]
    never: list[str]


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    words: _Words
    atc: list[_Group]
    combination: list[_Combination]
    drug: dict[str, dict[str, _Row]]


def _load() -> DrugVocabulary:
    """Reads `drugs.toml`. Raises msgspec.ValidationError or KeyError if the project's own table is inconsistent."""
    text = resources.files(__package__).joinpath("drugs.toml").read_text("utf-8")
    table = msgspec.convert(tomllib.loads(text), _Table)
    rows = {name: (Drug(name, of), row) for of, group in table.drug.items() for name, row in group.items()}
    drugs = {name: drug for name, (drug, _) in rows.items()}
    index = _name_index(table, rows.values(), drugs)
    find = lru_cache(maxsize=_REMEMBERED)(partial(_find, index))
    return DrugVocabulary(drugs, _codes(table.atc, rows.values(), drugs), index, find)


def _codes(
    groups: Iterable[_Group], rows: Iterable[tuple[Drug, _Row]], drugs: Mapping[str, Drug]
) -> dict[tuple[str, str], tuple[Drug, ...]]:
    codes = {(ATC, group.prefix): tuple(drugs[name] for name in group.ingredients) for group in groups}
    exact: dict[tuple[str, str], tuple[Drug, ...]] = {}
    for drug, row in rows:
        for coding in row.coded():
            exact[coding] = (*exact.get(coding, ()), drug)
    return codes | exact


def _name_index(table: _Table, rows: Iterable[tuple[Drug, _Row]], drugs: Mapping[str, Drug]) -> _NameIndex:
    names: dict[tuple[str, ...], tuple[tuple[Drug, ...], bool]] = {}
    for drug, row in rows:
        names |= {_split(name): ((drug,), False) for name in (drug.name, *row.named())}
        names |= {_split(name): ((drug,), True) for name in row.alone}
    for item in table.combination:
        names |= {_split(name): (tuple(drugs[part] for part in item.ingredients), False) for name in item.names}
    names |= {_split(name): ((), False) for name in table.words.never}
    first: dict[str, list[_Name]] = {}
    for words in sorted(names, key=len, reverse=True):
        first.setdefault(words[0], []).append(_Name(list(words[1:]), *names[words]))
    skip, join, anywhere, local = (
        frozenset(map(_plain, words))
        for words in (table.words.skip, table.words.join, table.words.anywhere, table.words.local)
    )
    return _NameIndex(first, skip, join, anywhere, local)


def _split(name: str) -> tuple[str, ...]:
    return tuple(_words(name)[0])


DRUG_VOCABULARY: Final = _load()
