"""The start page at `/` and, in development mode, the built-in synthetic patients that it fires at the real hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path

import flask
import jinja2
import msgspec

from service.api.pages.page import PAGE_HEADERS, revalidated
from service.errors import NotFound
from service.samples import Sample, expand, samples

_HERE = Path(__file__).parent
_ASSETS = {
    "app.js": "text/javascript",
    "docs.js": "text/javascript",
    "docs.css": "text/css",
    "explain.css": "text/css",
    "explain.js": "text/javascript",
    "smart.js": "text/javascript",
    "vendor/fhir-client.pure.min.js": "text/javascript",
    "mark.svg": "image/svg+xml",
    "style.css": "text/css",
}


def blueprint(
    facts: Mapping[str, object], clock: Callable[[], datetime], repeat_guard_off: Callable[[], str] = str
) -> flask.Blueprint:
    """Serve `/` and `/static/…`, and `/samples` unless `facts["mode"]` is `production`.

    `facts`: `mode` (`development` or `production`), `version`, `knowledgeVersion`, `notes` (list of sentences).
    `repeat_guard_off` says why the repeat guard holds nothing back at present, "" if it works.
    """
    pages = flask.Blueprint("pages", __name__)
    _serve_page(pages, facts, repeat_guard_off)
    if facts["mode"] != "production":
        _serve_samples(pages, facts, clock)
    pages.after_request(_protect)
    return pages


def _page(facts: Mapping[str, object], guard_off: str) -> bytes:
    source = (_HERE / "templates" / "start.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(source).render(facts=facts, guard_off=guard_off).encode()


def _serve_page(pages: flask.Blueprint, facts: Mapping[str, object], guard_off: Callable[[], str]) -> None:
    page = lru_cache(maxsize=4)(partial(_page, facts))  # there are no more reasons than that
    assets = {name: (_HERE / "static" / name).read_bytes() for name in _ASSETS}

    @pages.get("/")
    def start() -> flask.Response:
        return revalidated(page(guard_off()), "text/html")

    @pages.get("/static/<path:name>")
    def static(name: str) -> flask.Response:
        if name not in assets:
            raise NotFound("There is no such file.")
        return revalidated(assets[name], _ASSETS[name])


def _serve_samples(pages: flask.Blueprint, facts: Mapping[str, object], clock: Callable[[], datetime]) -> None:
    known = samples()
    listed = {**{key: facts[key] for key in ("mode", "version", "notes")}, "samples": [*map(_line, known.values())]}

    @pages.get("/samples")
    def all_samples() -> flask.Response:
        return _json(listed)

    @pages.get("/samples/<name>")
    def one_sample(name: str) -> flask.Response:
        if name not in known:
            raise NotFound("There is no such sample; GET /samples lists them.")
        return _json(expand(known[name], clock()))


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
