"""Request bodies: bytes -> typed envelopes, with the JSON path of what is wrong; clinical content stays undecoded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

import flask
import msgspec
from werkzeug.exceptions import UnsupportedMediaType

from service.errors import BadRequest

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


def read_bytes() -> bytes:
    """The whole body (drained before any answer, so that a kept-alive connection stays usable)."""
    return flask.request.get_data(cache=False)


def decode(kind: type[T], data: bytes) -> T:
    """A body as the given struct; BadRequest with the JSON path otherwise."""
    if not data.strip():
        raise BadRequest("the body is empty; a JSON object is expected")
    try:
        data.decode("utf-8")
        found = msgspec.json.decode(data, type=kind)
    except UnicodeDecodeError as error:
        raise BadRequest("the body is not UTF-8") from error
    except msgspec.ValidationError as error:
        raise BadRequest(_reason(str(error)), _where(str(error))) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {_reason(str(error))}") from error
    return found


def decode_object(data: bytes) -> dict[str, Any]:
    """A small body as a plain object with exact decimals."""
    try:
        found = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode(data)
    except msgspec.ValidationError as error:
        raise BadRequest(_reason(str(error)), _where(str(error))) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {_reason(str(error))}") from error
    return found


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
    """415 for a stated type that is not JSON."""
    if not content_type_is_json():
        raise UnsupportedMediaType
