"""The formulas of the catalogue, in exact decimals where they are linear. Doctests quote published values."""

from __future__ import annotations

from datetime import date
from decimal import Decimal


def ckd_epi_2021(creatinine_umol_l: Decimal, age_years: Decimal, sex: str) -> Decimal:
    """EGFR in mL/min/1.73 m² for adults by CKD-EPI 2021 (Inker et al., N Engl J Med 2021;385:1737), unrounded.

    `age_years` in completed years, `sex` "female" or "male". Check value of the publication's calculator:
    a 50-year-old with 1.0 mg/dL has 69 (female) or 92 (male).

    >>> [round(ckd_epi_2021(Decimal("88.4"), Decimal(50), sex)) for sex in ("female", "male")]
    [69, 92]
    """
    female = sex == "female"
    kappa, alpha = (0.7, -0.241) if female else (0.9, -0.302)
    ratio = float(creatinine_umol_l) / 88.4 / kappa
    egfr = 142 * min(ratio, 1) ** alpha * max(ratio, 1) ** -1.200 * 0.9938 ** float(age_years)
    return Decimal(repr(egfr * (1.012 if female else 1)))


def bedside_schwartz(creatinine_umol_l: Decimal, height_cm: Decimal) -> Decimal:
    """EGFR in mL/min/1.73 m² for children: 0.413 x height / creatinine (Schwartz et al., J Am Soc Nephrol 2009;20:629).

    >>> bedside_schwartz(Decimal("88.4"), Decimal(100))
    Decimal('41.300')
    """
    return Decimal("0.413") * height_cm / (creatinine_umol_l / Decimal("88.4"))


def albumin_corrected_calcium(calcium_mmol_l: Decimal, albumin_g_l: Decimal) -> Decimal:
    """Total calcium corrected to an albumin of 40 g/L, mmol/L (Payne et al., BMJ 1973;4:643: 0.02 mmol/L per g/L).

    >>> albumin_corrected_calcium(Decimal("1.95"), Decimal(22))
    Decimal('2.31')
    """
    return calcium_mmol_l + Decimal("0.02") * (40 - albumin_g_l)


def albumin_adjusted_magnesium(magnesium_mmol_l: Decimal, albumin_g_l: Decimal) -> Decimal:
    """Serum magnesium adjusted to an albumin of 40 g/L, mmol/L (Kroll and Elin, Clin Chem 1985;31:244: approximate).

    >>> albumin_adjusted_magnesium(Decimal("0.64"), Decimal(22))
    Decimal('0.730')
    """
    return magnesium_mmol_l + Decimal("0.005") * (40 - albumin_g_l)


def fractional_excretion(urine_mg: Decimal, serum_mg: Decimal, urine_cr: Decimal, serum_cr: Decimal) -> Decimal:
    """FEMg in percent. Magnesium both in one unit, creatinine both in one unit.

    FEMg = 100 x (UMg x SCr) / (0.7 x SMg x UCr): 0.7 is the filterable share of serum magnesium and belongs under
    the line (Elisaf et al., Magnes Res 1997;10:315); one of our sources prints it as a multiplier (its error).

    >>> fractional_excretion(Decimal("6.5"), Decimal("1.1"), Decimal(60), Decimal("0.9")).quantize(Decimal("0.01"))
    Decimal('12.66')
    """
    return 100 * (urine_mg * serum_cr) / (Decimal("0.7") * serum_mg * urine_cr)


def loading_test(excreted_mg: Decimal, infused_mg: Decimal) -> Decimal:
    """Percent of an infused elemental magnesium load that is excreted in 24 hours.

    >>> loading_test(Decimal(102), Decimal(168)).quantize(Decimal("0.1"))
    Decimal('60.7')
    """
    return 100 * excreted_mg / infused_mg


def completed_years(birth: date, on: date) -> int:
    """Age in completed years; a birthday counts from its day, 29 February from 1 March in common years.

    >>> completed_years(date(2000, 6, 15), date(2018, 6, 14)), completed_years(date(2000, 6, 15), date(2018, 6, 15))
    (17, 18)
    """
    return on.year - birth.year - ((on.month, on.day) < (birth.month, birth.day))


def completed_months(birth: date, on: date) -> int:
    """Age in completed calendar months.

    >>> completed_months(date(2025, 1, 31), date(2025, 6, 30)), completed_months(date(2025, 1, 15), date(2025, 6, 15))
    (4, 5)
    """
    return (on.year - birth.year) * 12 + on.month - birth.month - (on.day < birth.day)
