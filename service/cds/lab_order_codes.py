"""Which code orders which test: a site's own, else LOINC, in mass or amount of substance as the laboratory reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from service.logic.model import Analyte, PatientSnapshot


class TestCode(NamedTuple):
    """How a test is ordered."""

    system: str
    code: str
    display: str


LOINC = "http://loinc.org"
# Analyte -> LOINC code and long common name for mass, and for amount of substance where that differs.
_LOINC: Mapping[Analyte, tuple[tuple[str, str], ...]] = {
    Analyte.SERUM_MAGNESIUM: (
        ("19123-9", "Magnesium [Mass/volume] in Serum or Plasma"),
        ("2601-3", "Magnesium [Moles/volume] in Serum or Plasma"),
    ),
    Analyte.RBC_MAGNESIUM: (
        ("26746-8", "Magnesium [Mass/volume] in Red Blood Cells"),
        ("2597-3", "Magnesium [Moles/volume] in Red Blood Cells"),
    ),
    Analyte.IONISED_MAGNESIUM: (("2600-5", "Magnesium Ionized [Moles/volume] in Serum or Plasma"),),
    Analyte.URINE_MAGNESIUM: (
        ("19124-7", "Magnesium [Mass/volume] in Urine"),
        ("2598-1", "Magnesium [Moles/volume] in Urine"),
    ),
    Analyte.URINE_CREATININE: (
        ("2161-8", "Creatinine [Mass/volume] in Urine"),
        ("14683-7", "Creatinine [Moles/volume] in Urine"),
    ),
    Analyte.CREATININE: (
        ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma"),
        ("14682-9", "Creatinine [Moles/volume] in Serum or Plasma"),
    ),
    Analyte.POTASSIUM: (("2823-3", "Potassium [Moles/volume] in Serum or Plasma"),),
    Analyte.CALCIUM: (
        ("17861-6", "Calcium [Mass/volume] in Serum or Plasma"),
        ("2000-8", "Calcium [Moles/volume] in Serum or Plasma"),
    ),
    Analyte.ALBUMIN: (("1751-7", "Albumin [Mass/volume] in Serum or Plasma"),),
    Analyte.PHOSPHATE: (
        ("2777-1", "Phosphate [Mass/volume] in Serum or Plasma"),
        ("14879-1", "Phosphate [Moles/volume] in Serum or Plasma"),
    ),
    Analyte.PTH: (("2731-8", "Parathyrin.intact [Mass/volume] in Serum or Plasma"),),
}


def test_code(test: Analyte, patient: PatientSnapshot, local: Mapping[Analyte, TestCode]) -> TestCode | None:
    """The code with which to order a test for this patient; None if neither site nor LOINC table has one."""
    if test in local:
        return local[test]
    listed = _LOINC.get(test)
    if listed is None:
        return None
    return TestCode(LOINC, *(listed[0] if _reports_mass(patient) else listed[-1]))


def _reports_mass(patient: PatientSnapshot) -> bool:
    """True if this patient's laboratory reports mg/dL."""
    return any(result.reported is not None and result.reported.unit == "mg/dL" for result in patient.labs)
