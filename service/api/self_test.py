"""A look at ourselves before the first caller comes: every rule is asked, and its card written, in every language."""

from __future__ import annotations

from datetime import datetime
from itertools import product

import msgspec

from service.cds.cards import Presentation
from service.cds.i18n import LANGUAGES, Wording
from service.decide import decide
from service.fhir.decode import read_bundle
from service.fhir.ownership import EvaluationInput
from service.fhir.snapshot import Site
from service.logic.model import Hook


def broken_rules(site: Site, now: datetime) -> list[str]:
    """The rules that break on the simplest of patients; none in a sound service."""
    resources = tuple(read_bundle(_patient(now)).resources)
    broken: set[str] = set()
    for hook, language in product(Hook, LANGUAGES):
        chart = EvaluationInput("self-test", now, hook, resources=resources)
        broken.update(decide(chart, site, Presentation(Wording(language, site.zone))).failed_rules)
    return sorted(broken)


def _patient(now: datetime) -> bytes:
    """Invented: somebody with a low magnesium, measured just now."""
    magnesium = {
        "resourceType": "Observation",
        "id": "self-test",
        "status": "final",
        "subject": {"reference": "Patient/self-test"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "19123-9"}]},
        "effectiveDateTime": now.isoformat(),
        "valueQuantity": {"value": 1.1, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"},
    }
    patient = {"resourceType": "Patient", "id": "self-test", "gender": "female", "birthDate": "1950-01-01"}
    return msgspec.json.encode({"resourceType": "Bundle", "entry": [{"resource": patient}, {"resource": magnesium}]})
