"""FHIR JSON as bytes -> typed resources; what does not fit its type is left out, and costs nothing else.

A Bundle is decoded in one pass; only where something in it is odd are its parts looked at one by one.
"""

from __future__ import annotations

import json  # noqa: TID251  msgspec keeps the last of two members and says nothing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, TypeVar, TypeVarTuple, Union, get_args, get_origin

import msgspec
from msgspec import Raw

from service.errors import BadRequest, TooLarge
from service.fhir import primitives
from service.fhir.resources import (
    AnyResource,
    Bundle,
    CodeableConcept,
    Condition,
    DiagnosticReport,
    Entry,
    Observation,
    OperationOutcome,
    Parameter,
    Prescribed,
    RefusedResource,
    Resource,
    UnknownResource,
)

__all__ = [
    "MAX_VALUES",
    "NO_CONCEPT",
    "BundleContents",
    "Coding",
    "Concept",
    "Resource",
    "cached_by_bytes",
    "concept",
    "concepts",
    "contained",
    "count_values",
    "decode_lenient",
    "decode_member",
    "is_present",
    "read_bundle",
    "too_many_values",
]  # fmt: skip

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_KINDS: Final = {kind.__name__: kind for kind in get_args(AnyResource)}
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError)
_MAX_CACHED_BYTES: Final = 1000  # bytes of a concept
MAX_VALUES: Final = 500_000  # of one message: a chart of 5 MB has 300,000
MAX_ENTRIES: Final = 20_000  # of a Bundle that somebody sends: four years of daily results of every analyte are fewer


def too_many_values(data: bytes, most: int = MAX_VALUES) -> bool:
    """More members, items, objects and arrays than `most`? Counted by their signs, before they become objects.

    >>> too_many_values(b'{"a": [1, 2]}'), too_many_values(b"[" + b"0," * MAX_VALUES + b"0]")
    (False, True)
    """
    return len(data) > most and count_values(data) > most


def count_values(data: bytes) -> int:
    """Signs that begin a value; those within strings are counted too."""
    return data.count(b",") + data.count(b"{") + data.count(b"[")


class _Head(msgspec.Struct):
    resourceType: str = ""  # noqa: N815  FHIR's own name


# ---- values that may not fit their type ------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _decoded(raw: bytes | Raw, kind: Any) -> Any:
    try:
        return _decoder(kind).decode(raw)
    except _UNREADABLE:
        return None


def decode_lenient(raw: bytes | Raw, kind: Any) -> Any:
    """The value as `kind`: whole if it fits, else with every member and item that does; None if nothing does."""
    try:
        return _decoder(kind).decode(raw)
    except _UNREADABLE:
        return _decode_parts(raw, kind)


def _decode_parts(raw: bytes | Raw, kind: Any) -> Any:
    """Of a value that does not fit `kind` as a whole."""
    origin, parts = get_origin(kind), get_args(kind)
    if Bundle in parts:
        return _decode_resource(raw)
    if origin in {Union, UnionType}:
        tried = (_decode_parts(raw, part) for part in parts if part is not NoneType)
        return next((value for value in tried if value is not None), None)
    if origin is list:
        return _decode_items(raw, parts[0])
    if kind is Decimal:
        return primitives.number(_decoded(raw, str))
    return _decode_members(raw, kind) if isinstance(kind, type(msgspec.Struct)) else None


def _decode_resource(raw: bytes | Raw) -> Any:
    head = decode_lenient(raw, _Head)
    if not head or not head.resourceType:
        return None
    kind = _KINDS.get(head.resourceType)
    return _decode_members(raw, kind) if kind else decode_lenient(raw, UnknownResource)


def _decode_items(raw: bytes | Raw, kind: Any) -> list[Any] | None:
    """The items that fit; a lone value where an array belongs is one item; None stays where items may be None.

    Of an array inside a resource that is as long as no chart nothing is kept: looking at each item would take seconds.
    """
    listed = _decoded(raw, list[Raw])
    if len(listed or ()) > MAX_ENTRIES and Entry not in get_args(kind):
        return None
    items = [decode_lenient(item, kind) for item in ([raw] if listed is None else listed)]
    kept = items if NoneType in get_args(kind) else [item for item in items if item is not None]
    return kept if kept or listed is not None else None


def _decode_members(raw: bytes | Raw, kind: Any) -> Any:
    sent = _decoded(raw, dict[str, Raw])
    if sent is None:
        return None
    known = _members(kind)
    values = {known[key][0]: decode_lenient(value, known[key][1]) for key, value in sent.items() if key in known}
    return kind(**{name: value for name, value in values.items() if value is not None})


@lru_cache(maxsize=256)
def _members(kind: Any) -> dict[str, tuple[str, Any]]:
    """By the name in JSON: the name and type of each member."""
    return {member.encode_name: (member.name, member.type) for member in msgspec.structs.fields(kind)}


def decode_member(raw: Raw, kind: type[T]) -> T | None:
    """A member that was left as bytes; None if it is absent or does not fit at all."""
    found: T | None = decode_lenient(raw, kind) if raw else None
    return found


def is_present(raw: Raw) -> bool:
    """False for a member that is absent, null, false or empty."""
    return bool(raw) and bytes(raw) not in {b"null", b"false", b"{}", b"[]", b'""'}


def contained(raw: Raw) -> list[Resource]:
    """The resources inside a resource."""
    return (decode_lenient(raw, list[AnyResource]) or []) if raw else []


# ---- concepts --------------------------------------------------------------------------------------------------------


class Coding(NamedTuple):
    """One coding; absent members are empty."""

    system: str
    code: str
    display: str


@dataclass(frozen=True, slots=True, eq=False)
class Concept:
    """What a CodeableConcept, a lone Coding or a bare code says: codings, text, and text and displays once each."""

    codings: tuple[Coding, ...] = ()
    texts: tuple[str, ...] = ()
    text: str = ""


NO_CONCEPT: Final = Concept()


def concepts(raw: bytes | Raw) -> tuple[Concept, ...]:
    """A concept or a list of them."""
    found = decode_lenient(raw, list[CodeableConcept | str] | CodeableConcept | str) if raw else None
    listed = found if isinstance(found, list) else [found]
    return tuple(_as_concept(value) for value in listed if value is not None)


def concept(raw: bytes | Raw) -> Concept:
    """The first of the concepts, or one that says nothing."""
    return next(iter(concepts(raw)), NO_CONCEPT)


def cached_by_bytes(read: Callable[[bytes, *Ts], R]) -> Callable[[Raw, *Ts], R]:
    """The same reader of a concept, its answers kept by the bytes of the concept and the tables it is read with.

    Codes recur from call to call. What is long is free text and not kept.
    """
    kept: Callable[..., R] = lru_cache(maxsize=4096)(read)

    def ask(raw: Raw, *tables: *Ts) -> R:
        data = bytes(raw)
        return kept(data, *tables) if len(data) <= _MAX_CACHED_BYTES else read(data, *tables)

    return ask


def _as_concept(value: CodeableConcept | str) -> Concept:
    if isinstance(value, str):
        return Concept((), (value.strip(),), value.strip())
    listed = [*(value.coding or ()), *([value] if value.code else ())]
    codings = tuple(
        Coding(primitives.text(c.system), primitives.text(c.code), primitives.text(c.display)) for c in listed
    )
    text = primitives.text(value.text)
    words = dict.fromkeys((text, *(coding.display for coding in codings)))
    return Concept(codings, tuple(word for word in words if word), text)


# ---- Bundles ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class BundleContents:
    """What one value (of a prefetch key, of a page) holds."""

    resources: list[Resource] = field(default_factory=list)
    outcomes: list[OperationOutcome] = field(default_factory=list)
    is_bundle: bool = False
    next_url: str = ""
    total: int = 0  # of resources there are, as the Bundle says
    invalid_entries: list[str] = field(default_factory=list)  # places of entries that are no resources
    entries: int = 0  # of a Bundle and of those within it


def read_bundle(raw: bytes | Raw, where: str = "$", most: int | None = None) -> BundleContents:
    """Read a Bundle, a lone resource, an array of them or null; what is no resource is named in `invalid_entries`.

    Resources inside others (contained in a report or a List, in Parameters) are read too. One in which a member stands
    twice is refused: it comes as a RefusedResource.

    Raises BadRequest only if the bytes are not JSON, and TooLarge for more than `most` entries.
    """
    try:
        return _contents(raw, where, most)
    except _UNREADABLE as error:
        raise BadRequest("not readable as JSON", where) from error
    except _TooManyError as error:
        raise TooLarge(f"more than {most} entries", f"{where}.entry") from error


def _contents(raw: bytes | Raw, where: str, most: int | None) -> BundleContents:
    contents, data = BundleContents(), bytes(raw).strip()
    if data[:1] == b"[" and data[1:].lstrip()[:1] != b"]":  # an empty array is an answer to nothing
        items = _decoder(list[Raw]).decode(data)
        contents.entries = len(items)
        _count(len(items), most)
        for number, item in enumerate(items):
            _file_value(contents, item, f"{where}[{number}]", most)
    elif data != b"null":
        contents.is_bundle = _file_value(contents, raw, where, most)
    return contents


def _file_value(contents: BundleContents, raw: bytes | Raw, where: str, most: int | None) -> bool:
    """File a Bundle or a lone resource; True if it was a Bundle."""
    found, twice = _read(raw, most), has_duplicate_members(raw)
    if isinstance(found, Bundle):
        contents.next_url = next((link.url for link in found.link or () if link.relation == "next" and link.url), "")
        _file(contents, found, where, most, _refused_entries(raw, where) if twice else frozenset())
        return True
    if found is None:
        contents.invalid_entries.append(where)
    else:
        _put(contents, _refuse(found) if twice else found, where)
    return False


def _read(raw: bytes | Raw, most: int | None) -> Resource | None:
    found: Resource | None
    try:
        found = _decoder(AnyResource).decode(raw)
    except msgspec.ValidationError:
        _decoder(Raw).decode(raw)  # JSON to its end?
        _count(len(getattr(_decoded(raw, _Entries), "entry", None) or ()), most)  # before any of them is looked at
        found = decode_lenient(raw, AnyResource)
    return found


class _TooManyError(Exception):
    """More entries than are read."""


class _Entries(msgspec.Struct):
    entry: list[Raw] | None = None


def _count(entries: int, most: int | None) -> None:
    if most is not None and entries > most:
        raise _TooManyError


def _file(
    contents: BundleContents, bundle: Bundle, where: str, most: int | None, refused: frozenset[int] = frozenset()
) -> None:
    """File each entry; a Bundle within a Bundle (a batch response) is opened, and its entries count as well."""
    contents.entries += len(bundle.entry or ())
    _count(contents.entries, most)
    contents.total += decode_member(bundle.total, int) or 0
    for number, entry in enumerate(bundle.entry or ()):
        resource = entry.resource if entry else None
        if entry is None or resource is None:
            contents.invalid_entries.append(f"{where}.entry[{number}]")
        elif number in refused:
            _put(contents, _refuse(resource), entry.fullUrl or f"{where}.entry[{number}]")
        elif isinstance(resource, Bundle):
            _file(contents, resource, f"{where}.entry[{number}]", most)
        else:
            _put(contents, resource, entry.fullUrl or f"{where}.entry[{number}]")


def _put(contents: BundleContents, resource: Resource, where: str) -> None:
    resource.full_url = where
    if isinstance(resource, OperationOutcome):
        contents.outcomes.append(resource)
        return
    contents.resources.append(resource)
    for held in _inside(resource):
        contents.resources.append(held)
    if isinstance(resource, UnknownResource) and resource.parameter:
        _put_parameters(contents, decode_member(resource.parameter, list[Parameter]) or [], where)


def _inside(resource: Resource) -> Iterator[Resource]:
    """The results, medications and conditions that stand in another resource; whose they are, that one may say."""
    if not isinstance(resource, UnknownResource | DiagnosticReport | Observation) or not resource.contained:
        return
    if isinstance(resource, Observation) and b'"Observation"' not in bytes(resource.contained):
        return  # specimens
    for held in contained(resource.contained):
        if isinstance(held, Observation | Prescribed | Condition):
            held.full_url = f"{resource.resourceType}/{resource.id or ''}#{(held.id or '').removeprefix('#')}"
            held.subject = held.subject or resource.subject
            held.patient = held.patient or resource.patient
            yield held


def _put_parameters(contents: BundleContents, parameters: list[Parameter], where: str) -> None:
    for number, parameter in enumerate(parameters):
        place = f"{where}.parameter[{number}]"
        if isinstance(parameter.resource, Bundle):
            _file(contents, parameter.resource, place, None)
        elif parameter.resource is not None:
            _put(contents, parameter.resource, place)
        _put_parameters(contents, parameter.part or [], place)


# ---- members that stand twice ----------------------------------------------------------------------------------------


class _TwiceError(Exception):
    """A member stands twice in an object."""


def _single(members: list[tuple[str, Any]]) -> None:
    if len(members) != len(dict(members)):
        raise _TwiceError


def has_duplicate_members(raw: bytes | Raw) -> bool:
    """True if a member stands twice in an object: which value is meant, nobody knows (JSON leaves it open).

    >>> has_duplicate_members(b'{"value": 0.4, "value": 0.9}'), has_duplicate_members(b'[{"a": 1}, {"a": 1}]')
    (True, False)
    """
    data = bytes(raw)
    if len(data) <= _COUNTED_BYTES and _as_many_members_after(data):
        return False
    try:
        json.loads(data, object_pairs_hook=_single, parse_int=str, parse_float=str)
    except _TwiceError:
        return True
    except (ValueError, RecursionError):
        return False  # not JSON to this reader: the other one says so
    return False


_COUNTED_BYTES = 200_000  # what is longer is not made into objects for this
_UNCOUNTED: Final = (b'" ', b'"\t', b'"\r', b'"\n', b"\\u0022")  # a quote that `":` may miss
_UNCOUNTED_SIGNS: Final = (b"\t", b"\r", b"\n", b"\\")  # one of them stands in each but the first
_any_value: Final = msgspec.json.Decoder()
_again: Final = msgspec.json.Encoder()


def _as_many_members_after(data: bytes) -> bool:
    """True if as many members are written again as were read: of two alike one would be lost. Thrice as fast.

    What comes out as it went in, as of a server that writes no blanks, need not be counted.
    """
    try:
        again = _again.encode(_any_value.decode(data))
    except _UNREADABLE:
        return False
    if again == data:
        return True
    return not _hides_members(data) and again.count(b'":') == data.count(b'":')


def _hides_members(data: bytes) -> bool:
    """True if there may be more members than `":` counts; single signs are looked for first, which is ten times faster."""
    if b'" ' in data:
        return True
    return any(sign in data for sign in _UNCOUNTED_SIGNS) and any(quote in data for quote in _UNCOUNTED)


def _refused_entries(raw: bytes | Raw, where: str) -> frozenset[int]:
    """The numbers of the entries in which a member stands twice; BadRequest if that is so of the Bundle itself."""
    entries = getattr(_decoded(raw, _Entries), "entry", None) or ()
    refused = frozenset(number for number, entry in enumerate(entries) if has_duplicate_members(entry))
    if not refused:
        raise BadRequest("a member stands twice in the Bundle", where)
    return refused


def _refuse(resource: Resource) -> RefusedResource:
    """What is left of a refused resource: which one it is, and whose."""
    return RefusedResource(
        id=resource.id, subject=resource.subject, patient=resource.patient, kind=resource.resourceType
    )
