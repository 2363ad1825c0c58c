"""How the cards of a call are written: in the reader's language, with the caller's order codes."""

from __future__ import annotations

import flask

from service.api.auth.tokens import Caller
from service.api.dependencies import Dependencies
from service.cds.cards import Presentation
from service.cds.i18n import Wording, negotiate
from service.settings.site import RuleMode


def presentation(deps: Dependencies, caller: Caller, language: str = "") -> Presentation:
    """How cards are written for this call: the caller's order codes, the reader's language."""
    site = deps.settings.service
    default = caller.tenant.language or site.language
    chosen = language or negotiate(flask.request.headers.get("Accept-Language", ""), default)
    return Presentation(
        wording=Wording(chosen, site.zone),
        local_orders=caller.tenant.orders,
        base_url=_base_url(deps),
        smart=caller.tenant.smart is not None or not deps.settings.authenticates,
        rules_off=deps.settings.rules_in(RuleMode.OFF),
        silent=deps.settings.rules_in(RuleMode.SILENT),
        reference=deps.settings.rules_in(RuleMode.REFERENCE),
    )


def _base_url(deps: Dependencies) -> str:
    """Where readers reach this service: its first https address; in development the one that was called."""
    own = "" if deps.settings.authenticates else flask.request.url_root.rstrip("/")
    return next((url for url in deps.settings.service.public_urls if url.startswith("https://")), own)
