"""The formulas alone, for POST /v1/calculations/{name}: each number comes and goes with its unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from service.errors import BadRequest
from service.fhir import primitives
from service.logic import formulas
from service.logic.knowledge import Knowledge
from service.logic.model import Analyte
from service.logic.units import FACTORS, code, convert, rounded, to_unit

Body = Mapping[str, Any]
Json = dict[str, Any]


def _quantity(body: Body, name: str, analyte: Analyte) -> Decimal:
    """A quantity {"value": …, "unit": …} of the body in the analyte's canonical unit."""
    value, unit = _pair(body, name)
    known = code(unit)
    if known is None or known not in FACTORS[analyte]:
        raise BadRequest(f"unit must be one of {', '.join(FACTORS[analyte])}", f"$.{name}.unit")
    converted = convert(value, known, analyte)
    if converted <= 0:
        raise BadRequest("must be greater than 0", f"$.{name}.value")
    return converted


def _pair(body: Body, name: str) -> tuple[Decimal, str]:
    given = body.get(name)
    if not isinstance(given, dict):
        raise BadRequest('a quantity such as {"value": 0.9, "unit": "mg/dL"} is required', f"$.{name}")
    value, unit = primitives.number(given.get("value")), given.get("unit")
    if value is None or isinstance(given.get("value"), str):
        raise BadRequest("a number is required", f"$.{name}.value")
    if not isinstance(unit, str) or not unit:
        raise BadRequest("a unit is required: a number is never read without one", f"$.{name}.unit")
    return value, unit


def _number(body: Body, name: str, low: Decimal, high: Decimal) -> Decimal:
    value = primitives.number(body.get(name))
    if value is None or isinstance(body.get(name), str) or not low <= value <= high:
        raise BadRequest(f"a number from {low} to {high} is required", f"$.{name}")
    return value


def _result(name: str, value: Decimal, unit: str, formula: str, source: str) -> Json:
    return {"name": name, "value": value, "unit": unit, "formula": formula, "source": source}


def femg(body: Body, knowledge: Knowledge) -> Json:
    """Fractional excretion of magnesium, graded as with a low serum magnesium and open kidneys."""
    value = formulas.fractional_excretion(
        _quantity(body, "urineMagnesium", Analyte.URINE_MAGNESIUM),
        _quantity(body, "serumMagnesium", Analyte.SERUM_MAGNESIUM),
        _quantity(body, "urineCreatinine", Analyte.URINE_CREATININE),
        _quantity(body, "serumCreatinine", Analyte.CREATININE),
    )
    value = rounded(value, 2)
    limits = [("renal", "femg-renal"), ("borderline", "femg-borderline"), ("indeterminate", "femg-extrarenal")]
    above = [
        grade
        for grade, name in limits
        if value > knowledge.value(name) or (grade != "renal" and value == knowledge.value(name))
    ]
    formula = "100 x (UMg x SCr) / (0.7 x SMg x UCr)"
    answer = _result("femg", value, "%", formula, "elisaf-1997")
    return answer | {
        "grade": above[0] if above else "extrarenal",
        "holdsFor": "low serum magnesium and eGFR of 30 or more",
    }


def egfr(body: Body, knowledge: Knowledge) -> Json:
    """CKD-EPI 2021 for adults, bedside Schwartz under 18."""
    creatinine = _quantity(body, "creatinine", Analyte.CREATININE)
    age = _number(body, "age", Decimal(0), Decimal(120))
    unit = "mL/min/{1.73_m2}"
    if age < knowledge.value("child-age"):
        value = formulas.bedside_schwartz(creatinine, _quantity(body, "height", Analyte.HEIGHT))
        return _result("egfr", rounded(value, 1), unit, "0.413 x height / creatinine", "schwartz-2009")
    sex = body.get("sex")
    if sex not in ("female", "male"):
        raise BadRequest('sex must be "female" or "male"', "$.sex")
    value = formulas.ckd_epi_2021(creatinine, age.to_integral_value(rounding="ROUND_FLOOR"), sex)
    return _result("egfr", rounded(value, 1), unit, "CKD-EPI 2021, creatinine", "ckd-epi-2021")


def corrected_calcium(body: Body, knowledge: Knowledge) -> Json:  # noqa: ARG001  one signature for all
    """Total calcium corrected to an albumin of 40 g/L."""
    mmol = formulas.albumin_corrected_calcium(
        _quantity(body, "calcium", Analyte.CALCIUM), _quantity(body, "albumin", Analyte.ALBUMIN)
    )
    answer = _result("corrected-calcium", rounded(mmol, 3), "mmol/L", "Ca + 0.02 x (40 - albumin)", "payne-1973")
    return answer | {"also": [{"value": rounded(to_unit(mmol, "mg/dL", Analyte.CALCIUM), 2), "unit": "mg/dL"}]}


def albumin_adjusted_magnesium(body: Body, knowledge: Knowledge) -> Json:  # noqa: ARG001  one signature for all
    """Serum magnesium adjusted to an albumin of 40 g/L (approximate)."""
    mmol = formulas.albumin_adjusted_magnesium(
        _quantity(body, "magnesium", Analyte.SERUM_MAGNESIUM), _quantity(body, "albumin", Analyte.ALBUMIN)
    )
    formula = "Mg + 0.005 x (40 - albumin)"
    answer = _result("albumin-adjusted-magnesium", rounded(mmol, 3), "mmol/L", formula, "kroll-elin-1985")
    return answer | {"note": "approximate; ionised magnesium is preferred"}


def magnesium_units(body: Body, knowledge: Knowledge) -> Json:  # noqa: ARG001  one signature for all
    """A concentration of magnesium in every unit."""
    mmol = _quantity(body, "magnesium", Analyte.SERUM_MAGNESIUM)
    values = [
        {"value": rounded(to_unit(mmol, unit, Analyte.SERUM_MAGNESIUM), 4), "unit": shown}
        for unit, shown in (("mmol/L", "mmol/L"), ("mg/dL", "mg/dL"), ("meq/L", "mEq/L"), ("mg/L", "mg/L"))
    ]
    return {"name": "magnesium-units", "values": values, "formula": "1 mmol/L = 2.4305 mg/dL = 2 mEq/L"}


def elemental_magnesium(body: Body, knowledge: Knowledge) -> Json:
    """Elemental magnesium in an amount of a compound."""
    salt = body.get("salt")
    salts = [name.removeprefix("salt-") for name in knowledge.parameters if name.startswith("salt-")]
    if salt not in salts:
        raise BadRequest(f"salt must be one of {', '.join(salts)}", "$.salt")
    value, unit = _pair(body, "amount")
    factor = {"mg": 1, "g": 1000}.get(code(unit) or "")
    if factor is None or value <= 0:
        raise BadRequest("amount must be in mg or g, and greater than 0", "$.amount")
    parameter = knowledge.parameters[f"salt-{salt}"]
    mg = value * factor * parameter.first
    formula = f"amount x {parameter.first} ({parameter.meaning})"
    answer = _result("elemental-magnesium", rounded(mg, 1), "mg", formula, parameter.citations[0].source)
    return answer | {"also": [{"value": rounded(mg / Decimal("24.305"), 2), "unit": "mmol"}]}


def magnesium_loading_test(body: Body, knowledge: Knowledge) -> Json:
    """Share of an infused load that is excreted in 24 hours."""
    excreted = _quantity(body, "excreted", Analyte.URINE_MAGNESIUM_24H)
    value, unit = _pair(body, "infused")
    if code(unit) != "mg" or value <= 0:
        raise BadRequest("infused must be elemental magnesium in mg, greater than 0", "$.infused")
    share = rounded(formulas.loading_test(excreted, value), 1)
    normal, definite = knowledge.value("loading-normal"), knowledge.value("loading-definite")
    grade = "normal-stores" if share >= normal else "definite-deficiency" if share < definite else "deficiency"
    answer = _result("magnesium-loading-test", share, "%", "100 x excreted / infused", "hedayati-2024")
    return answer | {"grade": grade}


CALCULATIONS: Mapping[str, Callable[[Body, Knowledge], Json]] = MappingProxyType(
    {
        "femg": femg,
        "egfr": egfr,
        "corrected-calcium": corrected_calcium,
        "albumin-adjusted-magnesium": albumin_adjusted_magnesium,
        "magnesium-units": magnesium_units,
        "elemental-magnesium": elemental_magnesium,
        "magnesium-loading-test": magnesium_loading_test,
    }
)
