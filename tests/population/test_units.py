"""`units`: a unit that cannot be is found by the values of many, and one that can be is left alone."""

from random import Random

import msgspec
import pytest

from service.population.units import spreads
from tests.population.records import patient, write_export

CODES = {"magnesium": "19123-9", "potassium": "2823-3", "creatinine": "2160-0", "calcium": "17861-6"}


def cohort(site, what, unit, middle, number=60):
    """Made-up results around a median at one site."""
    chance = Random(f"{site} {what}")  # noqa: S311
    for n in range(number):
        ident = f"{site}-{what}-{n}"
        yield patient(ident)
        yield {
            "resourceType": "Observation", "id": f"o-{ident}", "status": "final",
            "subject": {"reference": f"Patient/{ident}"}, "performer": [{"reference": f"Organization/{site}"}],
            "code": {"coding": [{"system": "http://loinc.org", "code": CODES[what]}]},
            "effectiveDateTime": "2026-01-01", "valueQuantity": {
                "value": round(chance.lognormvariate(0, 0.12) * middle, 2), "unit": unit},
        }  # fmt: skip


def audited(run, tmp_path, *resources, exit_code):
    folder = write_export(tmp_path / "export", resources)
    done = run("units", folder, "-o", tmp_path / "out", "--jobs", 1)
    assert done.exit_code == exit_code, done.output
    return {
        (one["site"].removeprefix("Organization/"), one["analyte"]): one
        for one in msgspec.json.decode((tmp_path / "out" / "units.json").read_bytes())
    }


RIGHT = [("magnesium", "mg/dL", 1.9), ("magnesium", "mmol/L", 0.8), ("magnesium", "mEq/L", 1.6),
         ("potassium", "mmol/L", 4.1),
         ("creatinine", "mg/dL", 1.0), ("creatinine", "umol/L", 90), ("calcium", "mg/dL", 8.8)]  # fmt: skip
# What is sent, and the unit that it is: the first is the PhysioNet Challenge 2012, the second four hospitals of eICU.
WRONG = [("magnesium", "mmol/L", 2.0, "mg/dL"), ("magnesium", "mg/dL", 1.38, "meq/L"),
         ("magnesium", "mg/dL", 0.8, "mmol/L"),
         ("creatinine", "mg/dL", 90, "umol/L"), ("creatinine", "umol/L", 1.0, "mg/dL"),
         ("calcium", "mmol/L", 8.8, "mg/dL")]  # fmt: skip


@pytest.mark.parametrize(("what", "unit", "middle"), RIGHT)
def test_what_is_possible_is_left_alone(run, tmp_path, what, unit, middle):
    [found] = audited(run, tmp_path, *cohort("a", what, unit, middle), exit_code=0).values()
    assert "verdict" not in found
    assert found["values"] == 60


@pytest.mark.parametrize(("what", "unit", "middle", "truly"), WRONG)
def test_what_is_not_possible_is_named_with_the_unit_that_would_fit(run, tmp_path, what, unit, middle, truly):
    [found] = audited(run, tmp_path, *cohort("a", what, unit, middle), exit_code=1).values()
    assert found["fits"] == truly
    assert "not possible" in found["verdict"]


def test_a_site_that_differs_from_the_others_is_named(run, tmp_path):
    resources = [r for site in ("a", "b", "c", "d") for r in cohort(site, "magnesium", "mg/dL", 2.0)]
    found = audited(run, tmp_path, *resources, *cohort("odd", "magnesium", "mg/dL", 1.64), exit_code=1)
    assert {site for (site, _), one in found.items() if "verdict" in one} == {"odd"}
    assert "differs from" in found["odd", "serum magnesium"]["verdict"]
    assert found["odd", "serum magnesium"]["fits"] == "meq/L"


def test_too_few_values_are_shown_and_not_judged(run, tmp_path):
    [found] = audited(run, tmp_path, *cohort("a", "magnesium", "mmol/L", 2.0, number=19), exit_code=0).values()
    assert found["values"] == 19


def test_a_unit_that_nobody_knows_is_named(run, tmp_path):
    [found] = audited(run, tmp_path, *cohort("a", "magnesium", "furlong", 2.0), exit_code=1).values()
    assert found["unit"] == "? furlong"
    assert "none of these values is read" in found["verdict"]


def test_a_finished_audit_is_said_again(run, tmp_path):
    folder = write_export(tmp_path / "export", cohort("a", "magnesium", "mg/dL", 1.9))
    first = run("units", folder, "-o", tmp_path / "out")
    again = run("units", folder, "-o", tmp_path / "out")
    assert again.stdout == first.stdout


def test_percentiles_are_those_of_the_values():
    [one] = spreads({"serum magnesium": {"": {"c": {"mg/dL": {str(n): 1 for n in range(1, 11)}}}}})
    assert (one.lowest, one.p10, one.median, one.p90, one.highest) == (1, 1, 5, 9, 10)
