"""What a page shows of a calculation, done again with a pencil, gives the number of the finding."""

from __future__ import annotations

import re
from datetime import UTC
from decimal import Decimal

import msgspec
import pytest

from service.cds.cards import Presentation
from service.cds.i18n import Wording
from service.decide import decide
from service.fhir.decode import read_bundle
from service.fhir.ownership import EvaluationInput
from service.logic.workings import workings
from service.settings import load
from service.site import site_of, site_schema
from tests.contract.messages import LOW, NOW, PATIENT, bundle, observation

UNITS = pytest.mark.parametrize("molar", [False, True], ids=["mg/dL", "molar"])


def worked(*resources):
    contents = read_bundle(msgspec.json.encode(bundle(*resources)), "$", 100)
    chart = EvaluationInput(patient_id="p1", as_of=NOW, resources=tuple(contents.resources))
    decision = decide(chart, site_of(load({}, site_schema())), Presentation(Wording("en", UTC)), explain=True)
    return {working.rule: working for working in workings(decision.assessment)}


def pencil(numbers: str) -> float:
    """The arithmetic of a line, done by Python."""
    plain = numbers.replace("×", "*").replace("−", "-").replace("^", "**")
    assert re.fullmatch(r"[\d.()+*/, -]|(min|max|[\d.()+*/, -])+", plain), plain
    return eval(plain, {"__builtins__": {}}, {"min": min, "max": max})  # noqa: S307  digits and signs alone


def stated(working) -> float:
    return float(working.result.values["value"])


CREATININE = {False: observation("cr1", "2160-0", 1.4, "mg/dL"), True: observation("cr1", "14682-9", 124, "umol/L")}


@UNITS
@pytest.mark.parametrize("gender", ["female", "male", "unknown"])
def test_egfr_of_an_adult(molar: bool, gender: str) -> None:
    working = worked(PATIENT | {"gender": gender}, LOW, CREATININE[molar])["R-030"]
    assert abs(pencil(working.numbers) - stated(working)) < 0.06


@UNITS
def test_egfr_of_a_child(molar: bool) -> None:
    height = observation("h1", "8302-2", 120, "cm")
    working = worked(PATIENT | {"birthDate": "2018-03-02"}, LOW, CREATININE[molar], height)["R-030"]
    assert working.symbols == "0.413 × height / Scr"
    assert abs(pencil(working.numbers) - stated(working)) < 0.06


def test_no_formula_stands_where_the_laboratory_reported_the_egfr() -> None:
    reported = observation("e1", "98979-8", 40, "mL/min/{1.73_m2}")
    assert "R-030" not in worked(PATIENT, LOW, reported)


@UNITS
def test_femg(molar: bool) -> None:
    urine = observation("u1", "19124-7", 2.0, "mmol/L") if molar else observation("u1", "19124-7", 4.9, "mg/dL")
    urine_cr = observation("u2", "2161-8", 60, "mg/dL")
    working = worked(PATIENT, LOW, CREATININE[molar], urine, urine_cr)["R-032"]
    assert abs(pencil(working.numbers) - stated(working)) < 0.01


@UNITS
def test_corrected_calcium(molar: bool) -> None:
    calcium = observation("c1", "2000-8", 1.95, "mmol/L") if molar else observation("c1", "17861-6", 7.8, "mg/dL")
    working = worked(PATIENT, LOW, calcium, observation("a1", "1751-7", 2.2, "g/dL"))["R-042"]
    assert abs(pencil(working.numbers) - stated(working)) < 0.001


def test_magnesium_adjusted_to_albumin() -> None:
    working = worked(PATIENT, LOW, observation("a1", "1751-7", 2.2, "g/dL"))["R-004"]
    assert abs(pencil(working.numbers) - stated(working)) < 0.001
    assert isinstance(working.result.values["value"], Decimal)
