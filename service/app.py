"""create_app(settings): the composition root, the only file that joins the parts."""

from __future__ import annotations

import atexit
import gc
import re
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import flask
import requests
import structlog

from service.api import explain, fhir_operation, guide, hooks, operations, rest, smart
from service.api.auth.jwks_cache import KeyCache, fetcher
from service.api.auth.readers import verify
from service.api.auth.tokens import Caller, authenticate
from service.api.dependencies import Dependencies
from service.api.http import concurrency, error_handlers, responses
from service.api.http.cors import allow_origins
from service.api.http.development import answer_this_machine_alone
from service.api.http.instrumentation import instrument, start_tracing
from service.api.http.rate_limit import RateLimit
from service.api.pages import start
from service.fhir.client import FhirReader
from service.fhir.read_pool import ReadPool
from service.net.outbound import session
from service.net.urls import Network, address_allowed
from service.observability import metrics
from service.observability.logging import log_to_stdout, non_blocking
from service.settings import Mode, Settings
from service.site import now, site_of
from service.store.database import upgraded
from service.store.secret import Secret
from service.store.store import Store
from service.terminology.queries import PREFETCH_KEYS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def create_app(settings: Settings, clock: Callable[[], datetime] = now) -> flask.Flask:
    """The WSGI application; `app.extensions["dependencies"].close()` ends it."""
    app = flask.Flask("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.service.max_body_bytes
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.wsgi_app = _single_slashes(app.wsgi_app)  # type: ignore[assignment, method-assign]
    deps = app.extensions["dependencies"] = _dependencies(settings, clock)
    tracing = app.extensions["tracing"] = start_tracing() if settings.traces else None
    instrument(app, tracing)
    error_handlers.register(app)
    concurrency.limit_large_bodies(app)
    responses.security_headers(app)
    allow_origins(app, settings.service.cors_origins, development=settings.mode is Mode.DEVELOPMENT)
    if not settings.authenticates:
        answer_this_machine_alone(app, settings.service.cors_origins, settings.service.public_urls)
    app.register_blueprint(hooks.blueprint(deps))
    app.register_blueprint(rest.blueprint(deps))
    app.register_blueprint(explain.blueprint(deps))
    app.register_blueprint(fhir_operation.blueprint(deps))
    app.register_blueprint(smart.blueprint(deps))
    app.register_blueprint(operations.blueprint(deps))
    app.register_blueprint(guide.blueprint())
    app.register_blueprint(start.blueprint(deps))
    return app


def _single_slashes(inner: WSGIApplication) -> WSGIApplication:
    """Clients that join a base and a path double the slash; a redirect would cost them their body."""

    def outer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        return inner({**environ, "PATH_INFO": re.sub("/{2,}", "/", environ.get("PATH_INFO", ""))}, start)

    return outer


def application(settings: Settings) -> flask.Flask:
    """The application of a serving process, made after it has forked; what waits to be stored is stored as it ends.

    What was imported lives for ever and is kept out of later collections of garbage.
    """
    at_a_terminal = settings.mode is Mode.DEVELOPMENT and sys.stdout is not None and sys.stdout.isatty()
    log_to_stdout(settings.log_level, readable=at_a_terminal, write=non_blocking(metrics.LOG_LINES_DROPPED.inc))
    app = create_app(settings)
    atexit.register(app.extensions["dependencies"].close)
    if tracing := app.extensions["tracing"]:
        atexit.register(tracing.close)
    gc.collect()
    gc.freeze()
    return app


def _dependencies(settings: Settings, clock: Callable[[], datetime]) -> Dependencies:
    out = session(loopback=settings.mode is Mode.DEVELOPMENT, ca_bundle=settings.service.ca_bundle)
    keys, limit = KeyCache(fetcher(out)), RateLimit(settings.service.rate_limit_per_minute)
    store = Store(
        settings.database_url,
        clock=clock,
        on_fault=_store_fault,
        migrate=not upgraded(settings.database_url),
        secret=Secret(settings.secret.encode()) if settings.secret else None,
    )
    return Dependencies(
        settings=settings,
        site=site_of(settings),
        clock=clock,
        readers=fhir_readers(settings),
        store=store,
        authenticate=_identify(settings, store, keys, limit),
        authenticate_reader=_identify_reader(settings, keys, limit, out),
    )


def _identify(
    settings: Settings, store: Store, keys: KeyCache, limit: RateLimit
) -> Callable[[str | None, str, datetime], Caller]:
    """Who calls; TooManyRequests for one who calls too often. Nobody in particular (development) is not limited."""

    def identify(authorization: str | None, path: str, at: datetime) -> Caller:
        def fresh(issuer: str, jti: str, expires: datetime, strict: bool) -> bool:
            return not store.seen_jti(issuer, jti, expires, at, strict=strict)

        caller = authenticate(authorization, path, at, settings, keys, fresh)
        structlog.contextvars.bind_contextvars(tenant=caller.name)
        if settings.authenticates:
            limit.take(caller.name)
        return caller

    return identify


def _identify_reader(
    settings: Settings, keys: KeyCache, limit: RateLimit, out: requests.Session
) -> Callable[[str | None, str, datetime], Caller]:
    """Who reads at which EHR. Counted before the EHR is asked, apart from its calls: strangers cannot use those up."""

    def identify(authorization: str | None, iss: str, at: datetime) -> Caller:
        if settings.authenticates and (found := settings.opened_at(iss)):
            limit.take(f"{found[0].name} readers")
        caller = verify(authorization, iss, at, settings, keys, out)
        structlog.contextvars.bind_contextvars(tenant=caller.name)
        return caller

    return identify


def fhir_readers(settings: Settings) -> dict[tuple[Network, ...], FhirReader]:
    """A reader for each list of networks to which a tenant's FHIR servers are held."""
    ca, loopback = settings.service.ca_bundle, settings.mode is Mode.DEVELOPMENT
    pool = ReadPool(reads=len(PREFETCH_KEYS))

    def reader(networks: tuple[Network, ...]) -> FhirReader:
        address_filter = partial(address_allowed, networks=networks, loopback=loopback)
        return FhirReader(ca_file=str(ca) if ca else None, address_filter=address_filter, pool=pool)

    lists = {tenant.fhir_networks for tenant in (*settings.tenants, settings.development_tenant)}
    return {networks: reader(networks) for networks in lists}


def _store_fault(kind: str) -> None:
    metrics.STORE_FAULTS.labels(kind).inc()
