"""The path of one call: what came in is gathered, read, judged, and written as cards. Start reading here.

    gather (prefetch, else FHIR server) → snapshot (FHIR → words) → evaluate (rules) → cards (words → CDS Hooks)

`api/hooks.py`, `api/evaluation.py` and the command line are doors to this path; none of them has one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from service.cds.cards import Card, Presentation, to_cards
from service.cds.lab_order_codes import test_code
from service.errors import MissingData
from service.fhir.decode import Resource
from service.fhir.lab_order import laboratory_order
from service.fhir.ownership import EvaluationInput
from service.fhir.prefetch import Fetch, gather
from service.fhir.snapshot import ONLY_OTHER_PATIENT, UNIDENTIFIED, Site, read_snapshot
from service.logic.evaluate import Assessment, evaluate
from service.logic.model import Analyte, Failed, Hook, PatientSnapshot
from service.terminology.queries import REQUIRED_KEYS

Timed = Callable[[str], AbstractContextManager[object]]
"""Given a stage of the path (gather, read, evaluate, render), a block in which its time is taken."""


# Something came and was of no use. A card says so; where there is none, silence would read as "all is well".
_CAME_TO_NOTHING = {ONLY_OTHER_PATIENT, UNIDENTIFIED}


def _untimed(_stage: str) -> AbstractContextManager[object]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Call:
    """A hook call in our words; `prefetch` and `fetch` are the two ways to its data."""

    hook: Hook
    as_of: datetime
    context: Mapping[str, str]
    templates: Mapping[str, str]
    prefetch: Mapping[str, bytes]
    drafts: tuple[Resource, ...] = ()
    selections: tuple[str, ...] = ()
    aliases: Mapping[str, Iterable[str]] = field(default_factory=lambda: MappingProxyType({}))
    unsent: frozenset[str] = frozenset()  # keys that this EHR never sends: neither asked for nor missed
    fetch: Fetch | None = None
    fhir_server: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was understood and judged of one patient, and the cards that say it."""

    assessment: Assessment
    cards: list[Card]
    states: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def failed_rules(self) -> list[str]:
        """Rules that broke."""
        return [j.rule.id for j in self.assessment.judgements if isinstance(j.outcome, Failed)]


def decide_call(
    call: Call, site: Site, how: Presentation, timed: Timed = _untimed, *, explain: bool = False
) -> Decision:
    """A hook call: gather its data, then decide. Raises MissingData (412) without what no answer can do without."""
    with timed("gather"):
        gathered = gather(
            call.templates, call.prefetch, call.context, call.aliases, call.fetch, call.fhir_server, call.unsent
        )
    chart = EvaluationInput(
        patient_id=call.context.get("patientId", ""),
        encounter_id=call.context.get("encounterId", ""),
        as_of=call.as_of,
        hook=call.hook,
        resources=tuple(gathered.resources),
        drafts=call.drafts,
        selections=call.selections,
        asked=frozenset(gathered.asked),
        filled=tuple(gathered.filled),
        unavailable=MappingProxyType(gathered.unavailable),
        issues=tuple(gathered.issues),
    )
    decision = decide(chart, site, how, explain=explain, require=REQUIRED_KEYS, timed=timed)
    return Decision(decision.assessment, decision.cards, MappingProxyType(gathered.states))


def decide(
    chart: EvaluationInput,
    site: Site,
    how: Presentation,
    *,
    explain: bool = False,
    require: Container[str] = (),
    timed: Timed = _untimed,
) -> Decision:
    """One patient, one moment, one hook."""
    with timed("read"):
        patient = read_snapshot(chart, site, explain)
    missing = {key: why for key, why in patient.unavailable.items() if key in require}
    if any(why not in _CAME_TO_NOTHING for why in missing.values()):
        raise MissingData(missing)
    with timed("evaluate"):
        assessment = evaluate(patient, site.knowledge, off=how.rules_off, reference=how.reference)

    def order(test: Analyte) -> dict[str, Any] | None:
        return _order(test, patient, chart, how)

    with timed("render"):
        cards = to_cards(assessment, site.knowledge, how, order)
    if missing and not cards:
        raise MissingData(missing)
    return Decision(assessment, cards)


def _order(test: Analyte, patient: PatientSnapshot, chart: EvaluationInput, how: Presentation) -> dict[str, Any] | None:
    """The draft order of a suggestion."""
    code = test_code(test, patient, how.local_orders)
    if code is None:
        return None
    encounter = f"Encounter/{chart.encounter_id}" if chart.encounter_id else ""
    moment = chart.as_of.isoformat(timespec="seconds")
    return laboratory_order(patient.reference, encounter, moment, code.code, code.display, code.system)
