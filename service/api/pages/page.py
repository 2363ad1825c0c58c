"""A page for a person: one environment of templates, in the reader's language and direction, under one strict policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flask
import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from service import __version__
from service.api.http.responses import json_answer
from service.cds.i18n import LANGUAGES, Wording, negotiate
from service.logic.knowledge import VERSION
from service.logic.message import Message, Value
from service.settings.site import ServiceSettings

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
ENVIRONMENT = jinja2.Environment(
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    trim_blocks=True,
    lstrip_blocks=True,
)
_MARKDOWN = MarkdownIt("commonmark", {"html": False})
ENVIRONMENT.filters["markdown"] = lambda words: Markup(_MARKDOWN.render(words))  # noqa: S704  rendered without HTML
NAMES = {"en": "English", "ru": "Русский", "fa": "فارسی"}  # of the languages, each in its own


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: in which language, and from which page. `chosen` is the language that the address names, or ""."""

    wording: Wording
    root: str
    chosen: str = ""

    @property
    def language(self) -> str:
        """The code of the language."""
        return self.wording.language

    @property
    def direction(self) -> str:
        """In which direction the language is written, as HTML names it."""
        return "rtl" if self.language == "fa" else "ltr"

    def link(self, path: str) -> str:
        """The way from this page to another of this service, in the language that was chosen."""
        path, mark, fragment = path.partition("#")
        language = f"?lang={self.chosen}" if self.chosen else ""
        return f"{self.root}{path}{language}{mark}{fragment}" or "./"

    def say(self, text: str, /, **values: Value) -> str:
        """An English sentence of ours in the reader's language."""
        return self.wording.plain(Message(text, **values))

    def english(self, text: str) -> Markup:
        """The attributes of an element whose text is not translated into the reader's language."""
        known = self.language == "en" or text in self.wording.messages
        return Markup("") if known else Markup(' lang="en" dir="ltr"')


def reader(site: ServiceSettings) -> Reader:
    """Who reads this request: `?lang=` before Accept-Language before the site's language."""
    named = flask.request.args.get("lang", "")
    chosen = named if named in LANGUAGES else ""
    language = chosen or negotiate(flask.request.headers.get("Accept-Language", ""), site.language)
    return Reader(Wording(language, site.zone), "../" * (flask.request.path.count("/") - 1), chosen)


def page(template: str, site: ServiceSettings, **values: Any) -> flask.Response:
    """A template as an answer; in it `reader`, `_` (a sentence in the reader's language) and `link` are known."""
    return page_for(reader(site), template, **values)


def page_for(who: Reader, template: str, **values: Any) -> flask.Response:
    """As `page`, for a reader of whom more is known than the request says."""
    named = {"reader": who, "_": who.say, "link": who.link, "languages": NAMES, "here": flask.request.path}
    versions = {"version": __version__, "knowledge_version": VERSION}
    body = ENVIRONMENT.get_template(template).render(**named, **versions, **values)
    response = revalidated(body.encode(), "text/html")
    response.headers.update(PAGE_HEADERS)
    response.headers["Content-Language"] = who.language
    response.vary.add("Accept-Language")
    return response


def negotiated(body: Callable[[], Any], person: Callable[[], flask.Response]) -> flask.Response:
    """The same knowledge at one address: a page for whoever prefers HTML, JSON for everybody else."""
    offers = ["application/json", "text/html"]  # at equal wishes (*/*) the first
    wanted = flask.request.accept_mimetypes.best_match(offers, offers[0])
    response = person() if wanted == "text/html" else json_answer(body())
    response.vary.add("Accept")
    return response


def revalidated(body: bytes, mimetype: str) -> flask.Response:
    """Answer with an ETag of the content, asked again at each use: never stale, sent once."""
    response = flask.Response(body, mimetype=mimetype)
    response.cache_control.no_cache = True
    response.add_etag()
    response.make_conditional(flask.request)
    return response
