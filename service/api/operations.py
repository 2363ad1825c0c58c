"""For operators and integrators: health, metrics, the contract and its interactive reference."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import flask
import jinja2
import msgspec
from markupsafe import Markup
from prometheus_client import CONTENT_TYPE_LATEST

from service import __version__
from service.api.dependencies import Dependencies
from service.api.http.error_handlers import issue, outcome
from service.api.http.responses import json_answer
from service.api.pages.page import ENVIRONMENT, page
from service.api.self_test import broken_rules
from service.errors import StoreUnavailable
from service.logic.knowledge import VERSION
from service.observability import metrics as service_metrics
from service.store.repeat import NO_ANSWER

READY_SECONDS = 1.0
CONTRACT = Path(__file__).parents[2] / "openapi.yaml"


def blueprint(deps: Dependencies) -> flask.Blueprint:
    """The routes /health/*, /metrics, /openapi.yaml and /docs."""
    operations = flask.Blueprint("operations", __name__)
    broken = broken_rules(deps.site, deps.clock())

    @operations.get("/health/live")
    def live() -> flask.Response:
        """The process answers."""
        return json_answer({"status": "alive", "version": __version__})

    @operations.get("/health/ready")
    def ready() -> flask.Response:
        """What is needed to answer cards; the database is named, but cards do not wait for it."""
        if broken:
            return outcome(503, [issue("exception", f"The knowledge cannot be evaluated: {', '.join(broken)}.")])
        store = _store(deps)
        checks = {"knowledge": "ok", "store": store, "repeatGuard": _repeat_guard(deps, store)}
        return json_answer({"status": "ready", "knowledge": VERSION, "checks": checks})

    @operations.get("/metrics")
    def metrics() -> flask.Response:
        """Prometheus metrics of this process."""
        return flask.Response(service_metrics.exposition(deps.store.waiting), content_type=CONTENT_TYPE_LATEST)

    @operations.get("/openapi.yaml")
    def contract() -> flask.Response:
        """The contract of this service."""
        return flask.Response(CONTRACT.read_bytes(), mimetype="application/yaml")

    @operations.get("/docs")
    def docs() -> flask.Response:
        """The contract as a page, to read and to try."""
        return page("docs.html", deps.settings.service, reference=_reference(), contract=_contract())

    return operations


def _store(deps: Dependencies) -> str:
    try:
        deps.store.ping(READY_SECONDS)
    except StoreUnavailable:
        return "failing"
    return "ok"


def _repeat_guard(deps: Dependencies, store: str) -> str:
    off = deps.store.repeats.off or (NO_ANSWER if store != "ok" else "")
    return f"repeat guard off: {off}" if off else "ok"


@cache
def _contract() -> dict[str, Any]:
    read: dict[str, Any] = msgspec.yaml.decode(CONTRACT.read_bytes())
    return read


@cache
def _reference() -> Markup:
    """The contract in words, rendered at its first use: nothing in it changes while the process lives."""
    environment = ENVIRONMENT.overlay(undefined=jinja2.Undefined)  # most members of a contract may be missing
    environment.filters["pretty"] = lambda value: msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return Markup(environment.get_template("contract.html").render(contract=_contract()))  # noqa: S704  escaped there
