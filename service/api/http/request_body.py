"""Request bodies: bytes -> typed envelopes, with the JSON path of what is wrong; clinical content stays undecoded."""
# ruff: noqa: N815  the wire's spelling

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Container, Mapping
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import flask
import msgspec
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestTimeout, UnsupportedMediaType

from service.api.http.concurrency import LARGE_BODY_BYTES, acquire_large_body_slot, count_arrived
from service.errors import BadRequest, TooLarge
from service.fhir.decode import MAX_VALUES, too_many_values

JSON_TYPES = frozenset({"", "application/json", "application/fhir+json", "application/json+fhir", "text/json"})
NDJSON_TYPES = frozenset({"", "application/x-ndjson", "application/ndjson", "application/fhir+ndjson"})
T = TypeVar("T")
NULL = msgspec.Raw(b"null")
CALCULATION_BYTES = 16_000
FEEDBACK_BYTES = 1_000_000
"""A thousand cards with their comments."""
MAX_KEYS = 200
"""Of one object of an envelope; EHRs send some 40."""
BYTES_PER_VALUE = 10
"""A chart has a comma, brace or bracket for each 15 to 19 bytes of its JSON."""
MAX_LIST_BYTES = 64 * 1024
"""Of a list of references."""


class Key(str):
    """A key of an object whose members are not known beforehand: a decoder counts these before it makes more."""

    __slots__ = ()


if TYPE_CHECKING:
    Members = dict[str, msgspec.Raw]  # a mapping is invariant in its keys
else:
    Members = dict[Key, msgspec.Raw]


class FhirAuthorization(msgspec.Struct):
    """The access token of one call; it lives no longer. Members stay raw JSON, of whatever type they are."""

    access_token: msgspec.Raw = NULL
    expires_in: msgspec.Raw = NULL
    patient: msgspec.Raw = NULL

    def __repr__(self) -> str:
        return "FhirAuthorization(…)"


class HookRequest(msgspec.Struct):
    """A CDS Hooks request. What may be long, or of a wrong type, stays raw JSON until its reader needs it."""

    hook: msgspec.Raw = NULL
    hookInstance: msgspec.Raw = NULL
    context: Members | None = None
    prefetch: Members | None = None
    fhirServer: msgspec.Raw = NULL
    fhirAuthorization: FhirAuthorization | None = None
    extension: msgspec.Raw = NULL


class EvaluateContext(msgspec.Struct):
    """The context of an evaluation; every member is optional."""

    patientId: str | None = None
    encounterId: str | None = None
    userId: str | None = None
    draftOrders: msgspec.Raw = NULL
    medications: msgspec.Raw = NULL
    selections: msgspec.Raw = NULL


class EvaluateOptions(msgspec.Struct):
    """What may be chosen for one evaluation."""

    referenceProfile: str | None = None
    researchRules: bool = False
    timeline: bool = False
    timelineWidth: int | None = None


class EvaluateRequest(msgspec.Struct):
    """A request for /v1/evaluate; only `bundle` is required."""

    bundle: msgspec.Raw
    hook: str = "patient-view"
    asOf: str | None = None
    language: str | None = None
    context: EvaluateContext | None = None
    options: EvaluateOptions | None = None


class ExplainRequest(EvaluateRequest):
    """A request for /explain: as for /v1/evaluate, or with a hook's `prefetch` instead of a Bundle."""

    bundle: msgspec.Raw = NULL
    prefetch: Members | None = None


_PATH = re.compile(r" - at `([^`]*)`")
_KEY = re.compile(rb'[\s,{]*("(?:[^"\\]|\\.)*+")\s*+:\s*+')
_PREFETCH = re.compile(rb'"prefetch"\s*+:\s*+(?={)')
_CLOSING = re.compile(rb"\s*+}")
_INNER = ("context", "prefetch", "fhirAuthorization", "options")  # the objects of an envelope
DISCARDED = 4  # times the limit of a body: more than that is cut off


def read_bytes(limit: int | None = None, prove: Callable[[], object] = bool) -> bytes:
    """The whole body, of `limit` bytes at most (none: as the site says).

    Before more than LARGE_BODY_BYTES are read `prove` is called once, which raises where the caller may send no more.
    Raises TooLarge beyond the limit, RequestTimeout (408) if it is too slow, Overloaded, else BadRequest.
    """
    try:
        data = _whole(limit or int(flask.current_app.config["MAX_CONTENT_LENGTH"]), prove)
        return data.removeprefix(codecs.BOM_UTF8)  # .NET and PowerShell send one; a reader may ignore it (RFC 8259)
    except TimeoutError as error:
        raise RequestTimeout from error
    except (OSError, ParseException) as error:
        raise BadRequest("the body broke off, or is not in the chunks that were announced") from error


def _whole(limit: int, prove: Callable[[], object]) -> bytes:
    """The body, whether or not its length was stated."""
    stated = flask.request.content_length
    if (stated or 0) <= limit:
        data = _arriving(limit, stated, prove)
        if len(data) <= limit:
            return data
    _discard(DISCARDED * limit if stated is None else min(stated, DISCARDED * limit))
    raise TooLarge(f"the body is larger than {limit} bytes")


def _arriving(limit: int, stated: int | None, prove: Callable[[], object]) -> bytes:
    """The body as it arrives; what has arrived of a large one is counted, and its slot taken when all of it is here."""
    if stated is None and not flask.request.environ.get("wsgi.input_terminated"):
        return b""  # neither length nor chunks: no body
    parts, got, proved = list[bytes](), 0, False
    while got <= limit and (part := _part(limit + 1 - got if stated is None else stated - got)):
        parts.append(part)
        got += len(part)
        if not proved and (stated or got) > LARGE_BODY_BYTES:
            prove()
            proved = True
        count_arrived(len(part), got)
    if got < (stated or 0):
        raise BadRequest("the body ended before the length that was stated")
    acquire_large_body_slot(got)
    return b"".join(parts)


def _part(left: int) -> bytes:
    found: bytes = flask.request.environ["wsgi.input"].read(min(left, 65_536)) if left else b""
    return found


def _discard(left: int) -> None:
    """Read what a client is still sending, up to a point: most read no answer before all of theirs is sent."""
    while left > 0 and (part := _part(left)):
        left -= len(part)


def decode(kind: type[T], data: bytes) -> T:
    """A body as the given struct; BadRequest with the JSON path otherwise, also for a key that occurs twice.

    TooLarge for more values than any chart has, and more keys than any envelope: before they become objects.
    """
    if not data.strip():
        raise BadRequest("the body is empty; a JSON object is expected")
    _check_values(data)
    found = _decoded(data, _decoder(kind))
    _check_keys(data, found)
    return found


def unknown_members(data: bytes) -> list[str]:
    """Places in a body of /v1/evaluate, which has been decoded, of what it should not hold, such as `$.asof`."""
    envelope: dict[str, type[msgspec.Struct]] = {
        "$": EvaluateRequest,
        "$.context": EvaluateContext,
        "$.options": EvaluateOptions,
    }
    outer = _members(data)
    found = []
    for where, kind in envelope.items():
        inner = data if where == "$" else bytes(outer.get(where.removeprefix("$."), b""))
        known = {field.encode_name for field in msgspec.structs.fields(kind)}
        sent = _members(inner) if inner.lstrip().startswith(b"{") else {}
        found += [f"{where}.{_quotable(name)}" for name in sent if name not in known]
    return found


def decode_object(data: bytes) -> dict[str, Any]:
    """A small body as a plain object with exact decimals."""
    _check_values(data)
    return _decoded(data, msgspec.json.Decoder(dict[str, Any], float_hook=Decimal))


def _check_values(data: bytes) -> None:
    most = max(MAX_VALUES, int(flask.current_app.config["MAX_CONTENT_LENGTH"]) // BYTES_PER_VALUE)
    if too_many_values(data, most):
        raise TooLarge(f"the body holds more than {most} values")


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Stops at the first key too many: a million of them would not fit into a pod."""
    seen = count()

    def key(_kind: type, sent: Any) -> Any:
        if next(seen) > 2 * MAX_KEYS:
            raise ValueError("the object has too many members")
        return Key(sent)

    return msgspec.json.Decoder(kind, dec_hook=key)


def _members(data: bytes) -> dict[str, msgspec.Raw]:
    return _decoded(data, _decoder(Members))


def _decoded(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        if not data.isascii():
            data.decode("utf-8")
        return decoder.decode(data)
    except UnicodeDecodeError as error:
        raise BadRequest("the body is not UTF-8") from error
    except msgspec.ValidationError as error:
        raise BadRequest(_reason(str(error)), _where(str(error))) from error
    except RecursionError as error:
        raise BadRequest("the body is not JSON that can be read: it is nested too deeply") from error
    except (msgspec.DecodeError, ArithmeticError) as error:
        raise BadRequest(f"the body is not JSON: {_reason(str(error))}") from error


# ---- what a decoder lets pass ---------------------------------------------------------------------------------------


def _check_keys(data: bytes, found: object) -> None:
    """BadRequest if a key occurs twice in the body or in an object of its envelope: two readers might differ."""
    if isinstance(found, HookRequest) and found.prefetch:
        data = _without_prefetch(data, found.prefetch)
    members = _members(data)
    _check_members(data, members, "$")
    for name in _INNER:
        inner = bytes(members.get(name, b""))
        if inner.startswith(b"{"):
            known = getattr(found, name, None)  # decoded before, where its members stay raw
            _check_members(
                inner,
                known if isinstance(known, dict) else _members(inner),
                f"$.{name}",
            )


def _without_prefetch(data: bytes, prefetch: Mapping[str, msgspec.Raw]) -> bytes:
    """The body with 0 for its prefetch, which is long, if each key of that occurs once; else the body as it is."""
    start = _PREFETCH.search(data)
    end = start and _CLOSING.match(data, _end(data, prefetch, start.end())[0])
    return data[: start.end()] + b"0" + data[end.end() :] if start and end else data


def _check_members(data: bytes, members: Mapping[str, msgspec.Raw], where: str) -> None:
    end, key = _end(data, members)
    if members and data[end:].strip() != b"}":
        raise BadRequest(f"{_quotable(key)} occurs twice", where)


def _end(data: bytes, members: Mapping[str, msgspec.Raw], place: int = 0) -> tuple[int, str]:
    """Where the members of an object end, and the key there; short of its end if a key occurs twice.

    A decoder keeps the last value of each key: the text of the object has to be made of these.
    """
    key, seen = "", set()
    while match := _KEY.match(data, place):
        key = msgspec.json.decode(match[1], type=str)
        value = bytes(members.get(key, b""))
        if key in seen or not value or not data.startswith(value, match.end()):
            break
        seen.add(key)
        place = match.end() + len(value)
    return place, key


def _quotable(key: str) -> str:
    """The key, if it looks like one of an envelope."""
    return key if re.fullmatch(r"[A-Za-z][\w.-]{0,63}", key, re.ASCII) else "a key"


def _reason(message: str) -> str:
    return _PATH.sub("", message)[:200]


def _where(message: str) -> str:
    found = _PATH.search(message)
    return found[1] if found else "$"


def string(context: Mapping[str, msgspec.Raw], name: str) -> str | None:
    """A string member of a raw context; None if absent or null; BadRequest for another type."""
    return optional_text(context.get(name, NULL), f"$.context.{name}")


def optional_text(raw: msgspec.Raw, where: str) -> str | None:
    """The string that a raw member is; None if absent or null; BadRequest for another type."""
    try:
        return msgspec.json.decode(raw, type=str | None)
    except msgspec.MsgspecError as error:
        raise BadRequest("a string is expected", where) from error


def as_text(raw: msgspec.Raw) -> str:
    """The string that a raw member is; "" for whatever else."""
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        return ""


def strings(raw: msgspec.Raw, where: str) -> tuple[str, ...] | None:
    """The strings of a short list; None if absent or null; BadRequest for anything else."""
    if len(bytes(raw)) > MAX_LIST_BYTES:
        raise TooLarge(f"more than {MAX_LIST_BYTES} bytes of references", where)
    try:
        found = msgspec.json.decode(raw, type=list[str] | None)
    except msgspec.MsgspecError as error:
        raise BadRequest("an array of references is expected", where) from error
    return None if found is None else tuple(found)


def require_json() -> None:
    """415 for a stated type that is neither JSON nor FHIR JSON, and for a compressed body."""
    require_type(JSON_TYPES, "JSON", "application/json")


def require_type(types: Container[str], name: str, wanted: str) -> None:
    """415 for a stated type that is none of these, and for a compressed body: neither is read."""
    if flask.request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("The body is compressed (Content-Encoding), which is not read")
    if flask.request.mimetype not in types:
        raise UnsupportedMediaType(f"The Content-Type is not {name}: send {wanted}")
