"""Findings -> at most one card: its shape, what it rests on, and laboratory orders to accept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec

from service.cds.detail import detail, summary, wanted
from service.cds.i18n import Wording
from service.cds.override_reasons import override_reasons
from service.cds.selection import Selected, finding_of, indicator_of, select
from service.logic.evaluate import Assessment
from service.logic.knowledge import VERSION, Knowledge
from service.logic.message import Message
from service.logic.model import Analyte
from service.logic.rules.phrases import ANALYTE

SOURCE = "Magnesium CDS"
RULE_SYSTEM = "urn:magnesium-cds:rules"
FINDINGS, BASIS = "org.magnesium-cds.findings", "org.magnesium-cds.basis"

# Ids of cards need to be unique, not secret; asking the kernel for each costs more than writing the card.
_IDS = Random()  # noqa: S311

Json = dict[str, Any]
Order = Callable[[Analyte], Json | None]  # a draft ServiceRequest for a test, or None if the site has no code for it


@dataclass(frozen=True, slots=True)
class Presentation:
    """How cards are written for one call."""

    wording: Wording
    local_orders: Mapping[Analyte, Any] = field(default_factory=lambda: MappingProxyType({}))  # a site's codes
    base_url: str = ""  # under which readers reach this service, for links; "" for none
    smart: bool = False  # the caller's EHR opens our SMART app
    rules_off: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    reference: frozenset[str] = frozenset()
    new_id: Callable[[], str] = field(default=lambda: str(UUID(int=_IDS.getrandbits(128), version=4)))

    def page(self, path: str) -> str:
        """The address of a page of ours, in the language of the card."""
        return f"{self.base_url}/{path}?lang={self.wording.language}"

    def rule_page(self, lead: str, stated: Collection[str] = ()) -> str:
        """The page of the rule that leads a card, where `also` names the other rules that it states; "" without one."""
        if not (self.base_url and lead):
            return ""
        others = ",".join(sorted(set(stated) - {lead}))
        return self.page(f"v1/rules/{lead}") + (f"&also={others}" if others else "")


@dataclass(frozen=True, slots=True)
class Card:
    """A card; `stated` maps every rule behind it to its result, `worded` holds those that it says in words."""

    body: Json
    stated: Mapping[str, str]
    worded: frozenset[str] = frozenset()


def to_cards(assessment: Assessment, knowledge: Knowledge, how: Presentation, order: Order) -> list[Card]:
    """The card of an assessment; none when there is nothing to say."""
    selected = select(assessment, knowledge, how.silent)
    return [] if selected is None else [_card(selected, assessment, knowledge, how, order)]


def _card(selected: Selected, assessment: Assessment, knowledge: Knowledge, how: Presentation, order: Order) -> Card:
    lead = selected.lead.rule.id if selected.lead else ""
    words, worded = detail(selected, assessment, knowledge, how.wording, lambda stated: how.rule_page(lead, stated))
    results = {r.rule.id: finding_of(r).result for r in selected.listed}
    results |= {r.rule.id: "failed" for r in selected.failed}
    body: Json = {
        "uuid": how.new_id(),
        "summary": summary(selected, how.wording)[0],
        "indicator": indicator_of(selected).value,
        "detail": words,
        "source": _source(lead, knowledge, how),
        "extension": _extension(selected, results, worded, assessment),
        "overrideReasons": override_reasons(knowledge.rules[lead].override if lead else (), how.wording),
    }
    if links := _links(how.rule_page(lead, worded), lead, results, how):
        body["links"] = links
    if suggestions := list(_suggestions(selected, assessment, how, order)):
        body.update(suggestions=suggestions, selectionBehavior="any")
    return Card(body, MappingProxyType(results), worded)


def _links(page: str, lead: str, results: Iterable[str], how: Presentation) -> list[Json]:
    """What a reader may open from the card."""
    links = [{"label": how.wording.translate("Rule and sources"), "url": page, "type": "absolute"}] if page else []
    return [*links, _app_link(lead, results, how)] if how.smart and how.base_url else links


def _app_link(lead: str, results: Iterable[str], how: Presentation) -> Json:
    """The SMART app with the card that led there; nothing of the patient, who is the EHR's to pass on."""
    context = {"card": lead, "rules": list(results)}
    return {
        "label": how.wording.translate("Timeline and every rule's answer"),
        "url": f"{how.base_url}/smart/launch",
        "type": "smart",
        "appContext": msgspec.json.encode(context).decode(),
    }


def _source(lead: str, knowledge: Knowledge, how: Presentation) -> Json:
    source: Json = {"label": SOURCE}
    if how.base_url:
        source["url"] = how.page("v1/references")
    title = knowledge.rules[lead].title if lead else "Rule failed"
    code = (lead or "R-000").replace("-", "")
    return source | {"topic": {"system": RULE_SYSTEM, "code": code, "display": title}}


def _extension(selected: Selected, results: Mapping[str, str], worded: frozenset[str], assessment: Assessment) -> Json:
    """Every finding behind the card, and what they rest on."""
    resources = dict.fromkeys(reference for r in selected.listed for reference in finding_of(r).evidence)
    basis: Json = {
        "asOf": _instant(assessment.patient.as_of),
        "staleAfter": _instant(assessment.stale_after),
        "knowledge": VERSION,
    }
    if resources:
        basis["resources"] = list(resources)
    return {FINDINGS: [_listed(rule, result, worded) for rule, result in results.items()], BASIS: basis}


def _listed(rule: str, result: str, worded: frozenset[str]) -> Json:
    return {"rule": rule, "result": result} | ({"stated": True} if rule in worded else {})


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _suggestions(selected: Selected, assessment: Assessment, how: Presentation, order: Order) -> Iterator[Json]:
    """A laboratory order for each wanted test for which the site has a code; one action each."""
    for test in wanted(selected, assessment):
        if (resource := order(test)) is not None:
            label = how.wording.line(how.wording.plain(Message("Order {test}", test=ANALYTE[test])))
            action = {"type": "create", "description": label, "resource": resource}
            yield {"label": label, "uuid": how.new_id(), "actions": [action]}
