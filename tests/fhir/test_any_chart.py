"""Whatever is sent: nothing raises, nothing is lost, no oddness spreads, and both ways of reading judge alike."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.cds.cards import Presentation
from service.cds.i18n import Wording
from service.decide import decide
from service.fhir.decode import decode_lenient, read_bundle
from service.fhir.ownership import EvaluationInput, sole_patient
from service.fhir.prefetch import gather
from service.fhir.resources import AnyResource
from service.fhir.snapshot import read_snapshot
from service.logic.model import Analyte, Hook
from tests.fhir.charts import (
    ATC,
    LOINC,
    NOW,
    SITE,
    SNOMED,
    Json,
    bundle,
    concept,
    magnesium,
    medication,
    observation,
    quantity,
    taken,
)

CODES = {
    "2601-3": ("mmol/L", 0.3, 1.6),
    "2823-3": ("mmol/L", 2, 7),
    "14682-9": ("umol/L", 40, 600),
    "2000-8": ("mmol/L", 1.5, 3),
    "1751-7": ("g/dL", 2, 5),
    "2597-3": ("mmol/L", 1, 3),
    "98979-8": ("mL/min/{1.73_m2}", 10, 110),
    "8302-2": ("cm", 50, 190),
    "99999-9": ("mmol/L", 1, 2),
}
ENCODER = msgspec.json.Encoder(decimal_format="number")
unhurried = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

# ---- arbitrary JSON -------------------------------------------------------------------------------------------------

_words = st.sampled_from(
    [
        "",
        " ",
        "final",
        "active",
        "2601-3",
        LOINC,
        "mmol/L",
        "< 0,6 mmol/L",
        "2025-06-15",
        "2025-06-15T10:00:00",
        "0000-00-00",
        "9999-12-31T23:59:59-14:00",
        "1e999",
        "NaN",
        "#s",
        "Patient/p",
        "Medication/m",
        "magnesium sulfate",
        "4 g/100 mL",
        "0 %",
        "1/0 mL",
        "mg/h",
        "\u0000",
        "𝟘",
        "٪",
    ]
) | st.text(max_size=12)
_numbers = (
    st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0, 1e300])
)
json_values = st.recursive(
    st.none() | st.booleans() | _numbers | _words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "code", "coding", "text", "reference", "low", "end", "unit"]) | _words,
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)

_DOSAGE: Json = {
    "sequence": 1,
    "text": "2 g over 20 min",
    "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d", "boundsPeriod": {"start": "2025-06-01"}}},
    "route": concept(SNOMED, "47625008"),
    "doseAndRate": [{"doseQuantity": quantity(2, "g"), "rateQuantity": quantity(50, "mL/h")}],
}
_PRODUCT: Json = {
    "resourceType": "Medication",
    "id": "m",
    "code": {"text": "magnesium sulfate"},
    "form": {"text": "injection"},
    "identifier": [{"system": "urn:name", "value": "magnesium"}],
    "ingredient": [
        {
            "itemCodeableConcept": {"text": "magnesium sulfate"},
            "strength": {"numerator": quantity(4, "g"), "denominator": quantity(100, "mL")},
        }
    ],
}
VALID: list[Json] = [
    {"resourceType": "Patient", "id": "p", "birthDate": "1950-02-01", "gender": "female"},
    {"resourceType": "Encounter", "id": "e", "status": "in-progress", "class": {"code": "IMP"}},
    observation(
        effectivePeriod={"start": "2025-06-14", "end": "2025-06-15"},
        issued="2025-06-15T09:30:00Z",
        interpretation=[{"coding": [{"code": "L"}]}],
        referenceRange=[
            {"low": quantity(0.7, "mmol/L"), "age": {"low": quantity(18, "a")}, "appliesTo": [{"text": "F"}]}
        ],
        component=[
            {
                "code": {"text": "Hemolysis index"},
                "valueQuantity": quantity(3),
                "referenceRange": [{"high": quantity(2)}],
            }
        ],
        specimen={"reference": "#s"},
        contained=[{"resourceType": "Specimen", "id": "s", "type": {"text": "Serum"}, "condition": [{"text": "ok"}]}],
        note=[{"text": "fine"}],
        meta={"versionId": "1", "lastUpdated": "2025-06-15T09:30:00Z"},
    ),
    observation(valueQuantity=None, dataAbsentReason={"text": "lost"}, hasMember=[{"reference": "Observation/o1"}]),
    magnesium(
        "magnesium sulfate 4 g/100 mL", intent="order", authoredOn="2025-06-01", dosageInstruction=[_DOSAGE, _DOSAGE]
    ),
    medication(
        "MedicationStatement",
        medication={"concept": {"text": "x"}, "reference": {"reference": "Medication/m"}},
        dosage=[_DOSAGE],
        adherence={"code": {"text": "y"}},
        taken="y",
        medicationCodeableConcept=None,
    ),
    medication(
        "MedicationAdministration",
        medicationReference={"reference": "Medication/m"},
        dosage=_DOSAGE,
        effectivePeriod={"start": "2025-06-15T08:00:00Z", "end": "2025-06-15T09:00:00Z"},
        medicationCodeableConcept=None,
    ),
    medication(
        "MedicationDispense", whenHandedOver="2025-06-01", daysSupply=quantity(30, "d"), dosageInstruction=[_DOSAGE]
    ),
    _PRODUCT,
    {"resourceType": "Specimen", "id": "s", "type": {"text": "Serum"}, "note": [{"text": "ok"}]},
    {
        "resourceType": "Condition",
        "id": "c",
        "code": concept(SNOMED, "398254007"),
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "onsetDateTime": "2025-06-01",
        "subject": {"reference": "Patient/p"},
    },
    {"resourceType": "ServiceRequest", "id": "r", "status": "active", "code": concept(LOINC, "2601-3")},
    {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]},
    {
        "resourceType": "Bundle",
        "link": [{"relation": "next", "url": "x"}],
        "entry": [{"fullUrl": "u", "resource": observation()}],
    },
]


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every member and item."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in parts:
        yield (*path, name)
        yield from places(inner, (*path, name))


@st.composite
def oddities(draw: st.DrawFn) -> Json:
    """A valid resource of which one to three members are something else."""
    resource = copy.deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in places(resource) if path != ("resourceType",)]))
        holder: Any = resource
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = draw(json_values)
        if draw(st.booleans()):
            resource[draw(st.sampled_from(["subject", "contained", "meta", "fullUrl", "id"]))] = draw(json_values)
    return resource


def everything(sent: bytes) -> None:
    """All that the service does with data, in both ways of reading; raises if anything does."""
    found = read_bundle(sent).resources
    sole_patient(found)
    gathered = gather({"patient": "Patient/{{context.patientId}}"}, {"patient": sent}, {"patientId": "p"}, {}, None)
    for hook in (Hook.PATIENT_VIEW, Hook.ORDER_SIGN):
        drafts = tuple(found) if hook is Hook.ORDER_SIGN else ()
        chart = EvaluationInput(
            "p", NOW, hook, "e", tuple(gathered.resources), drafts, unavailable=gathered.unavailable
        )
        for explain in (True, False):
            read_snapshot(chart, SITE, explain)


@unhurried
@given(oddities())
def test_no_oddness_of_a_resource_raises(resource: Json) -> None:
    everything(bundle(*VALID, resource))
    everything(ENCODER.encode(resource))


@unhurried
@given(json_values, st.sampled_from([None, "Bundle", "Observation", "MedicationRequest", "Condition", "Unknown"]))
def test_no_json_raises(value: object, kind: str | None) -> None:
    everything(ENCODER.encode(value))
    everything(ENCODER.encode({"resourceType": kind, "entry": value, "code": value, "valueQuantity": value}))


@unhurried
@given(oddities())
def test_an_odd_resource_changes_nothing_for_its_neighbours(resource: Json) -> None:
    alone = read_bundle(bundle(*VALID)).resources
    assert read_bundle(bundle(*VALID, resource)).resources[: len(alone)] == alone


@unhurried
@given(oddities())
def test_a_resource_that_fits_its_type_is_read_alike_in_one_pass_and_in_pieces(resource: Json) -> None:
    whole = ENCODER.encode(resource)
    try:
        decoded = msgspec.json.decode(whole, type=AnyResource)
    except msgspec.ValidationError:
        return
    again = decode_lenient(bundle(resource, 5), AnyResource).entry[0].resource
    assert ENCODER.encode(_shown(again)) == ENCODER.encode(_shown(decoded))


def _shown(value: object) -> object:
    """A resource as plain JSON, its undecoded members as text."""
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, msgspec.Struct):
        return {name: _shown(getattr(value, name)) for name in value.__struct_fields__ if name != "where"}
    return [_shown(item) for item in value] if isinstance(value, list) else value


# ---- nothing is lost ------------------------------------------------------------------------------------------------

CLINICAL = {
    "Observation",
    "Condition",
    *(f"Medication{kind}" for kind in ("Request", "Statement", "Administration", "Dispense")),
}


@unhurried
@given(st.lists(st.sampled_from(VALID) | oddities(), max_size=6))
def test_every_clinical_resource_is_read_or_named(listed: list[Json]) -> None:
    sent = [resource | {"id": f"x{n}"} for n, resource in enumerate(listed)]
    found = read_snapshot(EvaluationInput("p", NOW, resources=tuple(taken(*sent))), SITE, explain=True)
    used = [lab for lab in found.labs if lab.problem is None]
    told = {item.reference for item in (*used, *found.medications, *found.conditions, *found.issues)}
    wanted = {
        f"{resource['resourceType']}/{resource['id']}" for resource in sent if resource["resourceType"] in CLINICAL
    }
    assert wanted <= told


# ---- both ways of reading judge alike -------------------------------------------------------------------------------

_zones = st.sampled_from(["Z", "+14:00", "-12:00", "+03:30", ""])


@st.composite
def moments(draw: st.DrawFn) -> str:
    """A time near now, at the edges of the windows, or long ago; sometimes a day, a month, or no time at all."""
    ago = timedelta(days=draw(st.sampled_from([0, 1, 7, 30, 31, 32, 33, 90, 99, 100, 182, 183, 400])))
    moment = NOW - ago - timedelta(hours=draw(st.integers(-30, 30)))
    spelled = moment.strftime("%Y-%m-%dT%H:%M:%S") + draw(_zones)
    return draw(
        st.sampled_from([spelled, spelled, spelled, spelled[:10], spelled[:7], "1000-01-01", spelled[:13], "soon"])
    )


@st.composite
def results(draw: st.DrawFn) -> Json:
    code = draw(st.sampled_from(sorted(CODES)))
    unit, low, high = CODES[code]
    value = round(draw(st.floats(low, high)), 2)
    return observation(
        id=f"o{draw(st.integers(0, 10**6))}",
        code=draw(st.sampled_from([concept(LOINC, code), concept(LOINC, code), {"text": "Magnesium"}])),
        status=draw(
            st.sampled_from(["final", "final", "final", "corrected", "preliminary", "unknown", "entered-in-error"])
        ),
        effectiveDateTime=draw(moments()),
        issued=draw(st.none() | moments()),
        valueQuantity=draw(st.sampled_from([quantity(value, unit), quantity(value, unit), quantity(value), None])),
        note=draw(st.none() | st.just([{"text": "haemolysed"}])),
        component=draw(st.none() | st.just([{"code": concept(LOINC, code), "valueQuantity": quantity(value, unit)}])),
    )


_drugs = st.sampled_from(
    [
        medication(),
        medication("MedicationStatement", medicationCodeableConcept=concept(ATC, "A02BC01", "omeprazole")),
        medication("MedicationStatement", medicationCodeableConcept=concept(ATC, "C01AA05", "digoxin")),
        magnesium("Magnesium oxide 400 mg", dosageInstruction=[_DOSAGE]),
        VALID[0],
        VALID[1],
    ]
)
_HOW = Presentation(Wording("en", SITE.zone))


@settings(unhurried, max_examples=300)
@given(st.lists(results(), max_size=12), st.lists(_drugs, max_size=4), st.sampled_from([0, 330, -600]))
@example(
    [  # in the order of the spellings the second is newer, in the order of time the first
        observation(id="a", effectiveDateTime="2024-01-01T23:30:00-05:00"),
        observation(id="b", effectiveDateTime="2024-01-02T00:30:00Z", valueQuantity=quantity(0.9, "mmol/L")),
    ],
    [],
    0,
)
@example(
    [  # the time that cannot be read sorts last, and the time of issue is of today
        observation(id="a", effectiveDateTime="2024-02-01"),
        observation(id="b", effectiveDateTime="2024-01-01"),
        observation(id="c", effectiveDateTime="1000-01-01", issued="2025-06-15T09:00:00Z"),
    ],
    [],
    0,
)
def test_the_hooks_judge_as_the_explanation_does(labs: list[Json], drugs: list[Json], minutes: int) -> None:
    site_zone = timezone(timedelta(minutes=minutes))
    sent = [
        *labs,
        *(item | {"id": f"d{n}"} if item["resourceType"][:4] == "Medi" else item for n, item in enumerate(drugs)),
    ]
    chart = EvaluationInput("p", NOW, resources=tuple(taken(*sent)))
    site = SITE.__class__(zone=site_zone, knowledge=SITE.knowledge)
    explained, called = (
        [(j.rule.id, j.outcome) for j in decide(chart, site, _HOW, explain=explain).assessment.judgements]
        for explain in (True, False)
    )
    assert called == explained


@pytest.mark.parametrize(("code", "analyte"), [("2823-3", Analyte.POTASSIUM), ("14879-1", Analyte.PHOSPHATE)])
def test_of_a_long_history_only_the_recent_is_read(code: str, analyte: Analyte) -> None:
    """Not of magnesium and creatinine: an earlier low value and the row of creatinines count however old (decision 36)."""
    kind = {"code": concept(LOINC, code), "valueQuantity": quantity(4, "mmol/L")}
    days = [(NOW - timedelta(days=n)).isoformat() for n in range(200)]
    history = [observation(id=f"o{n}", effectiveDateTime=day, **kind) for n, day in enumerate(days)]
    labs = read_snapshot(EvaluationInput("p", NOW, resources=tuple(taken(*history))), SITE).labs
    assert {lab.analyte for lab in labs} == {analyte}
    assert len(labs) < 40
