"""create_app(settings): the composition root, the only file that joins the parts."""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import flask
import structlog

from service import __version__
from service.api import hooks, operations, pages, problems, rest
from service.api.auth import Caller, authenticate
from service.api.cors import allow_origins
from service.api.keys import KeyCache, fetcher
from service.api.tools import Tools
from service.fhir.client import FhirReader
from service.fhir.snapshot import Site
from service.logic.knowledge import VERSION, load
from service.logic.rules import RULES
from service.net.outbound import session
from service.settings import Mode, Settings
from service.settings.site import Bounds, Known, RuleMode
from service.store.store import Store
from service.terminology import rxnorm
from service.terminology.analytes import LAB_CODES
from service.terminology.drugs import FORMULARY, Formulary

LOG = structlog.get_logger(__name__)


def now() -> datetime:
    """The clock of a running service."""
    return datetime.now(UTC)


def known() -> Known:
    """What a site file may speak of."""
    knowledge = load()
    bounds = {p.id: Bounds(*p.site_bounds) for p in knowledge.parameters.values() if p.site_bounds}
    return Known(
        thresholds=bounds,
        rules=[rule.id for rule in RULES],
        ingredients=FORMULARY.ingredients,
        profiles=list(knowledge.profiles),
    )


def create_app(settings: Settings, clock: Callable[[], datetime] = now) -> flask.Flask:
    """The WSGI application."""
    app = flask.Flask("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.service.max_body_bytes
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    tools = _tools(settings, clock)
    problems.register(app)
    allow_origins(app, settings.service.cors_origins, development=settings.mode is Mode.DEVELOPMENT)
    app.register_blueprint(hooks.blueprint(tools))
    app.register_blueprint(rest.blueprint(tools))
    app.register_blueprint(operations.blueprint(tools))
    app.register_blueprint(pages.blueprint(_facts(settings), clock))
    return app


def application(settings: Settings) -> flask.Flask:
    """The application of a serving process: what was imported lives for ever and is kept out of later collections."""
    app = create_app(settings)
    gc.collect()
    gc.freeze()
    return app


def _tools(settings: Settings, clock: Callable[[], datetime]) -> Tools:
    store = Store(settings.database_url, clock=clock, on_fault=_store_fault, migrate=settings.mode is Mode.DEVELOPMENT)
    ca = settings.service.ca_bundle
    loopback = settings.mode is Mode.DEVELOPMENT
    keys = KeyCache(fetcher(session(loopback=loopback, ca_bundle=ca)))

    def identify(authorization: str | None, path: str, at: datetime) -> Caller:
        def fresh(issuer: str, jti: str, expires: datetime) -> bool:
            return not store.seen_jti(issuer, jti, expires, at)

        return authenticate(authorization, path, at, settings, keys, fresh)

    return Tools(
        settings=settings,
        site=site_of(settings),
        clock=clock,
        reader=FhirReader(ca_file=str(ca) if ca else None),
        store=store,
        authenticate=identify,
        rules_off=frozenset(rule for rule, mode in settings.rules.items() if mode is RuleMode.OFF),
        silent=frozenset(rule for rule, mode in settings.rules.items() if mode is RuleMode.SILENT),
    )


def site_of(settings: Settings) -> Site:
    """What the site decides about reading and judging."""
    return Site(
        zone=settings.service.zone,
        knowledge=load().with_values(settings.thresholds),
        codes=LAB_CODES.with_codes(settings.labs),
        formulary=_formulary(settings),
        accept_unknown_status=settings.service.accept_unknown_status,
        profile=settings.service.reference_profile,
    )


def _formulary(settings: Settings) -> Formulary:
    formulary = FORMULARY
    if settings.service.rxnorm_table:
        formulary = formulary.with_codes(rxnorm.read(Path(settings.service.rxnorm_table)).codes())
    return formulary.with_codes(settings.drugs) if settings.drugs else formulary


def _store_fault(kind: str) -> None:
    LOG.warning("store-fault", kind=kind)


def _facts(settings: Settings) -> dict[str, object]:
    """What the start page says of this installation."""
    notes = [f"Changed by the site: {name} = {value}" for name, value in settings.thresholds.items()]
    notes += [f"Rule {rule}: {mode.value}" for rule, mode in settings.rules.items() if mode is not RuleMode.ON]
    return {"mode": settings.mode.value, "version": __version__, "knowledgeVersion": VERSION, "notes": notes}
