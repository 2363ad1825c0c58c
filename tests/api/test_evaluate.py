"""POST /v1/evaluate through HTTP: what a reader sees of the moment that the call states."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.apps import open_app
from tests.contract.messages import LOW, PATIENT, bundle


@pytest.mark.parametrize(
    ("as_of", "clock"),
    [
        ("2026-03-10T13:30:00+03:30", "12:30"),
        ("2026-03-10T10:00:00Z", "09:00"),
        ("2026-03-10T05:00:00-05:00", "04:00"),
    ],
)
def test_times_are_those_of_the_zone_in_which_the_call_states_its_moment(
    tmp_path: Path, as_of: str, clock: str
) -> None:
    body = {"asOf": as_of, "bundle": bundle(PATIENT, LOW | {"effectiveDateTime": "2026-03-10T09:00:00Z"})}
    with open_app(tmp_path) as house:
        (card,) = house.post("/v1/evaluate", body).json["cards"]
        assert f"(1 h ago, {clock})" in card["summary"]
