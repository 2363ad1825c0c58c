"""Just below, at and just above every limit of the tables, in every unit in which it is published.

The numbers come from the tables, what must follow from the catalogue's rules of equality. A parameter without a case is
an error: whoever adds a limit says here what happens at it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from service.fhir.snapshot import read_snapshot
from service.logic.model import Finding, PatientSnapshot
from tests.vignettes.patients import NOW, judged, lab, patient, said_by, urgency
from tests.vignettes.wire import SITE, chart, resources

FOLDER = Path(__file__).parents[1] / "vignettes/boundaries"
LOW, KIDNEY = "mg 0.60 mmol/L", "creatinine 70 umol/L"


def _table(name: str) -> dict[str, Any]:
    text = files("service.logic.knowledge").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text, parse_float=Decimal)


PARAMETERS, PROFILES, DOSES = _table("parameters"), _table("profiles"), _table("doses")
Read = Callable[[str, PatientSnapshot], str]

# What "just" below or above means in each unit.
STEP = {
    "mmol/L": "0.001", "meq/L": "0.001", "mg/dL": "0.01", "mg/L": "0.1", "umol/L": "0.1", "g/L": "0.1", "g/dL": "0.01",
    "ms": "1", "%": "0.01", "1": "0.001", "mg/(24.h)": "0.1", "mmol/(24.h)": "0.001", "mg/min": "0.1", "g": "0.1",
    "mg": "1",
}  # fmt: skip
MINUTES = {"min": 1, "h": 60, "d": 1440}


def _gate(_rule: str, snapshot: PatientSnapshot) -> str:
    return judged(snapshot).gate


def _amiloride(rule: str, snapshot: PatientSnapshot) -> str:
    outcome = judged(snapshot).outcome(rule)
    assert isinstance(outcome, Finding)
    return "offered" if any("miloride" in text.template for text in outcome.advice) else "not offered"


ASKS: dict[str, Read] = {"result": said_by, "urgency": urgency, "gate": _gate, "amiloride": _amiloride}


@dataclass(frozen=True)
class Limit:
    """A row of limits.toml; `more` is the rest of the patient."""

    parameter: str
    says: list[str]
    labs: list[str]
    rule: str = ""
    asks: str = "result"
    end: int = 0
    also: dict[str, str] = field(default_factory=dict)
    scale: str = "1"
    plus: str = "0"
    unit: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def at(self, words: str) -> str:
        """What is said when `words` stand at the place of the limit."""
        labs = [line.replace("@", words) for line in self.labs]
        more: dict[str, Any] = dict(self.more)
        more |= {k: [line.replace("@", words) for line in v] for k, v in more.items() if isinstance(v, list)}
        return ASKS[self.asks](self.rule, patient(*labs, **more))


def _rows(kind: str) -> list[Limit]:
    known = {member.name for member in fields(Limit)}
    rows = tomllib.loads((FOLDER / "limits.toml").read_text(encoding="utf-8"))[kind]
    return [
        Limit(**{k: v for k, v in row.items() if k in known}, more={k: v for k, v in row.items() if k not in known})
        for row in rows
    ]


LIMITS, WINDOWS = _rows("limit"), _rows("window")


def _published(case: Limit) -> dict[str, Decimal]:
    """The limit in each unit of its row; mg/L is a tenth of mg/dL. One unit only where another is written."""
    row = PARAMETERS[case.parameter]
    values = {u: Decimal(v if "values" in row else v[case.end]) for u, v in (row.get("values") or row["range"]).items()}
    unit, first = next(iter(values.items()))
    if case.unit:
        return {unit: first}
    if "mg/dL" in values:
        values["mg/L"] = values["mg/dL"] * 10
    return values | {other: first * Decimal(times) for other, times in case.also.items()}


def _around() -> Iterator[Any]:
    for case in LIMITS:
        for unit, value in _published(case).items():
            step = Decimal(STEP[unit])
            for at, said in zip((value - step, value, value + step), case.says, strict=True):
                written = (at * Decimal(case.scale) + Decimal(case.plus)).normalize()
                words = f"{written:f} {case.unit or unit}"
                yield pytest.param(case, words, said, id=f"{case.parameter} {case.rule} {at.normalize():f} {unit}")


def _in_time() -> Iterator[Any]:
    for case in WINDOWS:
        ((unit, value),) = PARAMETERS[case.parameter]["values"].items()
        minutes = int(value * MINUTES[unit])
        for at, said in zip((minutes - 1, minutes, minutes + 1), case.says, strict=True):
            words = f"{at} min" if case.unit == "min" else f"-{at}min"
            yield pytest.param(case, words, said, id=f"{case.parameter} {case.rule} {at} min")


@pytest.mark.parametrize(("case", "words", "said"), [*_around(), *_in_time()])
def test_below_at_and_above_a_limit(case: Limit, words: str, said: str) -> None:
    assert case.at(words) == said


# ---- limits published in one unit, read in another ------------------------------------------------------------------


def _converted(mmol: Decimal, unit: str) -> Decimal:
    """Catalogue, principle 2: rounded to 0.01 mmol/L, 0.1 mg/dL or 0.01 mEq/L before comparing."""
    if unit == "meq/L":
        return (mmol * 2).quantize(Decimal("0.01"), ROUND_HALF_UP)
    mg_dl = (mmol * Decimal("2.4305")).quantize(Decimal("0.1"), ROUND_HALF_UP)
    return mg_dl * 10 if unit == "mg/L" else mg_dl


_SINGLE = {"infant-mg", "ionised-mg-range"}
_ONE_UNIT = [case for case in LIMITS if case.parameter in _SINGLE]


@pytest.mark.parametrize("unit", ["mg/dL", "mg/L", "meq/L"])
@pytest.mark.parametrize("case", _ONE_UNIT, ids=lambda case: f"{case.parameter} {case.end}")
def test_a_limit_published_in_one_unit_is_rounded_before_it_is_compared(case: Limit, unit: str) -> None:
    (mmol,) = _published(case).values()
    at, step = _converted(mmol, unit), Decimal(STEP[unit])
    assert [case.at(f"{value} {unit}") for value in (at - step, at, at + step)] == case.says


def test_a_limit_in_mmol_per_litre_stands_on_the_grid_on_which_limits_are_compared() -> None:
    magnesium = {name: row for name, row in PARAMETERS.items() if "mg" in name.split("-") or "ctcae" in name}
    off = [name for name, row in magnesium.items() if Decimal(row.get("values", {}).get("mmol/L", 0)) % Decimal("0.01")]
    assert off == []


# ---- reference ranges by age ----------------------------------------------------------------------------------------


def _born(age: str) -> date:
    """The birthday of somebody who reaches an age such as P5M today."""
    on = NOW.date()
    number, unit = int(age[1:-1]), age[-1]
    if unit == "D":
        return on - timedelta(days=number)
    months = on.year * 12 + on.month - 1 - number * {"M": 1, "Y": 12}[unit]
    return date(months // 12, months % 12 + 1, on.day)


BANDS = [(name, band) for name, bands in PROFILES.items() for band in bands]


@pytest.mark.parametrize("unit", ["mmol/L", "mg/dL", "mg/L", "meq/L"])
@pytest.mark.parametrize(("name", "band"), BANDS, ids=[f"{name} {band['from']}" for name, band in BANDS])
def test_the_ends_of_a_reference_range_are_normal(name: str, band: dict[str, Any], unit: str) -> None:
    given, step, born = band["range"], Decimal(STEP[unit]), _born(band["from"]).isoformat()
    published = [end * 10 for end in given["mg/dL"]] if unit == "mg/L" and "mg/dL" in given else given.get(unit)
    low, high = published or [_converted(end, unit) for end in given["mmol/L"]]
    values = (low - step, low, high, high + step)
    said = [said_by("R-010", patient(f"mg {v} {unit}, -0h", born=born, profile=name)) for v in values]
    assert said == ["low", "normal", "normal", "high"]


def _class(value: Decimal, band: dict[str, Any] | None) -> str:
    if band is None:
        return "unclassified"
    low, high = band["range"]["mmol/L"]
    return "low" if value < low else "high" if value > high else "normal"


_YOUNGER = [None, *PROFILES["default"]]
EDGES = [(younger, older) for younger, older in zip(_YOUNGER, PROFILES["default"], strict=False)]


@pytest.mark.parametrize(("younger", "older"), EDGES, ids=[older["from"] for _, older in EDGES])
def test_the_day_of_an_age_belongs_to_the_older_band(younger: dict[str, Any] | None, older: dict[str, Any]) -> None:
    ends = [Decimal(end) for band in (younger, older) if band for end in band["range"]["mmol/L"]]
    telling = {end + Decimal(nudge) for end in ends for nudge in ("-0.001", "0.001")}
    telling = {value for value in telling if _class(value, younger) != _class(value, older)}
    assert telling
    day = _born(older["from"])
    for value in telling:
        line = f"mg {value} mmol/L, -0h"
        before, on = patient(line, born=(day + timedelta(days=1)).isoformat()), patient(line, born=day.isoformat())
        assert (said_by("R-010", before), said_by("R-010", on)) == (_class(value, younger), _class(value, older))


def test_the_age_at_sampling_decides_not_the_age_today() -> None:
    born = _born("P18Y").isoformat()  # eighteen today, sampled yesterday
    assert said_by("R-010", patient("mg 0.95 mmol/L, -24h", born=born)) == "high"
    assert said_by("R-010", patient("mg 0.95 mmol/L, -1h", born=born)) == "normal"


# ---- ages -----------------------------------------------------------------------------------------------------------

AGES: dict[str, tuple[str, str, str, tuple[str, ...], dict[str, Any]]] = {
    "child-age": ("R-075", "withheld by age: oral-dose", "oral-dose", (LOW, "egfr 90 mL/min"), {}),
    "excess-age": ("R-082", "not met", "no-level", (KIDNEY,), {"drugs": ["magnesium oxide, oral"]}),
    "infant-age": ("R-045", "infantile-hypomagnesaemia", "not met", ("mg 0.3 mmol/L", "ca 1.5 mmol/L"), {}),
}


@pytest.mark.parametrize("parameter", AGES)
def test_a_birthday_counts_as_the_older(parameter: str) -> None:
    rule, younger, older, labs, more = AGES[parameter]
    day = _born(f"P{PARAMETERS[parameter]['values']['a']}Y")
    for days, said in ((1, younger), (0, older), (-1, older)):
        born = (day + timedelta(days=days)).isoformat()
        assert said_by(rule, patient(*labs, born=born, **more)) == said


# ---- the kidney gate, unrounded -------------------------------------------------------------------------------------

EGFR = {
    "egfr-normal": ("normal", "reduced"),
    "egfr-reduced": ("reduced", "severe"),
    "egfr-severe": ("severe", "failure"),
}


@pytest.mark.parametrize("parameter", EGFR)
def test_the_gate_compares_the_unrounded_egfr(parameter: str) -> None:
    """0.413 x 120 cm / creatinine in mg/dL meets each limit exactly; 0.0001 mg/dL more is a hair below it."""
    at = Decimal("49.56") / PARAMETERS[parameter]["values"]["mL/min/{1.73_m2}"]
    above, below = EGFR[parameter]
    for creatinine, gate in ((at - Decimal("0.0001"), above), (at, above), (at + Decimal("0.0001"), below)):
        child = patient(f"creatinine {creatinine} mg/dL, -0h", "height 120 cm", born="2017-01-01")
        assert judged(child).gate == gate


@pytest.mark.parametrize("parameter", EGFR)
def test_a_reported_egfr_meets_the_same_limits(parameter: str) -> None:
    at = Decimal(PARAMETERS[parameter]["values"]["mL/min/{1.73_m2}"])
    above, below = EGFR[parameter]
    gates = [judged(patient(f"egfr {at + Decimal(nudge)} mL/min")).gate for nudge in ("-0.1", "0", "0.1")]
    assert gates == [below, above, above]


# ---- rounding that the catalogue fixes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("urine", "said"),
    [("0.2002", "borderline"), ("0.20025", "renal"), ("0.1497", "indeterminate"), ("0.14975", "borderline")],
)
def test_femg_is_rounded_to_two_decimals_before_it_is_compared(urine: str, said: str) -> None:
    assert (
        said_by("R-032", patient(f"urine_mg {urine} mmol/L", "urine_creatinine 1000 umol/L", "mg 0.5 mmol/L", KIDNEY))
        == said
    )


@pytest.mark.parametrize(
    ("albumin", "said"),
    [
        ("34.9", "not met"),
        ("35", "not met"),
        ("35.1", "low-calcium-low-magnesium"),
        ("40", "low-calcium-low-magnesium"),
    ],
)
def test_corrected_calcium_meets_its_limit_exactly(albumin: str, said: str) -> None:
    assert said_by("R-043", patient("ca 2.00 mmol/L", f"albumin {albumin} g/L", LOW)) == said


@pytest.mark.parametrize(("albumin", "said"), [("19.9", "info"), ("20", "info"), ("20.1", "warning")])
def test_an_adjusted_magnesium_at_the_lower_limit_is_protein_related(albumin: str, said: str) -> None:
    """0.60 + 0.005 x (40 - 20) is 0.70 exactly: not low."""
    assert urgency("R-011", patient(LOW, f"albumin {albumin} g/L")) == said


BELOW = {name: row["below_mg_dl"] for name, row in DOSES.items() if "below_mg_dl" in row}


@pytest.mark.parametrize(("row", "next_row"), list(zip(BELOW, [*list(BELOW)[1:], None], strict=True)))
def test_a_dose_band_begins_at_the_value_rounded_half_up(row: str, next_row: str | None) -> None:
    edge = Decimal(BELOW[row]) - (Decimal(0) if row == "iv-band-severe" else Decimal("0.05"))  # unrounded at 1.0 (33)
    for value, said in ((edge - Decimal("0.001"), row), (edge, next_row or "not met")):
        # Low by the laboratory's own range, or the third row would not be offered at all.
        ward = patient(f"mg {value} mg/dL, range 2.2-2.6", "k 3.0 mmol/L", KIDNEY, setting="ward")
        assert said_by("R-071", ward) == said


# ---- plausibility, which the reader of FHIR decides -----------------------------------------------------------------

PLAUSIBLE = {
    "mg-plausible": ("mg",),
    "rbc-mg-plausible": ("rbc_mg",),
    "k-plausible": ("k",),
    "ca-plausible": ("ca", "adjusted_ca"),
    "ionised-ca-plausible": ("ionised_ca",),
    "creatinine-plausible": ("creatinine",),
    "albumin-plausible": ("albumin",),
    "bicarbonate-plausible": ("bicarbonate",),
    "qtc-plausible": ("qtc",),
    "weight-plausible": ("weight",),
    "height-plausible": ("height",),
}


def _read(line: str) -> str:
    snapshot = patient(line)
    (result,) = read_snapshot(chart(snapshot, resources(snapshot)), SITE).labs
    assert result.analyte is lab(line).analyte
    return result.problem.value if result.problem else "used"


@pytest.mark.parametrize("parameter", PLAUSIBLE)
def test_only_what_lies_outside_the_plausible_interval_is_not_used(parameter: str) -> None:
    ((unit, (low, high)),) = PARAMETERS[parameter]["range"].items()
    hair = Decimal("0.0001")
    for name in PLAUSIBLE[parameter]:
        said = [_read(f"{name} {value} {unit}") for value in (low - hair, low, high, high + hair)]
        assert said == ["implausible value", "used", "used", "implausible value"]


def test_a_comparator_stands_outside_the_plausible_interval() -> None:
    assert _read("mg <0.04 mmol/L") == "used"


@pytest.mark.parametrize(("low", "said"), [("1.19", "used"), ("1.2", "impossible"), ("1.21", "impossible")])
def test_a_lower_limit_of_1_2_cannot_be_one_in_mmol(low: str, said: str) -> None:
    assert PARAMETERS["mg-range-impossible"]["values"]["mmol/L"] == Decimal("1.2")
    assert said in _read(f"mg 1.9 mmol/L, range {low}-2.4")
    assert _read(f"mg 1.9 mg/dL, range {low}-2.4") == "used"


# ---- contradictions -------------------------------------------------------------------------------------------------

# Differences in mmol/L from 0.50 (where 0.10 counts) and down from 2.00 (where 15 % of it, 0.30, counts).
CONTRADICTIONS = {
    "mg-contradiction": ("mg 0.50 mmol/L, -60min", "mg {} mmol/L, -90min", ("0.599", "0.600", "0.601")),
    "mg-contradiction-share": ("mg 2.00 mmol/L, -60min", "mg {} mmol/L, -90min", ("1.701", "1.700", "1.699")),
    "mg-contradiction-minutes": ("mg 0.50 mmol/L, -60min", "mg 0.90 mmol/L, -{}min", ("121", "120", "119")),
}


@pytest.mark.parametrize("parameter", CONTRADICTIONS)
def test_two_results_of_one_hour_contradict_each_other(parameter: str) -> None:
    first, other, values = CONTRADICTIONS[parameter]
    said = [said_by("R-002", patient(first, other.format(value))) for value in values]
    hour = "contradictory" if parameter == "mg-contradiction-minutes" else "not met"  # exactly an hour is within it
    assert said == ["not met", hour, "contradictory"]


# ---- a child's dose -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kg", "low", "high"), [("39.9", 998, 1995), ("40", 1000, 2000), ("41", 1025, 2000), ("81", 2000, 2000)]
)
def test_a_childs_dose_stops_at_its_maximum(kg: str, low: int, high: int) -> None:
    assert PARAMETERS["child-dose-maximum"]["values"]["mg"] == 2000
    child = patient("mg 0.38 mmol/L", f"weight {kg} kg", "egfr 90 mL/min", born="2021-06-01", setting="ward")
    outcome = judged(child).outcome("R-073")
    assert isinstance(outcome, Finding)
    assert outcome.values == {"child_mgso4_mg_low": low, "child_mgso4_mg_high": high}


# ---- factors, which are no limits -----------------------------------------------------------------------------------

# Elemental magnesium in 1000 mg of the compound, from the catalogue.
ELEMENTAL = {
    "oxide": 603, "hydroxide": 417, "chloride": 120, "lactate": 102, "carbonate": 288, "sulfate": 99, "citrate": 162,
    "gluconate": 54, "glycinate": 141, "aspartate": 84,
}  # fmt: skip


@pytest.mark.parametrize("salt", ELEMENTAL)
def test_the_elemental_magnesium_of_a_salt(salt: str) -> None:
    outcome = judged(patient(drugs=[f"magnesium {salt}, oral, 1000 mg, 1/d"])).outcome("R-075")
    assert isinstance(outcome, Finding)
    assert outcome.values == {"oral_elemental_mg_day": ELEMENTAL[salt]}


FACTORS = {f"salt-{salt}" for salt in ELEMENTAL} | {"mgso4-elemental"}  # the latter: the loading tests above, 98.6 mg


# ---- nothing is left out --------------------------------------------------------------------------------------------


# In no catalogue: windows and limits that the service had to choose for itself.
OWN_CHOICE = {
    *("urine-spot-pair", "k-high", "ionised-ca-low", "child-weight-window", "child-height-window"),
    *("weight-plausible", "height-plausible"),
    "ckd-mg",  # 2.05 mg/dL; what it is in mmol/L follows from the rule of rounding, tested above
}


def test_the_limits_are_those_that_the_catalogue_prints() -> None:
    printed = tomllib.loads((FOLDER / "published.toml").read_text(encoding="utf-8"), parse_float=Decimal)
    in_force = {name: row.get("values") or row["range"] for name, row in PARAMETERS.items()}
    assert {name: in_force.get(name) for name in printed} == printed
    assert PARAMETERS.keys() - printed.keys() - OWN_CHOICE == {f"salt-{salt}" for salt in ELEMENTAL}
    assert in_force["ckd-mg"]["mg/dL"] == Decimal("2.05")


# Amount and time of each row with a dose, and below which magnesium in mg/dL it stands, from the catalogue.
PRINTED_DOSES = {
    "iv-torsades": "2-2 g over 10-10 min", "child-torsades": "25-50 mg/kg over 10-20 min",
    "child-urgent-closed": "25-25 mg/kg", "kidney-failure-symptoms": "2-4 g over 4-12 h",
    "iv-unstable": "1-2 g over 2-15 min",
    "iv-severe-symptoms": "1-2 g over 5-60 min", "iv-follow-on": "4-8 g over 12-24 h",
    "iv-band-severe": "4-8 g over 12-24 h below 1.0", "iv-band-moderate": "2-4 g over 4-12 h below 1.6",
    "iv-band-mild": "1-2 g over 1-2 h below 2.0", "child": "25-50 mg/kg", "child-urgent": "25-50 mg/kg",
    "kidney-severe-symptoms": "2-4 g over 4-12 h", "kidney-severe-oral": "120-500 mg", "oral": "240-1000 mg",
    "migraine-oral": "600-600 mg",
}  # fmt: skip


def test_the_doses_are_those_that_the_catalogue_prints() -> None:
    said = {}
    for name, row in DOSES.items():
        if "amount" in row:
            said[name] = f"{row['amount'][0]}-{row['amount'][1]} {row['unit']}"
            said[name] += f" over {row['over'][0]}-{row['over'][1]} {row['over_unit']}" if "over" in row else ""
            said[name] += f" below {row['below_mg_dl']}" if "below_mg_dl" in row else ""
    assert said == PRINTED_DOSES


# 2.1 of the catalogue, mmol/L by age; the adult range also in mg/dL and mEq/L.
PRINTED_RANGES = {
    "default": {
        "P2D": "0.62-0.91", "P5M": "0.70-0.95", "P6Y": "0.70-0.86", "P12Y": "0.70-0.91", "P18Y": "0.70-1.00",
    },
    "ru-adult": {"P20Y": "0.66-1.07"},
    "seed002": {"P18Y": "0.75-0.95"},
    "dialysis": {"P18Y": "0.62-1.02"},
}  # fmt: skip


def test_the_reference_ranges_are_those_that_the_catalogue_prints() -> None:
    said = {
        name: {band["from"]: "-".join(map(str, band["range"]["mmol/L"])) for band in bands}
        for name, bands in PROFILES.items()
    }
    assert said == PRINTED_RANGES
    adult = PROFILES["default"][-1]["range"]
    assert (adult["mg/dL"], adult["meq/L"]) == ([Decimal("1.7"), Decimal("2.4")], [Decimal("1.4"), Decimal("2.0")])


# At, below and beyond in tests/vignettes/M-round2.toml: they need more than one number to be moved.
IN_VIGNETTES = {
    "schwartz-age", "once-order", "mg-marginal", "mg-fall", "mg-rise", "dose-row", "treatment-holds-inpatient",
    "treatment-holds-ambulatory", "newborn-age", "neonate-age", "laxative-elemental", "laxative-egfr",
}  # fmt: skip


def test_every_parameter_has_a_case_at_its_limit() -> None:
    cased = {case.parameter for case in (*LIMITS, *WINDOWS)} | AGES.keys() | EGFR.keys() | PLAUSIBLE.keys()
    cased |= CONTRADICTIONS.keys() | {"mg-range-impossible", "child-dose-maximum"}
    assert PARAMETERS.keys() - cased - IN_VIGNETTES == FACTORS
    assert cased <= PARAMETERS.keys()
