"""FHIR JSON as bytes -> resources whose members are decoded when they are first asked for.

Of a Bundle only the heads of its entries are decoded (type, id, code, subject, time): enough to tell what matters. The
rest of a resource stays bytes until a reader wants it; most never do. Members are untyped on purpose: a vendor's odd
value must not cost the resource, let alone the Bundle; `total.py` reads them. Numbers stay exact decimals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import msgspec

from service.errors import BadRequest
from service.fhir import total

_CONCEPTS: Final = ("code", "medicationCodeableConcept")  # stay bytes in the head: what they mean is remembered by them
_HEAD_MEMBERS: Final = ("resourceType", "id", "subject", "patient", "effectiveDateTime")
# Every further member that some reader looks at; others are skipped without being built.
_MEMBERS: Final = (
    *_CONCEPTS, *_HEAD_MEMBERS,
    "status", "effectivePeriod", "effectiveInstant", "issued", "valueQuantity", "valueString", "valueInteger",
    "interpretation", "referenceRange", "component", "specimen", "note", "comment", "contained", "intent",
    "doNotPerform", "medicationReference", "medication", "authoredOn", "dosage", "dosageInstruction", "taken",
    "adherence", "whenHandedOver", "daysSupply", "occurenceDateTime", "occurencePeriod", "ingredient", "identifier",
    "form", "clinicalStatus", "verificationStatus", "onsetDateTime", "onsetPeriod", "abatementDateTime",
    "abatementPeriod", "abatementString", "condition", "type", "birthDate", "gender", "class", "entry", "issue",
)  # fmt: skip
_NULL: Final = msgspec.Raw(b"null")
_Head: Any = msgspec.defstruct(
    "_Head", [(name, Any, None) for name in _HEAD_MEMBERS] + [(name, msgspec.Raw, _NULL) for name in _CONCEPTS]
)
_Full: Any = msgspec.defstruct(
    "_Full", [(f"m_{name}", Any, msgspec.field(default=None, name=name)) for name in _MEMBERS]
)


class _Entry(msgspec.Struct):
    fullUrl: Any = None
    resource: msgspec.Raw = msgspec.Raw(b"null")


class _Bundle(msgspec.Struct):
    resourceType: Any = None
    entry: list[_Entry] | None = None
    link: Any = None


_head = msgspec.json.Decoder(_Head, float_hook=Decimal)
_full = msgspec.json.Decoder(_Full, float_hook=Decimal)
_bundle = msgspec.json.Decoder(_Bundle, float_hook=Decimal)
_anything = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True, slots=True, eq=False)
class Concept:
    """A CodeableConcept: its codings, and its text and displays once each."""

    codings: tuple[total.Coding, ...] = ()
    texts: tuple[str, ...] = ()
    text: str = ""


NO_CONCEPT: Final = Concept()


@lru_cache(maxsize=8192)
def _remembered_concept(raw: bytes) -> Concept:
    return as_concept(_anything.decode(raw))


def read_concept(raw: bytes) -> Concept:
    """A CodeableConcept from its JSON. Codes recur from call to call; what is long is free text and not kept."""
    if len(raw) > 1000:
        return as_concept(_anything.decode(raw))
    return _remembered_concept(raw)


def as_concept(value: Any) -> Concept:
    """A decoded CodeableConcept."""
    return Concept(
        tuple(total.codings(value)), tuple(total.concept_texts(value)), total.text(total.obj(value).get("text"))
    )


class Resource:
    """A FHIR resource: `resource.status` is the member's JSON value, None if absent or of no interest to any reader.

    `where` is its full URL, or its place in the Bundle.
    """

    __slots__ = ("_full", "_head", "_raw", "effectiveDateTime", "id", "patient", "resourceType", "subject", "where")

    def __init__(self, raw: bytes | msgspec.Raw, where: str = "") -> None:
        """Raises msgspec.ValidationError if the bytes are JSON but no object."""
        head = _head.decode(raw)
        self._raw = raw
        self._head = head
        self._full: Any = None
        self.where = where
        self.resourceType: Any = head.resourceType
        self.id: Any = head.id
        self.subject: Any = head.subject
        self.patient: Any = head.patient
        self.effectiveDateTime: Any = head.effectiveDateTime

    def concept(self, member: str = "code") -> Concept:
        """`code` or `medicationCodeableConcept` as read; the same bytes give the same object."""
        raw: msgspec.Raw = getattr(self._head, member)
        return read_concept(bytes(raw)) if raw is not _NULL else NO_CONCEPT

    def mentions(self, member: str) -> bool:
        """False if the resource certainly has no such member, without decoding it."""
        return member.encode() in bytes(self._raw)

    def __getattr__(self, name: str) -> Any:
        full = self._full
        if full is None:
            full = self._full = _full.decode(self._raw)
        return getattr(full, f"m_{name}")


def as_resource(value: Any) -> Resource:
    """A decoded JSON object (a contained resource, a component) as a resource; anything else as an empty one."""
    encoded = msgspec.json.Encoder(decimal_format="number").encode(value if isinstance(value, dict) else {})
    return Resource(encoded)


@dataclass(slots=True)
class Sheaf:
    """What one value (of a prefetch key, of a page) holds."""

    resources: list[Resource] = field(default_factory=list)
    outcomes: list[Resource] = field(default_factory=list)  # OperationOutcomes
    is_bundle: bool = False
    next_url: str = ""
    odd: list[str] = field(default_factory=list)  # places of entries that are no resources


def read_sheaf(raw: bytes | msgspec.Raw, where: str = "$") -> Sheaf:
    """Read a Bundle, a lone resource or null; entries that are no resources are named in `odd`.

    Raises BadRequest only if the bytes are not JSON.
    """
    try:
        return _read(raw, where)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise BadRequest("not readable as JSON", where) from error


def _read(raw: bytes | msgspec.Raw, where: str) -> Sheaf:
    sheaf = Sheaf()
    try:
        head = Resource(raw, where)
    except msgspec.ValidationError:  # null is nothing; another value is something odd
        if _anything.decode(raw) is not None:
            sheaf.odd.append(where)
        return sheaf
    if head.resourceType != "Bundle":
        _take(sheaf, head, where)
        return sheaf
    sheaf.is_bundle = True
    _take_entries(sheaf, raw, where)
    return sheaf


def _take_entries(sheaf: Sheaf, raw: bytes | msgspec.Raw, where: str) -> None:
    try:
        bundle = _bundle.decode(raw)
        entries, links = bundle.entry or [], bundle.link
    except msgspec.ValidationError:  # an entry is no object: each on its own
        value = _anything.decode(raw)
        entries, links = [_loose(entry) for entry in _list(value.get("entry"))], value.get("link")
    sheaf.next_url = _next(links)
    for number, entry in enumerate(entries):
        place = entry.fullUrl if isinstance(entry.fullUrl, str) else f"{where}.entry[{number}]"
        try:
            _take(sheaf, Resource(entry.resource, place), f"{where}.entry[{number}]")
        except msgspec.ValidationError:
            sheaf.odd.append(f"{where}.entry[{number}]")


def _loose(entry: Any) -> _Entry:
    """An entry of a Bundle that has something odd in it."""
    inner = entry.get("resource") if isinstance(entry, dict) else None
    url = entry.get("fullUrl") if isinstance(entry, dict) else None
    return _Entry(url, msgspec.Raw(msgspec.json.Encoder(decimal_format="number").encode(inner)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _take(sheaf: Sheaf, resource: Resource, where: str) -> None:
    """File one resource; a Bundle within a Bundle (a batch response) is opened once."""
    if resource.resourceType == "OperationOutcome":
        sheaf.outcomes.append(resource)
    elif resource.resourceType == "Bundle":
        inner = [as_resource(entry.get("resource")) for entry in _list(resource.entry) if isinstance(entry, dict)]
        for number, held in enumerate(inner):
            held.where = f"{where}.entry[{number}]"
            if held.resourceType != "Bundle":
                _take(sheaf, held, held.where)
    elif isinstance(resource.resourceType, str) and resource.resourceType:
        sheaf.resources.append(resource)
    else:
        sheaf.odd.append(where)


def _next(links: Any) -> str:
    for link in _list(links):
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            return str(link["url"])
    return ""


def contained(resource: Resource) -> Iterator[Resource]:
    """The resources inside a resource."""
    for value in _list(resource.contained):
        yield as_resource(value)
