"""Many patients in one request: NDJSON of evaluate bodies in, NDJSON of answers out, each with its own status.

The body is read whole before the first answer, since most clients read nothing until they have sent everything, and so
that an upload which broke off is refused. The answers leave one by one; each takes its turn among all other calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from io import BytesIO
from typing import Any

import flask
import msgspec
from structlog.contextvars import bind_contextvars, get_contextvars

from service.api.auth.tokens import Caller
from service.api.dependencies import Dependencies
from service.api.evaluation import evaluated
from service.api.http.request_body import NDJSON_TYPES, require_type
from service.api.http.responses import encode
from service.api.proof import proved_body
from service.errors import BadRequest, Overloaded, TooLarge
from service.observability import metrics
from service.observability.timing import Stopwatch

PATH = "/v1/evaluate/batch"
BATCH_BYTES = 20_000_000
"""Of a whole batch, unless one body alone may be larger: 280 usual charts."""
MAX_LINES = 5_000


def answered(deps: Dependencies) -> flask.Response:
    """An answer for each line that is not blank, in order; `Batch-Lines` says how many there will be.

    Raises Overloaded (503) while another batch is under way: one process answers one, so that hooks stay quick.
    """
    most = deps.settings.service.max_body_bytes
    data, caller = proved_body(deps, PATH, deps.clock(), max(BATCH_BYTES, most))
    require_type(NDJSON_TYPES, "NDJSON", "application/x-ndjson")
    number = _count(data)
    if not deps.batch.acquire(blocking=False):
        raise Overloaded("another batch is being answered; try again", retry_after=5)
    held = ExitStack()
    held.callback(deps.batch.release)
    answers = _within(held, _answers(data, most, caller, deps), get_contextvars())
    response = flask.Response(flask.stream_with_context(answers), mimetype="application/x-ndjson")
    response.headers["Batch-Lines"] = str(number)
    response.call_on_close(held.close)  # where nothing of the answer is ever taken
    return response


def _count(data: bytes) -> int:
    number = sum(1 for _ in _lines(data))
    if number == 0:
        raise BadRequest("the body is empty; a JSON object a line is expected")
    if number > MAX_LINES:
        raise TooLarge(f"more than {MAX_LINES} lines")
    return number


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, numbered as in the body, from 1."""
    return ((number, line) for number, sent in enumerate(BytesIO(data), 1) if (line := sent.strip()))


def _within(held: ExitStack, answers: Iterator[bytes], names: Mapping[str, Any]) -> Iterator[bytes]:
    """The answers, then what is held let go; in the log the names of the request, which Flask forgets before them."""
    with held:
        bind_contextvars(**names)
        yield from answers


def _answers(data: bytes, most: int, caller: Caller, deps: Dependencies) -> Iterator[bytes]:
    for number, line in _lines(data):
        watch = flask.g.watch = Stopwatch()
        with deps.gate:
            status, said = _answer(line, most, caller, deps)
        metrics.count_call("evaluate", status, watch)
        yield encode({"line": number, "status": status} | said) + b"\n"


def _bounded(line: bytes, most: int) -> bytes:
    if len(line) > most:
        raise TooLarge(f"the line is larger than {most} bytes")
    return line


def _answer(line: bytes, most: int, caller: Caller, deps: Dependencies) -> tuple[int, dict[str, Any]]:
    """Status and answer of one line, or the OperationOutcome that it would have got alone; never raises."""
    try:
        done = evaluated(_bounded(line, most), caller, deps)
        return 200, {"answer": msgspec.Raw(encode(done.explained()))}
    except Exception as error:  # noqa: BLE001  whatever it is costs this line alone; the app's handlers word and log it
        refused = flask.current_app.make_response(flask.current_app.handle_user_exception(error))
        return refused.status_code, {"outcome": msgspec.Raw(refused.data)}
