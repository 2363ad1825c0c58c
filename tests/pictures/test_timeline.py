"""The timeline of made-up charts: every element that a chart calls for is on it, in words and shapes a reader can check."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from service.cds.i18n import Wording
from service.logic.model import Indicator, Ingredient, PatientSnapshot
from service.pictures import NARROW, WIDE, Spoke, Timeline, table_html, timeline
from tests.vignettes.patients import NOW, judged, patient

SVG = "{http://www.w3.org/2000/svg}"
ISOLATES = re.compile("[\u2066-\u2069]")


def drawn(
    snapshot: PatientSnapshot, language: str = "en", width: int = WIDE, moments: tuple[Spoke, ...] = ()
) -> Timeline:
    return timeline(judged(snapshot).case, Wording(language, UTC), moments, width)


def tree(picture: Timeline) -> Any:
    return ET.fromstring(picture.alone)  # noqa: S314  our own


def texts(picture: Timeline) -> list[str]:
    """The words on the picture, line by line."""
    return [ISOLATES.sub("", "".join(element.itertext())) for element in tree(picture).iter(f"{SVG}text")]


def hints(picture: Timeline) -> list[str]:
    return [ISOLATES.sub("", element.text or "") for element in tree(picture).iter(f"{SVG}title")]


FALLING = patient(
    "mg 0.85 mmol/L, -42d, range 0.70-1.00", "mg 0.70 mmol/L, -20d, range 0.70-1.00",
    "mg 0.55 mmol/L, -3h, range 0.70-1.00", drugs=["furosemide, oral, since -41d"], setting="clinic",
)  # fmt: skip
FULL = patient(
    "mg 1.4 mg/dL, -70h", "mg 0.9 mg/dL, -20h", "mg 1.9 mg/dL, -2h", "rbc_mg 4.5 mg/dL, -60h",
    "ionised_mg 0.40 mmol/L, -60h",
    "k 2.9 mmol/L, -46h", "k 3.8 mmol/L, -2h", "ionised_ca 1.05 mmol/L, -46h", "creatinine 80 umol/L, -70h",
    "creatinine 250 umol/L, -22h", "creatinine 260 umol/L, -2h", "qtc 520 ms, -46h",
    drugs=["magnesium sulfate, iv, 2 g, given -44h", "furosemide, iv, since -60h", "magnesium oxide, oral, since -1d",
           "levofloxacin, oral, since -20h"],
    setting="ward",
)  # fmt: skip


def test_the_sentence_says_how_magnesium_went_in_what_time_on_what_and_whether_it_was_replaced() -> None:
    said = (
        "Magnesium fell from 0.85 to 0.55 mmol/L in 6 weeks on furosemide; no magnesium given or ordered on this chart."
    )
    picture = drawn(FALLING)
    assert picture.sentence == said
    assert tree(picture).find(f"{SVG}title").text == said


@pytest.mark.parametrize(
    ("labs", "said"),
    [
        (("mg 0.60 mmol/L, -40d", "mg 0.80 mmol/L, -1d"), "rose from 0.60 to 0.80 mmol/L in 6 weeks"),
        (("mg 0.60 mmol/L, -40h", "mg 0.60 mmol/L, -1h"), "is 0.60 mmol/L, as it was 39 h before"),
        (
            ("mg 0.80 mmol/L, -9d", "mg 0.40 mmol/L, -5d", "mg 0.70 mmol/L, -1d"),
            "fell from 0.80 to 0.40, then rose to 0.70",
        ),
        (
            ("mg 0.60 mmol/L, -9d", "mg 1.40 mmol/L, -5d", "mg 0.70 mmol/L, -1d"),
            "rose from 0.60 to 1.40, then fell to 0.70",
        ),
        (("mg 0.60 mmol/L, -2h",), "0.60 mmol/L, the only reliable result of this time"),
        ((), "No serum magnesium on file."),
    ],
)
def test_a_course_in_words(labs: tuple[str, ...], said: str) -> None:
    assert said in drawn(patient(*labs)).sentence


ELEMENTS = {
    "serum magnesium": "Serum magnesium · mg/dL · band: default range",
    "erythrocyte magnesium": "Erythrocyte magnesium · mg/dL",
    "ionised magnesium": "Ionised magnesium · mmol/L",
    "potassium": "Potassium · mmol/L",
    "calcium, said which": "Ionised calcium · mmol/L",
    "creatinine": "Creatinine · µmol/L",
    "eGFR": "eGFR, reported or computed from creatinine · mL/min/1.73 m²",
    "kidney gate": "Kidney gate · acute kidney injury",
    "gate open": "open",
    "gate closed": "closed",
    "QTc": "QTc interval · ms",
    "limit of QTc": "long from 500",
    "severe limit": "severe below 1.0",
    "wasting": "Drugs that waste magnesium",
    "containing": "Drugs that contain magnesium",
    "bound": "Drugs that magnesium binds in the gut",
    "drug": "furosemide",
    "grams of a dose": "2 g",
    "now": "now",
    "lowest": "0.9",
    "first": "1.4",
    "last": "1.9",
    "low end of the band": "1.7",
    "high end of the band": "2.4",
}


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("width", [WIDE, NARROW, 254])
def test_each_element_is_on_the_picture(element: str, width: int) -> None:
    shown = " ".join(texts(drawn(FULL, width=width)))  # where there is no room a heading has two lines
    assert all(part in shown for part in ELEMENTS[element].split(" · "))


@pytest.mark.parametrize(
    ("lab", "why"),
    [
        ("mg 0.90 mmol/L, -1h, haemolysed", "haemolysed specimen"),
        ("mg 0.90 mmol/L, -1h", "drawn during intravenous magnesium or less than 6 h after it"),
        ("mg 1.9, -1h", "came without a unit"),
        ("mg 1.9 furlong, -1h", "unknown unit"),
    ],
)
def test_an_unreliable_result_is_hollow_off_the_trace_and_says_why(lab: str, why: str) -> None:
    given = ["magnesium sulfate, iv, 2 g, given -3h"] if "drawn" in why else []
    sound = ("mg 0.60 mmol/L, -50h", "mg 0.55 mmol/L, -30h")
    picture = drawn(patient(*sound, lab, drugs=given, setting="ward"))
    assert any(why in hint for hint in hints(picture))
    assert any(why in row.remark for row in picture.table)
    trace = [line for line in tree(picture).iter(f"{SVG}line") if line.get("stroke-width") == "1.5"]
    assert len(trace) == 1
    assert len(list(tree(picture).iter(f"{SVG}circle"))) == 2 + ("unit" in why)
    assert "Hollow: unreliable, the reason is in the table" in " ".join(texts(picture))


def test_the_band_says_whose_range_it_is() -> None:
    own = " ".join(texts(drawn(patient("mg 0.72 mmol/L, -1h, range 0.75-1.05"))))
    default = " ".join(texts(drawn(patient("mg 0.72 mmol/L, -1h"))))
    flag = " ".join(texts(drawn(patient("mg 0.72 mmol/L, -1h, flag L"))))
    assert "band: range of the laboratory" in own
    assert "0.75" in own
    assert "band: default range, the laboratory gave none" in default
    assert "no range: the laboratory gave only a flag" in flag


@pytest.mark.parametrize(("unit", "low"), [("mmol/L", "0.40"), ("mg/dL", "1.0"), ("mEq/L", "0.8")])
def test_limits_stand_in_the_unit_of_the_laboratory(unit: str, low: str) -> None:
    value = {"mmol/L": "0.45", "mg/dL": "1.1", "mEq/L": "0.9"}[unit]
    shown = texts(drawn(patient(f"mg {value} {unit}, -1h")))
    assert f"severe below {low}" in shown
    assert any(f"Serum magnesium · {unit}" in line for line in shown)


def test_other_units_are_converted_to_that_of_the_newest_result_and_listed_as_reported() -> None:
    picture = drawn(patient("mg 1.7 mg/dL, -2d", "mg 0.55 mmol/L, -1h"))
    assert "fell from 0.70 to 0.55 mmol/L" in picture.sentence
    assert "1.7 mg/dL" in [row.value for row in picture.table]


def test_toxic_limits_appear_where_magnesium_is_high() -> None:
    shown = texts(drawn(patient("mg 3.2 mmol/L, -1h")))
    assert {"moderately high from 2.0", "severely high from 3.0"} <= set(shown)
    assert "severe below 0.40" not in shown


def test_total_calcium_is_corrected_where_an_albumin_allows_and_hollow_where_none_does() -> None:
    picture = drawn(patient("ca 2.0 mmol/L, -1h", "albumin 30 g/L, -1h", "ca 2.1 mmol/L, -20d"))
    rows = {row.value: row.remark for row in picture.table if row.what == "calcium, corrected for albumin"}
    assert rows["2.20 mmol/L corrected (measured 2.0 mmol/L)"] == ""
    assert "no albumin" in rows["2.1 mmol/L"]


def test_bars_tell_taken_from_ordered_from_unknown() -> None:
    picture = drawn(
        patient(
            "mg 0.6 mmol/L, -1h", drugs=["furosemide, since -9d", "omeprazole, perhaps taken, since -9d"],
            orders=["hydrochlorothiazide"], hook="order-sign",
        )
    )  # fmt: skip
    said = {row.what: row.when for row in picture.table}
    assert said["furosemide"].endswith(", taken")
    assert said["omeprazole"].endswith(", not known whether taken")
    assert said["hydrochlorothiazide"].endswith(", ordered, not known to be taken")
    notes = " ".join(texts(picture))
    assert "Hatched bar" in notes
    assert "Dotted bar" in notes


def test_marks_show_where_cards_spoke_by_shape_and_word() -> None:
    spoke = tuple(
        Spoke(NOW - timedelta(hours=hours), level, f"card of {hours} h")
        for hours, level in ((40, Indicator.CRITICAL), (20, Indicator.WARNING), (2, Indicator.INFO))
    )
    picture = drawn(FULL, moments=spoke)
    assert "Cards · ▲ critical  ◆ warning  ○ information" in texts(picture)
    assert {"card of 40 h", "card of 20 h", "card of 2 h"} <= {row.remark for row in picture.table}
    assert any("critical" in hint and "card of 40 h" in hint for hint in hints(picture))


def test_without_data_it_says_so_and_draws_no_empty_box() -> None:
    picture = drawn(patient())
    assert texts(picture)[0] == "No serum magnesium on file."
    assert not list(tree(picture).iter(f"{SVG}rect"))
    unread = drawn(patient(unavailable={"medicationRequests": "x", "medicationStatements": "x", "magnesium": "x"}))
    assert texts(unread)[0] == "Serum magnesium could not be read."
    assert "no bar does not mean that none is taken" in " ".join(texts(unread))


def test_what_is_not_drawn_is_counted() -> None:
    picture = drawn(patient("mg 0.7 mmol/L, -800d", "mg 0.6 mmol/L, -1d", "mg 0.9 mmol/L, no time", setting="clinic"))
    notes = " ".join(texts(picture))
    assert "Older results, in the table only: 1." in notes
    assert "Results without a time, not drawn: 1." in notes
    assert "0.7 mmol/L" in [row.value for row in picture.table]


def test_in_hospital_it_shows_hours_and_at_home_months() -> None:
    labs = [f"mg 0.7 mmol/L, -{hours}h" for hours in (2, 26, 50, 300, 5000)]
    assert any(re.fullmatch(r"\d\d:\d\d", words) for words in texts(drawn(patient(*labs, setting="ward"))))
    assert any(re.fullmatch(r"\w{3} \d{4}", words) for words in texts(drawn(patient(*labs, setting="clinic"))))


def test_it_needs_no_style_and_no_script_of_the_page() -> None:
    picture = drawn(FULL)
    assert not re.search(r"\sstyle=|<style|<script|\son\w+=|href", picture.svg)
    assert picture.svg.startswith("<svg ")
    assert "prefers-color-scheme:dark" in picture.alone


def test_two_pictures_on_a_page_share_no_id() -> None:
    ids = [re.findall(r' id="(\w+)"', drawn(each).svg) for each in (FULL, FALLING)]
    assert len({one for found in ids for one in found}) == 4


def test_the_table_is_escaped_and_has_heads() -> None:
    picture = drawn(FALLING)
    html = table_html(picture.table, Wording("en", UTC), "<b>")
    assert "<caption>&lt;b&gt;</caption>" in html
    assert html.count("<tr>") == len(picture.table) + 1
    assert html.count('scope="row"') == len(picture.table)


def test_in_persian_texts_run_right_to_left_and_time_left_to_right() -> None:
    picture = drawn(FALLING, "fa")
    lines = {ISOLATES.sub("", "".join(t.itertext())): t for t in tree(picture).iter(f"{SVG}text")}
    title = next(element for words, element in lines.items() if words.startswith("منیزیم سرم"))
    assert title.get("text-anchor") == "end"
    assert float(title.get("x")) > WIDE - 50
    first, last = (float(lines[value].get("x")) for value in ("0.85", "0.55"))
    assert first < last


def test_an_ended_order_of_unknown_end_is_drawn_only_where_it_began_and_listed_always() -> None:
    old, recent = (
        drawn(patient("mg 0.6 mmol/L, -40d", "mg 0.6 mmol/L, -1h", drugs=[f"furosemide, stopped, since -{days}d"]))
        for days in (300, 30)
    )
    assert "furosemide" not in texts(old)
    assert "furosemide" in texts(recent)
    for picture in (old, recent):
        (row,) = (row for row in picture.table if row.what == "furosemide")
        assert row.when.endswith("not known, not known whether taken")


def test_orders_that_overlap_are_one_bar() -> None:
    picture = drawn(patient("mg 0.6 mmol/L, -1h", drugs=["furosemide, since -9d", "furosemide, since -5d, until -2d"]))
    assert len([row for row in picture.table if row.what == "furosemide"]) == 1


def test_the_gate_of_now_is_one_with_the_same_gate_before_it() -> None:
    strip = [
        row.value
        for row in drawn(patient("mg 0.6 mmol/L, -1h", "creatinine 80 umol/L, -2h")).table
        if row.what == "kidney gate"
    ]
    assert strip == ["open"]
    stale = [
        row.value
        for row in drawn(patient("mg 0.6 mmol/L, -1h", "creatinine 80 umol/L, -300d")).table
        if row.what == "kidney gate"
    ]
    assert stale == ["unknown", "open"]


def test_the_gate_is_judged_by_what_was_known_then() -> None:
    labs = (
        "mg 0.6 mmol/L, -1h",
        "creatinine 80 umol/L, -72h",
        "creatinine 300 umol/L, -40h",
        "creatinine 80 umol/L, -2h",
    )
    strip = [row.value for row in drawn(patient(*labs, setting="ward")).table if row.what == "kidney gate"]
    assert strip == ["open", "closed", "open"]


def test_the_sentence_owns_that_the_newest_result_is_doubtful() -> None:
    said = drawn(patient("mg 0.60 mmol/L, -50h", "mg 0.55 mmol/L, -30h", "mg 1.9, -1h")).sentence
    assert said.endswith(" The newest result is not reliable: came without a unit.")
    assert "0.60 to 0.55" in said


def test_no_isolated_run_is_torn_between_lines() -> None:
    lines = [element.text or "" for element in tree(drawn(FULL, "fa", 254)).iter(f"{SVG}text")]
    assert all(line.count("\u2066") + line.count("\u2067") == line.count("\u2069") for line in lines)


def test_what_no_document_may_hold_is_replaced() -> None:
    snapshot = patient("mg 0.7 mmol/L, -9d", "mg 0.6 mmol/L, -1h", drugs=["furosemide, since -9d"])
    (drug,) = snapshot.medications
    hostile = replace(drug, ingredients=(Ingredient("\ud800<script>\x00", "loop_diuretic"),))
    picture = drawn(replace(snapshot, medications=(hostile,)))
    assert "\ufffd<script>" in picture.sentence
    assert "<script>" not in picture.svg
    picture.svg.encode()
