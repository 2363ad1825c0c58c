"""The start page at `/`: a picture, a card and three doors; in development mode also patients to fire at the real hooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import msgspec
from markupsafe import Markup

from service import __version__
from service.api.auth.tokens import Caller
from service.api.dependencies import Dependencies
from service.api.evaluation import judged_prefetch
from service.api.guide import SITE
from service.api.http.request_body import ExplainRequest, decode
from service.api.pages.page import PAGE_HEADERS, page, reader, revalidated
from service.errors import NotFound
from service.evaluation_json import timeline_of
from service.logic.knowledge import VERSION
from service.pictures import NARROW
from service.samples import Sample, expand, samples
from service.settings import Mode, Settings
from service.settings.site import RuleMode

STATIC = Path(__file__).parent / "static"
SHOWN = "three-days-on-the-ward"  # the sample of which the page shows picture and card
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def blueprint(deps: Dependencies) -> flask.Blueprint:
    """Serve `/` and `/static/…`, and `/samples` unless in production."""
    pages = flask.Blueprint("pages", __name__)
    _serve_page(pages, deps)
    if deps.settings.mode is not Mode.PRODUCTION:
        _serve_samples(pages, deps)
    pages.after_request(_protect)
    return pages


def _serve_page(pages: flask.Blueprint, deps: Dependencies) -> None:
    files = (path for path in STATIC.rglob("*") if path.suffix in _TYPES)
    assets = {path.relative_to(STATIC).as_posix(): path.read_bytes() for path in files}
    facts = {"mode": deps.settings.mode.value, "guide": (SITE / "index.html").exists()}

    @pages.get("/")
    def start() -> flask.Response:
        with deps.gate:
            shown = _shown(deps)
        notes = [*_notes(deps.settings)]
        return page(
            "start.html", deps.settings.service, **facts, **shown, notes=notes, guard_off=deps.store.repeats.off
        )

    @pages.get("/static/<path:name>")
    def static(name: str) -> flask.Response:
        if name not in assets:
            raise NotFound("There is no such file.")
        return revalidated(assets[name], _TYPES[Path(name).suffix])


def _shown(deps: Dependencies) -> dict[str, Any]:
    """What this service says of an invented patient, as of this hour: the card, and the picture, wide and narrow."""
    now = deps.clock().replace(minute=0, second=0, microsecond=0)
    sent = expand(samples()[SHOWN], now).request | {"asOf": now.isoformat()}
    sent |= {"language": reader(deps.settings.service).language}
    request = decode(ExplainRequest, msgspec.json.encode(sent))
    prefetch = {key: bytes(value) for key, value in (request.prefetch or {}).items()}
    done = judged_prefetch(request, prefetch, Caller("start page", deps.settings.development_tenant), deps)
    wide, narrow = timeline_of(done.decision, done.how), timeline_of(done.decision, done.how, width=NARROW)
    return {
        "card": next((card.body for card in done.decision.cards), None),
        "wide": Markup(wide.svg),  # noqa: S704  it escapes what it is given
        "narrow": Markup(narrow.svg),  # noqa: S704
    }


def _notes(settings: Settings) -> Iterator[str]:
    """What the site has changed."""
    quiet = ["every caller"] if settings.service.silent else [one.name for one in settings.tenants if one.silent]
    yield from (f"Silent mode, no card is shown: {caller}" for caller in quiet)
    yield from (f"Changed by the site: {name} = {value}" for name, value in settings.thresholds.items())
    yield from (f"Rule {rule}: {mode.value}" for rule, mode in settings.rules.items() if mode is not RuleMode.ON)


def _serve_samples(pages: flask.Blueprint, deps: Dependencies) -> None:
    known = samples()
    about = {"mode": deps.settings.mode.value, "version": __version__, "knowledgeVersion": VERSION}
    listed = {**about, "notes": [*_notes(deps.settings)], "samples": [*map(_line, known.values())]}

    @pages.get("/samples")
    def all_samples() -> flask.Response:
        return _json(listed)

    @pages.get("/samples/<name>")
    def one_sample(name: str) -> flask.Response:
        if name not in known:
            raise NotFound("There is no such sample; GET /samples lists them.")
        return _json(expand(known[name], deps.clock()))


def _line(sample: Sample) -> dict[str, str]:
    named = {key: getattr(sample, key) for key in ("id", "title", "story", "service")}
    return named | {"hook": sample.request["hook"]}


def _json(body: object) -> flask.Response:
    response = flask.Response(msgspec.json.encode(body), mimetype="application/json")
    response.cache_control.no_store = True
    return response


def _protect(response: flask.Response) -> flask.Response:
    response.headers.update(PAGE_HEADERS)
    return response
