"""Prefetch first, FHIR server second: what each key of a call holds, and why it holds nothing.

A key is present, none on file (null, an empty Bundle, a warning "no results"), failed (an OperationOutcome), incomplete
(paged, and the rest could not be had; a total, and nothing of what it counts) or absent; only an absent key and a
further page are asked of the FHIR server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from service.errors import BadRequest, FhirReadFailed, TooLarge
from service.fhir import total
from service.fhir.client import Pages
from service.fhir.context import NOT_SENT
from service.fhir.paging import is_enough
from service.fhir.resources import Observation, OperationOutcome
from service.fhir.wire import MOST_ENTRIES, Resource, Sheaf, read_sheaf
from service.logic.model import DataIssue
from service.logic.text import Text

Fetch = Callable[[Mapping[str, str]], Mapping[str, Pages | FhirReadFailed]]
_TOKEN = re.compile(r"{{\s*context\.(\w+)\s*}}")
_GRAVE = {"error", "fatal"}

FAILED_AT_EHR = "the EHR could not read it"
UNREADABLE = "sent, but not readable as FHIR"
INCOMPLETE = "only a part could be read"


@dataclass(slots=True)
class Gathered:
    """The resources of all keys, the state of each expected key, and why some are not there."""

    resources: list[Resource] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)  # key -> present, none, failed, incomplete, absent
    unavailable: dict[str, str] = field(default_factory=dict)  # key -> why
    issues: list[DataIssue] = field(default_factory=list)
    next_urls: dict[str, str] = field(default_factory=dict)  # key -> the page after what was sent
    held: set[str] = field(default_factory=set)  # keys of which some resource came


def gather(
    templates: Mapping[str, str],
    prefetch: Mapping[str, bytes],
    context: Mapping[str, str],
    aliases: Mapping[str, Iterable[str]],
    fetch: Fetch | None,
    base: str = "",
) -> Gathered:
    """Read what was sent and fetch what was not; `fetch` is None without access to the FHIR server at `base`."""
    gathered = Gathered()
    ours = {theirs: key for key, names in aliases.items() for theirs in names}
    for sent, raw in prefetch.items():
        key = ours.get(sent, sent)
        _take(gathered, key, _first_page(_sent(raw, f"$.prefetch.{sent}"), templates.get(key, "")))
    missing = _queries({key: query for key, query in templates.items() if key not in gathered.states}, context)
    if fetch is not None:
        wanted = missing | _further_pages(gathered.next_urls, base)
        for key, answer in fetch(wanted).items() if wanted else ():
            _take_fetched(gathered, key, answer)
    for key in templates:
        if key not in gathered.states:
            gathered.states[key] = "absent"
            if key in missing:  # without an encounter there is none to miss
                gathered.unavailable[key] = NOT_SENT
    return gathered


def _sent(raw: bytes, where: str) -> Sheaf:
    try:
        return read_sheaf(raw, where, MOST_ENTRIES)
    except TooLarge:
        raise
    except BadRequest:
        return Sheaf(odd=[where])


def _fetched(raw: bytes, where: str) -> Sheaf:
    try:
        return read_sheaf(raw, where, MOST_ENTRIES)
    except BadRequest:
        return Sheaf(odd=[where])


def _first_page(sheaf: Sheaf, query: str) -> Sheaf:
    """A sent page without its `next`, if it already holds what the query asks for."""
    if not sheaf.next_url:
        return sheaf
    if is_enough(query, [r.effectiveDateTime for r in sheaf.resources if isinstance(r, Observation)]):
        sheaf.next_url = ""
    return sheaf


def _take(gathered: Gathered, key: str, sheaf: Sheaf) -> None:
    """File one value of prefetch, or one page, under the state it means."""
    gathered.resources += sheaf.resources
    if sheaf.resources:
        gathered.held.add(key)
    gathered.issues += [DataIssue(place, Text("Not a FHIR resource: not read.")) for place in sheaf.odd]
    grave = any(_severity(outcome) & _GRAVE for outcome in sheaf.outcomes)
    if sheaf.outcomes and not sheaf.is_bundle:
        _note(gathered, key, "failed", FAILED_AT_EHR)
    elif sheaf.odd and not sheaf.resources:
        _note(gathered, key, "failed", UNREADABLE)
    elif grave or sheaf.next_url or (sheaf.total > 0 and key not in gathered.held):
        _note(gathered, key, "incomplete", INCOMPLETE)
        if sheaf.next_url:
            gathered.next_urls[key] = sheaf.next_url
    else:
        gathered.states[key] = "present" if key in gathered.held else "none"


def _note(gathered: Gathered, key: str, state: str, why: str) -> None:
    gathered.states[key] = state
    gathered.unavailable[key] = why


def _severity(outcome: OperationOutcome) -> set[str]:
    return {total.text(issue.severity) for issue in outcome.issue or ()}


def _further_pages(next_urls: Mapping[str, str], base: str) -> dict[str, str]:
    """Further pages of what was sent, as queries below the same FHIR server; elsewhere they are not followed."""
    root = base.rstrip("/") + "/"
    return {key: url.removeprefix(root) for key, url in next_urls.items() if base and url.startswith(root)}


def _take_fetched(gathered: Gathered, key: str, answer: Pages | FhirReadFailed) -> None:
    if isinstance(answer, FhirReadFailed):
        _note(gathered, key, "incomplete" if key in gathered.next_urls else "failed", str(answer))
        return
    gathered.unavailable.pop(key, None)
    sheaves = [_fetched(body, f"{key} page {number}") for number, body in enumerate(answer.bodies, 1)]
    if any(sheaf.resources for sheaf in sheaves):  # each page states the total of all
        gathered.held.add(key)
    for sheaf in sheaves:
        sheaf.next_url = ""  # the reader has followed it
        _take(gathered, key, sheaf)
    if not answer.complete:
        _note(gathered, key, "incomplete", answer.note or INCOMPLETE)


def _queries(templates: Mapping[str, str], context: Mapping[str, str]) -> dict[str, str]:
    """The templates whose tokens the context fills, values percent-encoded."""
    filled = {}
    for key, template in templates.items():
        names = _TOKEN.findall(template)
        if all(context.get(name) for name in names):
            filled[key] = _TOKEN.sub(lambda match: quote(context[match[1]], safe=""), template)
    return filled
