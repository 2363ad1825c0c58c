"""Request bodies: bytes -> typed envelopes, with the JSON path of what is wrong; clinical content stays undecoded."""
# ruff: noqa: N815  the wire's spelling

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

import flask
import msgspec
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestTimeout, UnsupportedMediaType

from service.api.http import concurrency
from service.errors import BadRequest, TooLarge

JSON_TYPES = {"", "application/json", "application/fhir+json", "application/json+fhir", "text/json"}
T = TypeVar("T")


class FhirAuthorization(msgspec.Struct):
    """The access token of one call; it lives no longer."""

    access_token: Any = None
    token_type: Any = None
    expires_in: Any = None
    scope: Any = None
    subject: Any = None
    patient: Any = None

    def __repr__(self) -> str:
        return "FhirAuthorization(…)"


class HookRequest(msgspec.Struct):
    """A CDS Hooks request. Prefetch values and draft orders stay raw JSON until their readers need them."""

    hook: Any = None
    hookInstance: Any = None
    context: dict[str, msgspec.Raw] | None = None
    prefetch: dict[str, msgspec.Raw] | None = None
    fhirServer: Any = None
    fhirAuthorization: FhirAuthorization | None = None
    extension: Any = None


class EvaluateContext(msgspec.Struct):
    """The context of an evaluation; every member is optional."""

    patientId: str | None = None
    encounterId: str | None = None
    userId: str | None = None
    draftOrders: msgspec.Raw = msgspec.Raw(b"null")
    selections: list[str] | None = None


class EvaluateOptions(msgspec.Struct):
    """What may be chosen for one evaluation."""

    referenceProfile: str | None = None
    researchRules: bool = False


class EvaluateRequest(msgspec.Struct):
    """A request for /v1/evaluate; only `bundle` is required."""

    bundle: msgspec.Raw
    hook: str = "patient-view"
    asOf: str | None = None
    language: str | None = None
    context: EvaluateContext | None = None
    options: EvaluateOptions | None = None


_PATH = re.compile(r" - at `([^`]*)`")
_KEY = re.compile(rb'[\s,{]*("(?:[^"\\]|\\.)*+")\s*+:\s*+')
_PREFETCH = re.compile(rb'"prefetch"\s*+:\s*+(?={)')
_CLOSING = re.compile(rb"\s*+}")
_INNER = ("context", "prefetch", "fhirAuthorization", "options")  # the objects of an envelope
DISCARDED = 4  # times the limit of a body: more than that is cut off


def read_bytes() -> bytes:
    """The whole body. Raises TooLarge beyond the limit, RequestTimeout (408) if it is too slow, else BadRequest."""
    try:
        return _whole()
    except TimeoutError as error:
        raise RequestTimeout from error
    except (OSError, ParseException) as error:
        raise BadRequest("the body broke off, or is not in the chunks that were announced") from error


def _whole() -> bytes:
    """The body, whether or not its length was stated."""
    limit = int(flask.current_app.config["MAX_CONTENT_LENGTH"])
    stated = flask.request.content_length
    if (stated or 0) <= limit:
        data = _in_chunks(limit) if stated is None else _exactly(stated)
        if len(data) <= limit:
            return data
    _discard(DISCARDED * limit if stated is None else min(stated, DISCARDED * limit))
    raise TooLarge(f"the body is larger than {limit} bytes")


def _exactly(length: int) -> bytes:
    """A body of known length in one piece; Flask would read it in small ones and copy each several times."""
    concurrency.acquire_large_body_slot(length)
    data: bytes = flask.request.environ["wsgi.input"].read(length)
    if len(data) < length:
        raise BadRequest("the body ended before the length that was stated")
    return data


def _in_chunks(limit: int) -> bytes:
    """A body of unknown length, read until it is over or past the limit."""
    data, stream = bytearray(), flask.request.environ["wsgi.input"]
    if not flask.request.environ.get("wsgi.input_terminated"):
        return b""  # neither length nor chunks: no body
    while len(data) <= limit and (part := stream.read(65_536)):
        data += part
        concurrency.acquire_large_body_slot(len(data))
    return bytes(data)


def _discard(left: int) -> None:
    """Read what a client is still sending, up to a point: most read no answer before all of theirs is sent."""
    stream = flask.request.environ["wsgi.input"]
    while left > 0 and (part := stream.read(min(left, 65_536))):
        left -= len(part)


def decode(kind: type[T], data: bytes) -> T:
    """A body as the given struct; BadRequest with the JSON path otherwise, also for a key that occurs twice."""
    if not data.strip():
        raise BadRequest("the body is empty; a JSON object is expected")
    found = _decoded(data, msgspec.json.Decoder(kind))
    _check_keys(data, found)
    return found


def decode_object(data: bytes) -> dict[str, Any]:
    """A small body as a plain object with exact decimals."""
    return _decoded(data, msgspec.json.Decoder(dict[str, Any], float_hook=Decimal))


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
    members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    _check_members(data, members, "$")
    for name in _INNER:
        inner = bytes(members.get(name, b""))
        if inner.startswith(b"{"):
            known = getattr(found, name, None)  # decoded before, where its members stay raw
            _check_members(
                inner,
                known if isinstance(known, dict) else msgspec.json.decode(inner, type=dict[str, msgspec.Raw]),
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


def content_type_is_json() -> bool:
    """True for JSON, FHIR JSON, or no stated type."""
    return flask.request.mimetype in JSON_TYPES


def string(context: Mapping[str, msgspec.Raw], name: str) -> str | None:
    """A string member of a raw context; None if absent or null; BadRequest for another type."""
    raw = context.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=str | None)
    except msgspec.MsgspecError as error:
        raise BadRequest("a string is expected", f"$.context.{name}") from error


def require_json() -> None:
    """415 for a stated type that is not JSON, and for a compressed body: neither is read."""
    packed = flask.request.headers.get("Content-Encoding", "identity").strip().lower() != "identity"
    if packed or not content_type_is_json():
        raise UnsupportedMediaType
