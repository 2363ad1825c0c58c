"""A hospital's own addresses stand for standard systems where its site file says so: the shapes of MIMIC and eICU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.logic.model import Analyte
from service.terminology.analytes import LAB_CODES
from service.terminology.drugs import DRUG_VOCABULARY, NDC
from service.terminology.systems import STANDARD, CodeSystems
from tests.fhir.charts import Json, read

OWN = "http://ehr.example/CodeSystem"
SYSTEMS = CodeSystems(
    {
        f"{OWN}/diagnosis-icd9": "icd-9",
        f"{OWN}/diagnosis-icd10/": "icd-10-cm",
        f"{OWN}/ndc": "ndc",
        f"{OWN}/lab": "loinc",
    }
)
VOCABULARY = replace(DRUG_VOCABULARY.with_codes({(NDC, "0338-1715-40"): ["magnesium sulfate"]}), systems=SYSTEMS)
LABS = LAB_CODES.with_codes({(f"{OWN}/lab", "MG"): Analyte.SERUM_MAGNESIUM}, SYSTEMS)


@pytest.mark.parametrize(
    "code", ["0338-1715-40", "00338171540", "0338171540", "00338-1715-40", "00338 1715 40", "0338*1715*40"]
)
@pytest.mark.parametrize("system", [NDC, f"{OWN}/ndc"])
def test_an_ndc_in_any_spelling(system: str, code: str) -> None:
    assert [drug.name for drug in VOCABULARY.by_code(system, code)] == ["magnesium sulfate"]


def test_ten_digits_that_mean_two_products_mean_none() -> None:
    two = DRUG_VOCABULARY.with_codes({(NDC, "01234567890"): ["furosemide"], (NDC, "12345067890"): ["omeprazole"]})
    assert two.by_code(NDC, "1234567890") == ()


def test_an_address_without_mapping_stays_itself() -> None:
    assert SYSTEMS.standard(f"{OWN}/diagnosis-icd9") == STANDARD["icd-9"]
    assert SYSTEMS.standard(f"{OWN.upper()}/diagnosis-ICD9/|2.2") == STANDARD["icd-9"]
    assert SYSTEMS.standard("http://elsewhere.example") == "http://elsewhere.example"
    assert VOCABULARY.by_code("http://elsewhere.example", "00338171540") == ()


def test_conditions_labs_and_names_in_the_identifier_are_read() -> None:
    chart = read(
        condition("diagnosis-icd9", "42731"), condition("diagnosis-icd10", "N186"), condition("elsewhere", "N186"),
        observation("19123-9"), observation("MG"), *medication("Magnesium Sulfate"),
        codes=LABS, vocabulary=VOCABULARY, systems=SYSTEMS,
    )  # fmt: skip
    assert [sorted(c.tags) for c in chart.conditions] == [["atrial_fibrillation"], ["ckd"]]
    assert [lab.analyte for lab in chart.labs] == [Analyte.SERUM_MAGNESIUM, Analyte.SERUM_MAGNESIUM]
    assert [drug.name for m in chart.medications for drug in m.ingredients] == ["magnesium sulfate"]


def condition(system: str, code: str) -> Json:
    return {
        "resourceType": "Condition",
        "id": f"{system}-{code}",
        "code": {"coding": [{"system": f"{OWN}/{system}", "code": code}]},
        "subject": {"reference": "Patient/p"},
    }


def observation(code: str) -> Json:
    return {
        "resourceType": "Observation",
        "id": code,
        "status": "final",
        "code": {"coding": [{"system": f"{OWN}/lab", "code": code}]},
        "subject": {"reference": "Patient/p"},
        "effectiveDateTime": "2025-06-15T09:00:00Z",
        "valueQuantity": {"value": 1.9 if code == "MG" else 1.8, "unit": "mg/dL"},
    }


def medication(name: str) -> list[dict[str, Any]]:
    return [
        {
            "resourceType": "Medication",
            "id": "d",
            "code": {"coding": [{"system": f"{OWN}/drug-code", "code": "MGSO4IV"}]},
            "identifier": [{"system": f"{OWN}/medication-name", "value": name}],
        },
        {
            "resourceType": "MedicationRequest",
            "id": "m",
            "status": "active",
            "intent": "order",
            "medicationReference": {"reference": "Medication/d"},
            "subject": {"reference": "Patient/p"},
        },
    ]
