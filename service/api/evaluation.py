"""One patient sent to be evaluated: the one path of /v1/evaluate, of its batches and of the FHIR operation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from msgspec import Raw

from service.api import audit
from service.api.auth.tokens import Caller
from service.api.dependencies import Dependencies
from service.api.http.instrumentation import stopwatch
from service.api.http.request_body import (
    EvaluateContext,
    EvaluateOptions,
    EvaluateRequest,
    decode,
    strings,
    unknown_members,
)
from service.api.presentation import presentation
from service.cds.cards import Presentation
from service.cds.i18n import LANGUAGES, Wording
from service.cds.services import SERVICES
from service.decide import Call, Decision, decide, decide_call
from service.errors import BadRequest
from service.evaluation_json import explain, timeline_body, timeline_of
from service.fhir import primitives
from service.fhir.decode import MAX_ENTRIES, BundleContents, read_bundle
from service.fhir.ownership import EvaluationInput, sole_patient
from service.fhir.snapshot import Site
from service.history.source import sources_in
from service.logic.message import Message
from service.logic.model import DataIssue, Hook
from service.pictures import NARROWEST, WIDE, WIDEST, Timeline
from service.replay.spoken import spoken

_TEMPLATES = {service.hook: service.prefetch for service in SERVICES}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A decision, the knowledge by which it was made, and how it is worded."""

    decision: Decision
    site: Site
    how: Presentation
    options: EvaluateOptions
    came: tuple[bytes | Raw, ...]  # Bundles and resources, as they were sent

    def explained(self) -> dict[str, Any]:
        """As the answer of /v1/evaluate."""
        body = explain(self.decision, self.site.knowledge, self.how)
        return body | {"timeline": timeline_body(self.timeline())} if self.options.timeline else body

    def timeline(self) -> Timeline:
        """As a picture, with the cards that would have spoken before."""
        return self.timelines(self.options.timelineWidth or WIDE)[0]

    def timelines(self, *widths: int) -> list[Timeline]:
        """The same picture in several widths."""
        patient = self.decision.assessment.patient
        sources = (source for raw in self.came for source in sources_in(raw))
        before = spoken(sources, patient.reference.partition("/")[2], patient.as_of, self.site, self.how)
        return [timeline_of(self.decision, self.how, before.cards, before.since, width) for width in widths]


def evaluated(data: bytes, caller: Caller, deps: Dependencies) -> Evaluation:
    """The decision on a body of /v1/evaluate, with its line in the log; as `judged`."""
    done = judged(decode(EvaluateRequest, data), caller, deps, unknown_members(data))
    audit.decided(done.decision, "evaluate", caller)
    return done


def judged(request: EvaluateRequest, caller: Caller, deps: Dependencies, unknown: Iterable[str] = ()) -> Evaluation:
    """The decision on what was sent; BadRequest with the place of what cannot be read.

    The places of members that the request does not have come back in `issues`: a word misspelt decides nothing.
    """
    options = _options(request)
    chart = _chart(request, deps, unknown)
    how = _in_zone_of(chart.as_of, presentation(deps, caller, _language(request.language)))
    site = _site(request, deps)
    return Evaluation(decide(chart, site, how, explain=True, timed=stopwatch()), site, how, options, (request.bundle,))


def judged_prefetch(
    request: EvaluateRequest, prefetch: Mapping[str, bytes], caller: Caller, deps: Dependencies
) -> Evaluation:
    """The decision on a hook's prefetch, of which it is known what could not be read; MissingData as for a hook."""
    moment, hook, context = _as_of(request.asOf, deps), _hook(request.hook), request.context or EvaluateContext()
    call = Call(
        hook=hook,
        as_of=moment,
        context={"patientId": context.patientId or "", "encounterId": context.encounterId or ""},
        templates=_TEMPLATES[hook],
        prefetch=prefetch,
        drafts=tuple(resource for each in _drafts(context) for resource in each.resources),
        selections=strings(context.selections, "$.context.selections") or (),
        aliases=caller.tenant.aliases,
        unsent=frozenset(caller.tenant.unsent),
    )
    how = _in_zone_of(moment, presentation(deps, caller, _language(request.language)))
    site = _site(request, deps)
    decision = decide_call(call, site, how, stopwatch(), explain=True)
    return Evaluation(decision, site, how, _options(request), tuple(prefetch.values()))


def _options(request: EvaluateRequest) -> EvaluateOptions:
    options = request.options or EvaluateOptions()
    if options.timelineWidth is not None and not NARROWEST <= options.timelineWidth <= WIDEST:
        raise BadRequest(f"timelineWidth must be {NARROWEST} to {WIDEST}", "$.options.timelineWidth")
    return options


def _in_zone_of(as_of: datetime, how: Presentation) -> Presentation:
    """Times in the zone in which the call states its moment; "Z" states none, so that the site's stands."""
    if as_of.tzinfo is None or as_of.utcoffset() == timedelta(0):
        return how
    return replace(how, wording=Wording(how.wording.language, as_of.tzinfo))


def _language(wanted: str | None) -> str:
    if wanted is None:
        return ""
    if wanted.split("-")[0].lower() not in LANGUAGES:
        raise BadRequest(f"language must be one of {', '.join(LANGUAGES)}", "$.language")
    return wanted.split("-")[0].lower()


def _site(request: EvaluateRequest, deps: Dependencies) -> Site:
    options, site = request.options, deps.site
    if options is None:
        return site
    profile = options.referenceProfile or site.profile
    if profile not in site.knowledge.profiles:
        names = ", ".join(site.knowledge.profiles)
        raise BadRequest(f"referenceProfile must be one of {names}", "$.options.referenceProfile")
    return replace(site, profile=profile, research=options.researchRules or site.research)


def _chart(request: EvaluateRequest, deps: Dependencies, unknown: Iterable[str]) -> EvaluationInput:
    context = request.context or EvaluateContext()
    sheaf, drafts = _bundle(bytes(request.bundle), "$.bundle"), list(_drafts(context))
    unread = [place for each in (sheaf, *drafts) for place in each.invalid_entries]
    patient = context.patientId if context.patientId is not None else _patient(sheaf)
    return EvaluationInput(
        patient_id=patient.removeprefix("Patient/"),
        encounter_id=(context.encounterId or "").removeprefix("Encounter/"),
        as_of=_as_of(request.asOf, deps),
        hook=_hook(request.hook),
        resources=tuple(sheaf.resources),
        drafts=tuple(resource for each in drafts for resource in each.resources),
        selections=strings(context.selections, "$.context.selections") or (),
        issues=(
            *(DataIssue(place, Message("Not a FHIR resource: not read.")) for place in unread),
            *(DataIssue(place, Message("Not a member of the request: not read.")) for place in unknown),
        ),
    )


def _bundle(raw: bytes, where: str) -> BundleContents:
    sheaf = read_bundle(raw, where, MAX_ENTRIES)
    if not sheaf.is_bundle and not sheaf.resources and not sheaf.outcomes:
        raise BadRequest("a FHIR Bundle, a resource or an array of resources is expected", where)
    if sheaf.outcomes and not sheaf.resources:
        raise BadRequest("an OperationOutcome came instead of data: what was read before this call had failed", where)
    return sheaf


def _patient(sheaf: BundleContents) -> str:
    found = sole_patient(sheaf.resources)
    if found is None:
        raise BadRequest("the data are of several patients; name the one to judge", "$.context.patientId")
    return found


def _drafts(context: EvaluateContext) -> Iterator[BundleContents]:
    """The orders of order hooks, and the medications of a refill."""
    given = {"draftOrders": bytes(context.draftOrders), "medications": bytes(context.medications)}
    return (_bundle(value, f"$.context.{member}") for member, value in given.items() if value != b"null")


def _as_of(wanted: str | None, deps: Dependencies) -> datetime:
    if wanted is None:
        return deps.clock()
    moment = primitives.when(wanted, deps.site.zone)
    if moment is None:
        raise BadRequest("asOf must be a date or dateTime such as 2025-06-15T10:00:00Z", "$.asOf")
    return moment.end


def _hook(name: str) -> Hook:
    try:
        return Hook(name)
    except ValueError as error:
        raise BadRequest(f"hook must be one of {', '.join(Hook)}", "$.hook") from error
