"""Of an old history the hooks read a part: whatever windows a site chooses, they judge as /v1/evaluate does."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.cds.cards import Presentation
from service.cds.i18n import Wording
from service.decide import decide
from service.fhir.ownership import EvaluationInput
from service.fhir.snapshot import Site
from service.logic.knowledge import load
from service.logic.windows import DAY_WITHOUT_TIME, look_back
from tests.fhir.charts import LOINC, NOW, SITE, Json, concept, observation, quantity, taken

KNOWLEDGE = load()
WINDOWS = {p.id: p.site_bounds for p in KNOWLEDGE.parameters.values() if p.site_bounds and {"h", "d"} & set(p.values)}
VALUES = {
    "2601-3": ("mmol/L", 0.4, 1.3), "2597-3": ("mmol/L", 1.2, 2.6), "2598-1": ("mmol/L", 0.5, 6.0),
    "2823-3": ("mmol/L", 2.4, 5.5), "14682-9": ("umol/L", 60.0, 400.0), "14683-7": ("mmol/L", 4.0, 12.0),
    "2000-8": ("mmol/L", 1.7, 2.7), "62238-1": ("mL/min/{1.73_m2}", 20.0, 95.0), "8302-2": ("cm", 90.0, 140.0),
    "29463-7": ("kg", 12.0, 40.0), "1751-7": ("g/L", 22.0, 45.0), "2731-8": ("pg/mL", 10.0, 80.0),
}  # fmt: skip
HOW = Presentation(Wording("en", SITE.zone))


def site(chosen: dict[str, Decimal]) -> Site:
    return Site(zone=SITE.zone, knowledge=KNOWLEDGE.with_values(chosen))


@st.composite
def results(draw: st.DrawFn) -> Json:
    code = draw(st.sampled_from(sorted(VALUES)))
    unit, low, high = VALUES[code]
    days = draw(st.integers(0, 400) | st.sampled_from([7, 14, 30, 31, 60, 89, 90, 91, 180, 181]))
    return observation(
        id=f"o{draw(st.integers(0, 10**6))}",
        code=concept(LOINC, code),
        effectiveDateTime=(NOW - timedelta(days=days, hours=draw(st.integers(0, 23)))).isoformat(),
        valueQuantity=quantity(round(draw(st.floats(low, high)), 2), unit),
    )


@st.composite
def chosen(draw: st.DrawFn) -> dict[str, Decimal]:
    return {name: Decimal(draw(st.integers(int(low), int(high)))) for name, (low, high) in sorted(WINDOWS.items())}


def judged(labs: list[Json], at: Site, *, explain: bool, birth: str) -> list[Any]:
    patient = {"resourceType": "Patient", "id": "p", "birthDate": birth}
    chart = EvaluationInput("p", NOW, resources=tuple(taken(patient, *labs)))
    return [(j.rule.id, j.outcome) for j in decide(chart, at, HOW, explain=explain).assessment.judgements]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(results(), max_size=14), chosen(), st.sampled_from(["1950-03-01", "2018-03-01"]))
def test_hooks_and_evaluate_agree_whatever_windows_a_site_chooses(
    labs: list[Json], windows: dict[str, Decimal], birth: str
) -> None:
    at = site(windows)
    assert judged(labs, at, explain=False, birth=birth) == judged(labs, at, explain=True, birth=birth)


def test_the_windows_that_a_site_may_change_move_how_far_is_looked_back() -> None:
    assert "mg-current-ambulatory" in WINDOWS
    for name, (_, high) in WINDOWS.items():
        longest = look_back(site({name: high}).knowledge)
        shipped = look_back(KNOWLEDGE)
        assert all(longest[analyte] >= shipped[analyte] for analyte in longest)
        needed = site({name: high}).knowledge.duration(name)
        assert any(needed + DAY_WITHOUT_TIME <= span < timedelta.max for span in longest.values())
