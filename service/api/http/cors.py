"""Cross-origin calls: origins from a list are echoed, on errors too; preflight needs no token."""

from __future__ import annotations

from collections.abc import Collection

import flask

from service.api.http.development import host_of
from service.net.urls import is_loopback

_METHODS = "GET, POST, OPTIONS"
_HEADERS = "Authorization, Content-Type, Accept-Language, X-Request-Id, traceparent"
_EXPOSED = "Content-Language, Retry-After, X-Request-Id"


def allow_origins(app: flask.Flask, origins: Collection[str], *, development: bool) -> None:
    """Answer CORS for these origins; in development also for any page on this machine."""

    def allowed(origin: str) -> bool:
        return origin in origins or (development and is_loopback(host_of(origin)))

    @app.after_request
    def add_headers(response: flask.Response) -> flask.Response:
        origin = flask.request.headers.get("Origin", "")
        response.headers.add("Vary", "Origin")
        if origin and allowed(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
            if flask.request.method == "OPTIONS":
                response.headers["Access-Control-Allow-Methods"] = _METHODS
                response.headers["Access-Control-Allow-Headers"] = _HEADERS
                response.headers["Access-Control-Max-Age"] = "600"
        return response
