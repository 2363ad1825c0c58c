"""Feedback in both directions: what EHRs report of the cards, and what became of them in numbers."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import partial

import flask
import msgspec

from service.api import audit
from service.api.auth.tokens import Caller
from service.api.dependencies import Dependencies
from service.api.http.request_body import decode_object
from service.api.http.responses import json_answer
from service.cds.override_reasons import CODES, SYSTEM
from service.cds.services import Service
from service.errors import BadRequest
from service.store.feedback import Offered, parse_items
from service.store.summary import to_csv

_FIRST_YEAR = 2000  # there was no CDS Hooks before


def receive(data: bytes, service: Service, caller: Caller, deps: Dependencies, now: datetime) -> flask.Response:
    """Store what became of cards that this service answered to this caller; how much of it was new and known."""
    issued = partial(deps.store.card_ids.issued_on, tenant=caller.name, service=service.id)
    with deps.gate:
        items, rejected = parse_items(decode_object(data), Offered(now, SYSTEM, CODES, issued))
    report = deps.store.record_feedback(service.id, items, now, caller.name)
    audit.reported(items, rejected, report, caller)
    answer = {"accepted": report.accepted, "duplicates": report.duplicates, "unknownCards": report.unknown_cards}
    if rejected:
        answer["rejected"] = [{"where": f"$.feedback[{r.index}]", "reason": r.reason} for r in rejected]  # type: ignore[assignment]
    return json_answer(answer)


def summary(caller: Caller, deps: Dependencies) -> flask.Response:
    """What became of the caller's cards, as JSON or, where that is preferred, as CSV."""
    until = _day("until", deps.clock().date() + timedelta(days=1))
    since = _day("since", until - timedelta(days=91))
    rows = deps.store.summary(caller.name, since, until)
    if flask.request.accept_mimetypes.best_match(["application/json", "text/csv"]) == "text/csv":
        response = flask.Response(to_csv(rows), mimetype="text/csv")
        response.headers["Content-Disposition"] = f'attachment; filename="feedback-{since}-{until}.csv"'
    else:
        told = {"since": since.isoformat(), "until": until.isoformat(), "rows": [msgspec.to_builtins(r) for r in rows]}
        response = json_answer(told)
    response.headers["Vary"] = "Accept"
    return response


def _day(name: str, default: date) -> date:
    given = flask.request.args.get(name)
    if given is None:
        return default
    try:
        day = date.fromisoformat(given)
    except ValueError as error:
        raise BadRequest("a date such as 2026-03-01 is expected", f"?{name}") from error
    if day.year < _FIRST_YEAR:
        raise BadRequest(f"a date from {_FIRST_YEAR} on is expected", f"?{name}")
    return day
