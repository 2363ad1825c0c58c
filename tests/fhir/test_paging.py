"""When a counted search needs no further page: as many as asked, newest first, and nothing that cannot be placed."""

from __future__ import annotations

import pytest

from service.fhir.paging import is_enough

COUNTED = "Observation?patient=p&_sort=-date&_count=3"
FALLING = ["2026-03-03T08:00:00Z", "2026-03-02", "2026-03-01T08:00:00Z"]


@pytest.mark.parametrize(
    ("query", "times", "enough"),
    [
        (COUNTED, FALLING, True),
        (COUNTED, [*FALLING, "2026-02-01"], True),
        (COUNTED, FALLING[:2], False),  # the server pages by fewer than asked
        (COUNTED, FALLING[::-1], False),  # oldest first: the newest is elsewhere
        (COUNTED, ["2026-03-03T08:00:00Z", None, "2026-03-01"], False),
        (COUNTED, ["2026-03-03T08:00:00Z", "soon", "2026-03-01"], False),
        (COUNTED, ["2026-03-03T01:00:00+05:00", "2026-03-02T23:00:00Z", "2026-03-01"], False),  # zones decide
        ("Observation?patient=p&_count=3", FALLING, False),
        ("Observation?patient=p&_sort=-date", FALLING, False),
        ("Observation?patient=p&_sort=-date&_count=1", ["2026-03-03"], False),  # one alone proves no order
        ("", [], False),
    ],
)
def test_a_page_is_enough_only_if_it_is_proved(query: str, times: list[str | None], enough: bool) -> None:
    assert is_enough(query, times) is enough
