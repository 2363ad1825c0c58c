"""Development mode asks nobody for a token, so it answers this machine alone: no page of the web may make it act.

A page can send requests to this machine from the reader's browser: its own origin gives it away, or, where its name has
been led to 127.0.0.1 (DNS rebinding), the name in `Host`.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

import flask
from werkzeug.exceptions import Forbidden, UnsupportedMediaType

from service.net.urls import is_loopback


def answer_this_machine_alone(app: flask.Flask, origins: Collection[str], public_urls: Collection[str]) -> None:
    """403 for a `Host` that is not this machine or of `public_urls`, and for an `Origin` that is neither here nor listed.

    415 for a body without a type: a page may send that to anybody without asking first. Probes may use any name.
    """
    hosts = {host_of(url) for url in public_urls}

    @app.before_request
    def check() -> None:
        sent = flask.request
        if sent.path.startswith("/health/") or sent.method == "OPTIONS":
            return
        host = host_of(f"//{sent.headers.get('Host', '')}")
        if not is_loopback(host) and host not in hosts:
            raise Forbidden("Development mode answers this machine only: Host has to be localhost or 127.0.0.1")
        origin = sent.headers.get("Origin", "")
        if origin and origin not in origins and not is_loopback(host_of(origin)):
            raise Forbidden("Development mode answers pages of this machine, and those in cors_origins, only")
        if sent.method == "POST" and sent.endpoint and not sent.mimetype:
            raise UnsupportedMediaType("Development mode needs a Content-Type: send application/json")


def host_of(url: str) -> str:
    """The host of a URL in lower case; "" where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
