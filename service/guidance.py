"""The answer of an evaluation as FHIR R4: a GuidanceResponse that contains all it refers to, checked by fhir.resources.

`result` is a RequestGroup with an action for each card, `outputParameters` every rule with its outcome,
`evaluationMessage` what could not be read, `dataRequirement` what rules lacked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from fhir.resources.R4B.guidanceresponse import GuidanceResponse

from service.cds.cards import FINDINGS, RULE_SYSTEM, SOURCE
from service.logic.model import Analyte
from service.terminology.analytes import LOINC
from service.terminology.queries import needs

Json = dict[str, Any]
MODULE = RULE_SYSTEM
_PRIORITY = {"critical": "stat", "warning": "urgent", "info": "routine"}
_CODES = {"rule", "outcome", "result", "indicator"}
_CREATE = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/action-type", "code": "create"}]}


def guidance(answer: Json, encounter: str = "", messages: Iterable[Json] = ()) -> Json:
    """A GuidanceResponse that says what this answer of /v1/evaluate says.

    `encounter` is an id, "" for none; `messages` are issues of an OperationOutcome about the request itself.
    """
    subject = {"subject": {"reference": answer["patient"]}} if "/" in answer["patient"] else {}
    issues = [*messages, *_issues(answer)]
    group, parts = _request_group(answer["cards"], _citations(answer), subject)
    body = {
        "resourceType": "GuidanceResponse",
        "language": answer["language"],
        "contained": [*group, *parts, *_outcome(issues)],
        "moduleCanonical": f"{MODULE}|{answer['knowledge']['version']}",
        "status": _status(answer),
        **subject,
        **({"encounter": {"reference": f"Encounter/{encounter}"}} if encounter else {}),
        "occurrenceDateTime": answer["asOf"],
        "performer": {"display": SOURCE},
        "reasonCode": [_reason(f) for f in answer["findings"] if f["outcome"] == "finding" and f["shown"]],
        **({"evaluationMessage": [{"reference": "#issues"}]} if issues else {}),
        "outputParameters": {"reference": "#findings"},
        **({"result": {"reference": "#cards"}} if group else {}),
        "dataRequirement": list(_requirements(answer)),
    }
    body = {name: value for name, value in body.items() if value != []}
    GuidanceResponse.model_validate(body)  # before the findings are there, which alike as they are would cost 40 ms
    return body | {"contained": [*body.get("contained", ()), _findings(answer)]}


def _status(answer: Json) -> str:
    """`failure` where a rule of ours broke; `data-required` where without serum magnesium nothing can be said."""
    if any(finding["outcome"] == "failed" for finding in answer["findings"]):
        return "failure"
    return "data-required" if not answer["cards"] and Analyte.SERUM_MAGNESIUM in _lacking(answer) else "success"


def _lacking(answer: Json) -> list[str]:
    return list(dict.fromkeys(name for finding in answer["findings"] for name in finding.get("lacking", ())))


def _requirements(answer: Json) -> Iterator[Json]:
    """What rules lacked, by FHIR type and LOINC code; each once."""
    for kind, codes in dict.fromkeys(need for name in _lacking(answer) for need in needs(name)):
        coded = [{"system": LOINC, "code": code} for code in codes]
        yield {"type": kind} | ({"codeFilter": [{"path": "code", "code": coded}]} if coded else {})


def _reason(finding: Json) -> Json:
    coding = {"system": RULE_SYSTEM, "code": finding["rule"], "display": finding["name"]}
    return {"coding": [coding], "text": finding["text"]}


# ---- what could not be read, or broke -------------------------------------------------------------------------------


def _issues(answer: Json) -> Iterator[Json]:
    for issue in answer["issues"]:
        named = {"diagnostics": issue["reference"]} if issue["reference"] else {}
        yield {"severity": "warning", "code": "processing", "details": {"text": issue["problem"]}} | named
    for finding in answer["findings"]:
        if finding["outcome"] == "failed":
            yield {"severity": "error", "code": "exception", "details": {"text": finding["error"]}}


def _outcome(issues: list[Json]) -> list[Json]:
    return [{"resourceType": "OperationOutcome", "id": "issues", "issue": issues}] if issues else []


# ---- every rule with its outcome ------------------------------------------------------------------------------------


def _findings(answer: Json) -> Json:
    listed = [{"name": "finding", "part": list(_parts(finding))} for finding in answer["findings"]]
    return {"resourceType": "Parameters", "id": "findings", "parameter": listed}


def _parts(members: Json) -> Iterator[Json]:
    """The members of a finding as parts: a list as so many parts of one name."""
    for name, value in members.items():
        for item in value if isinstance(value, list) else [value]:
            yield {"name": name} | _value(name, item)


def _value(name: str, item: Any) -> Json:
    if name == "citations":
        return {"valueRelatedArtifact": _artifact(item)}
    if name == "evidence":
        return {"valueReference": item}
    if isinstance(item, dict):
        return {"part": list(_parts(item))}
    if isinstance(item, bool):
        return {"valueBoolean": item}
    if isinstance(item, int | float | Decimal):
        return {"valueDecimal": item}
    return {"valueCode" if name in _CODES else "valueString": item}


def _citations(answer: Json) -> dict[str, list[Json]]:
    """The sources of each rule that finds something."""
    return {finding["rule"]: finding.get("citations", []) for finding in answer["findings"]}


def _artifact(citation: Json) -> Json:
    body = {
        "type": "citation",
        "label": citation["source"],
        "display": citation["title"],
        "citation": f"{citation['title']}: {citation['at']}" if citation.get("at") else citation["title"],
    }
    return body | ({"url": citation["url"]} if "url" in citation else {})


# ---- cards ----------------------------------------------------------------------------------------------------------


def _request_group(cards: list[Json], sources: dict[str, list[Json]], subject: Json) -> tuple[list[Json], list[Json]]:
    """The RequestGroup, if there are cards, and the resources to which its actions refer."""
    parts: list[Json] = []
    actions = [_action(card, number, sources, subject, parts) for number, card in enumerate(cards, 1)]
    group = {"resourceType": "RequestGroup", "id": "cards", "status": "draft", "intent": "proposal", **subject}
    return [group | {"action": actions}] if cards else [], parts


def _action(card: Json, number: int, sources: dict[str, list[Json]], subject: Json, parts: list[Json]) -> Json:
    """A card: with its suggestions as actions of its own, else with a message as its resource (rqg-1: one of both)."""
    topic = card["source"]["topic"]
    action = {
        "id": card["uuid"],
        "title": card["summary"],
        "description": card["detail"],
        "priority": _PRIORITY[card["indicator"]],
        "code": [{"coding": [{name: topic[name] for name in ("system", "code", "display")}]}],
        "documentation": list(_documentation(card, sources)),
    }
    action = {name: value for name, value in action.items() if value}
    if suggestions := card.get("suggestions"):
        orders = [
            _order(suggestion, f"order-{number}-{place}", parts) for place, suggestion in enumerate(suggestions, 1)
        ]
        return action | {"selectionBehavior": card["selectionBehavior"], "action": orders}
    parts.append(_message(card, f"message-{number}", subject))
    return action | {"resource": {"reference": f"#message-{number}"}}


def _documentation(card: Json, sources: dict[str, list[Json]]) -> Iterator[Json]:
    """The sources of the rules that the card says in words, each place once, and pages to read; no app to launch."""
    said = [found["rule"] for found in card["extension"][FINDINGS] if found.get("stated")]
    places = {(c["source"], c.get("at")): c for rule in said for c in sources.get(rule, ())}
    yield from map(_artifact, places.values())
    for link in card.get("links", ()):
        if link["type"] == "absolute":
            yield {"type": "documentation", "label": link["label"], "url": link["url"]}


def _order(suggestion: Json, ident: str, parts: list[Json]) -> Json:
    """A suggestion: our suggestions have one action each, which creates one resource."""
    (created,) = suggestion["actions"]
    parts.append({**created["resource"], "id": ident})
    return {"title": suggestion["label"], "type": _CREATE, "resource": {"reference": f"#{ident}"}}


def _message(card: Json, ident: str, subject: Json) -> Json:
    """What a card tells its reader."""
    said = "\n".join(filter(None, (card["summary"], card["detail"])))
    head = {"resourceType": "CommunicationRequest", "id": ident, "status": "draft", **subject}
    return head | {"priority": _PRIORITY[card["indicator"]], "payload": [{"contentString": said}]}
