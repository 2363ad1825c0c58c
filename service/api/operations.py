"""For operators and integrators: health, metrics, the contract and its interactive reference."""

from __future__ import annotations

from pathlib import Path

import flask
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service import __version__
from service.api.answers import json_answer
from service.api.tools import Tools
from service.errors import StoreUnavailable
from service.logic.knowledge import VERSION

READY_SECONDS = 1.0
CONTRACT = Path(__file__).parents[2] / "openapi.yaml"


def blueprint(tools: Tools) -> flask.Blueprint:
    """The routes /health/*, /metrics, /openapi.yaml and /docs."""
    operations = flask.Blueprint("operations", __name__)

    @operations.get("/health/live")
    def live() -> flask.Response:
        """The process answers."""
        return json_answer({"status": "alive", "version": __version__})

    @operations.get("/health/ready")
    def ready() -> flask.Response:
        """What is needed to answer cards; the database is named, but cards do not wait for it."""
        try:
            tools.store.ping(READY_SECONDS)
            store = "ok"
        except StoreUnavailable:
            store = "failing"
        return json_answer({"status": "ready", "knowledge": VERSION, "checks": {"knowledge": "ok", "store": store}})

    @operations.get("/metrics")
    def metrics() -> flask.Response:
        """Prometheus metrics of this process."""
        return flask.Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    @operations.get("/openapi.yaml")
    def contract() -> flask.Response:
        """The contract of this service."""
        return flask.Response(CONTRACT.read_bytes(), mimetype="application/yaml")

    return operations
