"""The paper for approval under /v1/governance: each section as a page or JSON, and all of it as one file that prints."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import flask
from markupsafe import Markup

from service.api.dependencies import Dependencies
from service.api.pages.page import PAGE_HEADERS, negotiated, page, reader, revalidated
from service.errors import NotFound
from service.governance.attributes import source_attributes
from service.governance.document import document, html, style_hash
from service.governance.paper import SECTIONS, Installation, Section, hazards
from service.logic.knowledge import VERSION
from service.logic.rules import RULES


def govern(rest: flask.Blueprint, deps: Dependencies) -> None:
    """Add the routes of the paper; nothing in it changes while the process lives."""
    at = cache(lambda rules_at: Installation(deps.site.knowledge, deps.mode, rules_at))
    written = cache(lambda section, rules_at: Markup(html(section, at(rules_at))))  # noqa: S704  our own words
    whole = cache(lambda: document(at("../rules/")).encode())
    by_id = {section.id: section for section in SECTIONS}

    @rest.get("/governance")
    def governance() -> flask.Response:
        """The sections of the paper."""
        listed = [{"id": section.id, "title": section.title.template} for section in SECTIONS]
        return negotiated(
            lambda: {"knowledge": VERSION, "sections": listed},
            lambda: page("governance.html", deps.settings.service, sections=SECTIONS),
        )

    @rest.get("/governance/<section>")
    def governance_section(section: str) -> flask.Response:
        """One section."""
        found = by_id.get(section)
        if found is None:
            raise NotFound(f"sections are {', '.join(by_id)}", "$.section")
        return negotiated(lambda: _body(found, at("")), lambda: _page(found, written, deps))

    @rest.get("/governance/paper.html")
    def governance_paper() -> flask.Response:
        """All sections as one file, with its style inside."""
        response = revalidated(whole(), "text/html")
        policy = PAGE_HEADERS["Content-Security-Policy"].replace("'self'", f"'none'; style-src '{style_hash()}'")
        response.headers.update(PAGE_HEADERS | {"Content-Security-Policy": policy})
        return response


def _page(section: Section, written: Callable[[Section, str], Markup], deps: Dependencies) -> flask.Response:
    article = written(section, f"{reader(deps.settings.service).root}v1/rules/")
    return page("governance_section.html", deps.settings.service, section=section, article=article)


def _body(section: Section, installation: Installation) -> dict[str, Any]:
    """The section as Markdown, and as rows where machines ask for them."""
    body = {"id": section.id, "title": section.title.template, "knowledge": VERSION}
    body["markdown"] = section.markdown(installation)
    if section.id == "source-attributes":
        return body | {"sourceAttributes": [source_attributes(rule.id, installation.knowledge) for rule in RULES]}
    return body | {"hazards": hazards()} if section.id == "hazard-log" else body
