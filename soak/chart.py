"""The invented patients of a soak, marked so that any trace of them is recognised, and a search over their chart."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from bench import bodies
from service.cds.services import BY_ID

MARK = "soakmark"  # in every patient id, name, token and user; has no place in a log, a metric or the database
BORN = "1952-11-13"
VIEW = "magnesium-patient-view"
ENCOUNTER = f"{MARK}-encounter"
EMPTY = {"resourceType": "Bundle", "type": "searchset", "total": 0}
_TOKEN = re.compile(r"{{\s*context\.(\w+)\s*}}")
Json = dict[str, Any]


def chart(now: datetime) -> list[Json]:
    """The resources of a patient with low magnesium; her id is `bodies.PATIENT`, see `answer`."""
    words = bodies.small(now).replace(b'"Example"', f'"{MARK}-family"'.encode())
    found = msgspec.json.decode(words)["prefetch"]
    resources: list[Json] = [found["patient"]]
    for bundle in (value for value in found.values() if "entry" in value):
        resources += [entry["resource"] for entry in bundle["entry"]]
    low = next(each for each in resources if "19123-9" in _codes(each))
    value = {**low["valueQuantity"], "value": 1.1}
    taken = (now - timedelta(minutes=30)).isoformat()
    resources.append({**low, "id": f"{MARK}-low", "effectiveDateTime": taken, "issued": taken, "valueQuantity": value})
    resources.append({  # read by its own id, which does not tell the patient's: so it names none
        "resourceType": "Encounter",
        "id": ENCOUNTER,
        "status": "in-progress",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
    })  # fmt: skip
    return resources


def answer(resources: list[Json], query: str) -> bytes:
    """What a FHIR server answers to `Patient/1` or `Observation?patient=1&code=…`; whoever is asked for is our patient.

    Searches by `patient` and `code` alone: the rest of a query narrows nothing here. b"" where there is nothing.
    """
    parts = urlsplit(query)
    kind, _, ident = parts.path.strip("/").partition("/")
    of_kind = [each for each in resources if each["resourceType"] == kind]
    if ident:
        return _of(of_kind[0], unquote(ident) if kind == "Patient" else "") if of_kind else b""
    asked = parse_qs(parts.query)
    codes = {code.rpartition("|")[2] for code in asked.get("code", [""])[0].split(",")} - {""}
    found = [each for each in of_kind if not codes or codes & _codes(each)]
    entries = [{"resource": each, "search": {"mode": "match"}} for each in found]
    return _of({**EMPTY, "total": len(found), "entry": entries} if found else EMPTY, asked.get("patient", [""])[0])


def queries(patient: str) -> dict[str, str]:
    """The queries behind the prefetch keys of our service, for this patient."""
    filled = {"patientId": patient, "encounterId": ENCOUNTER}
    templates = BY_ID[VIEW].prefetch.items()
    return {key: _TOKEN.sub(lambda match: filled[match[1]], template) for key, template in templates}


def _codes(resource: Json) -> set[str]:
    return {coding["code"] for coding in resource.get("code", {}).get("coding", ())}


def _of(found: Json, patient: str) -> bytes:
    return msgspec.json.encode(found).replace(bodies.PATIENT.encode(), (patient or bodies.PATIENT).encode())
