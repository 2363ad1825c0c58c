"""Whatever stands in a chart, the picture is well-formed, safe, inside its frame, and its labels do not cover each other."""

from __future__ import annotations

import re
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.cds.i18n import LANGUAGES, Wording
from service.logic.case import Case
from service.logic.knowledge import load
from service.logic.model import (
    Analyte,
    Exposure,
    Indicator,
    Ingredient,
    LabResult,
    Medication,
    PartialDateTime,
    PatientSnapshot,
    Problem,
    Quantity,
    ReferenceRange,
)
from service.logic.units import FACTORS, convert
from service.pictures import Spoke, table_html, timeline
from service.pictures.svg import length
from tests.vignettes.patients import NOW

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = st.sampled_from(
    [
        "<script>alert(1)</script>",
        '" onload="x',
        "a & b",
        "]]>",
        "\x00\x08\ud800",
        "\u202eevil",
        "منیزیم",
        "x" * 300,
        "",
        "]]&gt;",
    ]
)
SHOWN = [
    Analyte.SERUM_MAGNESIUM, Analyte.IONISED_MAGNESIUM, Analyte.RBC_MAGNESIUM, Analyte.POTASSIUM, Analyte.CALCIUM,
    Analyte.ALBUMIN, Analyte.IONISED_CALCIUM, Analyte.CREATININE, Analyte.EGFR, Analyte.QTC,
]  # fmt: skip
AGO = st.integers(min_value=0, max_value=60 * 24 * 900).map(lambda minutes: timedelta(minutes=minutes))
DAYS = st.sampled_from([timedelta(0), timedelta(hours=24), timedelta(days=30)])
VALUES = st.decimals(min_value="0.01", max_value="900", places=2)


@st.composite
def results(draw: Any) -> LabResult:
    analyte = draw(st.sampled_from(SHOWN))
    unit, value = draw(st.sampled_from(sorted(FACTORS[analyte]))), draw(VALUES)
    begun = NOW - draw(AGO)
    problem = draw(st.sampled_from([None, None, None, Problem.NO_UNIT, Problem.IMPLAUSIBLE]))
    limits = draw(
        st.sampled_from([None, ReferenceRange(value / 2, value * 2, unit), ReferenceRange(None, value, unit)])
    )
    return LabResult(
        reference=draw(HOSTILE), analyte=analyte, reported=None if problem else Quantity(value, unit),
        value=None if problem else convert(value, unit, analyte), taken=PartialDateTime(begun, begun + draw(DAYS)),
        range=limits, comparator=draw(st.sampled_from(["", "<", ">"])), problem=problem, raw=draw(HOSTILE),
        haemolysed=draw(st.booleans()), flag=draw(st.sampled_from(["", "L"])),
    )  # fmt: skip


@st.composite
def drugs(draw: Any) -> Medication:
    kinds = ["loop_diuretic", "ppi", "mg_preparation", "quinolone", "iron"]
    moments = st.one_of(st.none(), AGO.map(lambda ago: PartialDateTime(NOW - ago, NOW - ago)))
    reference = draw(st.sampled_from(["MedicationRequest/", "MedicationStatement/", "MedicationAdministration/"]))
    amount = draw(st.one_of(st.none(), VALUES))
    return Medication(
        reference=reference + draw(HOSTILE), name=draw(HOSTILE), exposure=draw(st.sampled_from(Exposure)),
        ingredients=(Ingredient(draw(HOSTILE), draw(st.sampled_from(kinds)), amount),),
        recognised_by=draw(st.sampled_from(["code", "name"])), start=draw(moments), end=draw(moments),
        route=draw(st.sampled_from(["", "oral", "iv"])),
    )  # fmt: skip


CHARTS = st.builds(
    PatientSnapshot,
    reference=HOSTILE, as_of=st.just(NOW), labs=st.lists(results(), max_size=25).map(tuple),
    medications=st.lists(drugs(), max_size=8).map(tuple), inpatient=st.sampled_from([None, True, False]),
    birth=st.sampled_from([None, PartialDateTime(NOW - timedelta(days=18000), NOW - timedelta(days=18000))]),
)  # fmt: skip
MARKS = st.lists(st.builds(Spoke, AGO.map(lambda ago: NOW - ago), st.sampled_from(Indicator), HOSTILE), max_size=5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CHARTS, MARKS, st.sampled_from(LANGUAGES), st.sampled_from([240, 320, 720, 1600]))
def test_any_chart_gives_a_sound_picture(chart: PatientSnapshot, marks: list[Spoke], language: str, width: int) -> None:
    wording = Wording(language, UTC)
    picture = timeline(Case(chart, load()), wording, marks, width)
    root = ET.fromstring(picture.alone)  # noqa: S314  our own
    ET.fromstring(picture.svg)  # noqa: S314
    ET.fromstring(table_html(picture.table, wording, picture.sentence))  # noqa: S314
    allowed = {"svg", "title", "desc", "style", "g", "text", "tspan", "line", "rect", "circle", "path"}
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= allowed
    assert not any(name.startswith("on") or name in {"href", "style"} for e in root.iter() for name in e.attrib)
    assert picture.sentence
    assert "\ud800" not in f"{picture.sentence}{picture.table}{picture.svg}"
    assert inside(root)


NUMBERS = re.compile(r"-?\d+(?:\.\d+)?")


def inside(root: Any) -> bool:
    """Every place lies within the frame."""
    _, _, wide, high = map(float, root.get("viewBox").split())
    xs = [float(e.get(name)) for e in root.iter() for name in ("x", "x1", "x2", "cx") if e.get(name)]
    ys = [float(e.get(name)) for e in root.iter() for name in ("y", "y1", "y2", "cy") if e.get(name)]
    return all(-1 <= x <= wide + 1 for x in xs) and all(-1 <= y <= high + 1 for y in ys)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(AGO, st.decimals(min_value="0.2", max_value="3", places=2)), min_size=1, max_size=20))
def test_numbers_do_not_cover_each_other(row: list[tuple[timedelta, Decimal]]) -> None:
    labs = [
        LabResult(
            f"Observation/{n}",
            Analyte.SERUM_MAGNESIUM,
            Quantity(value, "mmol/L"),
            value,
            PartialDateTime(NOW - ago, NOW - ago),
        )
        for n, (ago, value) in enumerate(row)
    ]
    picture = timeline(Case(PatientSnapshot("Patient/p", NOW, labs=tuple(labs)), load()), Wording("en", UTC))
    words = [e for e in ET.fromstring(picture.alone).iter(f"{SVG}text") if NUMBERS.fullmatch("".join(e.itertext()))]  # noqa: S314
    boxes = [box(element) for element in words]
    assert boxes
    for place, one in enumerate(boxes):
        for other in boxes[place + 1 :]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, picture.svg


def box(element: Any) -> tuple[float, float, float, float]:
    wide = length("".join(element.itertext()), 11.0)
    x, y = float(element.get("x")), float(element.get("y"))
    left = {"start": x, "middle": x - wide / 2, "end": x - wide}[element.get("text-anchor")]
    return left + 0.1, y - 9 + 0.1, left + wide - 0.1, y + 2 - 0.1
