"""A laboratory's name says which analyte in serum it is, in seven languages, or it says something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.logic.model import Analyte
from service.terminology.analytes import LAB_CODES, fold

NAMED = """
    Magnesium Lvl = serum magnesium
    Magnesium Level = serum magnesium
    Mag\u00adnesium = serum magnesium
    Magnesium\u2122 level = serum magnesium
    Serum Mg = serum magnesium
    Magnesium [Mass/volume] in Serum or Plasma = serum magnesium
    Magnesio sérico = serum magnesium
    Magnésium plasmatique = serum magnesium
    taux de magnésium dans le sang = serum magnesium
    magnésio no soro = serum magnesium
    سطح منيزيم سرم = serum magnesium
    Магний в плазме крови = serum magnesium
    K level = potassium
    Calcium.ionized [Moles/volume] in Arterial blood = ionised calcium
    Albumin [Mass/volume] in Serum or Plasma by Bromocresol green (BCG) dye binding method = albumin
    Glomerular filtration rate/1.73 sq M.predicted [Volume Rate/Area] in Serum or Plasma by Creatinine = eGFR
    Magnesium [Moles/time] in 24 hour Urine = 24-hour urine magnesium
    Parathyrin.intact [Mass/volume] in Serum or Plasma = parathyroid hormone
    S-Kalium = potassium
    P-Kalium = potassium
    Potassium [Moles/volume] in Serum, Plasma or Blood = potassium
    Potassium [Moles/volume] in Blood = potassium
    Калий в сыворотке крови = potassium
    kaliémie = potassium
    Créatinine = creatinine
    Créatinine sérique = creatinine
    Kreatinin im Serum = creatinine
    Calcium, serum = total calcium
    Ca total level = total calcium
    Calcium.ionized = ionised calcium
    Magnesium, RBC = erythrocyte magnesium
    Creatinine, urine = urine creatinine
    Magnesium in urine = urine magnesium
"""
NOT_NAMED = """
    Magnesium [Moles/volume] in Blood
    Magnesium sulfate
    magnesium, pleural fluid
    Magnesium Pleurapunktat
    Kalium im Harn
    Ferritin
    Vitamin K level
    K
    Mg
    mg/dL
    Ca 19-9
    creatinine kinase
    Creatinine clearance
    Potassium, whole blood
    Total protein
    level
"""


@pytest.mark.parametrize("line", [line.strip() for line in NAMED.strip().splitlines()])
def test_names(line: str) -> None:
    name, _, analyte = line.partition(" = ")
    assert LAB_CODES.by_name(name) is Analyte(analyte)


@pytest.mark.parametrize("name", [line.strip() for line in NOT_NAMED.strip().splitlines()])
def test_what_is_no_name(name: str) -> None:
    assert LAB_CODES.by_name(name) is None


@given(st.text(max_size=80))
def test_no_name_raises_and_folding_is_done_once(name: str) -> None:
    assert LAB_CODES.by_name(name) in {None, *Analyte}
    assert fold(fold(name)) == fold(name)


def test_names_of_the_table_say_what_it_says() -> None:
    assert {name: LAB_CODES.by_name(name) for name in LAB_CODES.names} == dict(LAB_CODES.names)
