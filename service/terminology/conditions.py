"""Which of the conditions that the rules speak of a code or a text states; the table is `conditions.toml`."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from service.terminology.number_words import NUMBER, read_number

Tags = frozenset[str]
NOTHING: Tags = frozenset()

_LANGUAGES = ("en", "ru", "fa", "de", "es")
_LONGEST_TEXT = 4000  # characters of one text that are read; a problem list entry has fewer than 200
_LONGEST_KEPT = 500  # longer texts are read but not remembered
_GAP = 3  # words that `~` may stand for


def by_code(system: str, code: str) -> Tags:
    """Tags of a coded condition; empty for what the table does not know.

    `system` is a URI or OID of SNOMED CT, ICD-9-CM or any edition of ICD-10, with or without a version. A code may
    come with or without its dot, in any case, with dagger, asterisk or `!`; the nearest listed parent decides.
    """
    if len(system) > _LONGEST_KEPT or len(code) > _LONGEST_KEPT:
        return NOTHING
    return _by_code(system, code)


def by_text(text: str) -> Tags:
    """Tags of the conditions that a text says the patient has now.

    Whole words only; not what is negated, feared, prevented, or a relative's. Of what is history only that remains
    which lasts (a transplant, not a seizure). Says nothing of certainty: what is suspected counts.
    """
    return _remembered(text) if len(text) <= _LONGEST_KEPT else _read(text)


def dialysate_magnesium(text: str) -> Decimal | None:
    """Magnesium of the dialysate in mmol/L if the text states it with a unit (mEq/L is halved), else None."""
    plain = _FILLERS.sub(" ", _plain(text[:_LONGEST_TEXT]))
    found = next((match for pattern in _DIALYSATE if (match := pattern.search(plain))), None)
    if found is None:
        return None
    value = read_number(found["number"], text)
    if value is None:
        return None
    value = value / 2 if found["meq"] else value
    return value if value <= _HIGHEST_DIALYSATE else None


# ---------------------------------------------------------------- codes

_CM_SYSTEM = re.compile(r"icd-?10-?cm|2\.16\.840\.1\.113883\.6\.90(?!\d)", re.IGNORECASE)
_ICD10_SYSTEM = re.compile(
    r"icd-?10(?!-?pcs)|mkb-?10"
    r"|(?:2\.16\.840\.1\.113883\.6\.(?:3(?:\.\d+)?|90|135|260)|1\.2\.643\.5\.1\.13\.13\.(?:11\.1005|99\.2\.692))(?![\d.])"
    r"|1\.2\.276\.0\.76\.5\.\d+",  # ICD-10-GM has an OID for every year
    re.IGNORECASE,
)
_ICD9_SYSTEM = re.compile(r"icd-?9|2\.16\.840\.1\.113883\.6\.(?:42|103)(?!\d)", re.IGNORECASE)
_ICD9_CODE = re.compile(r"(\d{3}|V\d\d|E\d{3})\.?(\d{0,2})(?![0-9A-Z.])")
_SNOMED_SYSTEM = re.compile(r"snomed|2\.16\.840\.1\.113883\.6\.96(?!\d)", re.IGNORECASE)
_ICD10_CODE = re.compile(r"([A-Z]\d[0-9A-Z])\.?([0-9A-Z]{0,4})(?![0-9A-Z.])")
_CYRILLIC_LETTERS = str.maketrans("АВЕКМНОРСТУХ", "ABEKMHOPCTYX")  # as typed on a Russian keyboard


@lru_cache(maxsize=16384)
def _by_code(system: str, code: str) -> Tags:
    if _SNOMED_SYSTEM.search(system):
        concept = re.match(r"\s*(\d+)", code)
        return _SNOMED.get(concept[1], NOTHING) if concept else NOTHING
    if _ICD9_SYSTEM.search(system):
        found = _ICD9_CODE.match(code.strip().upper())
        return _climb(found[1] + found[2], _ICD9_CM) if found else NOTHING
    if _ICD10_SYSTEM.search(system):
        found = _ICD10_CODE.match(code.strip().upper().translate(_CYRILLIC_LETTERS))
        table = _ICD10_CM if _CM_SYSTEM.search(system) else _ICD10
        return _climb(found[1] + found[2], table) if found else NOTHING
    return NOTHING


def _climb(code: str, table: Mapping[str, Tags]) -> Tags:
    """Tags of the code itself or of its nearest listed parent."""
    parents = (code[:length] for length in range(len(code), 2, -1))
    return next((table[parent] for parent in parents if parent in table), NOTHING)


def _listed(codes: str) -> Iterator[str]:
    """Codes without dots; a block of ICD-10 as its categories."""
    for item in codes.replace(".", "").split():
        first, _, last = item.partition("-")
        letter = first[0] if last and first[0].isalpha() else ""
        begin, end = (item.removeprefix(letter) for item in (first, last))
        numbers = range(int(begin), int(end) + 1) if last else ()
        yield from (f"{letter}{number:0{len(begin)}}" for number in numbers) if last else (first,)


# ---------------------------------------------------------------- words

_LETTERS = str.maketrans(
    {"ي": "ی", "ى": "ی", "ك": "ک", "ة": "ه", "ە": "ه", "ـ": "", "،": ",", "؛": ";", "٫": ".", "\u200c": " "}
    | dict.fromkeys("'’ʼ`´‘\u200b\u200d\u200e\u200f\u2060\ufeff\xad", "")
    | {chr(zero + digit): str(digit) for zero in (0x660, 0x6F0) for digit in range(10)}
)
_INITIALS = re.compile(r"\b(?:[^\W\d_]\.){2,}")  # N.P.O.
_CLAUSE_END = re.compile(r"(?<!\d)\.|\.(?!\d)|[;!?؟\n\r\]}|•]")
_SLASH = re.compile(r"(?<=\w\w)/(?=\w\w)")  # "VT/VF", not "w/o"
_WORD = re.compile(r"\d+(?:[.,]\d+)+|[^\W_]+|[,)]")


class _Phrase(NamedTuple):
    """Words to be found one after another, and what finding them means: a tag's condition or a cue."""

    parts: tuple[str, ...]
    cue: str  # "" for a condition
    tags: Tags


class _Hit(NamedTuple):
    """A phrase found in a clause, words `start` to `end` (exclusive)."""

    start: int
    end: int
    cues: frozenset[str]
    tags: Tags


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.casefold())
    if not folded.isascii():
        folded = "".join(letter for letter in folded if not unicodedata.combining(letter)).translate(_LETTERS)
    return _INITIALS.sub(lambda found: found[0].replace(".", ""), folded.replace("'", ""))


def _clauses(text: str) -> list[list[str]]:
    """Words and commas, clause by clause."""
    pieces = _CLAUSE_END.split(_SLASH.sub(" or ", _plain(text.strip()[:_LONGEST_TEXT])))
    return [["," if word == ")" else word for word in words] for piece in pieces if (words := _WORD.findall(piece))]


@lru_cache(maxsize=8192)
def _remembered(text: str) -> Tags:
    return _read(text)


def _read(text: str) -> Tags:
    clauses = _clauses(text)
    named = _NAMES.get(" ".join(clauses[0]), NOTHING) if len(clauses) == 1 else NOTHING
    return named.union(*(_asserted(clause) for clause in clauses))


def _asserted(words: Sequence[str]) -> Tags:
    """The tags of one clause that are true of the patient now.

    "Denies seizures or cramps, no history of migraine but drowsy, tetany ruled out", word by word:

    1. Phrases are found: the cues "denies", "no history of", "ruled out" and the conditions seizures, cramps, migraine,
       drowsy, tetany. "No history of" wins over the "history of" inside it.
    2. Forwards: "denies" governs seizures and, joined by "or", cramps; "no history of" governs migraine; "but" ends its
       reach, so drowsy is free.
    3. Backwards: "ruled out" governs tetany.
    4. What "no" or "denies" governs is dropped. What only "history" governs keeps the tags that last: a transplant stays,
       a seizure does not. Here drowsiness remains.
    """
    hits = _outermost(_hits(words))
    if not any(hit.tags for hit in hits):
        return NOTHING
    before, after = _governed_forwards(words, hits), _governed_backwards(words, hits)
    tags: set[str] = set()
    for hit in hits:
        cues = {before.get(hit.start, ""), after.get(hit.start, "")} - {""}
        if cues <= {"history", "after_history"}:
            tags |= hit.tags - _PASSING if cues else hit.tags
    return frozenset(tags)


# ---------------------------------------------------------------- finding phrases


def _hits(words: Sequence[str]) -> Iterator[_Hit]:
    for start, word in enumerate(words):
        for phrase in _candidates(word):
            end = _end_of(phrase.parts, words, start + 1)
            if end:
                yield _Hit(start, end, _cues_of(phrase.cue, words, end), phrase.tags)


def _candidates(word: str) -> Iterator[_Phrase]:
    yield from _BY_WORD.get(word, ())
    for length in _STEM_LENGTHS:
        if length > len(word):
            return
        yield from _BY_STEM.get(word[:length], ())


def _end_of(parts: Sequence[str], words: Sequence[str], at: int) -> int:
    """Where the phrase whose first word stands before `at` ends, or 0."""
    gap = 0
    for part in parts[1:]:
        if part == "~":
            gap = _GAP
            continue
        at = _next_match(part, words, at, gap)
        if not at:
            return 0
        gap = 0
    return at


def _next_match(part: str, words: Sequence[str], at: int, gap: int) -> int:
    for place in range(at, min(at + gap + 1, len(words))):
        word = words[place]
        if word.startswith(part[:-1]) if part[-1] == "*" else word == part:
            return place + 1
        if word == "," or word in _NEGATORS:
            return 0
    return 0


def _cues_of(cue: str, words: Sequence[str], end: int) -> frozenset[str]:
    """A bare "no" negates what follows, or, where nothing follows, what stands before."""
    if cue == "last":
        cue = "after" if end == len(words) or words[end] == "," else "no"
    return frozenset((cue,)) if cue else NOTHING


def _outermost(hits: Iterable[_Hit]) -> list[_Hit]:
    """Hits in order, without those inside a longer one, and with those of the same words united."""
    kept: list[_Hit] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end)):
        if not kept or hit.end > kept[-1].end:
            kept.append(hit)
        elif (hit.start, hit.end) == (kept[-1].start, kept[-1].end):
            kept[-1] = kept[-1]._replace(cues=kept[-1].cues | hit.cues, tags=kept[-1].tags | hit.tags)
    return kept


# ---------------------------------------------------------------- what a cue governs

_FORWARDS = ("never", "no", "not", "intended", "history")
_DENIALS = ("never", "no", "not")
_BACKWARDS = ("after", "after_history", "compound")
_FIRST_WITHIN = {"no": 6, "not": 4, "intended": 2, "history": 6, "never": 12}  # words between a cue and what it governs
_BACK_WITHIN = {"after": 4, "after_history": 4, "compound": 0}
_CHAINED_WITHIN = 4  # tokens between two members of a list


def _governed_forwards(words: Sequence[str], hits: Sequence[_Hit]) -> dict[int, str]:
    """Start of each condition that a cue before it governs, with that cue."""
    governed: dict[int, str] = {}
    cue, begin, last = "", 0, 0
    for hit in hits:
        if found := _first_of(_FORWARDS, hit):
            denied = found == "history" and cue in _DENIALS and hit.start == last  # "no prior seizures"
            cue, begin, last = cue if denied else found, hit.end, hit.end
        elif hit.tags and cue:
            if _reaches(cue, words, last, hit, first=last == begin):
                governed[hit.start], last = cue, hit.end
            elif cue != "never":
                cue = ""
    return governed


def _first_of(cues: Sequence[str], hit: _Hit) -> str:
    return next((cue for cue in cues if cue in hit.cues), "")


def _reaches(cue: str, words: Sequence[str], last: int, hit: _Hit, *, first: bool) -> bool:
    """Whether a cue whose reach has come to `last` governs the condition at `hit`."""
    between = words[last : hit.start]
    comma = "," in between
    if _is_cut_off(cue, between, first=first) or (comma and _begins_anew(words, hit)):
        return False
    if first:
        return len(between) <= _FIRST_WITHIN[cue] and (not comma or cue == "never" or _heads_a_list(cue, words, hit))
    if cue == "never":
        return not (comma and _is_state(words, hit))
    joined = not _JOIN.isdisjoint(between) or (comma and _stands_alone(words, hit.end))
    return joined and not _is_state(words, hit) and len(between) <= _CHAINED_WITHIN


def _is_state(words: Sequence[str], hit: _Hit) -> bool:
    """Whether an adjective ends the hit: in "no cramps, drowsy" and "no cramps and drowsy" the patient is drowsy."""
    return words[hit.end - 1] in _STATE


def _heads_a_list(cue: str, words: Sequence[str], hit: _Hit) -> bool:
    """Whether a "no" reaches over a comma: "no fever, cramps or seizures"."""
    return cue == "no" and not _is_state(words, hit) and not _JOIN.isdisjoint(words[hit.start :])


def _is_cut_off(cue: str, between: Sequence[str], *, first: bool) -> bool:
    """Whether a word between a cue and a condition ends the cue's reach."""
    its_verb = cue == "never" and first and "," not in between  # "mother has epilepsy"
    ends = _STOP | (NOTHING if its_verb else _POSSESS) | (_ASIDE if first else NOTHING)
    return not ends.isdisjoint(between) or (cue == "never" and not _REPORT.isdisjoint(between))


def _begins_anew(words: Sequence[str], hit: _Hit) -> bool:
    """Whether the part between commas in which the hit stands is a statement of its own ("…, seizure today")."""
    start = max((place for place in range(hit.start) if words[place] == ","), default=-1) + 1
    end = next((place for place in range(hit.end, len(words)) if words[place] == ","), len(words))
    return not _PRESENT.isdisjoint(words[start:end])


def _stands_alone(words: Sequence[str], end: int) -> bool:
    return end == len(words) or words[end] == "," or words[end] in _JOIN


def _governed_backwards(words: Sequence[str], hits: Sequence[_Hit]) -> dict[int, str]:
    """Start of each condition that a cue after it governs, with that cue."""
    governed: dict[int, str] = {}
    cue, begin, last = "", 0, 0
    for hit in reversed(hits):
        if found := _first_of(_BACKWARDS, hit):
            cue, begin, last = found, hit.start, hit.start
        elif hit.tags and cue:
            if _reached_back(cue, words, hit, last, begin):
                governed[hit.start], last = cue, hit.start
            else:
                cue = ""
    return governed


def _reached_back(cue: str, words: Sequence[str], hit: _Hit, last: int, begin: int) -> bool:
    """Whether a cue that begins at `begin`, its reach come back to `last`, governs the condition at `hit`."""
    between = words[hit.end : last]
    if last == begin:
        return len(between) <= _BACK_WITHIN[cue] and _NOT_BACKWARDS.isdisjoint(between)
    listed = not _JOIN.isdisjoint(words[hit.end : begin]) and words[hit.end - 1] not in _STATE
    return listed and bool(between) and all(word == "," or word in _JOIN for word in between)


# ---------------------------------------------------------------- the dialysate

_HIGHEST_DIALYSATE = Decimal(3)  # mmol/L; a figure above it is not a dialysate concentration
_FLUID = (
    r"(?:dialysate|dialysis (?:fluid|solution|bath)|dialysat|dialysierflussigkeit"
    r"|диализат\w*|диализн\w+ раствор\w*|диализирующ\w+ раствор\w*|محلول دیالیز|مایع دیالیز)"
)
_METAL = r"\b(?:mg(?: ?2\+| ?\+\+)?|magnesium|магни\w+|منیزیم)"
_AMOUNT = (
    rf"(?P<number>{NUMBER}) ?(?:mmol ?/ ?l|mm\b|ммоль ?/ ?л|میلی ?مول (?:در|بر) لیتر"
    r"|(?P<meq>meq ?/ ?l|мэкв ?/ ?л|میلی ?اکی ?والان (?:در|بر) لیتر))"
)
_NOT_BLOOD = r"(?:(?!serum|plasma|blood|сыворот|плазм|кров|سرم|خون|;)[^;]){0,80}?"
_ITS_LEVEL = r"(?: (?:content|concentration|level|of|is|at|was|содержание|концентрация|با غلظت|برابر)){0,4} ?"
_IN_THE = r" ?(?:in|of|в|در)? ?(?:the )?"
_FILLERS = re.compile(r"[\s:=()–—-]+")
_DIALYSATE = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_FLUID}{_NOT_BLOOD}{_METAL}{_ITS_LEVEL}{_AMOUNT}",
        rf"{_METAL}{_ITS_LEVEL}{_AMOUNT}{_IN_THE}{_FLUID}",
        rf"{_METAL}{_IN_THE}{_FLUID}{_ITS_LEVEL}{_AMOUNT}",
        rf"{_AMOUNT}{_IN_THE}{_METAL}{_IN_THE}{_FLUID}",
    )
)


# ---------------------------------------------------------------- the table


def _phrases(terms: str, cue: str, tags: Tags) -> Iterator[_Phrase]:
    for term in terms.split(";"):
        parts = re.findall(r"[^\W_]+\*?|[~,]", _plain(term))
        if parts:
            yield _Phrase(tuple(parts), cue, tags)


def _index(phrases: Iterable[_Phrase]) -> tuple[dict[str, list[_Phrase]], dict[str, list[_Phrase]]]:
    """Phrases by their first word and by the stem of their first word."""
    words: dict[str, list[_Phrase]] = defaultdict(list)
    stems: dict[str, list[_Phrase]] = defaultdict(list)
    for phrase in phrases:
        first = phrase.parts[0]
        (stems[first[:-1]] if first.endswith("*") else words[first]).append(phrase)
    return dict(words), dict(stems)


def _codes(rows: Mapping[str, Mapping[str, str]], *fields: str) -> dict[str, Tags]:
    """Code → tags. The codes of `none` map to no tag, which stops the climb at them."""
    found: dict[str, Tags] = defaultdict(frozenset)
    for tag, row in rows.items():
        for code in (code for field in fields for code in _listed(row.get(field, ""))):
            found[code] |= _tags_of(tag, row)
    return dict(found)


def _tags_of(tag: str, row: Mapping[str, str]) -> Tags:
    return NOTHING if tag == "none" else frozenset((tag, *row.get("also", "").split()))


def _words_of(listed: str) -> frozenset[str]:
    return frozenset(" ".join(phrase.parts) for phrase in _phrases(listed, "", NOTHING))


_table: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_cues: dict[str, str] = _table.pop("cues")
_JOIN, _STOP, _POSSESS, _ASIDE, _REPORT, _PRESENT, _STATE = (
    _words_of(_cues.pop(name)) for name in ("join", "stop", "possess", "aside", "report", "present", "state")
)

_ICD10 = _codes(_table, "icd10")
_ICD10_CM = _codes(_table, "icd10", "icd10_cm")
_ICD9_CM = _codes(_table, "icd9_cm")
_SNOMED = _codes(_table, "snomed")
_ALL_PHRASES = [
    *(phrase for cue, listed in _cues.items() for phrase in _phrases(listed, cue, NOTHING)),
    *(
        phrase
        for tag, row in _table.items()
        for language in _LANGUAGES
        for phrase in _phrases(row.get(language, ""), "", _tags_of(tag, row))
    ),
]
_BY_WORD, _BY_STEM = _index(_ALL_PHRASES)
_STEM_LENGTHS = sorted({len(stem) for stem in _BY_STEM})
_NEGATORS = frozenset(
    phrase.parts[0] for phrase in _ALL_PHRASES if phrase.cue in ("no", "not", "last") and len(phrase.parts) == 1
)
_NOT_BACKWARDS = _STOP | _POSSESS | _NEGATORS | {","}  # "seizures have not been ruled out"
_NAMES: dict[str, Tags] = {tag.replace("_", " "): _tags_of(tag, row) for tag, row in _table.items() if tag != "none"}

TAGS: Tags = frozenset(tag for tag in _table if tag != "none")
ACUTE: Tags = frozenset(tag for tag, row in _table.items() if row.get("acute"))
_PASSING: Tags = ACUTE | {tag for tag, row in _table.items() if row.get("passing")}
