"""Recognises the drugs of `drugs.toml` in a coding or in the words with which a medication is named."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib import resources
from typing import Final, NamedTuple

import msgspec

from service.errors import SettingsError
from service.terminology.systems import NO_LOCAL_SYSTEMS, CodeSystems

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
    minerals: frozenset[str]  # side by side each is a component
    denied_before: frozenset[str]  # "no", "allergic": the name that follows is not taken
    denied_after: frozenset[str]  # "none", "contraindicated": the name before is not taken
    denied_link: frozenset[str]  # may stand between such a word and the name
    nothing: frozenset[str]  # the text names nothing of this list: homeopathy


@dataclass(frozen=True, slots=True, eq=False)
class DrugVocabulary:
    """An immutable table of drugs; `with_codes` gives an enlarged one. Look-ups never raise and do no I/O."""

    drugs: Mapping[str, Drug]  # by name
    codes: Mapping[tuple[str, str], tuple[Drug, ...]]  # (canonical system, upper-case code); ATC groups by prefix
    index: _NameIndex
    find: Callable[[str], tuple[Drug, ...]]  # remembers what it has read
    systems: CodeSystems = NO_LOCAL_SYSTEMS

    @property
    def ingredients(self) -> tuple[str, ...]:
        """The names of all drugs, for those who map local codes to them."""
        return tuple(self.drugs)

    def by_code(self, system: str, code: str) -> tuple[Drug, ...]:
        """The listed ingredients of a coded drug or product; empty if the code is unknown or acts only locally."""
        own = self.codes.get(_key(system, code))
        if own is not None:
            return own
        system, code = _key(self.systems.standard(system), code)
        spellings = _ndc_spellings(code) if system == NDC else (code, code[:5], code[:4]) if system == ATC else (code,)
        found = [self.codes[key] for spelling in spellings if (key := (system, spelling)) in self.codes]
        return found[0] if found and (system == ATC or len(set(found)) == 1) else ()

    def by_name(self, text: str) -> tuple[Drug, ...]:
        """The listed ingredients that a medication's name names, in any of its languages; empty if there are none.

        Whole words, and only at the start of a component: "esomeprazole magnesium" is not magnesium. What the text says
        is not taken ("PPI: none", "cisplatin allergy") and homeopathic dilutions name nothing.
        """
        return self.find(text[:_LONGEST_TEXT])

    def says_none(self, text: str) -> bool:
        """True if a text names drugs of the list only to say that they are not taken ("PPI: none"), or is homeopathy."""
        return _says_none(self.index, text[:_LONGEST_TEXT])

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
    """Eleven digits without dashes (5-4-2, parts filled with zeros on the left); undivided digits stay as they are."""
    parts = code.strip().replace(" ", "").replace("*", "").split("-")
    if len(parts) != 3:
        return "".join(parts)
    return "".join(part.zfill(width) for part, width in zip(parts, (5, 4, 2), strict=True))


def _ndc_spellings(code: str) -> tuple[str, ...]:
    """What an NDC of digits can mean: ten digits lack a zero in the labeler, the product or the package."""
    if len(code) != 10:
        return (code,)
    return (code, f"0{code}", f"{code[:5]}0{code[5:]}", f"{code[:9]}0{code[9:]}")


# ---------------------------------------------------------------------------------------------------------- names

# "b6" and "d3" are words; "furosemide40" is a word and its strength.
_TOKEN: Final = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]{1,3}\d(?![\d.,])|[^\W\d_]+|[-,/+;:|&•\n()\[\]{}]")
_BRAND: Final = re.compile(r"\[[^\]]*\]")
_BREAKS: Final = frozenset("/+;:|&•\n")
_BRACKETS: Final = frozenset("()[]{}")
_LETTERS: Final = str.maketrans(
    {"ي": "ی", "ك": "ک", "ة": "ه", "\u200c": " ", "'": None, "’": None, "`": None, "–": "-"}
)
_MARKS: Final = str.maketrans(dict.fromkeys("™®©℠\xad\u200b\u200d\u200e\u200f\u2060\ufeff"))
_PREFIX_LETTERS: Final = 4  # "pre-", "post-", "non-", "anti-": what follows is not the product


def _plain(text: str) -> str:
    """Lower case, no diacritics (so ё = е), no trademark, one spelling of Persian letters, "sulf" for "sulph"."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.translate(_MARKS))
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


class _Place(NamedTuple):
    """A name found at words `at` to `end` (exclusive); `full` if a bare cation there is a supplement."""

    at: int
    end: int
    name: _Name
    full: bool


def _scan(index: _NameIndex, text: str) -> tuple[Drug, ...]:
    """The drugs that a name names, in order.

    "IVPB magnesium sulfate 2 g / KCl 20 mEq; PPI: none; esomeprazole magnesium" gives magnesium sulfate, potassium
    chloride and esomeprazole. A name may begin where a component begins: at the start of the text ("IVPB" is skipped)
    and after a break ("/", ";"). "PPI" is denied by the "none" behind it. The last "magnesium" follows a name, not a
    break: it is the salt of esomeprazole.
    """
    words, starts = _words(text)
    if not index.nothing.isdisjoint(words) or _DILUTION.search(text):
        return ()
    found: dict[Drug, None] = {}
    for place in _places(index, words, starts):
        if not _denied(index, words, place):
            found.update((drug, None) for drug in place.name.drugs if place.full or drug.name not in _CATIONS)
    return tuple(found)


def _says_none(index: _NameIndex, text: str) -> bool:
    words, starts = _words(text)
    if not index.nothing.isdisjoint(words) or _DILUTION.search(text):
        return True
    named = [place for place in _places(index, words, starts) if place.name.drugs]
    return bool(named) and all(_denied(index, words, place) for place in named)


def _places(index: _NameIndex, words: list[str], starts: list[int]) -> Iterator[_Place]:
    """Where names stand, from left to right; the longest name wins and nothing is read twice."""
    at, start, last_end, any_drug = 0, _INSIDE, -1, False
    while at < len(words):
        start = _start_at(index, words, starts, at, start)
        name = _longest(index, words, starts, at) if _may_begin(start, words, at, last_end, any_drug) else None
        if name:
            end = at + 1 + len(name.rest)
            yield _Place(at, end, name, start == _COMPONENT)
            at, start, last_end, any_drug = end, _INSIDE, end, any_drug or bool(name.drugs)
        else:
            start = _start_after(index, words[at], start)
            at += 1


def _start_at(index: _NameIndex, words: Sequence[str], starts: Sequence[int], at: int, start: int) -> int:
    """Whether a name may begin at a word, given what the words before it left open."""
    word = words[at]
    beside = at > 0 and word in index.minerals and words[at - 1] in index.minerals
    if start == _COMPONENT or beside or word in index.anywhere:
        return _COMPONENT
    return starts[at] or start


def _start_after(index: _NameIndex, word: str, start: int) -> int:
    """What a word that begins no name leaves open: a break begins a component, a unit or form changes nothing."""
    if word in index.join or word in _BREAKS:
        return _COMPONENT
    return start if word in index.skip or word[0].isdigit() else _INSIDE


def _may_begin(start: int, words: Sequence[str], at: int, last_end: int, any_drug: bool) -> bool:
    if start == _HYPHEN:
        return last_end == at or (at > 0 and len(words[at - 1]) > _PREFIX_LETTERS)
    return start == _COMPONENT or (start == _BRACKET and not any_drug)


def _longest(index: _NameIndex, words: list[str], starts: list[int], at: int) -> _Name | None:
    if words[at] in index.join:
        return None
    for name in index.names.get(words[at], ()):
        end = at + 1 + len(name.rest)
        if words[at + 1 : end] != name.rest:
            continue
        if not name.alone or end >= len(words) or starts[end] or not _plain_word(index, words[end]):
            return name
    return None


_DENIED_WITHIN: Final = 4  # words between a name and what denies it
# Homeopathic: D6, C30, 30C, 9 CH, 6X, LM 6; not "6x daily", not vitamin D3.
_DILUTION: Final = re.compile(
    r"\b(?:[dcдс](?:4|6|8|9|12|15|30|60|200|1000)|(?:6|9|12|15|30|200)c|\d{1,4} ?(?:ch|dh)|lm ?\d{1,2}"
    r"|(?:6|12|30|200)x(?! ?(?:/|daily|a day|per|week|tgl|tägl|al|в)))\b",
    re.IGNORECASE,
)


def _denied(index: _NameIndex, words: Sequence[str], place: _Place) -> bool:
    """True if a word before or behind a name says that it is not taken."""
    before = reversed(words[max(0, place.at - _DENIED_WITHIN) : place.at])
    if _next_to(before, index.denied_link) in index.denied_before:
        return True
    after = _next_to(words[place.end : place.end + _DENIED_WITHIN], index.skip, index.denied_link)
    return after in index.denied_after and (after != "no" or words[-1] == "no")  # "no 30" is a number, not a denial


def _next_to(near: Iterable[str], *idle: frozenset[str]) -> str:
    """The first word that is no number, no colon and not idle; "" if there is none."""
    for word in near:
        if word != ":" and not word[0].isdigit() and not any(word in listed for listed in idle):
            return word
    return ""


def _plain_word(index: _NameIndex, word: str) -> bool:
    return word[0].isalpha() and not any(word in listed for listed in (index.skip, index.join, index.minerals))


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
    romance: list[str] = []  # French, Italian, Portuguese, where `_romance_forms` does not give them
    brands: list[str] = []
    alone: list[str] = []

    def coded(self) -> Iterator[tuple[str, str]]:
        """(system, code) of each code."""
        for system, codes in ((RXNORM, self.rxnorm), (ATC, self.atc), (SNOMED, self.snomed)):
            yield from ((system, code) for code in codes)

    def named(self) -> Iterator[str]:
        """Every name but those that must stand alone."""
        for names in (self.en, self.ru, self.de, self.es, self.fa, self.romance, self.brands):
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
    minerals: list[str]
    denied_before: list[str]
    denied_after: list[str]
    denied_link: list[str]
    nothing: list[str]


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
    names = _names(table, rows, drugs)
    first: dict[str, list[_Name]] = {}
    for words in sorted(names, key=len, reverse=True):
        first.setdefault(words[0], []).append(_Name(list(words[1:]), *names[words]))
    listed = msgspec.structs.asdict(table.words)
    del listed["never"]
    return _NameIndex(first, **{field: frozenset(map(_plain, words)) for field, words in listed.items()})


def _names(
    table: _Table, rows: Iterable[tuple[Drug, _Row]], drugs: Mapping[str, Drug]
) -> dict[tuple[str, ...], tuple[tuple[Drug, ...], bool]]:
    """The words of each name -> its drugs, and whether it must stand alone; later rows replace earlier ones."""
    names: dict[tuple[str, ...], tuple[tuple[Drug, ...], bool]] = {}
    for drug in drugs.values():
        names |= {_split(name): ((drug,), False) for name in _romance_forms(drug.name)}
    for drug, row in rows:
        names |= {_split(name): ((drug,), False) for name in (drug.name, *row.named())}
        names |= {_split(name): ((drug,), True) for name in row.alone}
    for item in table.combination:
        names |= {_split(name): (tuple(drugs[part] for part in item.ingredients), False) for name in item.names}
    return names | {_split(name): ((), False) for name in table.words.never}


# How the international name of one word ends in French, Spanish, Italian and Portuguese (WHO INN lists).
_ROMANCE_ENDINGS: Final = (
    ("azole", ("azol", "azolo")), ("ine", ("ina",)), ("in", ("ine", "ina")), ("ide", ("ida",)), ("ol", ("olo",)),
    ("one", ("ona",)), ("ate", ("ato",)), ("ium", ("io",)),
)  # fmt: skip
_SHORTEST_ROMANCE: Final = 6


def _romance_forms(name: str) -> Iterator[str]:
    """Its names in the Romance languages: "gentamicin" is "gentamicine" and "gentamicina"; ph, th, y are f, t, i."""
    if not name.isalpha() or len(name) < _SHORTEST_ROMANCE:
        return
    forms = {name}
    for ending, others in _ROMANCE_ENDINGS:
        if name.endswith(ending):
            forms |= {name.removesuffix(ending) + other for other in others}
            break
    for form in forms:
        plain = form.replace("ph", "f").replace("th", "t").replace("y", "i")
        yield from {form, plain, plain.replace("hidro", "idro")} - {name}


def _split(name: str) -> tuple[str, ...]:
    return tuple(_words(name)[0])


DRUG_VOCABULARY: Final = _load()
