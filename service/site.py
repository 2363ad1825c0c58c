"""What a site may decide, and what it has decided, in the terms of reading and judging."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from service.fhir.snapshot import Site
from service.logic.knowledge import load
from service.logic.rules import RULES
from service.settings import Settings
from service.settings.site import Bounds, SiteSchema
from service.terminology import rxnorm
from service.terminology.analytes import LAB_CODES
from service.terminology.drugs import DRUG_VOCABULARY, DrugVocabulary
from service.terminology.systems import STANDARD, CodeSystems


def now() -> datetime:
    """The clock of a running service."""
    return datetime.now(UTC)


def site_schema() -> SiteSchema:
    """What a site file may speak of."""
    knowledge = load()
    bounds = {p.id: Bounds(*p.site_bounds) for p in knowledge.parameters.values() if p.site_bounds}
    return SiteSchema(
        thresholds=bounds,
        rules=[rule.id for rule in RULES],
        ingredients=DRUG_VOCABULARY.ingredients,
        profiles=list(knowledge.profiles),
        systems=STANDARD,
    )


def site_of(settings: Settings) -> Site:
    """What the site decides about reading and judging."""
    systems = CodeSystems(settings.systems)
    return Site(
        zone=settings.service.zone,
        knowledge=load().with_values(settings.thresholds),
        codes=LAB_CODES.with_codes(settings.labs, systems),
        vocabulary=replace(_vocabulary(settings), systems=systems),
        systems=systems,
        accept_unknown_status=settings.service.accept_unknown_status,
        profile=settings.service.reference_profile,
    )


def _vocabulary(settings: Settings) -> DrugVocabulary:
    vocabulary = DRUG_VOCABULARY
    if settings.service.rxnorm_table:
        vocabulary = vocabulary.with_codes(rxnorm.read(Path(settings.service.rxnorm_table)).codes())
    return vocabulary.with_codes(settings.drugs) if settings.drugs else vocabulary
