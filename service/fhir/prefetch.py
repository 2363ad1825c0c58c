"""Prefetch first, FHIR server second: what each key of a call holds, and why it holds nothing.

A key is present, none on file (null, an empty Bundle, a warning "no results"), failed (an OperationOutcome), incomplete
(paged, and the rest could not be had; a total, and nothing of what it counts) or absent; only an absent key and a
further page are asked of the FHIR server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from service.errors import BadRequest, TooLarge
from service.fhir import primitives
from service.fhir.client import Pages
from service.fhir.context import NOT_SENT, TRUNCATED
from service.fhir.decode import MAX_ENTRIES, BundleContents, Resource, read_bundle
from service.fhir.failure import ReadFailure
from service.fhir.paging import is_enough
from service.fhir.resources import Condition, Observation, OperationOutcome, Patient, Prescribed
from service.logic.message import Message
from service.logic.model import DataIssue
from service.terminology.queries import PREFETCH_KEYS, QUERIES, members, template

Fetch = Callable[[Mapping[str, str]], Mapping[str, Pages | ReadFailure]]
_COUNT = re.compile(r"[?&]_count=(\d+)")
_TOKEN = re.compile(r"{{\s*context\.(\w+)\s*}}")
_GRAVE = {"error", "fatal"}

# English, and found for translation.
FAILED_AT_EHR = Message("the EHR could not read it").template
UNREADABLE = Message("sent, but not readable as FHIR").template
INCOMPLETE = Message("only a part could be read").template


@dataclass(slots=True)
class Gathered:
    """The resources of all keys, the state of each name that came or was asked for, and why some are not there."""

    resources: list[Resource] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)  # key -> present, none, failed, incomplete, absent
    asked: tuple[str, ...] = ()  # single keys that should hold something
    unavailable: dict[str, str] = field(default_factory=dict)  # single key -> why
    filled: list[tuple[frozenset[str], tuple[Resource, ...]]] = field(
        default_factory=list
    )  # what came under which keys
    issues: list[DataIssue] = field(default_factory=list)


@dataclass(slots=True)
class _Came:
    """What has come so far under one name, from whatever number of pages, for which single keys."""

    name: str  # ours, or theirs
    keys: tuple[str, ...]  # the single keys that it answers
    count: int = 0  # how many were asked for, if we know
    resources: list[Resource] = field(default_factory=list)
    read: bool = False  # some of it
    total: int = 0  # how many there are, if it says so
    next_url: str = ""  # the page after what was sent
    failure: str = ""  # the first reason why it is not whole

    @property
    def reason(self) -> str:
        """Why it is not whole, or "". A total without anything that it counts is not nothing on file."""
        counted = self.total > 0 and not self.resources
        return self.failure or (INCOMPLETE if self.next_url or counted else "")

    @property
    def state(self) -> str:
        """Present, none, failed or incomplete."""
        if self.reason:
            return "incomplete" if self.read or self.resources else "failed"
        return "present" if self.resources else "none"

    @property
    def truncated(self) -> bool:
        """One search for several kinds brought as many as it asked for: what is not on it may still be on file."""
        found = sum(isinstance(resource, Observation) for resource in self.resources)
        return len(self.keys) > 1 and 0 < self.count <= found != self.total

    @property
    def is_chart(self) -> bool:
        """All that is on file in one Bundle, under whatever name: a Patient and at least two clinical kinds."""
        kinds = set(map(type, self.resources))
        held = [kind for kind in (Observation, Condition, Prescribed) if any(issubclass(each, kind) for each in kinds)]
        return not self.reason and Patient in kinds and len(held) > 1


def gather(
    templates: Mapping[str, str],
    prefetch: Mapping[str, bytes],
    context: Mapping[str, str],
    aliases: Mapping[str, Iterable[str]],
    fetch: Fetch | None,
    base: str = "",
    unsent: Collection[str] = (),
) -> Gathered:
    """Read what was sent and fetch what was not; `fetch` is None without access to the FHIR server at `base`.

    `aliases` are our keys with the EHR's names for each, of which one may stand for several of ours; `unsent` are keys
    that this EHR never sends. A merged key is answered by the single keys that it stands for, and the other way round.
    """
    gathered = Gathered()
    never = {single for key in unsent for single in members(key)}
    wanted = {key: [each for each in members(key) if each not in never] for key in templates}
    gathered.asked = tuple(dict.fromkeys(each for singles in wanted.values() for each in singles))
    came: dict[str, _Came] = {}
    for sent, raw in prefetch.items():
        _take_sent(gathered, came, _meant(sent, aliases), templates, _contents(raw, f"$.prefetch.{sent}", sent=True))
    if charts := [found for found in came.values() if found.is_chart]:
        wanted = _beyond(charts, wanted) if fetch is not None else {}
    there = {each for found in came.values() for each in found.keys}
    absent = dict(_absent(templates, wanted, there))
    queries = _queries({key: query for key, (query, _) in absent.items()}, context)
    if fetch is not None:
        for key, query in queries.items():
            came[key] = _Came(key, absent[key][1], _count(query))
        _fetch(gathered, came, queries, fetch, base)
    gathered.states |= {key: "absent" for key in absent if key not in came}
    _settle(gathered, came.values(), {each for key in queries for each in absent[key][1]})
    return gathered


def _beyond(charts: Collection[_Came], wanted: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Of what is wanted, the keys of FHIR types that no whole chart holds: with access they are asked for."""
    held = {resource.resourceType for found in charts for resource in found.resources}
    return {key: [each for each in singles if QUERIES[each].kind not in held] for key, singles in wanted.items()}


def _absent(
    templates: Mapping[str, str], wanted: Mapping[str, Sequence[str]], there: Collection[str]
) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    """Each key of which something did not come, with the query for that, and the single keys that it answers."""
    for key, singles in wanted.items():
        rest = tuple(each for each in singles if each not in there)
        if rest == members(key):
            yield key, (templates[key], rest)
        elif len(rest) == 1:
            yield rest[0], (template(rest[0]), rest)
        elif rest:
            yield key, (template(key, without=set(members(key)) - set(rest)), rest)


def _meant(sent: str, aliases: Mapping[str, Iterable[str]]) -> list[str]:
    """Our keys that a name of theirs stands for; its own where none says so. The name itself, if several, comes last."""
    ours = [key for key, names in aliases.items() if sent in names]
    return ours if len(ours) == 1 else [*ours, sent]


def _take_sent(
    gathered: Gathered, came: dict[str, _Came], meant: list[str], templates: Mapping[str, str], contents: BundleContents
) -> None:
    """File one value of prefetch. Two names for the same key are as good as the worse of them."""
    name, query = meant[-1], ""
    if len(meant) == 1:
        query = templates.get(name) or (template(name) if name in PREFETCH_KEYS else "")
    ours = [key for key in meant if key in PREFETCH_KEYS] or [name]
    singles = tuple(dict.fromkeys(each for key in ours for each in members(key)))
    found = came.setdefault(name, _Came(name, singles, _count(query)))
    _take(gathered, found, _first_page(contents, query))


def _count(query: str) -> int:
    asked = _COUNT.search(query)
    return int(asked[1]) if asked else 0


def _fetch(gathered: Gathered, came: Mapping[str, _Came], queries: Mapping[str, str], fetch: Fetch, base: str) -> None:
    """Ask the FHIR server for what was not sent, and for the pages after what was."""
    pages = _further_pages({name: found.next_url for name, found in came.items()}, base)
    asked = dict(queries) | pages
    for name, answer in fetch(asked).items() if asked else ():
        _take_fetched(gathered, name, came[name], answer)


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


def _take(gathered: Gathered, found: _Came, contents: BundleContents) -> None:
    """File one value of prefetch, or one page."""
    gathered.resources += contents.resources
    found.resources += contents.resources
    gathered.issues += [
        DataIssue(place, Message("Not a FHIR resource: not read.")) for place in contents.invalid_entries
    ]
    found.total = max(found.total, contents.total)
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


def _take_fetched(gathered: Gathered, key: str, found: _Came, answer: Pages | ReadFailure) -> None:
    if isinstance(answer, ReadFailure):
        found.failure = found.failure or answer.words
        return
    for number, body in enumerate(answer.bodies, 1):
        _take(gathered, found, _contents(body, f"{key} page {number}", sent=False))
    found.next_url = ""  # the reader has followed it
    if answer.failure:
        found.failure = found.failure or answer.failure.words


def _settle(gathered: Gathered, came: Iterable[_Came], absent: Collection[str]) -> None:
    """The state of each name, and of each single key why it cannot be answered, once all has come."""
    alone: dict[str, str] = {}  # single key -> why what came under its own name is not whole, or ""
    merged: dict[str, list[str]] = {}  # single key -> the same of each search for several
    for found in came:
        gathered.states[found.name] = found.state
        if found.resources and not found.is_chart:
            gathered.filled.append((frozenset(found.keys), tuple(found.resources)))
        for key in found.keys:
            if len(found.keys) == 1:
                alone[key] = found.reason
            else:
                merged.setdefault(key, []).append(found.reason or (TRUNCATED if found.truncated else ""))
    reasons = {key: listed[0] if all(listed) else "" for key, listed in merged.items()} | alone
    gathered.unavailable |= {key: why for key, why in reasons.items() if why}
    missed = (key for key in absent if key not in reasons and not (key in QUERIES and QUERIES[key].extra))
    gathered.unavailable |= dict.fromkeys(missed, NOT_SENT)


def _queries(templates: Mapping[str, str], context: Mapping[str, str]) -> dict[str, str]:
    """The templates whose tokens the context fills, values percent-encoded."""
    filled = {}
    for key, query in templates.items():
        names = _TOKEN.findall(query)
        if all(context.get(name) for name in names):
            filled[key] = _TOKEN.sub(lambda match: quote(context[match[1]], safe=""), query)
    return filled
