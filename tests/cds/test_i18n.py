"""Sentences in the reader's language: numbers, days, units, lists; chart text stays text; who is answered in what."""

from __future__ import annotations

import unicodedata
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from service.cds.i18n import LANGUAGES, Wording, negotiate
from service.logic.message import Message, Value
from service.logic.model import Analyte
from service.logic.units import FACTORS

ENGLISH, RUSSIAN, PERSIAN = (Wording(language, UTC) for language in LANGUAGES)
# Analytes whose results are quoted with value and unit.
QUOTED = (
    *(Analyte.SERUM_MAGNESIUM, Analyte.RBC_MAGNESIUM, Analyte.IONISED_MAGNESIUM, Analyte.CREATININE, Analyte.EGFR),
    *(Analyte.POTASSIUM, Analyte.CALCIUM, Analyte.ALBUMIN, Analyte.BICARBONATE, Analyte.QTC),
)
ISOLATES = "\u2066\u2067\u2069"
BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def said(words: Value, wording: Wording = ENGLISH) -> str:
    return wording.markdown(Message("{words}", words=words))


# ---- numbers, days, units, lists --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "english", "russian"),
    [("0.70", "0.70", "0,70"), ("12", "12", "12"), ("1E+3", "1000", "1000"), ("1234.5", "1234.5", "1234,5")],
)
def test_digits_stay_and_the_decimal_sign_is_that_of_the_language(number: str, english: str, russian: str) -> None:
    assert said(Decimal(number)) == english
    assert said(Decimal(number), RUSSIAN) == russian


def test_a_version_or_a_drug_keeps_its_point_in_every_language() -> None:
    assert [said("KCl 7.45 %", w).strip(ISOLATES) for w in (ENGLISH, RUSSIAN, PERSIAN)] == ["KCl 7.45 %"] * 3


@pytest.mark.parametrize(
    ("wording", "day"),
    [
        (ENGLISH, "3 Nov 2026"),
        (RUSSIAN, "03.11.2026"),
        (PERSIAN, "12 آبان 1405، \u20662026-11-03\u2069"),
    ],
    ids=LANGUAGES,
)
def test_a_day_is_written_as_charts_of_the_language_write_it(wording: Wording, day: str) -> None:
    assert said(date(2026, 11, 3), wording) == day


@pytest.mark.parametrize(
    ("gregorian", "jalali"),
    [
        (date(2024, 3, 19), "29 اسفند 1402"),
        (date(2024, 3, 20), "1 فروردین 1403"),
        (date(2025, 3, 20), "30 اسفند 1403"),  # a leap year
        (date(2026, 3, 10), "19 اسفند 1404"),
    ],
)
def test_a_persian_day_is_that_of_the_jalali_calendar(gregorian: date, jalali: str) -> None:
    assert said(gregorian, PERSIAN).split("،")[0] == jalali


def test_the_jalali_day_is_that_of_the_readers_zone() -> None:
    midnight = datetime(2026, 3, 10, 22, tzinfo=UTC)
    assert said(midnight, Wording("fa", ZoneInfo("Asia/Tehran"))) == "20 اسفند 1404، \u20662026-03-11\u2069، 01:30"


# ---- direction ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "isolated"),
    [
        ("منیزیم 0.55 mmol/L (3 ساعت)", "منیزیم [0.55 mmol/L] (3 ساعت)"),
        ("مقدار <0.4 mg/dL: قطع شود", "مقدار [<0.4 mg/dL]: قطع شود"),
        ("eGFR 30 mL/min/1.73 m²، QTc", "[eGFR 30 mL/min/1.73 m²]، [QTc]"),
        ("از 0.70 تا 1.05", "از 0.70 تا 1.05"),
        ("Hedayati 2024، ESC 2022.", "[Hedayati 2024]، [ESC 2022]."),
    ],
)
def test_a_value_keeps_its_order_in_a_right_to_left_sentence(words: str, isolated: str) -> None:
    assert PERSIAN.plain(Message(words)) == isolated.replace("[", "\u2066").replace("]", "\u2069")
    assert RUSSIAN.plain(Message(words)) == words


def test_a_drug_of_the_chart_is_one_piece() -> None:
    assert PERSIAN.plain(Message("دارو: {drug}.", drug="Magne B6 (forte) 5 mg")) == (
        "دارو: \u2066Magne B6 (forte) 5 mg\u2069."
    )


def test_a_persian_line_is_right_to_left_in_any_box() -> None:
    assert PERSIAN.line("منیزیم") == "\u2067منیزیم\u2069"
    assert ENGLISH.line("magnesium") == "magnesium"


@pytest.mark.parametrize(
    ("zone", "moment"),
    [("UTC", "3 Nov 2026 21:30"), ("Europe/Moscow", "4 Nov 2026 00:30"), ("Asia/Tehran", "4 Nov 2026 01:00")],
)
def test_a_moment_is_told_in_the_readers_zone(zone: str, moment: str) -> None:
    assert said(datetime(2026, 11, 3, 21, 30, tzinfo=UTC), Wording("en", ZoneInfo(zone))) == moment


@pytest.mark.parametrize(
    ("code", "english", "russian"),
    [
        ("mmol/L", "mmol/L", "ммоль/л"),
        ("mg/dL", "mg/dL", "мг/дл"),
        ("meq/L", "mEq/L", "мЭкв/л"),
        ("umol/L", "µmol/L", "мкмоль/л"),
        ("ms", "ms", "мс"),
    ],
)
def test_a_unit_is_written_as_the_reader_writes_it(code: str, english: str, russian: str) -> None:
    result = Message("{value} {unit}", value=Decimal("1.9"), unit=code)
    assert ENGLISH.plain(result) == f"1.9 {english}"
    assert RUSSIAN.plain(result) == f"1,9 {russian}"


@pytest.mark.parametrize("code", sorted({unit for analyte in QUOTED for unit in FACTORS[analyte]}))
def test_no_unit_of_a_quoted_result_stays_in_latin_letters(code: str) -> None:
    result = Message("{value} {unit}", value=Decimal(1), unit=code)
    assert not any("LATIN" in unicodedata.name(sign, "") for sign in RUSSIAN.plain(result))


def test_only_a_unit_is_translated_as_a_unit() -> None:
    assert said("ms", RUSSIAN) == "ms"


def test_a_list_is_joined_as_the_language_joins() -> None:
    drugs = ("furosemide", Message("serum magnesium"), Decimal("0.5"))
    assert said(drugs) == "furosemide, serum magnesium, 0.5"
    assert said(drugs, RUSSIAN) == "furosemide, магний сыворотки, 0,5"
    assert said(drugs, PERSIAN).startswith(f"\u2066furosemide\u2069{PERSIAN.translate(', ')}")


def test_a_sentence_within_a_sentence_is_translated_too() -> None:
    gate = Message("acute kidney injury")
    assert RUSSIAN.plain(Message("For doses: {gate}.", gate=gate)).endswith(": острое повреждение почек.")


@pytest.mark.parametrize("wording", [RUSSIAN, PERSIAN], ids=["ru", "fa"])
def test_a_message_without_translation_appears_in_english(wording: Wording) -> None:
    said = wording.plain(Message("No such message: {what}.", what="x"))
    assert "".join(sign for sign in said if sign not in ISOLATES) == "No such message: x."


@pytest.mark.parametrize(
    ("drug", "russian", "persian"),
    [
        ("furosemide", "фуросемид", "فوروزماید"),
        ("Furosemide", "фуросемид", "فوروزماید"),
        ("Furosemide 40 mg tablet", "Furosemide 40 mg tablet", "\u2066Furosemide 40 mg tablet\u2069"),
        ("no such drug", "no such drug", "\u2066no such drug\u2069"),
    ],
)
def test_an_ingredient_is_written_as_the_country_writes_it(drug: str, russian: str, persian: str) -> None:
    assert ENGLISH.plain(Message("{drug}", drug=drug)) == drug
    assert RUSSIAN.plain(Message("{drug}", drug=drug)) == russian
    assert PERSIAN.plain(Message("{drug}", drug=drug)) == persian


# ---- what comes from the chart ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("Magne B6 **forte**", r"Magne B6 \*\*forte\*\*"),
        ("[free](https://evil.example)", r"\[free\](https:\//evil.example)"),
        ("![x](https://evil.example/x.png)", r"\!\[x\](https:\//evil.example/x.png)"),
        ("write to a.b@evil.example", "write to a.b@ evil.example"),
        ("mailto:a@evil.example", "mailto:a@ evil.example"),
        ("see www.evil.example", r"see www\.evil.example"),
        ("<script>alert(1)</script>", r"\<script\>alert(1)\</script\>"),
        ("&lt;b&gt;", r"\&lt;b\&gt;"),
        ("`code` | # _it_ ~~no~~", r"\`code\` \| \# \_it\_ \~\~no\~\~"),
        ("back\\slash", r"back\\slash"),
        ("{mg} {value!r} {0}", r"\{mg\} \{value\!r\} \{0\}"),
    ],
)
def test_chart_text_cannot_become_markup(words: str, shown: str) -> None:
    assert said(words) == shown
    assert said((Message("{drug}", drug=words),)) == shown


def test_our_own_words_are_not_escaped() -> None:
    text = Message("{dose} [{source}]", dose=Message("Check glucose."), source="a*b")
    assert ENGLISH.markdown(text) == r"Check glucose. [a\*b]"


def test_plain_text_shows_chart_text_as_it_is() -> None:
    assert ENGLISH.plain(Message("{drug}.", drug="<b>*x*</b> {mg}")) == "<b>*x*</b> {mg}."


@pytest.mark.parametrize(
    "words", ["a\nb", "a\r\n\r\nb", "a\tb", "a\x00b", "a\x1b[0mb", "a\u2028b", "a\ufeffb", " a  b "]
)
def test_chart_text_stays_on_one_line_without_control_characters(words: str) -> None:
    for shown in (said(words), ENGLISH.plain(Message("{words}", words=words))):
        assert shown.split(" ")[0] == "a"
        assert shown.endswith("b")
        assert shown.isprintable()


@pytest.mark.parametrize("control", BIDI_CONTROLS, ids=lambda sign: f"U+{ord(sign):04X}")
def test_chart_text_cannot_turn_the_direction_of_a_sentence(control: str) -> None:
    assert said(f"10{control}mg") == "10 mg"


def test_letters_of_other_scripts_and_their_joiners_stay() -> None:
    assert said("Магне B6, می\u200cشود, Ω-3") == "Магне B6, می\u200cشود, Ω-3"


# ---- the language of an answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("ru", "ru"),
        ("RU", "ru"),
        ("fa-IR", "fa"),
        ("en-US,ru;q=0.8", "en"),
        ("en-US;q=0.5,ru;q=0.8", "ru"),
        ("en-US; q=0.5, ru; q=0.8", "ru"),
        ("ru;Q=0.3, fa;Q=0.4", "fa"),
        ("de, fr;q=0.9, fa;q=0.1", "fa"),
        ("ru;q=0.7, fa;q=0.7", "ru"),
        ("ru;q=0, fa", "fa"),
        ("ru;q=0.000", "en"),
        ("de", "en"),
        ("*", "en"),
        ("fa;q=0.2, *;q=0.1", "fa"),
        ("", "en"),
        (",,;", "en"),
        (";q=1", "en"),
        ("ru;q=high", "en"),
        ("ru;q=-1", "en"),
        ("ru;q=nan", "en"),
        ("russian", "en"),
        ("../../etc/passwd", "en"),
        (",".join(["de"] * 20 + ["ru"]), "en"),
    ],
)
def test_the_language_that_the_reader_prefers_among_those_offered(accepted: str, language: str) -> None:
    assert negotiate(accepted, "en") == language


def test_without_a_wish_the_default_of_the_site_stands() -> None:
    assert [negotiate(accepted, "fa") for accepted in ("", "*", "de")] == ["fa", "fa", "fa"]
