"""A chart as it was at a time: what was known, what was active, and nothing of what came later."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from service.history.chart import changed, history_of
from service.history.events import Kind, events
from service.history.phase import Timeframe, dates_of, phases
from service.history.source import Source
from service.terminology.analytes import LAB_CODES

FRAME = Timeframe(UTC)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if "+" not in text[10:] else datetime.fromisoformat(text)


def as_it_was(resource, moment, frame=FRAME):
    """The resource as it was on the chart at a moment; None if it was not there."""
    content = msgspec.json.encode(resource)
    for phase in phases(dates_of(content), frame):
        if phase.begins <= at(moment) < phase.ends:
            return msgspec.json.decode(changed(content, phase.changes))
    return None


def result(**members):
    return {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "effectiveDateTime": "2150-03-01T08:00:00Z",
    } | members


def order(**members):
    return {
        "resourceType": "MedicationRequest",
        "id": "m",
        "status": "completed",
        "authoredOn": "2150-03-01T08:00:00Z",
    } | members


def supply(start, end):
    return {"dispenseRequest": {"validityPeriod": {"start": start, "end": end}}}


def problem(**members):
    return {"resourceType": "Condition", "id": "c", "clinicalStatus": {"coding": [{"code": "resolved"}]}} | members


STAY = {
    "resourceType": "Encounter",
    "id": "e",
    "status": "finished",
    "class": {"code": "IMP"},
    "period": {"start": "2150-03-01T07:00:00Z", "end": "2150-03-03T12:00:00Z"},
    "diagnosis": [{"condition": {"reference": "Condition/c"}}],
}
IN_STAY = Timeframe(UTC, stays={"Encounter/e": (at("2150-03-01T07:00"), at("2150-03-03T12:00"))})
CODED = {"category": [{"coding": [{"code": "encounter-diagnosis"}]}], "encounter": {"reference": "Encounter/e"}}
VITAL = {"category": [{"coding": [{"code": "vital-signs"}]}]}


# What was known: (resource, last moment before, first moment at which it is on the chart)
KNOWN = {
    "a result, an hour after its collection": (result(), "2150-03-01T08:59:59", "2150-03-01T09:00"),
    "a result, when it was issued": (
        result(issued="2150-03-01T11:30:00Z"), "2150-03-01T11:29:59", "2150-03-01T11:30"),
    "a result issued before it was taken, when it was taken": (
        result(issued="2150-03-01T06:00:00Z"), "2150-03-01T07:59:59", "2150-03-01T08:00"),
    "a timed collection, an hour after its end": (
        result(effectiveDateTime=None, effectivePeriod={"start": "2150-03-01", "end": "2150-03-02T08:00:00Z"}),
        "2150-03-02T08:59:59", "2150-03-02T09:00"),
    "a result of a day, after the day": (
        result(effectiveDateTime="2150-03-01"), "2150-03-02T00:59:58", "2150-03-02T01:00"),
    "a vital sign, at once": (result(**VITAL), "2150-03-01T07:59:59", "2150-03-01T08:00"),
    "in another zone": (
        result(effectiveDateTime="2150-03-01T08:00:00-05:00"), "2150-03-01T13:59:59", "2150-03-01T14:00"),
    "an order, when it was written": (order(), "2150-03-01T07:59:59", "2150-03-01T08:00"),
    "a dose, when it was begun": (
        {"resourceType": "MedicationAdministration", "status": "completed",
         "effectivePeriod": {"start": "2150-03-01T08:00:00Z", "end": "2150-03-01T12:00:00Z"}},
        "2150-03-01T07:59:59", "2150-03-01T08:00"),
    "a statement, when it was made": (
        {"resourceType": "MedicationStatement", "status": "unknown", "dateAsserted": "2150-03-01T08:00:00Z"},
        "2150-03-01T07:59:59", "2150-03-01T08:00"),
    "a diagnosis, when it was recorded": (
        problem(recordedDate="2150-03-02T10:00:00Z", onsetDateTime="2149"), "2150-03-02T09:59:59", "2150-03-02T10:00"),
    "a diagnosis without a record, at its onset": (
        problem(onsetDateTime="2150-03-02T10:00:00Z"), "2150-03-02T09:59:59", "2150-03-02T10:00"),
    "a diagnosis coded for a stay, after the stay": (
        problem(**CODED), "2150-03-03T11:59:59", "2150-03-03T12:00"),
    "a diagnosis coded for a stay, whatever its onset": (
        problem(**CODED, onsetDateTime="2150-03-01"), "2150-03-03T11:59:59", "2150-03-03T12:00"),
    "a stay, at its beginning": (STAY, "2150-03-01T06:59:59", "2150-03-01T07:00"),
}  # fmt: skip


@pytest.mark.parametrize(("resource", "before", "from_"), KNOWN.values(), ids=KNOWN)
def test_nothing_is_known_before_its_time(resource, before, from_):
    assert as_it_was(resource, before, IN_STAY) is None
    assert as_it_was(resource, from_, IN_STAY) is not None


# What it said then: (resource, moment, status)
STATUS = {
    "an order that ended was active": (order(**supply("2150-03-01T09:00:00Z", "2150-03-02T08:00:00Z")),
                                       "2150-03-02T07:59:59", "active"),
    "an order that ends at this moment has ended": (order(**supply("2150-03-01T09:00:00Z", "2150-03-02T08:00:00Z")),
                                                    "2150-03-02T08:00", "completed"),
    "an order that was stopped": (order(status="stopped", **supply("2150-03-01T09:00:00Z", "2150-03-02T08:00:00Z")),
                                  "2150-03-02T08:00", "stopped"),
    "an order of which the end is not told lasts a day": (order(), "2150-03-02T07:59:59", "active"),
    "and no longer": (order(), "2150-03-02T08:00", "completed"),
    "an order that is still active": (order(status="active"), "2190-01-01T00:00", "active"),
    "one that ended by the timing of its doses": (
        order(dosageInstruction=[{"timing": {"repeat": {"boundsPeriod": {"end": "2150-04-01T00:00:00Z"}}}}]),
        "2150-03-31T00:00", "active"),
    "an order made in error stays one": (order(status="entered-in-error"), "2150-03-01T08:00", "entered-in-error"),
    "a stay is in progress": (STAY, "2150-03-03T11:59:59", "in-progress"),
    "until its end": (STAY, "2150-03-03T12:00", "finished"),
    "a test that was ordered": (
        {"resourceType": "ServiceRequest", "id": "s", "status": "completed", "authoredOn": "2150-03-01T08:00:00Z"},
        "2150-03-01T09:00", "active"),
}  # fmt: skip


@pytest.mark.parametrize(("resource", "moment", "status"), STATUS.values(), ids=STATUS)
def test_a_resource_has_the_status_of_its_time(resource, moment, status):
    assert as_it_was(resource, moment)["status"] == status


def test_a_stay_in_progress_tells_nothing_of_its_end():
    was = as_it_was(STAY, "2150-03-02T08:00")
    assert was["period"] == {"start": "2150-03-01T07:00:00Z"}
    assert "diagnosis" not in was
    assert as_it_was(STAY, "2150-03-04T08:00") == STAY


def test_a_resolved_problem_was_active():
    gone = problem(recordedDate="2150-01-01", abatementDateTime="2150-02-01")
    was = as_it_was(gone, "2150-01-15T00:00")
    assert was["clinicalStatus"] == {"coding": [{"code": "active"}]}
    assert "abatementDateTime" not in was
    assert as_it_was(gone, "2150-02-02T00:00") == gone


def test_the_dead_were_alive():
    person = {"resourceType": "Patient", "id": "p", "deceasedDateTime": "2150-03-01T08:00:00Z"}
    assert "deceasedDateTime" not in as_it_was(person, "2150-02-01T00:00")
    assert as_it_was(person, "2150-03-01T08:00") == person


def test_a_test_is_pending_until_its_result_is_known():
    ordered = {"resourceType": "ServiceRequest", "id": "s", "status": "completed", "authoredOn": "2150-03-01T08:00:00Z"}
    frame = Timeframe(UTC, answered={"ServiceRequest/s": at("2150-03-01T11:00")})
    assert as_it_was(ordered, "2150-03-01T10:59", frame)["status"] == "active"
    assert as_it_was(ordered, "2150-03-01T11:00", frame)["status"] == "completed"


@pytest.mark.parametrize("resource", [
    {"resourceType": "Observation", "id": "o", "status": "final"},
    {"resourceType": "Observation", "id": "o", "effectiveDateTime": "soon"},
    {"resourceType": "MedicationRequest", "id": "m", "status": "active"},
    {"resourceType": "Condition", "id": "c"},
    {"resourceType": "Condition", "id": "c", **CODED, "encounter": {"reference": "Encounter/unknown"}},
    {"resourceType": "Encounter", "id": "e", "status": "finished"},
    {"resourceType": "MedicationAdministration", "effectivePeriod": 7, "effectiveDateTime": ["2150"]},
])  # fmt: skip
def test_what_cannot_be_placed_in_time_is_on_no_chart(resource):
    assert phases(dates_of(msgspec.json.encode(resource)), IN_STAY) == []


# ---- one patient ---------------------------------------------------------------------------------------------------


def history(*resources, zone=UTC):
    sources = [
        Source(f"f:{n}", msgspec.json.encode({"subject": {"reference": "Patient/p"}} | r))
        for n, r in enumerate(resources)
    ]
    return history_of("p", sources, (), Timeframe(zone))


def magnesium(ident, when, **members):
    coded = {"code": {"coding": [{"system": "http://loinc.org", "code": "19123-9"}]}}
    return result(id=ident, effectiveDateTime=when, valueQuantity={"value": 1.9, "unit": "mg/dL"}, **coded) | members


def test_a_corrected_result_was_the_first_one_until_it_was_corrected():
    first = magnesium("o", "2150-03-01T08:00:00Z", issued="2150-03-01T09:00:00Z")
    corrected = first | {"status": "corrected", "issued": "2150-03-01T12:00:00Z"}
    found = history(first, corrected)
    statuses = {hour: [r.status for r in found.chart(at(f"2150-03-01T{hour}:00"))] for hour in ("08", "10", "13")}
    assert statuses == {"08": [], "10": ["final"], "13": ["final", "corrected"]}  # of two, the reader takes the later


def told(found, *kinds):
    return [(e.at.isoformat(), e.hook.value, len(e.drafts)) for e in events(found, frozenset(kinds), LAB_CODES)]


def test_each_day_of_a_stay_is_opened_at_the_hour_of_the_ward():
    stay = STAY | {"period": {"start": "2150-03-01T09:00:00-05:00", "end": "2150-03-04T07:00:00-05:00"}}
    assert told(history(stay), Kind.DAYS) == [
        ("2150-03-02T08:00:00-05:00", "patient-view", 0),
        ("2150-03-03T08:00:00-05:00", "patient-view", 0),
    ]
    in_utc = STAY | {"period": {"start": "2150-03-01T05:00:00Z", "end": "2150-03-02T05:00:00Z"}}
    assert told(history(in_utc, zone=ZoneInfo("Asia/Tehran")), Kind.DAYS) == [
        ("2150-03-02T08:00:00+03:30", "patient-view", 0)
    ]


def test_stays_within_stays_and_series_of_visits_are_no_chart_days():
    ward = STAY | {"id": "icu", "partOf": {"reference": "Encounter/e"}}
    visits = STAY | {"class": {"code": "AMB"}, "period": {"start": "2149-01-01", "end": "2150-01-01"}}
    assert len(told(history(STAY, ward), Kind.DAYS)) == 3
    assert told(history(visits), Kind.DAYS) == []


def test_a_stay_is_asked_about_at_its_beginning_and_while_it_ends():
    assert told(history(STAY), Kind.ENCOUNTERS) == [
        ("2150-03-01T07:00:00+00:00", "encounter-start", 0),
        ("2150-03-03T11:59:59+00:00", "encounter-discharge", 0),
    ]


def test_results_that_become_known_together_are_one_event():
    found = history(magnesium("a", "2150-03-01T08:00:00Z"), magnesium("b", "2150-03-01T08:00:00Z"), result(id="k"))
    assert told(found, Kind.RESULTS) == [("2150-03-01T09:00:00+00:00", "patient-view", 0)]


def test_orders_written_together_are_signed_together_and_are_not_yet_on_the_chart():
    lab = {"resourceType": "ServiceRequest", "id": "s", "status": "completed", "authoredOn": "2150-03-01T08:00:00Z"}
    later = {"resourceType": "ServiceRequest", "id": "t", "status": "completed", "authoredOn": "2150-03-01T10:00:00Z"}
    found = history(order(id="a"), order(id="b"), lab, later)
    assert told(found, Kind.ORDERS, Kind.LAB_ORDERS) == [
        ("2150-03-01T08:00:00+00:00", "order-sign", 3),
        ("2150-03-01T10:00:00+00:00", "order-sign", 1),
    ]
    signing = events(found, frozenset({Kind.ORDERS}), LAB_CODES)[0]
    assert found.chart(signing.at, without=signing.drafts) == ()
    assert len(found.chart(signing.at)) == 3
