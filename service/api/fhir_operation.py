"""The same decision for a FHIR engine: `POST /fhir/$evaluate-magnesium`, Parameters in, a GuidanceResponse out."""
# ruff: noqa: N815  the wire's spelling

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import flask
import msgspec
from werkzeug.exceptions import NotAcceptable

from service.api import audit
from service.api.auth.tokens import Caller
from service.api.dependencies import Dependencies
from service.api.evaluation import judged
from service.api.fhir_definitions import CODE, MANY, PARAMETERS, capability_statement, operation_definition
from service.api.http.error_handlers import issue
from service.api.http.request_body import (
    JSON_TYPES,
    NULL,
    EvaluateContext,
    EvaluateOptions,
    EvaluateRequest,
    decode,
    require_json,
)
from service.api.http.responses import FHIR_JSON, json_answer
from service.api.proof import proved_body
from service.errors import BadRequest
from service.guidance import guidance

PATH = f"/fhir/${CODE}"
_JSON = sorted(JSON_TYPES - {""})
# Where /v1/evaluate would say that something is wrong -> the parameter that brought it.
_PLACES = {
    "$.bundle": "data",
    "$.hook": "hook",
    "$.asOf": "asOf",
    "$.language": "userLanguage",
    "$.context.patientId": "subject",
    "$.context.encounterId": "encounter",
    "$.context.draftOrders": "draftOrders",
    "$.context.selections": "selections",
    "$.options.referenceProfile": "referenceProfile",
}


class Reference(msgspec.Struct):
    """A FHIR Reference."""

    reference: str | None = None


class Coding(msgspec.Struct):
    """A FHIR Coding, of which the code counts."""

    code: str | None = None


class Concept(msgspec.Struct):
    """A FHIR CodeableConcept."""

    coding: list[Coding] = []
    text: str | None = None


class Parameter(msgspec.Struct):
    """One parameter: a resource, or one of the values that ours may have."""

    name: str = ""
    resource: msgspec.Raw = NULL
    valueString: str | None = None
    valueCode: str | None = None
    valueId: str | None = None
    valueUri: str | None = None
    valueDateTime: str | None = None
    valueDate: str | None = None
    valueInstant: str | None = None
    valueReference: Reference | None = None
    valueCodeableConcept: Concept | None = None
    valueBoolean: bool | None = None

    def value(self) -> str | bool | bytes | None:
        """The resource as JSON, a boolean, or the words of whatever other value there is; None without any."""
        if bytes(self.resource) != b"null":
            return bytes(self.resource)
        if self.valueBoolean is not None:
            return self.valueBoolean
        concept = self.valueCodeableConcept or Concept()
        reference = self.valueReference.reference if self.valueReference else None
        words = (self.valueString, self.valueCode, self.valueId, self.valueUri, self.valueDateTime, self.valueDate)
        more = (self.valueInstant, reference, *(coding.code for coding in concept.coding), concept.text)
        return next((word for word in (*words, *more) if word is not None), None)


class Parameters(msgspec.Struct):
    """FHIR Parameters."""

    resourceType: str = ""
    parameter: list[Parameter] = []


def blueprint(deps: Dependencies) -> flask.Blueprint:
    """The routes under /fhir."""
    fhir = flask.Blueprint("fhir", __name__, url_prefix="/fhir")
    fhir.before_request(_require_json_wanted)

    @fhir.get("/metadata")
    def metadata() -> flask.Response:
        """The CapabilityStatement."""
        return json_answer(capability_statement(_base(deps)), mimetype=FHIR_JSON)

    @fhir.get(f"/OperationDefinition/{CODE}")
    def definition() -> flask.Response:
        """The OperationDefinition."""
        return json_answer(operation_definition(_base(deps)), mimetype=FHIR_JSON)

    @fhir.post(f"/${CODE}")
    def evaluate() -> flask.Response:
        """The operation."""
        data, caller = proved_body(deps, PATH, deps.clock())
        require_json()
        with deps.gate:
            return _answer(data, caller, deps)

    return fhir


def _base(deps: Dependencies) -> str:
    """The URL of this installation; in development, where the port may be any, as the caller wrote it."""
    public = deps.settings.service.public_urls if deps.settings.authenticates else ()
    return next(iter(public), flask.request.host_url).rstrip("/")


def _require_json_wanted() -> None:
    """406 where XML or Turtle is asked for, by `_format` or, without that, by `Accept`."""
    wanted = flask.request.args.get("_format", "").replace(" ", "+").partition(";")[0]
    accept = flask.request.accept_mimetypes
    if wanted not in {"", "json", *_JSON} or (not wanted and accept and not accept.best_match(_JSON)):
        raise NotAcceptable(f"Answers are JSON: ask for {FHIR_JSON}")


def _answer(data: bytes, caller: Caller, deps: Dependencies) -> flask.Response:
    request, unknown = _read(data)
    try:
        done = judged(request, caller, deps)
    except BadRequest as error:
        raise type(error)(str(error), _place(error.where)) from error
    silent = deps.settings.service.silent or caller.tenant.silent
    audit.decided(done.decision, "evaluate", caller, silent=silent)
    if silent:
        done = replace(done, decision=replace(done.decision, cards=[]))
    encounter = request.context.encounterId if request.context else None
    answer = done.explained()
    for unread in answer["issues"]:
        unread["reference"] = _place(unread["reference"])
    body = guidance(answer, encounter or "", unknown)
    return json_answer(body, done.how.wording.language, mimetype=FHIR_JSON)


def _place(where: str) -> str:
    """A JSON path of /v1/evaluate as FHIRPath."""
    for start, name in _PLACES.items():
        if where.startswith(start):
            return f"Parameters.parameter.where(name='{name}'){where.removeprefix(start)}"
    return where.replace("$", "Parameters")


# ---- Parameters -> a request of /v1/evaluate --------------------------------------------------------------------------


def _read(data: bytes) -> tuple[EvaluateRequest, list[dict[str, object]]]:
    """What is asked, and an issue for each parameter that is not known."""
    try:
        sent = decode(Parameters, data)
    except BadRequest as error:
        raise type(error)(str(error), error.where.replace("$", "Parameters")) from error
    if sent.resourceType != "Parameters":
        raise BadRequest("a Parameters resource is expected", "Parameters")
    given, unknown = _given(sent.parameter)
    if not given["data"]:
        raise BadRequest("data is required: a Bundle, or any resource of the patient", "Parameters.parameter")
    return _request(given), unknown


def _given(sent: Iterable[Parameter]) -> tuple[dict[str, list[str | bool | bytes]], list[dict[str, object]]]:
    """The values of each parameter of ours, of the type that is defined."""
    given: dict[str, list[str | bool | bytes]] = {name: [] for name in PARAMETERS}
    unknown = []
    for number, parameter in enumerate(sent):
        place, value = f"Parameters.parameter[{number}]", parameter.value()
        if parameter.name not in PARAMETERS:
            unknown.append(issue("not-supported", "This parameter is not known, and was not read.", place, "warning"))
        elif not isinstance(value, PARAMETERS[parameter.name]):
            raise BadRequest(f"{parameter.name} has no value of its type", place)
        elif given[parameter.name] and parameter.name not in MANY:
            raise BadRequest(f"{parameter.name} occurs twice", place)
        else:
            given[parameter.name].append(value)
    return given, unknown


def _request(given: dict[str, list[str | bool | bytes]]) -> EvaluateRequest:
    def word(name: str) -> str | None:
        return next((value for value in given[name] if isinstance(value, str)), None)

    context = EvaluateContext(
        patientId=_id(word("subject")),
        encounterId=_id(word("encounter")),
        draftOrders=_array(given["draftOrders"]),
        selections=msgspec.Raw(msgspec.json.encode(given["selections"])),
    )
    return EvaluateRequest(
        bundle=_array(given["data"]),
        hook=word("hook") or "patient-view",
        asOf=word("asOf"),
        language=word("userLanguage"),
        context=context,
        options=EvaluateOptions(word("referenceProfile"), researchRules=True in given["researchRules"]),
    )


def _id(reference: str | None) -> str | None:
    """The id in a reference such as `Patient/1` or `https://ehr.example/fhir/Patient/1`."""
    return reference.rpartition("/")[2] if reference is not None else None


def _array(resources: list[str | bool | bytes]) -> msgspec.Raw:
    listed = [resource for resource in resources if isinstance(resource, bytes)]
    return msgspec.Raw(b"[" + b",".join(listed) + b"]") if listed else NULL
