"""The body of a call and who sent it: of a large body no more is read before its sender has proved who it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import flask

from service.api.auth.tokens import Caller
from service.api.dependencies import Dependencies
from service.api.http.request_body import read_bytes


def proved_body(deps: Dependencies, path: str, now: datetime, limit: int | None = None) -> tuple[bytes, Caller]:
    """The body, of `limit` bytes at most (none: as the site says), and the caller that its token proves for `path`.

    The token is looked at once: it is good for one call. Raises Unauthorised, TooManyRequests and as `read_bytes`.
    """
    return body_of(lambda: deps.authenticate(flask.request.headers.get("Authorization"), path, now), limit)


def body_of(who: Callable[[], Caller], limit: int | None = None) -> tuple[bytes, Caller]:
    """The body and its sender, whom `who` proves once; as `proved_body`."""
    found: list[Caller] = []

    def prove() -> None:
        found.append(who())

    data = read_bytes(limit, prove)
    if not found:
        prove()
    return data, found[0]
