"""A snapshot -> the FHIR chart that says the same, so that a vignette can be sent along the whole path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from service.cds.cards import Presentation
from service.cds.i18n import Wording
from service.decide import Decision, decide
from service.fhir.decode import Resource, read_bundle
from service.fhir.ownership import EvaluationInput
from service.fhir.snapshot import Site
from service.logic.model import (
    Analyte,
    Condition,
    Exposure,
    LabResult,
    Medication,
    Order,
    PartialDateTime,
    PatientSnapshot,
    Problem,
)
from tests.vignettes.patients import KNOW

Json = dict[str, Any]
UCUM, LOINC, SNOMED = "http://unitsofmeasure.org", "http://loinc.org", "http://snomed.info/sct"
ICD10, ATC = "http://hl7.org/fhir/sid/icd-10", "http://www.whocc.no/atc"
HL7 = "http://terminology.hl7.org/CodeSystem/"
SITE = Site(zone=UTC, knowledge=KNOW)

# LOINC for mass (and other) units, and for amounts of substance.
_LOINC = {
    Analyte.SERUM_MAGNESIUM: ("19123-9", "2601-3"),
    Analyte.RBC_MAGNESIUM: ("26746-8", "2597-3"),
    Analyte.IONISED_MAGNESIUM: ("32698-3", "2600-5"),
    Analyte.URINE_MAGNESIUM: ("19124-7", "2598-1"),
    Analyte.URINE_MAGNESIUM_24H: ("24447-5", "2599-9"),
    Analyte.CREATININE: ("2160-0", "14682-9"),
    Analyte.URINE_CREATININE: ("2161-8", "14683-7"),
    Analyte.EGFR: ("98979-8", ""),
    Analyte.POTASSIUM: ("", "2823-3"),
    Analyte.CALCIUM: ("17861-6", "2000-8"),
    Analyte.ADJUSTED_CALCIUM: ("46099-8", "29265-6"),
    Analyte.IONISED_CALCIUM: ("17863-2", "1995-0"),
    Analyte.ALBUMIN: ("1751-7", ""),
    Analyte.BICARBONATE: ("", "1963-8"),
    Analyte.PHOSPHATE: ("2777-1", "14879-1"),
    Analyte.QTC: ("8636-3", ""),
    Analyte.WEIGHT: ("29463-7", ""),
    Analyte.HEIGHT: ("8302-2", ""),
}
_MOLAR = ("mmol", "umol", "meq")
# ICD-10 (WHO), or SNOMED CT where ICD-10 has no code of its own.
_CONDITIONS = {
    "torsades": (SNOMED, "31722008"),
    "vt": (ICD10, "I47.2"),
    "tetany": (ICD10, "R29.0"),
    "seizure_acute": (ICD10, "R56.8"),
    "atrial_fibrillation": (ICD10, "I48.9"),
    "long_qt": (SNOMED, "9651007"),
    "short_bowel": (SNOMED, "26629001"),
    "chronic_diarrhea": (SNOMED, "236071009"),
    "alcohol": (ICD10, "F10.2"),
    "t2dm": (ICD10, "E11.9"),
    "dialysis": (ICD10, "Z99.2"),
    "kidney_transplant": (ICD10, "Z94.0"),
    "preeclampsia": (ICD10, "O14.1"),
    "eclampsia": (ICD10, "O15.9"),
    "pregnant": (SNOMED, "77386006"),
    "aki": (ICD10, "N17.9"),
    "heart_block": (ICD10, "I44.2"),
    "myasthenia": (ICD10, "G70.0"),
    "migraine": (ICD10, "G43.9"),
    "insomnia": (ICD10, "G47.0"),
    "depression": (ICD10, "F32.9"),
    "parkinson": (ICD10, "G20"),
    "epilepsy": (ICD10, "G40.9"),
    "muscle_cramps": (ICD10, "R25.2"),
    "cancer": (ICD10, "C18.9"),
}
_WORDS = {
    "torsades": "torsades de pointes",
    "npo": "nil by mouth",
    "eclampsia": "eclampsia",
    "dialysis": "on haemodialysis",
    "hemodynamic_instability": "haemodynamic instability",
    "symptomatic_hypermg": "areflexia",
}
_ATC = {
    "furosemide": "C03CA01",
    "hydrochlorothiazide": "C03AA03",
    "omeprazole": "A02BC01",
    "cisplatin": "L01XA01",
    "cetuximab": "L01FE01",
    "tacrolimus": "L04AD02",
    "gentamicin": "J01GB03",
    "digoxin": "C01AA05",
    "potassium chloride": "A12BA01",
    "levothyroxine": "H03AA01",
    "ciprofloxacin": "J01MA02",
    "magnesium oxide": "A12CC10",
    "magnesium citrate": "A12CC04",
    "magnesium sulfate": "B05XA05",
    "magnesium hydroxide": "G04BX01",
}
_ROUTES = {"oral": "26643006", "iv": "47625008", "other": "78421000"}


def decided(snapshot: PatientSnapshot, language: str = "en", extra: Iterable[Json] = ()) -> Decision:
    """The whole path: FHIR is written, read back, judged and told; `extra` stands beside the patient's resources."""
    site = replace(SITE, profile=snapshot.profile, research=snapshot.research)
    return decide(chart(snapshot, [*resources(snapshot), *extra]), site, Presentation(Wording(language, UTC)))


def chart(snapshot: PatientSnapshot, listed: Iterable[Json]) -> EvaluationInput:
    """What a caller sends of this patient."""
    return EvaluationInput(
        patient_id="p",
        encounter_id="e",
        as_of=snapshot.as_of,
        hook=snapshot.hook,
        resources=tuple(resource(item) for item in listed),
        drafts=tuple(resource(draft(item, snapshot.as_of)) for item in snapshot.orders),
        selections=tuple(item.reference for item in snapshot.orders if item.selected),
        unavailable=snapshot.unavailable,
    )


def resource(content: Json) -> Resource:
    """JSON as the reader takes it."""
    encoder = msgspec.json.Encoder(decimal_format="number")
    return read_bundle(
        encoder.encode(content), f"http://ehr.example/{content['resourceType']}/{content.get('id', '')}"
    ).resources[0]


def resources(snapshot: PatientSnapshot) -> list[Json]:
    """The chart of a snapshot: Patient, Encounter, results, medications, conditions, pending orders."""
    person: Json = {"resourceType": "Patient", "id": "p"}
    if snapshot.sex:
        person["gender"] = snapshot.sex
    if snapshot.birth_date:
        person["birthDate"] = snapshot.birth_date.isoformat()
    return [
        person,
        *_encounter(snapshot.inpatient),
        *(observation(item) for item in snapshot.labs),
        *(medication(item) for item in snapshot.medications),
        *(condition(item) for item in snapshot.conditions),
    ]


def _encounter(inpatient: bool | None) -> list[Json]:
    if inpatient is None:
        return []
    act = {"system": HL7 + "v3-ActCode", "code": "IMP" if inpatient else "AMB"}
    return [{"resourceType": "Encounter", "id": "e", "status": "in-progress", "class": act, **_SUBJECT}]


_SUBJECT = {"subject": {"reference": "Patient/p"}}


def _head(reference: str) -> Json:
    kind, ident = reference.split("/")
    return {"resourceType": kind, "id": ident, **_SUBJECT}


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _when(when: PartialDateTime) -> str:
    return when.start.date().isoformat() if when.date_only else _stamp(when.end)


def _concept(system: str, code: str, text: str = "") -> Json:
    return {"coding": [{"system": system, "code": code}], **({"text": text} if text else {})}


_UNREADABLE: dict[Problem | None, str] = {Problem.UNKNOWN_UNIT: "furlong"}


# ---- results --------------------------------------------------------------------------------------------------------


def observation(lab: LabResult) -> Json:
    """A result; one without a unit keeps the LOINC code of the mass."""
    unit = lab.reported.unit if lab.reported else _UNREADABLE.get(lab.problem, "")
    mass, molar = _LOINC[lab.analyte]
    body = _head(lab.reference) | {
        "status": lab.status,
        "code": _concept(LOINC, molar if unit[:4] in _MOLAR or not mass else mass),
    }
    body["valueQuantity"] = _quantity(Decimal(lab.raw.lstrip("<>")), unit)
    if lab.comparator:
        body["valueQuantity"]["comparator"] = lab.comparator
    if lab.collected_from and lab.taken:
        body["effectivePeriod"] = {"start": _stamp(lab.collected_from), "end": _stamp(lab.taken.end)}
    elif lab.taken:
        body["effectiveDateTime"] = _when(lab.taken)
    if lab.issued:
        body["issued"] = _stamp(lab.issued)
    if lab.flag:
        body["interpretation"] = [_concept(HL7 + "v3-ObservationInterpretation", lab.flag)]
    if lab.range:
        ends = {"low": lab.range.low, "high": lab.range.high}
        body["referenceRange"] = [
            {side: _quantity(end, lab.range.unit) for side, end in ends.items() if end is not None}
        ]
    if lab.haemolysed:
        flag = {"condition": [_concept(HL7 + "v2-0493", "HEM")]}
        body["contained"] = [{"resourceType": "Specimen", "id": "s", **flag}]
        body["specimen"] = {"reference": "#s"}
    elif lab.specimen:
        body["specimen"] = {"reference": f"Specimen/{lab.specimen}"}
    return body


def _quantity(value: Decimal, unit: str) -> Json:
    return {"value": value, **({"unit": unit, "system": UCUM, "code": unit} if unit else {})}


# ---- medications ----------------------------------------------------------------------------------------------------


def medication(drug: Medication) -> Json:
    """A statement, or an administration where the duration of an infusion is known."""
    infusion = drug.duration_min is not None and drug.end is not None
    kind = "MedicationAdministration" if infusion else "MedicationStatement"
    body = _head(f"{kind}/{drug.reference.split('/')[1]}") | _product(drug)
    body["status"] = "completed" if infusion or drug.exposure is Exposure.ENDED else "active"
    period = {side: _when(end) for side, end in (("start", drug.start), ("end", drug.end)) if end}
    if infusion and drug.end and drug.duration_min:
        begun = drug.end.end - timedelta(minutes=float(drug.duration_min))
        period = {"start": _stamp(begun), "end": _stamp(drug.end.end)}
    if period:
        body["effectivePeriod"] = period
    dosage = _dosage(drug)
    if infusion:
        body["dosage"] = {"route": dosage.get("route"), "dose": dosage["doseAndRate"][0]["doseQuantity"]}
    elif dosage:
        body["dosage"] = [dosage]
    return body


def _product(drug: Medication) -> Json:
    codes = [{"system": ATC, "code": _ATC[item.name]} for item in drug.ingredients if drug.recognised_by == "code"]
    return {"medicationCodeableConcept": {"coding": codes, "text": drug.name}}


def _dosage(drug: Medication) -> Json:
    dosage: Json = {}
    if drug.route:
        dosage["route"] = _concept(SNOMED, _ROUTES[drug.route])
    if mg := next((item.mg_per_dose for item in drug.ingredients if item.mg_per_dose is not None), None):
        dosage["doseAndRate"] = [{"doseQuantity": _quantity(mg, "mg")}]
    repeat: Json = {}
    if drug.doses_per_day is not None:
        repeat |= {"frequency": drug.doses_per_day, "period": 1, "periodUnit": "d"}
    if drug.duration_min is not None:
        repeat |= {"duration": drug.duration_min, "durationUnit": "min"}
    return dosage | ({"timing": {"repeat": repeat}} if repeat else {})


def draft(order: Order, now: datetime) -> Json:
    body = _head(order.reference) | {"status": "draft", "intent": "order", "authoredOn": _stamp(now)}
    if order.medication is None:
        assert order.test is not None
        return body | {"code": _concept(LOINC, next(code for code in _LOINC[order.test] if code))}
    dosage = _dosage(order.medication)
    return body | _product(order.medication) | ({"dosageInstruction": [dosage]} if dosage else {})


# ---- conditions -----------------------------------------------------------------------------------------------------


def condition(given: Condition) -> Json:
    """A problem by its code, or by its words alone."""
    (tag,) = given.tags
    code = {"text": _WORDS[tag]} if given.recognised_by == "text" else _concept(*_CONDITIONS[tag], _WORDS.get(tag, ""))
    if given.dialysate_mg is not None:
        code["text"] = f"on haemodialysis, dialysate Mg {given.dialysate_mg} mmol/L"
    status = _concept(HL7 + "condition-clinical", "active" if given.active else "inactive")
    onset = {"onsetDateTime": _when(given.onset)} if given.onset else {}
    return _head(given.reference) | {"clinicalStatus": status, "code": code, **onset}
