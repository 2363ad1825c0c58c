"""The back-test beside a second way of putting charts together: at the same moments not one card may differ."""

import importlib.util
from collections import defaultdict
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import msgspec
import pytest

from service.cli.setup import for_worker
from service.decide import decide
from service.fhir.decode import read_bundle
from service.fhir.ownership import EvaluationInput
from service.history.chart import history_of
from service.history.events import Kind, chart_at, events
from service.history.phase import Timeframe
from service.history.source import Source
from service.logic.model import Hook
from service.population.export import head_of, patient_of, read_lines
from service.population.setup import Configuration, prepared

BURDEN = Path(__file__).parents[3] / "shared" / "burden"
DAYS, ORDERS = 30, 250  # every so many are compared: 1 is all of them, and takes minutes
pytestmark = pytest.mark.skipif(not BURDEN.exists(), reason="no ../shared/burden: NOT compared with replay.py")


@pytest.fixture(scope="module")
def other():
    """The other way, as a module."""
    spec = importlib.util.spec_from_file_location("replay", BURDEN / "replay.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def setup():
    found = prepared(Configuration(for_worker, BURDEN / "site.toml"))
    return replace(found, how=replace(found.how, new_id=lambda: "an id"))


@pytest.fixture(scope="module")
def ours(setup):
    """Each patient's history, made when it is asked for."""
    own, shared = defaultdict(list), []
    for path in sorted((BURDEN / "mimic-iv-demo").glob("*.ndjson.gz")):
        for line in read_lines(path, lambda _: None):
            patient = patient_of(head_of(line.content))
            source = Source(f"Medication/{head_of(line.content).id}" if not patient else path.name, line.content)
            (own[patient] if patient else shared).append(source)
    kept = {}

    def history(patient):
        if patient not in kept:
            kept[patient] = history_of(patient, own[patient], shared, Timeframe(setup.site.zone))
        return kept[patient]

    return history


def bundle(resources):
    entries = [{"resource": resource} for resource in resources]
    return read_bundle(msgspec.json.encode({"resourceType": "Bundle", "entry": entries})).resources


def told(chart, setup):
    return [card.body for card in decide(chart, setup.site, setup.how).cards]


def theirs(moment, hook, resources, encounter, drafts, setup, patient):
    signed = bundle([{**draft, "status": "draft"} for draft in drafts])
    return told(
        EvaluationInput(patient, moment.astimezone(UTC), hook, encounter, tuple(bundle(resources)), tuple(signed)),
        setup,
    )


def test_every_card_of_a_chart_day_is_the_same(other, ours, setup):
    export, compared, shown = other.Export(BURDEN / "mimic-iv-demo"), 0, 0
    for patient, moment in other.days(export, DAYS):
        resources, encounter = export.chart(patient, moment)
        expected = theirs(moment, Hook.PATIENT_VIEW, resources, encounter, [], setup, patient)
        history = ours(patient)
        event = next(e for e in events(history, frozenset({Kind.DAYS}), setup.site.codes) if e.at == moment)
        assert told(chart_at(history, event), setup) == expected, (patient, moment)
        compared, shown = compared + 1, shown + bool(expected)
    assert compared > 40
    assert shown > 5


def test_every_card_of_a_group_of_orders_is_the_same(other, ours, setup):
    export, compared = other.Export(BURDEN / "mimic-iv-demo"), 0
    for patient, moment, drafts in other.order_groups(export, ORDERS):
        resources, encounter = export.chart(patient, moment, drafts)
        expected = theirs(moment, Hook.ORDER_SIGN, resources, encounter, drafts, setup, patient)
        history = ours(patient)
        event = next(e for e in events(history, frozenset({Kind.ORDERS}), setup.site.codes) if e.at == moment)
        assert {entry.dates.id for entry in event.drafts} == {draft["id"] for draft in drafts}
        assert told(chart_at(history, event), setup) == expected, (patient, moment)
        compared += 1
    assert compared > 20
