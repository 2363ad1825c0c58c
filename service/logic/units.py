"""UCUM units of the analytes: spellings to codes, codes to the canonical unit, in exact decimals.

Sources: molar masses are IUPAC standard atomic weights (abridged): Mg 24.305, Ca 40.078, K 39.098, P 30.974 g/mol;
creatinine C4H7N3O 113.12 g/mol, for which clinical practice uses 88.4 µmol/L per mg/dL (KDIGO).

>>> convert(Decimal("2.4305"), "mg/dL", Analyte.SERUM_MAGNESIUM)
Decimal('1')
>>> convert(Decimal("2"), "meq/L", Analyte.SERUM_MAGNESIUM)
Decimal('1')
>>> convert(Decimal("1.0"), "mg/dL", Analyte.CREATININE)
Decimal('88.4')
>>> convert(Decimal("4.0078"), "mg/dL", Analyte.CALCIUM)
Decimal('1')
>>> to_unit(Decimal("0.7"), "mg/dL", Analyte.SERUM_MAGNESIUM)
Decimal('1.70135')
>>> code("ммоль/л"), code("mEq/l"), code("MG/DL"), code("furlong") is None
('mmol/L', 'meq/L', 'mg/dL', True)
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from service.logic.model import Analyte

MG_MOLAR_MASS = Decimal("24.305")
CA_MOLAR_MASS = Decimal("40.078")

_CONCENTRATION_MG = {
    "mmol/L": Decimal(1),
    "umol/L": Decimal("0.001"),
    "mg/dL": 10 / MG_MOLAR_MASS,
    "mg/L": 1 / MG_MOLAR_MASS,
    "meq/L": Decimal("0.5"),
}
_CONCENTRATION_CA = {
    "mmol/L": Decimal(1),
    "umol/L": Decimal("0.001"),
    "mg/dL": 10 / CA_MOLAR_MASS,
    "mg/L": 1 / CA_MOLAR_MASS,
    "meq/L": Decimal("0.5"),
}
_CREATININE = {"umol/L": Decimal(1), "mmol/L": Decimal(1000), "mg/dL": Decimal("88.4"), "mg/L": Decimal("8.84")}
_MONOVALENT = {"mmol/L": Decimal(1), "meq/L": Decimal(1)}

# Analyte -> {unit: factor to the canonical unit}; the canonical unit is the one whose factor is 1 and stands first.
FACTORS: dict[Analyte, dict[str, Decimal]] = {
    Analyte.SERUM_MAGNESIUM: {k: v for k, v in _CONCENTRATION_MG.items() if k != "umol/L"},
    Analyte.RBC_MAGNESIUM: {k: v for k, v in _CONCENTRATION_MG.items() if k != "umol/L"},
    Analyte.IONISED_MAGNESIUM: _CONCENTRATION_MG,
    Analyte.URINE_MAGNESIUM: _CONCENTRATION_MG,
    Analyte.URINE_MAGNESIUM_24H: {
        "mg/(24.h)": Decimal(1),
        "mmol/(24.h)": MG_MOLAR_MASS,
        "meq/(24.h)": MG_MOLAR_MASS / 2,
        "g/(24.h)": Decimal(1000),
    },
    Analyte.CREATININE: _CREATININE,
    Analyte.URINE_CREATININE: _CREATININE | {"g/L": Decimal(8840)},
    Analyte.EGFR: {"mL/min/{1.73_m2}": Decimal(1), "mL/min": Decimal(1)},
    Analyte.POTASSIUM: _MONOVALENT,
    Analyte.CALCIUM: _CONCENTRATION_CA,
    Analyte.ADJUSTED_CALCIUM: _CONCENTRATION_CA,
    Analyte.IONISED_CALCIUM: _CONCENTRATION_CA,
    Analyte.ALBUMIN: {"g/L": Decimal(1), "g/dL": Decimal(10), "mg/dL": Decimal("0.01"), "mg/L": Decimal("0.001")},
    Analyte.BICARBONATE: _MONOVALENT,
    Analyte.PHOSPHATE: {"mmol/L": Decimal(1), "mg/dL": 10 / Decimal("30.974")},
    Analyte.PTH: {"pg/mL": Decimal(1), "ng/L": Decimal(1), "pmol/L": Decimal("9.43")},
    Analyte.ALP: {"U/L": Decimal(1), "ukat/L": Decimal(60)},
    Analyte.QTC: {"ms": Decimal(1), "s": Decimal(1000)},
    Analyte.WEIGHT: {"kg": Decimal(1), "g": Decimal("0.001"), "[lb_av]": Decimal("0.45359237")},
    Analyte.HEIGHT: {"cm": Decimal(1), "m": Decimal(100), "[in_i]": Decimal("2.54")},
}

MAGNESIUM = frozenset({Analyte.SERUM_MAGNESIUM, Analyte.RBC_MAGNESIUM, Analyte.IONISED_MAGNESIUM})

# Spellings met in the field (upper/lower case and blanks aside), by UCUM code.
_SPELLINGS: dict[str, str] = {
    "mmol/L": "mmol/l mm mmol.l-1 mmol*l-1 mmoll ммоль/л ммоль/l millimoleperliter millimolesperliter millimole/liter "
    "mmolperliter mmol/liter millimol/l میلیمول/لیتر میلیمولدرلیتر",
    "umol/L": "umol/l µmol/l μmol/l mcmol/l micromol/l mikromol/l umoll мкмоль/л micromoleperliter micromolesperliter "
    "micromole/liter umol.l-1 258814008 میکرومول/لیتر",
    "mg/dL": "mg/dl mg% mg/100ml mgdl mg/100cc мг/дл мг% milligramperdeciliter milligramsperdeciliter "
    "milligram/deciliter mgperdl mg.dl-1 میلیگرم/دسیلیتر میلیگرمدردسیلیتر",
    "mg/L": "mg/l ug/ml µg/ml μg/ml mcg/ml мкг/мл мг/л milligramperliter milligramsperliter milligram/liter mg.l-1",
    "meq/L": "meq/l meql mval/l мэкв/л мг-экв/л milliequivalentperliter milliequivalentsperliter milliequivalent/liter "
    "meq.l-1 میلیاکیوالان/لیتر میلیاکیوالاندرلیتر",
    "g/L": "g/l gm/l г/л gramperliter gramsperliter gram/liter g.l-1 گرم/لیتر",
    "g/dL": "g/dl gm/dl g% г/дл gramperdeciliter gramsperdeciliter gram/deciliter gdl gram/dl g/100ml",
    "mL/min/{1.73_m2}": "ml/min/{1.73_m2} ml/min/1.73m2 ml/min/1.73m^2 ml/min/1,73m2 ml/min/1,73m^2 ml/min/1.73m² "
    "ml/min/1,73m² мл/мин/1,73м2 мл/мин/1.73м2 мл/мин/1,73м² мл/мин/1.73м² ml/min/1.73_m2 ml/min/{1.73m2} "
    "ml/min/1.73 ml/min/1.73sqm ml/min/(1.73_m2) ml/min/(173.10*-2.m2) "
    "ml/min/1.73m*2 ml/min/1.73m**2 ml/min/1.73*m2 ml/min/1.73.m2 ml/min/1.73_m^2 ml/min/(1.73m2) ml/min/(1.73.m2) "
    "ml/min/((173/100).m2) ml/min.1.73m2 ml/(min.1.73m2) ml/(min*1.73m2) ml/(min*{1.73_m2}) "
    "milliliterperminuteper1.73squaremeter",
    "mL/min": "ml/min мл/мин milliliterperminute",
    "mg/(24.h)": "mg/(24.h) mg/24h mg/24hr mg/24hrs mg/24hours mg/d mg/day мг/сут мг/24ч mg/24.h mg/{24h}",
    "mmol/(24.h)": "mmol/(24.h) mmol/24h mmol/24hr mmol/24hrs mmol/d mmol/day ммоль/сут ммоль/24ч mmol/24.h",
    "meq/(24.h)": "meq/(24.h) meq/24h meq/24hr meq/d meq/day мэкв/сут",
    "g/(24.h)": "g/(24.h) g/24h g/d g/day г/сут",
    "pg/mL": "pg/ml пг/мл ng/l нг/л",
    "pmol/L": "pmol/l пмоль/л",
    "U/L": "u/l iu/l [iu]/l [u]/l ед/л ме/л unitperliter unitsperliter",
    "ukat/L": "ukat/l µkat/l μkat/l",
    "ms": "ms msec millisecond milliseconds мс мсек",
    "s": "s sec second seconds с сек",
    "kg": "kg kilogram kilograms kgs кг",
    "g": "g gm gram grams г",
    "[lb_av]": "[lb_av] lb lbs pound pounds",
    "cm": "cm centimeter centimeters centimetre см",
    "m": "m meter metre м",
    "[in_i]": "[in_i] in inch inches",
    "mg": "mg milligram milligrams мг",
    "ug": "ug µg μg mcg microgram мкг",
    "mmol": "mmol millimole ммоль",
    "meq": "meq milliequivalent мэкв",
    "mL": "ml milliliter millilitre мл",
    "L": "l liter litre л",
}
_BY_SPELLING = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings.split()}

# How finely a limit that was published in another unit is rounded before it is compared (catalogue, principle 2).
_STEP = {
    "mmol/L": Decimal("0.01"),
    "meq/L": Decimal("0.01"),
    "mg/dL": Decimal("0.1"),
    "mg/L": Decimal(1),
}  # 1 mg/L is 0.1 mg/dL


@lru_cache(maxsize=4096)
def code(spelling: str) -> str | None:
    """The UCUM code that a unit's spelling means, or None if unknown. Case, blanks and final dots do not matter."""
    folded = "".join(spelling.lower().split()).replace("\u200c", "").rstrip(".")
    return _BY_SPELLING.get(folded)


def canonical(analyte: Analyte) -> str:
    """The unit in which `LabResult.value` is kept."""
    return next(iter(FACTORS[analyte]))


def fits(unit: str, analyte: Analyte) -> bool:
    """True if the analyte can be reported in this unit."""
    return unit in FACTORS[analyte]


def convert(value: Decimal, unit: str, analyte: Analyte) -> Decimal:
    """A value in the analyte's canonical unit."""
    return _tidy(value * FACTORS[analyte][unit])


def to_unit(value: Decimal, unit: str, analyte: Analyte) -> Decimal:
    """A canonical value in another unit of the analyte; what was reported in that unit comes back as it was.

    >>> to_unit(convert(Decimal("0.95"), "mg/dL", Analyte.SERUM_MAGNESIUM), "mg/dL", Analyte.SERUM_MAGNESIUM)
    Decimal('0.95')
    """
    return _tidy(value / FACTORS[analyte][unit], digits=8)


def rounded(value: Decimal, places: int) -> Decimal:
    """Round half up, as clinicians do."""
    return value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)


def limit_in(value: Decimal, unit: str, wanted: str, analyte: Analyte) -> Decimal:
    """A published limit in the unit of a result: as published if the units agree, else converted and rounded.

    Rounding keeps 1.7 mg/dL from being "low" against 0.70 mmol/L, of which it is the published equivalent.

    >>> limit_in(Decimal("0.70"), "mmol/L", "mg/dL", Analyte.SERUM_MAGNESIUM)
    Decimal('1.7')
    """
    if unit == wanted:
        return value
    converted = to_unit(convert(value, unit, analyte), wanted, analyte)
    step = _STEP.get(wanted)
    return (converted / step).quantize(Decimal(1), rounding=ROUND_HALF_UP) * step if step else converted


@lru_cache(maxsize=4096)
def _tidy(value: Decimal, digits: int = 10) -> Decimal:
    """So many significant digits, without the trailing zeros of a division."""
    value = value.quantize(Decimal(1).scaleb(value.adjusted() - digits + 1), rounding=ROUND_HALF_UP).normalize()
    return value.quantize(Decimal(1)) if value == value.to_integral_value() else value
