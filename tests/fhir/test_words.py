"""The readers of words: numbers, doses, durations, rates, strengths, haemolysis (cases in words.toml), and any text."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.fhir import primitives
from service.fhir.dosage_words import (
    ambiguous_number,
    concentration,
    dose_in_words,
    minutes_in_words,
    rate_in_words,
    strength_in_name,
)
from service.fhir.haemolysis import says_haemolysed
from service.terminology.number_words import NUMBER, ascii_digits, read_number

CASES = tomllib.loads(Path(__file__).with_name("words.toml").read_text("utf-8"))


def decimal(spelled: str) -> Decimal | None:
    return Decimal(spelled) if spelled else None


@pytest.mark.parametrize(("text", "value"), CASES["numbers"].items())
def test_a_number_in_words(text: str, value: str) -> None:
    plain = ascii_digits(text)
    first = re.search(NUMBER, plain)
    assert first is not None
    assert read_number(first[0], plain) == decimal(value)
    assert bool(ambiguous_number(plain)) is (value == "") or "mg" not in plain


@pytest.mark.parametrize(("text", "dose"), CASES["doses"].items())
def test_a_dose_in_words(text: str, dose: list[str]) -> None:
    found = dose_in_words(ascii_digits(text))
    assert (found.amount, found.unit, found.per_day) == (decimal(dose[0]), dose[1], decimal(dose[2]))


@pytest.mark.parametrize(("text", "minutes"), CASES["durations"].items())
def test_a_duration_in_words(text: str, minutes: str) -> None:
    assert minutes_in_words(ascii_digits(text)) == decimal(minutes)


@pytest.mark.parametrize(("text", "rate"), CASES["rates"].items())
def test_a_rate_in_words(text: str, rate: list[str]) -> None:
    found = rate_in_words(ascii_digits(text))
    per = 1 if "min" in text else 60
    assert found == ((Decimal(rate[0]) / per, rate[1]) if rate[0] else None)


@pytest.mark.parametrize(("text", "mg"), CASES["concentrations"].items())
def test_a_concentration_in_words(text: str, mg: str) -> None:
    assert concentration([ascii_digits(text)]) == decimal(mg)


@pytest.mark.parametrize(("name", "mg"), CASES["strengths"].items())
def test_the_strength_in_a_name(name: str, mg: str) -> None:
    assert strength_in_name(ascii_digits(name)) == decimal(mg)


@pytest.mark.parametrize("text", CASES["haemolysis"]["affirmed"])
def test_haemolysis_affirmed(text: str) -> None:
    assert says_haemolysed(text) is True


@pytest.mark.parametrize("text", CASES["haemolysis"]["denied"])
def test_haemolysis_denied(text: str) -> None:
    assert says_haemolysed(text) is False


@pytest.mark.parametrize("text", CASES["haemolysis"]["not_judged"])
def test_a_haemolysis_index_without_a_limit(text: str) -> None:
    assert says_haemolysed(text) is None


# ---- numbers that are sent ------------------------------------------------------------------------------------------

SENT: list[tuple[object, str | None]] = [
    ("0.62", "0.62"), ("1.260", "1.260"), ("1e-3", "0.001"), ("-0.5", "-0.5"), ("1,26", "1.26"), ("-1,26", "-1.26"),
    ("1,200", None), ("۱٫۲", "1.2"), (" 4 ", "4"), ("", None), ("four", None), ("1.2 mg", None), ("9" * 61, None),
    ("NaN", None), ("Infinity", None), (True, None), (None, None), (1.2, "1.2"), (7, "7"), (float("nan"), None),
    (1.2000000000000002, "1.2"), (Decimal("1.2000000000000001776356839400250464677810668945312"), "1.2"),
    (Decimal("123456789012345"), "123456789012345"), (Decimal("1E+19"), "1E+19"), (Decimal("1E+20"), None),
    (Decimal("1E-19"), "1E-19"), (Decimal("1E-20"), None), (Decimal("sNaN"), None),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "value"), SENT, ids=range(len(SENT)))
def test_a_number_that_is_sent(sent: object, value: str | None) -> None:
    assert str(primitives.number(sent)) == str(value)


# ---- any words ------------------------------------------------------------------------------------------------------

PIECES = [
    "1", "400", "1,000", "0,125", "1.000", "2 400", "½", "۱٬۰۰۰", "٫", ",", ".", "'", "\u00a0", "mg", "g", "мг", "mL", "%",
    "/", "-", "to", "tablets", "of", "x", "then", "and", "in the morning", "over", "min", "hours", "per", "kg", "(", ")",
    "haemolysis", "гемолиз", "همولیز", "index", "H:", "+", "not", "нет", "wegen", ":", "نیست", "twice daily", "раз в день",
]  # fmt: skip
WORDS = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=14).map(" ".join) | st.text(max_size=60)


@given(WORDS)
@example("1" * 2000)
@example("1," * 1000)
@example("1 000 " * 300)
@example("no " * 600 + "haemolysis")
def test_any_words_are_read_and_no_number_is_made_up(words: str) -> None:
    text = ascii_digits(words)
    assert says_haemolysed(words) in {True, False, None}
    dose = dose_in_words(text)
    assert dose.amount is None or dose.amount >= 0
    for number in (
        minutes_in_words(text),
        (rate_in_words(text) or [None])[0],
        concentration([text]),
        strength_in_name(text),
    ):
        assert number is None or number >= 0


SEPARATORS = st.sampled_from([",", ".", "٫", "'", "\u00a0", "\u202f", "·", "٬"])


@given(st.integers(1, 999), SEPARATORS, st.from_regex(r"[0-9]{1,5}", fullmatch=True))
def test_one_separator_is_never_silently_a_decimal(whole: int, separator: str, part: str) -> None:
    """Whatever is read of "whole separator part" is one of its two readings, and of three digits only a sure one."""
    found = read_number(f"{whole}{separator}{part}")
    as_decimal, as_thousands = Decimal(f"{whole}.{part}"), Decimal(f"{whole}{part}")
    if separator in "'\u00a0\u202f٬":
        assert found in ({as_thousands} if len(part) == 3 else {None})
    elif len(part) == 3 and separator in ",.":
        assert found is None
    else:
        assert found == as_decimal


@given(st.decimals(min_value=0, max_value=10**6, places=3).filter(bool), st.sampled_from(["mg", "g", "мг"]))
def test_the_same_number_in_persian_digits_means_the_same(value: Decimal, unit: str) -> None:
    spelled = f"{value:f} {unit} twice daily"
    persian = spelled.translate({ord(str(digit)): 0x6F0 + digit for digit in range(10)})
    assert dose_in_words(ascii_digits(persian)) == dose_in_words(spelled)
