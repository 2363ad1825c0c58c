"""A number that a site may change never stands in a sentence: the sentence takes it from the parameter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir

from service.logic.knowledge import Parameter, load

LOGIC = Path(__file__).parents[2] / "service" / "logic"
UNITS = {"mg/(24.h)": "mg", "umol/L": "µmol/L", "meq/L": "mEq/L"}  # as sentences write them; others as in UCUM
# The same number and unit, of something that is not the parameter.
OTHERWISE = {
    "laxative-elemental": "In trials: 600 mg",  # the dose of a study
    "transplant-mg": "1.9 mg/dL is normal",  # an example of two units
    "ca-very-low": "1.9 mmol/L is toxic",
    "*": r"in (?:the last )?24 h|24-hour|within 2 h|Dialysate options",  # a day's sum or urine, an urgency, products
}


def messages() -> list[str]:
    found = extract_from_dir(LOGIC, [("**.py", "python")], keywords={"Message": None})
    return sorted({str(message) for _, _, message, *_ in found})


def signatures(parameter: Parameter) -> Iterator[str]:
    """Each number of a parameter with its unit, as a pattern: "6 h", "6 to 12 h"."""
    ends = [(unit, value) for unit, value in parameter.values.items()]
    ends += [(unit, value) for unit, both in parameter.interval.items() for value in both]
    for unit, value in ends:
        number = re.escape(f"{value.normalize():f}" if value % 1 else str(Decimal(int(value))))
        tail = r"(?:\.0+)?" if not value % 1 else "0*"
        yield rf"(?<![\d.]){number}{tail}(?: (?:to|and) [\d.]+)? ?{re.escape(UNITS.get(unit, unit))}(?![\w/])"


@pytest.mark.parametrize("name", sorted(load().parameters))
def test_no_sentence_holds_a_number_of_a_parameter(name: str) -> None:
    allowed = re.compile(f"{OTHERWISE.get(name, 'never said')}|{OTHERWISE['*']}")
    patterns = [re.compile(one) for one in signatures(load().parameters[name])]
    assert [m for m in messages() if not allowed.search(m) and any(p.search(m) for p in patterns)] == []


def test_a_number_in_a_sentence_would_be_seen() -> None:
    (pattern, *_) = signatures(load().parameters["after-iv"])
    assert re.search(pattern, "level 6 to 12 h after")
    assert re.search(pattern, "level 6 h after")
    assert not re.search(pattern, "level 16 h after")
