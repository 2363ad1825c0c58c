"""Outgoing resources: laboratory orders for suggestions, built and validated by fhir.resources.

Building one costs a thousand times more than copying it, and all orders of one test differ only in patient, encounter
and day: each is built once per code, and copied with the references of the call.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from fhir.resources.R4B.servicerequest import ServiceRequest

from service.terminology.analytes import LOINC


@cache
def _order(system: str, code: str, display: str) -> dict[str, Any]:
    built = ServiceRequest.model_validate(
        {
            "status": "draft",
            "intent": "order",
            "code": {"coding": [{"system": system, "code": code, "display": display}], "text": display},
            "subject": {"reference": "Patient/x"},
        }
    )
    return built.model_dump(mode="json")


def laboratory_order(
    subject: str, encounter: str, authored_on: str, code: str, display: str, system: str = LOINC
) -> dict[str, Any]:
    """A draft ServiceRequest for one laboratory test; `subject` and `encounter` are references ("" for none)."""
    order = dict(_order(system, code, display), subject={"reference": subject}, authoredOn=authored_on)
    return order | {"encounter": {"reference": encounter}} if encounter else order
