"""Every unit of every analyte: how much of the canonical unit is one of it, by definition or by molar mass."""

from __future__ import annotations

from decimal import Decimal

import pytest

from service.logic.model import Analyte
from service.logic.units import FACTORS, canonical, code, convert, to_unit

# Molar masses: Mg 24.305, Ca 40.078, P 30.974 g/mol; creatinine by the clinical 88.4 µmol/L per mg/dL.
MG = "0.5 mmol/L = 1.21525 mg/dL = 12.1525 mg/L = 1 meq/L"
MG_TRACE = f"{MG} = 500 umol/L"
CA = "2 mmol/L = 8.0156 mg/dL = 80.156 mg/L = 4 meq/L = 2000 umol/L"
SAME = {
    Analyte.SERUM_MAGNESIUM: MG,
    Analyte.RBC_MAGNESIUM: MG,
    Analyte.IONISED_MAGNESIUM: MG_TRACE,
    Analyte.URINE_MAGNESIUM: MG_TRACE,
    Analyte.URINE_MAGNESIUM_24H: "48.61 mg/(24.h) = 2 mmol/(24.h) = 4 meq/(24.h) = 0.04861 g/(24.h)",
    Analyte.CREATININE: "88.4 umol/L = 0.0884 mmol/L = 1 mg/dL = 10 mg/L",
    Analyte.URINE_CREATININE: "8840 umol/L = 8.84 mmol/L = 100 mg/dL = 1000 mg/L = 1 g/L",
    Analyte.EGFR: "60 mL/min/{1.73_m2} = 60 mL/min",
    Analyte.POTASSIUM: "4 mmol/L = 4 meq/L",
    Analyte.CALCIUM: CA,
    Analyte.ADJUSTED_CALCIUM: CA,
    Analyte.IONISED_CALCIUM: CA,
    Analyte.ALBUMIN: "40 g/L = 4 g/dL = 4000 mg/dL = 40000 mg/L",
    Analyte.BICARBONATE: "24 mmol/L = 24 meq/L",
    Analyte.PHOSPHATE: "2 mmol/L = 6.1948 mg/dL",
    Analyte.PTH: "9.43 pg/mL = 9.43 ng/L = 1 pmol/L",
    Analyte.ALP: "120 U/L = 2 ukat/L",
    Analyte.QTC: "500 ms = 0.5 s",
    Analyte.WEIGHT: "0.45359237 kg = 453.59237 g = 1 [lb_av]",
    Analyte.HEIGHT: "254 cm = 2.54 m = 100 [in_i]",
}


def _amounts(line: str) -> list[tuple[Decimal, str]]:
    return [(Decimal(number), unit) for number, unit in (part.split() for part in line.split(" = "))]


@pytest.mark.parametrize("analyte", Analyte, ids=lambda analyte: analyte.name)
def test_one_amount_in_every_unit_is_the_same_amount(analyte: Analyte) -> None:
    (value, first), *_ = amounts = _amounts(SAME[analyte])
    assert first == canonical(analyte)
    assert {unit for _, unit in amounts} == set(FACTORS[analyte])
    for number, unit in amounts:
        assert (convert(number, unit, analyte), to_unit(value, unit, analyte)) == (value, number), unit


SPELLED = {
    "mL/min/{1.73_m2}": [
        "mL/min/1.73m*2",
        "mL/min/1.73.m2",
        "mL/min/((173/100).m2)",
        "mL/min/1.73 m²",
        "ml/(min*{1.73_m2})",
    ],
    "mg/L": ["ug/mL", "µg/mL", "mcg/ml", "мкг/мл", "mg/l"],
}


@pytest.mark.parametrize(("unit", "spelling"), [(unit, spelling) for unit in SPELLED for spelling in SPELLED[unit]])
def test_a_unit_in_its_spellings(unit: str, spelling: str) -> None:
    assert code(spelling) == unit
