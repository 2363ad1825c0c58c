"""Prefetch first, FHIR server second: what each key of a call holds, and why it holds nothing.

A key is present, none on file (null, an empty Bundle, a warning "no results"), failed (an OperationOutcome), incomplete
(paged, and the rest could not be had; a total, and nothing of what it counts) or absent; only an absent key and a
further page are asked of the FHIR server.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from service.errors import BadRequest, TooLarge
from service.fhir import primitives
from service.fhir.client import Pages
from service.fhir.context import NOT_SENT
from service.fhir.decode import MAX_ENTRIES, BundleContents, Resource, read_bundle
from service.fhir.failure import ReadFailure
from service.fhir.paging import is_enough
from service.fhir.resources import Observation, OperationOutcome
from service.logic.message import Message
from service.logic.model import DataIssue

Fetch = Callable[[Mapping[str, str]], Mapping[str, Pages | ReadFailure]]
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


@dataclass(slots=True)
class _Key:
    """What has come of one key so far, from whatever number of values and pages."""

    read: bool = False  # some of it
    held: bool = False  # a resource
    counted: bool = False  # there are some, says a total
    next_url: str = ""  # the page after what was sent
    failure: str = ""  # the first reason why it is not whole


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
    came: defaultdict[str, _Key] = defaultdict(_Key)
    ours = {theirs: key for key, names in aliases.items() for theirs in names}
    for sent, raw in prefetch.items():
        key = ours.get(sent, sent)
        _take(gathered, came[key], _first_page(_contents(raw, f"$.prefetch.{sent}", sent=True), templates.get(key, "")))
    missing = _queries({key: query for key, query in templates.items() if key not in came}, context)
    if fetch is not None:
        wanted = missing | _further_pages({key: found.next_url for key, found in came.items()}, base)
        for key, answer in fetch(wanted).items() if wanted else ():
            _take_fetched(gathered, key, came[key], answer)
    for key, found in came.items():
        _settle(gathered, key, found)
    for key in templates:
        if key not in came:
            gathered.states[key] = "absent"
            if key in missing:  # without an encounter there is none to miss
                gathered.unavailable[key] = NOT_SENT
    return gathered


def _contents(raw: bytes, where: str, *, sent: bool) -> BundleContents:
    """A value of prefetch or a page; raises TooLarge for what the caller itself `sent`."""
    try:
        return read_bundle(raw, where, MAX_ENTRIES)
    except BadRequest as error:
        if sent and isinstance(error, TooLarge):
            raise
        return BundleContents(invalid_entries=[where])


def _first_page(contents: BundleContents, query: str) -> BundleContents:
    """A sent page without its `next`, if it already holds what the query asks for."""
    if not contents.next_url:
        return contents
    if is_enough(query, [r.effectiveDateTime for r in contents.resources if isinstance(r, Observation)]):
        contents.next_url = ""
    return contents


def _take(gathered: Gathered, found: _Key, contents: BundleContents) -> None:
    """File one value of prefetch, or one page."""
    gathered.resources += contents.resources
    gathered.issues += [
        DataIssue(place, Message("Not a FHIR resource: not read.")) for place in contents.invalid_entries
    ]
    found.held = found.held or bool(contents.resources)
    found.counted = found.counted or contents.total > 0
    found.next_url = contents.next_url or found.next_url
    if contents.outcomes and not contents.is_bundle:
        found.failure = found.failure or FAILED_AT_EHR
    elif contents.invalid_entries and not contents.resources:
        found.failure = found.failure or UNREADABLE
    else:
        found.read = True
        if any(_severity(outcome) & _GRAVE for outcome in contents.outcomes):
            found.failure = found.failure or INCOMPLETE


def _severity(outcome: OperationOutcome) -> set[str]:
    return {primitives.text(issue.severity) for issue in outcome.issue or ()}


def _further_pages(next_urls: Mapping[str, str], base: str) -> dict[str, str]:
    """Further pages of what was sent, as queries below the same FHIR server; elsewhere they are not followed."""
    root = base.rstrip("/") + "/"
    return {key: url.removeprefix(root) for key, url in next_urls.items() if base and url.startswith(root)}


def _take_fetched(gathered: Gathered, key: str, found: _Key, answer: Pages | ReadFailure) -> None:
    if isinstance(answer, ReadFailure):
        found.failure = found.failure or answer.words
        return
    for number, body in enumerate(answer.bodies, 1):
        _take(gathered, found, _contents(body, f"{key} page {number}", sent=False))
    found.next_url = ""  # the reader has followed it
    if answer.failure:
        found.failure = found.failure or answer.failure.words


def _settle(gathered: Gathered, key: str, found: _Key) -> None:
    """The state of a key, once all of it has come; each page states the total of all."""
    more = found.next_url or (found.counted and not found.held)
    if failure := found.failure or (INCOMPLETE if more else ""):
        gathered.states[key] = "incomplete" if found.read or found.held else "failed"
        gathered.unavailable[key] = failure
    else:
        gathered.states[key] = "present" if found.held else "none"


def _queries(templates: Mapping[str, str], context: Mapping[str, str]) -> dict[str, str]:
    """The templates whose tokens the context fills, values percent-encoded."""
    filled = {}
    for key, template in templates.items():
        names = _TOKEN.findall(template)
        if all(context.get(name) for name in names):
            filled[key] = _TOKEN.sub(lambda match: quote(context[match[1]], safe=""), template)
    return filled
