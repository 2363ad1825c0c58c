"""All of a patient's magnesium at once, looked back upon: tests with their class, doses with their time."""

from __future__ import annotations

from datetime import datetime, timedelta

from service.fhir.ownership import EvaluationInput
from service.fhir.snapshot import read_snapshot
from service.history.chart import History
from service.history.phase import FOREVER
from service.logic.case import Case
from service.logic.case.drugs import MAGNESIUM_PRODUCT, magnesium_route
from service.logic.model import Analyte, Exposure, Medication
from service.population.measure import Given
from service.population.setup import Setup


def looked_back(history: History, setup: Setup) -> tuple[list[tuple[datetime, str, bool]], list[Given]]:
    """Serum magnesiums (when, class by the range in force, in hospital) and magnesium given, each in order of time."""
    begun = [phase.begins for entry in history.entries for phase in entry.phases if phase.ends != FOREVER]
    if not begun:
        return [], []
    came = (entry.phase(len(entry.phases) - 1) for entry in history.entries)
    resources = (*(resource for resource in came if resource is not None), *history.shared)
    after = max(begun) + timedelta(days=1)
    patient = read_snapshot(EvaluationInput(history.patient, after, resources=resources), setup.site, explain=True)
    case = Case(patient, setup.site.knowledge)
    usable = [(r.taken.end, r) for r in reversed(case.usable(Analyte.SERUM_MAGNESIUM)) if r.taken]
    tests = [(taken, case.classify(result), history.stay_at(taken) is not None) for taken, result in usable]
    return tests, sorted(_given(patient.medications), key=lambda dose: dose.at)


def _given(medications: tuple[Medication, ...]) -> list[Given]:
    found = []
    for drug in medications:
        kind = drug.reference.partition("/")[0]
        if not drug.start or drug.exposure is Exposure.NOT_TAKEN or not drug.classes & MAGNESIUM_PRODUCT:
            continue
        if kind in {"MedicationAdministration", "MedicationRequest"}:
            administered = kind == "MedicationAdministration"
            found.append(Given(drug.start.end, administered, magnesium_route(drug) == "iv"))
    return found
