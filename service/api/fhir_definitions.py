"""What the FHIR operation says of itself: its OperationDefinition, and the CapabilityStatement that names it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.operationdefinition import OperationDefinition

from service import __version__
from service.cds.cards import SOURCE
from service.cds.i18n import LANGUAGES
from service.logic.knowledge import CHECKED_ON, VERSION
from service.logic.model import Hook

Json = dict[str, Any]
CODE = "evaluate-magnesium"
# Name, most, FHIR type, what it is; the names are those of PlanDefinition/$apply where that has one.
_IN = (
    ("subject", "1", "string", "Reference to the patient; may be left out where `data` holds one patient only."),
    ("encounter", "1", "string", "Reference to the encounter."),
    ("hook", "1", "code", f"The moment of the work, by its name in CDS Hooks: {', '.join(Hook)}. Else patient-view."),
    ("asOf", "1", "dateTime", "The moment at which to judge; else now."),
    ("userLanguage", "1", "CodeableConcept", f"The language of the answer: {', '.join(LANGUAGES)}."),
    ("data", "*", "Resource", "What is known of the patient: a Bundle, or single resources."),
    ("draftOrders", "*", "Resource", "Orders not yet signed, or medications to be renewed: a Bundle, or single ones."),
    ("selections", "*", "string", "References to the drafts that are being selected, at order-select."),
    ("referenceProfile", "1", "code", "The limits of magnesium by which to judge; else those of the site."),
    ("researchRules", "1", "boolean", "Ask also the rules that stand on research alone."),
)
_VALUES: dict[str, type[str] | type[bytes] | type[bool]] = {"Resource": bytes, "boolean": bool}
PARAMETERS = {name: _VALUES.get(kind, str) for name, _, kind, _ in _IN}
"""Name of a parameter -> what its value is read as: a resource as bytes of JSON."""
MANY = frozenset(name for name, most, _, _ in _IN if most == "*")
"""Parameters that may be repeated."""


def _in(name: str, most: str, kind: str, words: str) -> Json:
    least = 1 if name == "data" else 0
    return {"name": name, "use": "in", "min": least, "max": most, "documentation": words, "type": kind}


@lru_cache(maxsize=8)
def operation_definition(base: str) -> Json:
    """The OperationDefinition, where `base` is the URL of this installation."""
    out = {"name": "return", "use": "out", "min": 1, "max": "1", "type": "GuidanceResponse"}
    out["documentation"] = "It contains a RequestGroup with an action for each card, and every rule with its outcome."
    return _checked(
        OperationDefinition,
        {
            "resourceType": "OperationDefinition",
            "id": CODE,
            "url": f"{base}/fhir/OperationDefinition/{CODE}",
            "version": VERSION,
            "name": "EvaluateMagnesium",
            "title": "Evaluate the magnesium of a patient",
            "status": "active",
            "kind": "operation",
            "date": CHECKED_ON,
            "publisher": SOURCE,
            "description": "Applies cited rules about magnesium to what is known of one patient at one moment.",
            "affectsState": False,
            "code": CODE,
            "comment": "A parameter that is not listed here is named in the evaluationMessage, and not read.",
            "system": True,
            "type": False,
            "instance": False,
            "parameter": [*(_in(*row) for row in _IN), out],
        },
    )


@lru_cache(maxsize=8)
def capability_statement(base: str) -> Json:
    """The CapabilityStatement of the FHIR routes."""
    definition = f"{base}/fhir/OperationDefinition/{CODE}"
    security = {
        "cors": True,
        "description": "In production each call of the operation needs a JWT, as a CDS Hooks call.",
    }
    rest = {
        "mode": "server",
        "documentation": "One operation. Nothing is stored.",
        "security": security,
        "resource": [{"type": "OperationDefinition", "interaction": [{"code": "read"}]}],
        "operation": [{"name": CODE, "definition": definition}],
    }
    return _checked(
        CapabilityStatement,
        {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": CHECKED_ON,
            "publisher": SOURCE,
            "kind": "instance",
            "software": {"name": SOURCE, "version": __version__},
            "implementation": {
                "description": f"{SOURCE}: decision support for magnesium disorders",
                "url": f"{base}/fhir",
            },
            "fhirVersion": "4.0.1",
            "format": ["application/fhir+json", "json"],
            "rest": [rest],
        },
    )


def _checked(kind: type[CapabilityStatement | OperationDefinition], body: Json) -> Json:
    kind.model_validate(body)
    return body
